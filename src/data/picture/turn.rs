//! Rotation: what the EXIF block says (or the XMP packet, where that says nothing), and how it is carried out, as
//! Pillow's `ImageOps.exif_transpose` does.

use super::{Seen, find};
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use std::collections::BTreeSet;

/// The tag of an EXIF block that says how a picture is to be turned.
const TAG: u64 = 0x0112;

/// How the picture is to be turned. A value that means nothing turns nothing, and hides what the packet says.
pub(super) fn of(seen: &Seen) -> Orientation {
    by(seen.exif.as_deref().and_then(of_exif), seen.xmp.as_deref())
}

/// The same from the tag's value, if there is one, and the packet.
pub(super) fn by(tag: Option<u8>, xmp: Option<&[u8]>) -> Orientation {
    let value = tag.or_else(|| xmp.and_then(of_xmp));
    value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Numbers of a block, in its byte order.
struct Numbers<'a> {
    block: &'a [u8],
    is_little: bool,
}

impl Numbers<'_> {
    fn at(&self, at: usize, bytes: usize) -> Option<u64> {
        let all = self.block.get(at..at.checked_add(bytes)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.is_little { all.iter().rev().fold(0, add) } else { all.iter().fold(0, add) })
    }

    fn signed(&self, at: usize, bytes: usize) -> Option<i64> {
        let unused = 64 - 8 * bytes as u32;
        self.at(at, bytes).map(|value| (value << unused).cast_signed() >> unused)
    }

    /// The number of type `kind` at `at`; `None` where the type is one of bytes or letters.
    fn of_kind(&self, kind: u64, at: usize) -> Option<f64> {
        Some(match kind {
            3 | 4 | 13 | 16 => self.at(at, unit(kind)?)? as f64,
            6 | 8 | 9 => self.signed(at, unit(kind)?)? as f64,
            5 => self.at(at, 4)? as f64 / self.at(at + 4, 4)? as f64,
            10 => self.signed(at, 4)? as f64 / self.signed(at + 4, 4)? as f64,
            11 => f32::from_bits(self.at(at, 4)? as u32).into(),
            12 => f64::from_bits(self.at(at, 8)?),
            _ => return None,
        })
    }
}

/// Bytes of one value of a type; `None` for a type that no TIFF has.
fn unit(kind: u64) -> Option<usize> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 => 8,
        _ => return None,
    })
}

/// The tag's first value in the first directory of a block that begins with its byte order, of its first entry there; 0 for
/// what is no number from 1 to 8.
pub(super) fn of_exif(block: &[u8]) -> Option<u8> {
    let is_little = match block.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let numbers = Numbers { block, is_little };
    let start = numbers.at(4, 4)? as usize;
    let entries = numbers.at(start, 2)? as usize;
    let mut known = BTreeSet::new();
    let mut outside = 0;
    for entry in 0..entries {
        let at = start + 2 + 12 * entry;
        // A block that is cut off says what stands before the cut.
        let [Some(tag), Some(kind), Some(count), Some(offset)] =
            [(0, 2), (2, 2), (4, 4), (8, 4)].map(|(after, bytes)| numbers.at(at + after, bytes))
        else {
            break;
        };
        let Some(unit) = unit(kind).filter(|_| !known.contains(&tag)) else { continue };
        let size = count as usize * unit;
        let place = if size <= 4 { at + 8 } else { offset as usize };
        if size > 4 {
            // Values of more bytes than the block has are passed over.
            outside += size;
            if outside > block.len() {
                continue;
            }
        }
        if place.checked_add(size).is_none_or(|end| end > block.len()) {
            break;
        }
        if size == 0 {
            continue;
        }
        if tag == TAG {
            let means = |value: &f64| (1.0..=8.0).contains(value) && value.fract() == 0.0;
            return Some(numbers.of_kind(kind, place).filter(means).map_or(0, |value| value as u8));
        }
        known.insert(tag);
    }
    None
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
