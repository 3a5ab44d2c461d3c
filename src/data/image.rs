//! Photographs to pixels: decoding as Pillow's `convert("RGB")` does, square shape, bicubic resizing, normalisation.

use super::error::{DataError, Result};
use super::jpeg;
use super::resample::bicubic;
use crate::config::data::ImageAspect;
use image::{DynamicImage, ImageReader, Rgb, RgbImage};
use serde::Deserialize;
use std::path::Path;

/// Channel means that CLIP was trained with.
pub const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Channel deviations that CLIP was trained with.
pub const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
/// Channel means of `ImageNet` (`DINOv2`).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Channel deviations of `ImageNet` (`DINOv2`).
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// How a tower wants its images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageSpec {
    /// Side of the square in pixels.
    pub size: u32,
    /// Channel means, of values in 0..=1.
    pub mean: [f32; 3],
    /// Channel deviations.
    pub std: [f32; 3],
    /// How an image becomes square.
    pub aspect: ImageAspect,
}

#[derive(Deserialize)]
struct Preprocessor {
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

impl ImageSpec {
    /// Means and deviations of a checkpoint folder's `preprocessor_config.json`; `None` where the folder has none.
    ///
    /// # Errors
    /// The file cannot be read or lacks them.
    pub fn normalisation(folder: &Path) -> Result<Option<([f32; 3], [f32; 3])>> {
        let path = folder.join("preprocessor_config.json");
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = std::fs::read(&path).map_err(DataError::io("read the preprocessor", &path))?;
        let parsed: Preprocessor = serde_json::from_slice(&bytes).map_err(|e| DataError::File {
            line: e.line() as u64,
            problem: e.to_string(),
            path,
        })?;
        Ok(Some((parsed.image_mean, parsed.image_std)))
    }

    /// Number of values of one image, `3 * size * size`.
    #[must_use]
    pub fn values(&self) -> usize {
        3 * (self.size as usize).pow(2)
    }

    /// Square image of `size` pixels, not normalised.
    #[must_use]
    pub fn square(&self, image: &RgbImage) -> RgbImage {
        let size = self.size;
        match self.aspect {
            ImageAspect::Pad => bicubic(&pad_to_square(image, self.mean), size, size),
            ImageAspect::Crop => {
                let (w, h) = image.dimensions();
                // Hugging Face's rule: the longer side is rounded down.
                let scaled = |long: u32, short: u32| {
                    u32::try_from(u64::from(size) * u64::from(long) / u64::from(short)).unwrap_or(u32::MAX)
                };
                let (nw, nh) = if w <= h { (size, scaled(h, w)) } else { (scaled(w, h), size) };
                let resized = bicubic(image, nw, nh);
                image::imageops::crop_imm(&resized, (nw - size) / 2, (nh - size) / 2, size, size).to_image()
            }
        }
    }

    /// Normalised pixels `[3, size, size]`.
    #[must_use]
    pub fn pixels(&self, image: &RgbImage) -> Vec<f32> {
        let square = self.square(image);
        let plane = (self.size as usize).pow(2);
        let mut out = vec![0.0; self.values()];
        for (i, pixel) in square.pixels().enumerate() {
            for c in 0..3 {
                out[c * plane + i] = (f32::from(pixel.0[c]) / 255.0 - self.mean[c]) / self.std[c];
            }
        }
        out
    }
}

/// Reads a JPEG, PNG or WebP file as RGB. Like Pillow's `convert("RGB")`: alpha is dropped, not blended; of 16-bit
/// colours the high byte is kept; 16-bit grey is clipped at 255; EXIF orientation is ignored.
///
/// # Errors
/// What is wrong with the file, without its path.
pub fn decode(path: &Path) -> std::result::Result<RgbImage, String> {
    let bytes = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "the image is missing".to_owned(),
        _ => format!("cannot read the image: {e}"),
    })?;
    decode_bytes(&bytes)
}

/// [`decode`] from memory.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(bytes: &[u8]) -> std::result::Result<RgbImage, String> {
    let broken = |e: &dyn std::fmt::Display| format!("cannot decode the image (JPEG, PNG or WebP): {e}");
    let reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().map_err(|e| broken(&e))?;
    if reader.format() == Some(image::ImageFormat::Jpeg) {
        if !ends_jpeg(bytes) {
            return Err(broken(&"the file is cut off"));
        }
        if let Some(decoded) = jpeg::decode(bytes) {
            return decoded.map_err(|e| broken(&e));
        }
    }
    let image = reader.decode().map_err(|e| broken(&e))?;
    if image.width() == 0 || image.height() == 0 {
        return Err(broken(&"it has no pixels"));
    }
    Ok(to_rgb(image))
}

/// Whether the end marker of a JPEG is there (the decoder fills what is missing with grey and says nothing).
fn ends_jpeg(bytes: &[u8]) -> bool {
    bytes.windows(2).rev().any(|pair| pair == [0xFF, 0xD9])
}

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

/// Width and height, from the header alone.
///
/// # Errors
/// What is wrong with the file, without its path.
pub fn dimensions(path: &Path) -> std::result::Result<(u32, u32), String> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let reader = reader.map_err(|e| format!("cannot read the image: {e}"))?;
    reader.into_dimensions().map_err(|e| format!("cannot read the size of the image: {e}"))
}

/// Centres an image on a square of the mean colour (LLaVA: `int(mean * 255)`).
fn pad_to_square(image: &RgbImage, mean: [f32; 3]) -> RgbImage {
    let (w, h) = image.dimensions();
    if w == h {
        return image.clone();
    }
    let side = w.max(h);
    // In double precision, as Python computes it; the value is within 0..=255.
    let colour = mean.map(|m| (f64::from(m) * 255.0).clamp(0.0, 255.0) as u8);
    let mut square = RgbImage::from_pixel(side, side, Rgb(colour));
    let (x, y) = ((side - w) / 2, (side - h) / 2);
    image::imageops::replace(&mut square, image, i64::from(x), i64::from(y));
    square
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{fixture, fixture_batch, fixture_entries, images};

    const CLIP_28: ImageSpec = ImageSpec { size: 28, mean: CLIP_MEAN, std: CLIP_STD, aspect: ImageAspect::Pad };

    /// Largest difference of 8-bit values, and the share of values that differ at all.
    fn difference(a: &RgbImage, b: &RgbImage) -> (u8, f64) {
        assert_eq!(a.dimensions(), b.dimensions());
        let pairs = || a.as_raw().iter().zip(b.as_raw());
        let unequal = pairs().filter(|(x, y)| x != y).count();
        (pairs().map(|(x, y)| x.abs_diff(*y)).max().unwrap(), unequal as f64 / a.as_raw().len() as f64)
    }

    #[test]
    fn pixels_equal_the_published_ones() {
        let expected = fixture_batch().pixels;
        assert_eq!(ImageSpec::normalisation(&fixture("clip")).unwrap(), Some((CLIP_MEAN, CLIP_STD)));
        for (i, entry) in fixture_entries().iter().enumerate() {
            let row = &expected[i * CLIP_28.values()..][..CLIP_28.values()];
            let Some(name) = &entry.image else {
                assert!(row.iter().all(|&v| v == 0.0));
                continue;
            };
            let pixels = CLIP_28.pixels(&decode(&fixture("images").join(&**name)).unwrap());
            let plane = CLIP_28.values() / 3;
            for (j, (a, b)) in pixels.iter().zip(row).enumerate() {
                let levels = (a - b).abs() * CLIP_STD[j / plane] * 255.0;
                assert!(levels <= 0.01, "{name}: value {j} is {levels} levels off");
            }
        }
    }

    #[test]
    fn every_kind_of_png_and_webp_equals_pillow() {
        let names = [
            "rgb.png",
            "rgba.png",
            "grey.png",
            "grey_alpha.png",
            "palette.png",
            "grey16.png",
            "rgb16.png",
            "lossless.webp",
        ];
        for name in names {
            for (aspect, kind) in [(ImageAspect::Pad, "pad"), (ImageAspect::Crop, "crop")] {
                let spec = ImageSpec { size: 24, aspect, ..CLIP_28 };
                let ours = spec.square(&decode(&images(name)).unwrap());
                let pillow = decode(&images(&format!("expected/{name}.{kind}.png"))).unwrap();
                let (worst, share) = difference(&ours, &pillow);
                assert!(worst == 0 && share == 0.0, "{name} {kind}: {worst} levels, {share} of the values differ");
            }
        }
    }

    #[test]
    fn every_kind_of_jpeg_is_within_four_levels_of_pillow() {
        for name in ["420.jpg", "444.jpg", "grey.jpg", "progressive.jpg", "rotated.jpg"] {
            for (aspect, kind) in [(ImageAspect::Pad, "pad"), (ImageAspect::Crop, "crop")] {
                let spec = ImageSpec { size: 24, aspect, ..CLIP_28 };
                let ours = spec.square(&decode(&images(name)).unwrap());
                let pillow = decode(&images(&format!("expected/{name}.{kind}.png"))).unwrap();
                let (worst, _) = difference(&ours, &pillow);
                assert!(worst <= 4, "{name} {kind}: {worst} levels");
            }
        }
    }

    #[test]
    fn enlarging_equals_pillow_too() {
        let spec = ImageSpec { size: 100, ..CLIP_28 };
        let ours = spec.square(&decode(&images("rgb.png")).unwrap());
        assert_eq!(difference(&ours, &decode(&images("expected/rgb.png.large.png")).unwrap()).0, 0);
    }

    #[test]
    fn broken_images_are_errors() {
        for name in ["rgb.png", "420.jpg", "lossless.webp"] {
            let bytes = std::fs::read(images(name)).unwrap();
            let error = decode_bytes(&bytes[..bytes.len() * 2 / 3]).unwrap_err();
            assert!(error.starts_with("cannot decode the image (JPEG, PNG or WebP): "), "{name}: {error}");
        }
        assert!(decode_bytes(b"GIF89a").is_err());
        assert_eq!(decode(Path::new("no.png")).unwrap_err(), "the image is missing");
        assert_eq!(dimensions(&images("rgb.png")).unwrap(), (53, 37));
    }

    #[test]
    fn very_long_images_keep_their_centre() {
        let image = RgbImage::from_fn(300, 10, |x, _| Rgb([u8::try_from(x / 2).unwrap(); 3]));
        let spec = ImageSpec { size: 10, aspect: ImageAspect::Crop, ..CLIP_28 };
        let square = spec.square(&image);
        assert_eq!(square.get_pixel(0, 5).0[0], 72);
        assert_eq!(square.get_pixel(9, 5).0[0], 77);
    }
}
