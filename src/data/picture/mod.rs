//! Picture files to RGB as Pillow's `Image.open(file).convert("RGB")` shows them: the same pixels, and no picture of a
//! file that it refuses. A file is what its first bytes say, whatever its name ends in. What is not read as Pillow
//! reads it is refused by name.

mod bmp;
mod gif;
mod jpeg;
mod kind;
mod palette;
mod png;
mod size;
mod tiff;
mod turn;
mod webp;

pub use kind::Kind;
pub use size::{MAX_PIXELS, MAX_SIDE};

use crate::config::data::Exif;
use image::{DynamicImage, Rgb, RgbImage, metadata::Orientation};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// What a decoder tells beside the pixels.
#[derive(Debug, Default)]
struct Seen {
    /// Width and height as stored.
    size: (u32, u32),
    /// The EXIF block, from its byte order on.
    exif: Option<Vec<u8>>,
    /// The XMP packet.
    xmp: Option<Vec<u8>>,
}

/// A picture, decoded.
#[derive(Debug)]
pub struct Picture {
    /// Pixels, turned if that was asked for.
    pub pixels: RgbImage,
    /// Whether its EXIF block says that it is to be turned or mirrored.
    pub has_rotation: bool,
    /// What its file is; nothing for a picture that was never one.
    pub kind: Option<Kind>,
}

impl Picture {
    /// Whether all pixels are the same.
    #[must_use]
    pub fn is_one_colour(&self) -> bool {
        let mut pixels = self.pixels.pixels();
        let first = pixels.next();
        pixels.all(|p| Some(p) == first)
    }
}

/// Reads a file as RGB. Like Pillow's `convert("RGB")`: alpha is dropped, not blended; of 16-bit colours the high byte
/// is kept; 16-bit grey is clipped at 255; of an animation the first frame is taken.
///
/// # Errors
/// What is wrong with the file and what to do, without its path.
pub fn open(path: &Path, exif: Exif) -> Result<Picture, String> {
    decode(&read(path)?, exif)
}

/// [`open`] from memory.
///
/// # Errors
/// As [`open`].
pub fn decode(bytes: &[u8], exif: Exif) -> Result<Picture, String> {
    let kind = Kind::of(bytes)?;
    let decoded = match kind {
        Kind::Jpeg => jpeg::decode(bytes),
        Kind::Png => png::decode(bytes),
        Kind::Webp => webp::decode(bytes),
        Kind::Gif => gif::decode(bytes),
        Kind::Bmp => bmp::decode(bytes),
        Kind::Tiff => tiff::decode(bytes),
    };
    let (pixels, seen) = decoded.map_err(|problem| broken(kind, &problem))?;
    let rotation = turn::of(&seen);
    let has_rotation = rotation != Orientation::NoTransforms;
    let pixels = if exif == Exif::Apply && has_rotation { turn::apply(pixels, rotation) } else { pixels };
    Ok(Picture { pixels, has_rotation, kind: Some(kind) })
}

/// Width and height as they are trained on, from the header alone.
///
/// # Errors
/// As [`open`].
pub fn dimensions(path: &Path, exif: Exif) -> Result<(u32, u32), String> {
    let bytes = read(path)?;
    let kind = Kind::of(&bytes)?;
    let header = match kind {
        Kind::Jpeg => jpeg::header(&bytes),
        Kind::Png => png::header(&bytes),
        Kind::Webp => webp::header(&bytes),
        Kind::Gif => gif::header(&bytes),
        Kind::Bmp => bmp::header(&bytes),
        Kind::Tiff => tiff::header(&bytes),
    };
    let seen = header.map_err(|problem| broken(kind, &problem))?;
    let (width, height) = seen.size;
    let swaps = exif == Exif::Apply && turn::swaps(turn::of(&seen));
    Ok(if swaps { (height, width) } else { (width, height) })
}

fn broken(kind: Kind, problem: &str) -> String {
    format!("cannot read the picture ({}): {problem}", kind.name())
}

/// The bytes of a picture file; what is no file is told as what it is.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidFilename => super::shown::absent(path),
        _ => format!("cannot read the image: {e}"),
    };
    let found = std::fs::metadata(path).map_err(cannot)?;
    if found.is_dir() {
        return Err("a folder stands in place of the image; name a file in it".to_owned());
    }
    if !found.is_file() {
        return Err("it is no ordinary file; name a picture file".to_owned());
    }
    if found.len() > MAX_BYTES {
        return Err(format!("the file has {} bytes; a picture has at most {MAX_BYTES}", found.len()));
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(cannot)?;
    Ok(bytes)
}

/// What the decoders of the `image` crate may allocate for a picture of this size.
fn limits((width, height): (u32, u32)) -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(u64::from(width) * u64::from(height) * 16 + (64 << 20));
    limits
}

/// The RGB that Pillow makes of a decoded picture.
fn to_rgb(image: DynamicImage) -> RgbImage {
    let high = |v: u16| v.to_be_bytes()[0];
    match image {
        DynamicImage::ImageRgb8(image) => image,
        DynamicImage::ImageLuma16(image) => RgbImage::from_fn(image.width(), image.height(), |x, y| {
            let v = u8::try_from(image.get_pixel(x, y).0[0]).unwrap_or(u8::MAX);
            Rgb([v; 3])
        }),
        DynamicImage::ImageLumaA16(image) => {
            RgbImage::from_fn(image.width(), image.height(), |x, y| Rgb([high(image.get_pixel(x, y).0[0]); 3]))
        }
        DynamicImage::ImageRgb16(image) => {
            RgbImage::from_fn(image.width(), image.height(), |x, y| Rgb(image.get_pixel(x, y).0.map(high)))
        }
        DynamicImage::ImageRgba16(image) => RgbImage::from_fn(image.width(), image.height(), |x, y| {
            let [r, g, b, _] = image.get_pixel(x, y).0;
            Rgb([r, g, b].map(high))
        }),
        other => other.to_rgb8(),
    }
}

/// An ink under black, both 0..=255 with 255 the most, as Pillow's integers have it.
fn under_black(ink: u8, black: u8) -> u8 {
    let white = 255 - u32::from(black);
    let product = u32::from(ink) * white + 128;
    (white - (((product >> 8) + product) >> 8)) as u8
}

/// An EXIF block from its byte order on.
fn bare(mut block: &[u8]) -> &[u8] {
    while let Some(rest) = block.strip_prefix(b"Exif\0\0") {
        block = rest;
    }
    block
}

/// Index of the first of `needle` in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod turn_tests;
