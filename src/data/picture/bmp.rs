//! BMP as Pillow reads it: palettes of 1, 4 and 8 bits, 16, 24 and 32 bits with the layouts of colour that it knows,
//! and run lengths. Library decoders round 16-bit colours another way and read layouts that Pillow refuses.

use super::Seen;
use super::palette::filled;
use super::size::checked;
use image::RgbImage;

/// How a pixel is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// An index of so many bits.
    Palette(usize),
    /// An index, in run lengths; whether of 4 bits.
    Runs(bool),
    /// Red, green and blue bits of a 16-bit number, from the highest on.
    Packed([u32; 3]),
    /// Bytes of a pixel, and the places of red, green and blue.
    Bytes(usize, [usize; 3]),
}

struct Header<'a> {
    width: usize,
    height: usize,
    top_down: bool,
    layout: Layout,
    palette: Vec<[u8; 3]>,
    data: &'a [u8],
}

fn number(bytes: &[u8], at: usize) -> Result<u32, String> {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    four.map(u32::from_le_bytes).ok_or_else(|| "the file is cut off".to_owned())
}

fn pair(bytes: &[u8], at: usize) -> Result<usize, String> {
    let two = bytes.get(at..at + 2).and_then(|b| b.try_into().ok());
    two.map(|b| u16::from_le_bytes(b).into()).ok_or_else(|| "the file is cut off".to_owned())
}

fn read(bytes: &[u8]) -> Result<Header<'_>, String> {
    let (offset, size) = (number(bytes, 10)? as usize, number(bytes, 14)? as usize);
    let old = size == 12;
    if !old && !matches!(size, 40 | 52 | 56 | 64 | 108 | 124) {
        return Err(format!("its header has {size} bytes, which no BMP's has"));
    }
    let end = 14 + size;
    if bytes.len() < end {
        return Err("the file is cut off".to_owned());
    }
    let (width, height, bits) = if old {
        (pair(bytes, 18)? as u64, pair(bytes, 20)? as i64, pair(bytes, 24)?)
    } else {
        (u64::from(number(bytes, 18)?), i64::from(number(bytes, 22)? as i32), pair(bytes, 28)?)
    };
    if height < -0x00FF_FFFF {
        return Err("its height is damaged".to_owned());
    }
    let (wide, high) = checked(width, height.unsigned_abs())?;
    let compression = if old { 0 } else { number(bytes, 30)? };
    let masks_at = if size == 40 && compression == 3 { end } else { 54 };
    let layout = layout(bits, compression, || masks(bytes, masks_at, size >= 56))?;
    let mut start = end + if size == 40 && compression == 3 { 12 } else { 0 };
    let mut palette = Vec::new();
    if bits <= 8 {
        let stored = if old { 0 } else { number(bytes, 46)? as usize };
        let colours = if stored == 0 { 1 << bits } else { stored };
        let entry = if old { 3 } else { 4 };
        if colours > 65_536 {
            return Err(format!("it says it has {colours} colours"));
        }
        let table = bytes.get(start..).unwrap_or_default();
        let table = &table[..table.len().min(colours * entry)];
        palette = table.chunks_exact(entry).map(|c| [c[2], c[1], c[0]]).collect();
        check_greys(&palette, colours, layout)?;
        start += colours * entry;
    }
    let place = if offset == 0 || (bits <= 8 && offset == end) { start } else { offset };
    let data = bytes.get(place..).unwrap_or_default();
    Ok(Header { width: wide as usize, height: high as usize, top_down: height < 0, layout, palette, data })
}

/// Pillow reads a grey palette in order as if its pixels were stored in the way of the palette; where they are not, it
/// shows another picture than there is.
fn check_greys(palette: &[[u8; 3]], colours: usize, layout: Layout) -> Result<(), String> {
    let is_ramp = |step: usize| palette.len() == colours && (0..colours).all(|i| palette[i] == [(i * step) as u8; 3]);
    let odd = match layout {
        Layout::Palette(1) => colours != 2 && is_ramp(1),
        Layout::Palette(4) | Layout::Runs(true) => is_ramp(if colours == 2 { 255 } else { 1 }),
        _ => colours == 2 && is_ramp(255),
    };
    if odd && colours <= 256 {
        Err("its grey palette and its bits disagree; save it as PNG".to_owned())
    } else {
        Ok(())
    }
}

fn masks(bytes: &[u8], at: usize, has_alpha: bool) -> Result<[u32; 4], String> {
    let alpha = if has_alpha { number(bytes, at + 12)? } else { 0 };
    Ok([number(bytes, at)?, number(bytes, at + 4)?, number(bytes, at + 8)?, alpha])
}

fn layout(bits: usize, compression: u32, masks: impl Fn() -> Result<[u32; 4], String>) -> Result<Layout, String> {
    match (compression, bits) {
        (0, 1 | 4 | 8) => Ok(Layout::Palette(bits)),
        (0, 16) => Ok(Layout::Packed([5, 5, 5])),
        (0, 24) => Ok(Layout::Bytes(3, [2, 1, 0])),
        (0, 32) => Ok(Layout::Bytes(4, [2, 1, 0])),
        (1, 8) => Ok(Layout::Runs(false)),
        (2, 4) => Ok(Layout::Runs(true)),
        (3, 16 | 24 | 32) => match (bits, masks()?) {
            (16, [0xF800, 0x7E0, 0x1F, _]) => Ok(Layout::Packed([5, 6, 5])),
            (16, [0x7C00, 0x3E0, 0x1F, _]) => Ok(Layout::Packed([5, 5, 5])),
            (24, [0x00FF_0000, 0xFF00, 0xFF, _]) => Ok(Layout::Bytes(3, [2, 1, 0])),
            (32, [0x00FF_0000, 0xFF00, 0xFF, 0 | 0xFF00_0000] | [0, 0, 0, 0]) => Ok(Layout::Bytes(4, [2, 1, 0])),
            (32, [0xFF00_0000, 0x00FF_0000, 0xFF00, 0 | 0xFF]) => Ok(Layout::Bytes(4, [3, 2, 1])),
            (32, [0xFF00_0000, 0xFF00, 0xFF, 0 | 0x00FF_0000]) => Ok(Layout::Bytes(4, [3, 1, 0])),
            (32, [0xFF, 0xFF00, 0x00FF_0000, 0xFF00_0000]) => Ok(Layout::Bytes(4, [0, 1, 2])),
            (_, [r, g, b, a]) => Err(format!("its layout of colours is not read (masks {r:X} {g:X} {b:X} {a:X})")),
        },
        _ => Err(format!("its coding is not read ({bits} bits, compression {compression}); save it as PNG")),
    }
}

/// Size.
pub(super) fn header(bytes: &[u8]) -> Result<Seen, String> {
    let header = read(bytes)?;
    Ok(Seen { size: (header.width as u32, header.height as u32), ..Seen::default() })
}

/// Decodes a file.
pub(super) fn decode(bytes: &[u8]) -> Result<(RgbImage, Seen), String> {
    let header = read(bytes)?;
    let (width, height) = (header.width, header.height);
    let palette = filled(header.palette.iter().copied());
    let mut rows = Vec::with_capacity(height);
    let indices = if let Layout::Runs(four) = header.layout { runs(&header, four)? } else { Vec::new() };
    let (bits, stride) = header.row();
    for y in 0..height {
        if let Layout::Runs(_) = header.layout {
            rows.push(&indices[y * width..(y + 1) * width]);
        } else {
            // The last row needs no padding.
            let row = header.data.get(y * stride..y * stride + (width * bits).div_ceil(8));
            rows.push(row.ok_or_else(|| "the file is cut off".to_owned())?);
        }
    }
    if !header.top_down {
        rows.reverse();
    }
    let mut out = Vec::with_capacity(width * height * 3);
    for row in rows {
        match header.layout {
            Layout::Palette(bits) => out.extend((0..width).flat_map(|x| {
                let (per_byte, mask) = (8 / bits, (1_usize << bits) - 1);
                let shift = 8 - bits * (x % per_byte + 1);
                palette[usize::from(row[x / per_byte]) >> shift & mask]
            })),
            Layout::Runs(_) => out.extend(row.iter().flat_map(|&i| palette[usize::from(i)])),
            Layout::Packed([_, green, blue]) => out.extend(row.chunks_exact(2).flat_map(|p| {
                let v = u32::from(u16::from_le_bytes([p[0], p[1]]));
                let scaled = |v: u32, bits: u32| ((v & ((1 << bits) - 1)) * 255 / ((1 << bits) - 1)) as u8;
                [scaled(v >> (green + blue), 5), scaled(v >> blue, green), scaled(v, blue)]
            })),
            Layout::Bytes(n, places) => out.extend(row.chunks_exact(n).flat_map(|p| places.map(|i| p[i]))),
        }
    }
    let image = RgbImage::from_raw(width as u32, height as u32, out);
    let seen = Seen { size: (width as u32, height as u32), ..Seen::default() };
    Ok((image.ok_or_else(|| "its size and its data disagree".to_owned())?, seen))
}

impl Header<'_> {
    /// Bits of a pixel and bytes of a row.
    fn row(&self) -> (usize, usize) {
        let bits = match self.layout {
            Layout::Palette(bits) => bits,
            Layout::Runs(_) => 8,
            Layout::Packed(_) => 16,
            Layout::Bytes(n, _) => n * 8,
        };
        (bits, (self.width * bits).div_ceil(32) * 4)
    }
}

/// Indices out of run lengths. What ends early is cut off.
fn runs(header: &Header<'_>, four: bool) -> Result<Vec<u8>, String> {
    let (width, total) = (header.width, header.width * header.height);
    let mut out: Vec<u8> = Vec::with_capacity(total);
    let mut bytes = header.data.iter().copied();
    let (mut x, mut read) = (0, 0_usize);
    let unpack = |byte: u8, i: usize| {
        if !four {
            byte
        } else if i.is_multiple_of(2) {
            byte >> 4
        } else {
            byte & 15
        }
    };
    while out.len() < total {
        let (Some(count), Some(value)) = (bytes.next(), bytes.next()) else { break };
        read += 2;
        match (count, value) {
            (0, 0) => {
                out.resize(out.len().next_multiple_of(width), 0);
                x = 0;
            }
            (0, 1) => break,
            (0, 2) => {
                let (Some(right), Some(up)) = (bytes.next(), bytes.next()) else { break };
                read += 2;
                out.resize(total.min(out.len() + usize::from(right) + usize::from(up) * width), 0);
                x = out.len() % width;
            }
            (0, n) => {
                let count = usize::from(n).min(total - out.len());
                let stored = if four { count.div_ceil(2) } else { count };
                let literal: Vec<u8> = bytes.by_ref().take(stored).collect();
                read += literal.len();
                let whole = literal.len() == stored;
                out.extend((0..count).filter_map(|i| Some(unpack(*literal.get(if four { i / 2 } else { i })?, i))));
                if !whole || out.len() == total {
                    break;
                }
                x += usize::from(n);
                if read % 2 == 1 {
                    bytes.next();
                    read += 1;
                }
            }
            (n, value) => {
                let n = usize::from(n).min(width.saturating_sub(x));
                out.extend((0..n).map(|i| unpack(value, i)));
                x += n;
            }
        }
    }
    if out.len() < total { Err("the file is cut off".to_owned()) } else { Ok(out[..total].to_vec()) }
}
