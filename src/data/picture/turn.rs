//! Rotation: what the EXIF block says (or the XMP packet, where that says nothing), and how it is carried out, as
//! Pillow's `ImageOps.exif_transpose` does.

use super::{Seen, find};
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

/// How the picture is to be turned.
pub(super) fn of(seen: &Seen) -> Orientation {
    let exif = seen.exif.as_deref().and_then(Orientation::from_exif_chunk);
    exif.or_else(|| seen.xmp.as_deref().and_then(of_xmp)).unwrap_or(Orientation::NoTransforms)
}

fn of_xmp(packet: &[u8]) -> Option<Orientation> {
    const KEY: &[u8] = b"tiff:Orientation";
    let rest = &packet[find(packet, KEY)? + KEY.len()..];
    let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
    Orientation::from_exif(value.first()?.wrapping_sub(b'0'))
}

/// Whether it swaps width and height.
pub(super) fn swaps(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Turns a picture.
pub(super) fn apply(pixels: RgbImage, orientation: Orientation) -> RgbImage {
    let mut image = DynamicImage::ImageRgb8(pixels);
    image.apply_orientation(orientation);
    image.into_rgb8()
}
