//! WebP: the first frame. The decoder is the `image` crate's; the chunks are walked first, since it reads what it finds
//! of a file that is cut off.

use super::size::checked;
use super::{Seen, bare, limits, to_rgb};
use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, ImageDecoder, RgbImage};
use std::io::Cursor;

/// Walks the chunks: notes. The size is the decoder's.
fn notes(bytes: &[u8]) -> Result<Seen, String> {
    let cut = || "the file is cut off".to_owned();
    let number =
        |at: usize| -> Option<usize> { Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize) };
    let end = number(4).and_then(|n| n.checked_add(8)).filter(|&end| end <= bytes.len()).ok_or_else(cut)?;
    let (mut at, mut seen, mut canvas) = (12, Seen::default(), (0, 0));
    while at + 8 <= end {
        let length = number(at + 4).ok_or_else(cut)?;
        let content = bytes[..end].get(at + 8..at + 8 + length).ok_or_else(cut)?;
        match &bytes[at..at + 4] {
            b"EXIF" => seen.exif = Some(bare(content).to_vec()),
            b"XMP " => seen.xmp = Some(content.to_vec()),
            b"ANMF" => check_frame(content, canvas)?,
            b"VP8X" if length >= 10 => canvas = (triple(content, 4) + 1, triple(content, 7) + 1),
            _ => {}
        }
        at += 8 + length + length % 2;
    }
    Ok(seen)
}

fn triple(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) | usize::from(bytes[at + 1]) << 8 | usize::from(bytes[at + 2]) << 16
}

/// A frame of an animation lies on the canvas and holds a picture of its own size; libwebp takes none of a file in
/// which one does not.
fn check_frame(content: &[u8], canvas: (usize, usize)) -> Result<(), String> {
    let damaged = || "a frame of it is damaged".to_owned();
    if content.len() < 24 {
        return Err(damaged());
    }
    let corner = (2 * triple(content, 0), 2 * triple(content, 3));
    let size = (triple(content, 6) + 1, triple(content, 9) + 1);
    let mut at = 16;
    loop {
        let head = content.get(at..at + 8).ok_or_else(damaged)?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let data = content.get(at + 8..at + 8 + length).ok_or_else(damaged)?;
        let own = match &head[..4] {
            b"VP8 " if length >= 10 && data[3..6] == [0x9D, 1, 0x2A] => {
                let side = |i: usize| usize::from(u16::from_le_bytes([data[i], data[i + 1]]) & 0x3FFF);
                (side(6), side(8))
            }
            b"VP8L" if length >= 5 && data[0] == 0x2F => {
                let bits = u32::from_le_bytes([data[1], data[2], data[3], data[4]]) as usize;
                ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
            }
            b"VP8 " | b"VP8L" => return Err(damaged()),
            _ => {
                at += 8 + length + length % 2;
                continue;
            }
        };
        let fits = corner.0 + size.0 <= canvas.0 && corner.1 + size.1 <= canvas.1;
        return if fits && own == size { Ok(()) } else { Err(damaged()) };
    }
}

fn open(bytes: &[u8]) -> Result<(WebPDecoder<Cursor<&[u8]>>, Seen), String> {
    let mut seen = notes(bytes)?;
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    seen.size = checked(width.into(), height.into())?;
    decoder.set_limits(limits(seen.size)).map_err(|e| e.to_string())?;
    Ok((decoder, seen))
}

/// Size and notes.
pub(super) fn header(bytes: &[u8]) -> Result<Seen, String> {
    Ok(open(bytes)?.1)
}

/// Decodes a file.
pub(super) fn decode(bytes: &[u8]) -> Result<(RgbImage, Seen), String> {
    let (decoder, seen) = open(bytes)?;
    let image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    Ok((to_rgb(image), seen))
}
