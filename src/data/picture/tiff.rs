//! TIFF: the first picture of a file, turned as its own tag or packet says (Pillow does so always). The decoder is the `tiff`
//! crate; only what it and Pillow are known to read alike is let through.

use super::size::checked;
use super::{Seen, to_rgb, turn, under_black};
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, RgbImage};
use std::io::Cursor;
use tiff::decoder::ifd::Value;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

/// The tag of the XMP packet.
const XMP: u16 = 700;

struct Open<'a> {
    decoder: Decoder<Cursor<&'a [u8]>>,
    size: (u32, u32),
    turn: Orientation,
}

fn open(bytes: &[u8]) -> Result<Open<'_>, String> {
    check_types(bytes)?;
    let text = |e: tiff::TiffError| e.to_string();
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(text)?;
    let (width, height) = decoder.dimensions().map_err(text)?;
    let size = checked(width.into(), height.into())?;
    let room = width as usize * height as usize * 8 + (1 << 20);
    let mut limits = Limits::default();
    (limits.decoding_buffer_size, limits.intermediate_buffer_size) = (room, room);
    let mut decoder = decoder.with_limits(limits);
    // A file is laid out as an EXIF block is; BigTIFF is not.
    let tag = turn::of_exif(bytes).or_else(|| decoder.get_tag_unsigned(Tag::Orientation).ok());
    let xmp = decoder.get_tag_u8_vec(Tag::Unknown(XMP)).ok();
    let turn = turn::by(tag, xmp.as_deref());
    Ok(Open { decoder, size, turn })
}

/// The types of the first directory's entries: the decoder passes over an entry of a type that no TIFF has, which is
/// damage.
fn check_types(bytes: &[u8]) -> Result<(), String> {
    let pair = |at: usize| -> Option<u16> {
        let two = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if bytes[0] == b'I' { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let double = |at: usize| -> Option<usize> {
        let (first, second) = (usize::from(pair(at)?), usize::from(pair(at + 2)?));
        Some(if bytes[0] == b'I' { second << 16 | first } else { first << 16 | second })
    };
    // BigTIFF has other entries.
    if pair(2) != Some(42) {
        return Ok(());
    }
    let cut = || "the file is cut off".to_owned();
    let start = double(4).ok_or_else(cut)?;
    for entry in 0..usize::from(pair(start).ok_or_else(cut)?) {
        let at = start + 2 + 12 * entry;
        let (tag, kind) = (pair(at).ok_or_else(cut)?, pair(at + 2).ok_or_else(cut)?);
        if !(1..=13).contains(&kind) {
            return Err(format!("its tag {tag} is damaged"));
        }
    }
    Ok(())
}

/// Size, as Pillow tells it: turned.
pub(super) fn header(bytes: &[u8]) -> Result<Seen, String> {
    let Open { size: (width, height), turn, .. } = open(bytes)?;
    Ok(Seen { size: if turn::swaps(turn) { (height, width) } else { (width, height) }, ..Seen::default() })
}

/// What the tags say.
struct Tags {
    photometric: u64,
    bits: Vec<u64>,
    extra: Vec<u64>,
}

impl Open<'_> {
    fn tag(&mut self, tag: Tag, default: u64) -> Result<u64, String> {
        Ok(self.decoder.find_tag_unsigned::<u64>(tag).map_err(|e| e.to_string())?.unwrap_or(default))
    }

    fn list(&mut self, tag: Tag) -> Result<Vec<u64>, String> {
        Ok(self.decoder.find_tag_unsigned_vec::<u64>(tag).map_err(|e| e.to_string())?.unwrap_or_default())
    }

    fn tags(&mut self) -> Result<Tags, String> {
        let compression = self.tag(Tag::Compression, 1)?;
        if !matches!(compression, 1 | 5 | 8 | 32_773 | 32_946) {
            return Err(format!("its compression ({compression}) is not read; save it without, or as PNG"));
        }
        if self.tag(Tag::PlanarConfiguration, 1)? != 1 {
            return Err("its colours lie in planes, which is not read; save it interleaved, or as PNG".to_owned());
        }
        if self.tag(Tag::FillOrder, 1)? != 1 || self.list(Tag::SampleFormat)?.iter().any(|&f| f != 1) {
            return Err("its numbers are stored in a way that is not read; save it as PNG".to_owned());
        }
        let photometric = self.tag(Tag::PhotometricInterpretation, 0)?;
        if photometric == 3 {
            return Err("its palette is not read; save it as PNG".to_owned());
        }
        for tag in [Tag::RowsPerStrip, Tag::PlanarConfiguration] {
            // Other types are damage that the decoder would not mind.
            let value = self.decoder.find_tag(tag).map_err(|e| e.to_string())?;
            if !matches!(value, None | Some(Value::Short(_) | Value::Unsigned(_))) {
                return Err(format!("its {tag:?} tag is damaged"));
            }
        }
        Ok(Tags { photometric, bits: self.list(Tag::BitsPerSample)?, extra: self.list(Tag::ExtraSamples)? })
    }
}

/// Decodes a file.
pub(super) fn decode(bytes: &[u8]) -> Result<(RgbImage, Seen), String> {
    let mut open = open(bytes)?;
    let (size, tags) = (open.size, open.tags()?);
    let disagree = || "its size and its data disagree".to_owned();
    let data = open.decoder.read_image().map_err(|e| e.to_string())?;
    let image = match (tags.photometric, &tags.bits[..], &tags.extra[..], data) {
        (0 | 1, [8], [], DecodingResult::U8(v)) => from(size, v, DynamicImage::ImageLuma8),
        (1, [16], [], DecodingResult::U16(v)) => from(size, v, DynamicImage::ImageLuma16),
        (1, [8, 8], [2], DecodingResult::U8(v)) => from(size, v, DynamicImage::ImageLumaA8),
        (2, [8, 8, 8], [], DecodingResult::U8(v)) => from(size, v, DynamicImage::ImageRgb8),
        (2, [8, 8, 8, 8], [0 | 2 | 999], DecodingResult::U8(v)) => from(size, v, DynamicImage::ImageRgba8),
        (2, [16, 16, 16], [], DecodingResult::U16(v)) => from(size, v, DynamicImage::ImageRgb16),
        (2, [16, 16, 16, 16], [0 | 2], DecodingResult::U16(v)) => from(size, v, DynamicImage::ImageRgba16),
        (5, [8, 8, 8, 8], [], DecodingResult::U8(v)) => {
            let rgb = v.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]].map(|ink| under_black(ink, p[3]))).collect();
            from(size, rgb, DynamicImage::ImageRgb8)
        }
        (photometric, bits, extra, _) => {
            return Err(format!(
                "its colours are not read (photometric {photometric}, bits {bits:?}, extra {extra:?}); save it as PNG"
            ));
        }
    };
    let image = turn::apply(to_rgb(image.ok_or_else(disagree)?), open.turn);
    let size = image.dimensions();
    Ok((image, Seen { size, ..Seen::default() }))
}

fn from<P: image::Pixel>(
    (width, height): (u32, u32),
    values: Vec<P::Subpixel>,
    kind: fn(ImageBuffer<P, Vec<P::Subpixel>>) -> DynamicImage,
) -> Option<DynamicImage> {
    ImageBuffer::from_raw(width, height, values).map(kind)
}
