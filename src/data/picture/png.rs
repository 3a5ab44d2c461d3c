//! PNG. The decoder is the `image` crate's; the chunks are walked as Pillow walks them, which also refuses damage
//! outside the pixels.

use super::size::checked;
use super::{Seen, bare, limits, to_rgb};
use image::codecs::png::PngDecoder;
use image::{DynamicImage, RgbImage};
use std::borrow::Cow;
use std::io::{Cursor, Read};

/// Shortest contents of the chunks that Pillow looks into.
const SHORTEST: [(&[u8; 4], usize); 8] =
    [(b"IHDR", 13), (b"gAMA", 4), (b"cHRM", 32), (b"sRGB", 1), (b"pHYs", 9), (b"acTL", 8), (b"fcTL", 26), (b"fdAT", 4)];

struct Chunk<'a> {
    name: [u8; 4],
    content: &'a [u8],
    crc: Option<u32>,
}

/// The chunk at a place and the place behind it; `None` where no head of a chunk is.
fn chunk(bytes: &[u8], at: usize) -> Result<Option<(Chunk<'_>, usize)>, String> {
    let Some(head) = bytes.get(at..at + 8) else { return Ok(None) };
    let &[l3, l2, l1, l0, a, b, c, d] = head else { return Ok(None) };
    let (length, name) = (u32::from_be_bytes([l3, l2, l1, l0]) as usize, [a, b, c, d]);
    if !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return Ok(None);
    }
    let content = bytes.get(at + 8..at + 8 + length);
    let content = content.ok_or_else(|| format!("the file is cut off in its {} chunk", shown(name)))?;
    let end = at + 8 + length;
    let crc = bytes.get(end..end + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    Ok(Some((Chunk { name, content, crc }, end + 4)))
}

fn shown(name: [u8; 4]) -> String {
    name.iter().map(|&b| b as char).collect()
}

/// Walks the chunks: size and notes.
pub(super) fn header(bytes: &[u8]) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let (mut at, mut has_pixels) = (8, false);
    loop {
        let Some((chunk, next)) = chunk(bytes, at)? else {
            // Behind the pixels Pillow lets everything pass that does not look like a chunk.
            return if has_pixels {
                Ok(seen)
            } else {
                Err("the file is cut off or damaged before its pixels".to_owned())
            };
        };
        at = next;
        let name = shown(chunk.name);
        if chunk.name == *b"IDAT" {
            has_pixels = true;
            continue;
        }
        if chunk.name == *b"IEND" {
            return if has_pixels { Ok(seen) } else { Err("it ends before its pixels".to_owned()) };
        }
        if SHORTEST.iter().any(|(n, least)| **n == chunk.name && chunk.content.len() < *least) {
            return Err(format!("its {name} chunk is too short"));
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&chunk.name);
        crc.update(chunk.content);
        if !has_pixels && chunk.crc != Some(crc.finalize()) {
            return Err(format!("its {name} chunk is damaged (the checksum is another one)"));
        }
        note(&chunk, &mut seen)?;
        if chunk.name != *b"IHDR" && seen.size == (0, 0) {
            return Err("its header is not the first chunk".to_owned());
        }
    }
}

/// Title of an XMP packet.
const XMP: &[u8] = b"XML:com.adobe.xmp\0";
/// Title of an EXIF block that is written as text, as ImageMagick did before there was a chunk for it.
const PROFILE: &[u8] = b"Raw profile type exif\0";
/// Largest note that is unpacked, as in Pillow.
const LARGEST: u64 = 1 << 20;

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    flate2::read::ZlibDecoder::new(packed).take(LARGEST).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The packet behind its title: whether it is packed, language and translated title stand before it.
fn packet(content: &[u8]) -> Option<Vec<u8>> {
    let (&[packed, _], rest) = content.split_first_chunk()?;
    let text = rest.splitn(3, |byte| *byte == 0).nth(2)?;
    if packed == 0 { Some(text.to_vec()) } else { unpack(text) }
}

/// The block that a profile spells in hexadecimal digits behind three lines of title.
fn from_profile(text: &[u8]) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').skip(3).collect();
    let digits: Option<Vec<u8>> = lines
        .concat()
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| char::from(*byte).to_digit(16).map(|digit| digit as u8))
        .collect();
    Some(digits?.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn note(chunk: &Chunk<'_>, seen: &mut Seen) -> Result<(), String> {
    let content = chunk.content;
    let mut profile = None;
    match &chunk.name {
        b"IHDR" => {
            let side =
                |i: usize| u64::from(u32::from_be_bytes([content[i], content[i + 1], content[i + 2], content[i + 3]]));
            seen.size = checked(side(0), side(4))?;
        }
        b"eXIf" => seen.exif = Some(bare(content).to_vec()),
        b"iTXt" if content.starts_with(XMP) => seen.xmp = packet(&content[XMP.len()..]).or(seen.xmp.take()),
        b"tEXt" if content.starts_with(PROFILE) => profile = from_profile(&content[PROFILE.len()..]),
        b"zTXt" if content.starts_with(PROFILE) => {
            // A byte says how it is packed, and there is one way.
            profile = content.get(PROFILE.len() + 1..).and_then(unpack).and_then(|text| from_profile(&text));
        }
        b"iCCP" => {
            let method = content.iter().position(|&b| b == 0).and_then(|i| content.get(i + 1));
            if method != Some(&0) {
                return Err("its iCCP chunk is damaged".to_owned());
            }
        }
        _ => {}
    }
    // The chunk for it counts more.
    if let (Some(block), None) = (profile, &seen.exif) {
        seen.exif = Some(bare(&block).to_vec());
    }
    Ok(())
}

/// A file's last chunk.
const END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";

/// The file with its last chunk in place of what no chunk is, where it lacks that: Pillow does without.
fn ended(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let mut at = 8;
    while let Some((chunk, next)) = chunk(bytes, at)? {
        match (&chunk.name, chunk.crc) {
            (b"IEND", Some(_)) => return Ok(Cow::Borrowed(bytes)),
            (b"IEND", None) => break,
            _ => at = next.min(bytes.len()),
        }
    }
    Ok(Cow::Owned([&bytes[..at], END].concat()))
}

/// The decoder's words, with a chunk's name in place of how it is held.
fn words(error: &image::ImageError) -> String {
    let mut text = error.to_string();
    while let Some((start, end)) = text.find("ChunkType {").and_then(|at| Some((at, at + text[at..].find('}')?))) {
        let inside = text[start..end].split("type: ").nth(1).and_then(|rest| rest.split(',').next());
        let name = inside.unwrap_or("unknown").trim().to_owned();
        text.replace_range(start..=end, &name);
    }
    text
}

/// Decodes a file.
pub(super) fn decode(bytes: &[u8]) -> Result<(RgbImage, Seen), String> {
    let seen = header(bytes)?;
    let bytes = ended(bytes)?;
    let decoder = PngDecoder::with_limits(Cursor::new(&*bytes), limits(seen.size)).map_err(|e| words(&e))?;
    let image = DynamicImage::from_decoder(decoder).map_err(|e| words(&e))?;
    Ok((to_rgb(image), seen))
}
