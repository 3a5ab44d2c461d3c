//! Rotation: what the EXIF block says (or the XMP packet, where that says nothing), and how it is carried out, as
//! Pillow's `ImageOps.exif_transpose` does.

use super::{Seen, find};
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

/// The tag of an EXIF block that says how a picture is to be turned.
const TAG: u16 = 0x0112;

/// How the picture is to be turned. A value that means nothing turns nothing, and hides what the packet says.
pub(super) fn of(seen: &Seen) -> Orientation {
    let exif = seen.exif.as_deref().and_then(of_exif);
    let value = exif.or_else(|| seen.xmp.as_deref().and_then(of_xmp));
    value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// The tag's value in the first directory of a block that begins with its byte order; 0 for one that is no single number.
fn of_exif(block: &[u8]) -> Option<u8> {
    let is_little = match block.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |at: usize, bytes: usize| -> Option<u32> {
        let all = block.get(at..at.checked_add(bytes)?)?;
        let add = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
        Some(if is_little { all.iter().rev().fold(0, add) } else { all.iter().fold(0, add) })
    };
    let start = number(4, 4)? as usize;
    let entries = number(start, 2)? as usize;
    let mut found = None;
    for entry in 0..entries {
        let at = start + 2 + 12 * entry;
        // A block that is cut off says what stands before the cut.
        let (Some(tag), Some(kind), Some(count), Some(_)) =
            (number(at, 2), number(at + 2, 2), number(at + 4, 4), number(at + 8, 4))
        else {
            break;
        };
        if tag != u32::from(TAG) || count == 0 {
            continue;
        }
        // Bytes, shorts and longs are numbers.
        let bytes = match kind {
            1 => 1,
            3 => 2,
            4 => 4,
            _ => 0,
        };
        let value = number(at + 8, bytes).filter(|_| bytes > 0 && count == 1);
        found = Some(value.and_then(|v| u8::try_from(v).ok()).unwrap_or(0));
    }
    found
}

fn of_xmp(packet: &[u8]) -> Option<u8> {
    const KEY: &[u8] = b"tiff:Orientation";
    let mut rest = packet;
    loop {
        rest = &rest[find(rest, KEY)? + KEY.len()..];
        let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"));
        if let Some(&[digit @ b'0'..=b'9', ..]) = value {
            return Some(digit - b'0');
        }
    }
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
