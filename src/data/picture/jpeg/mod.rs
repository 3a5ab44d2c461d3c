//! JPEG files as libjpeg, and so Pillow, shows them, to the bit: which files are sound, what a damaged one that it
//! still shows looks like, the inverse transform, the enlarging of halved chroma, and the conversion to RGB. The
//! decoders at hand differ from it by up to four levels on sound files, and take files for whole that it refuses.
//!
//! `marker` reads the segments, `huffman` the bits, `scan` fills in coefficients, `idct` and `enlarge` make pixels.

mod enlarge;
mod huffman;
mod idct;
mod marker;
mod scan;

use super::Seen;
use super::size::checked;
use enlarge::enlarge;
use image::RgbImage;
use marker::{Component, Frame, Reader, Segment};

/// How the colours of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

/// Size and notes, up to the frame header.
pub(super) fn header(bytes: &[u8]) -> Result<Seen, String> {
    let mut reader = Reader::new(bytes)?;
    loop {
        match reader.next()? {
            Segment::Scan | Segment::End => return Ok(seen(&reader, frame(&reader)?)),
            Segment::Other => {}
        }
    }
}

fn frame<'r>(reader: &'r Reader<'_>) -> Result<&'r Frame, String> {
    reader.frame.as_ref().ok_or_else(|| "it has no frame header".to_owned())
}

fn seen(reader: &Reader<'_>, frame: &Frame) -> Seen {
    Seen {
        size: (frame.width as u32, frame.height as u32),
        exif: (!reader.exif.is_empty()).then(|| super::bare(&reader.exif).to_vec()),
        xmp: reader.xmp.clone(),
    }
}

/// Decodes a file.
pub(super) fn decode(bytes: &[u8]) -> Result<(RgbImage, Seen), String> {
    let mut reader = Reader::new(bytes)?;
    let mut coefficients = Vec::new();
    let mut scans = 0;
    loop {
        // Where one scan holds everything, Pillow does not wait for the end marker.
        if scans == 1 && !reader.has_several_scans && !reader.has_marker() {
            break;
        }
        match reader.next()? {
            Segment::Other => {}
            Segment::End if scans == 0 => return Err("it has no scan".to_owned()),
            Segment::End => break,
            Segment::Scan => {
                let frame = frame(&reader)?;
                if scans == 0 {
                    checked(frame.width as u64, frame.height as u64)?;
                    coefficients = frame.components.iter().map(|c| vec![0; c.stored_blocks() * 64]).collect();
                } else if !reader.has_several_scans {
                    return Err("a second scan follows the one that holds everything".to_owned());
                }
                scan::read(&mut reader, &mut coefficients)?;
                scans += 1;
            }
        }
    }
    let frame = frame(&reader)?;
    if frame.progressive && frame.is_unfinished() {
        return Err("it is progressive and some of its scans are not there".to_owned());
    }
    let colours = colours(&reader, frame);
    let planes = planes(frame, coefficients)?;
    Ok((to_rgb(frame, colours, &planes)?, seen(&reader, frame)))
}

fn colours(reader: &Reader<'_>, frame: &Frame) -> Colours {
    match (frame.components.len(), reader.adobe) {
        (1, _) => Colours::Grey,
        (3, Some(0)) if !reader.jfif => Colours::Rgb,
        (3, None) if !reader.jfif && frame.components.iter().map(|c| c.id).eq(*b"RGB") => Colours::Rgb,
        (3, _) => Colours::YCbCr,
        (_, None | Some(0)) => Colours::Cmyk,
        _ => Colours::Ycck,
    }
}

/// Pixels of one component at its own size.
struct Plane {
    /// Bytes of a row: whole blocks.
    stride: usize,
    values: Vec<u8>,
}

fn planes(frame: &Frame, coefficients: Vec<Vec<i16>>) -> Result<Vec<Plane>, String> {
    let mut planes = Vec::new();
    for (component, blocks) in frame.components.iter().zip(coefficients) {
        let (across, down) = component.blocks;
        let stride = across * 8;
        let mut values = vec![0; stride * down * 8];
        // A component that no scan showed has no table, and is grey.
        let table = component.table.unwrap_or([0; 64]);
        for row in 0..down {
            for column in 0..across {
                let start = (row * component.stored.0 + column) * 64;
                let block: &[i16; 64] = blocks[start..start + 64].try_into().map_err(|_e| "its blocks are cut off")?;
                idct::block(block, &table, &mut values[row * 8 * stride + column * 8..], stride);
            }
        }
        planes.push(Plane { stride, values });
    }
    Ok(planes)
}

fn to_rgb(frame: &Frame, colours: Colours, planes: &[Plane]) -> Result<RgbImage, String> {
    let (width, height) = (frame.width, frame.height);
    let enlargers: Vec<_> = frame.components.iter().map(|c| enlarge(c, frame)).collect::<Result<_, _>>()?;
    let mut rows = vec![vec![0; width + 16]; planes.len()];
    let mut out = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for ((plane, enlarger), row) in planes.iter().zip(&enlargers).zip(&mut rows) {
            enlarger.row(&plane.values, plane.stride, y, row);
        }
        match (colours, &rows[..]) {
            (Colours::Grey, [grey]) => out.extend(grey[..width].iter().flat_map(|&v| [v; 3])),
            (Colours::Rgb, [r, g, b]) => out.extend((0..width).flat_map(|x| [r[x], g[x], b[x]])),
            (Colours::YCbCr, [l, cb, cr]) => out.extend((0..width).flat_map(|x| from_ycc(l[x], cb[x], cr[x]))),
            (Colours::Cmyk, [c, m, l, k]) => out.extend((0..width).flat_map(|x| from_inks([c[x], m[x], l[x]], k[x]))),
            (Colours::Ycck, [l, cb, cr, k]) => out.extend((0..width).flat_map(|x| {
                let inks = from_ycc(l[x], cb[x], cr[x]).map(|v| 255 - v);
                from_inks(inks, k[x])
            })),
            _ => return Err("its components are not those of a colour space that is known".to_owned()),
        }
    }
    RgbImage::from_raw(width as u32, height as u32, out).ok_or_else(|| "its size and its data disagree".to_owned())
}

/// Luma and chroma to RGB with 16 fractional bits.
fn from_ycc(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    // 1.402, 1.772, 0.714136286 and 0.344136286.
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
    let r = y + ((91_881 * cr + HALF) >> 16);
    let g = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let b = y + ((116_130 * cb + HALF) >> 16);
    [r, g, b].map(|v| v.clamp(0, 255) as u8)
}

/// Inks are stored inverted, as Adobe's programs do; Pillow takes that for granted.
fn from_inks(inks: [u8; 3], black: u8) -> [u8; 3] {
    inks.map(|ink| super::under_black(255 - ink, 255 - black))
}

impl Component {
    fn stored_blocks(&self) -> usize {
        self.stored.0 * self.stored.1
    }
}

#[cfg(test)]
mod tests;
