//! GIF: the first frame on its logical screen, as Pillow composes it. The rest of the screen has the transparent colour
//! of the frame, or colour 0; colours that the palette lacks are black. Library decoders make other pictures of such
//! files.

use super::Seen;
use super::palette::{filled, greys};
use super::size::checked;
use image::RgbImage;
use weezl::{BitOrder, LzwStatus, decode::Decoder};

/// The first frame.
struct Frame<'a> {
    screen: (u32, u32),
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    interlaced: bool,
    transparent: Option<u8>,
    palette: [[u8; 3]; 256],
    code_size: u8,
    data: Bytes<'a>,
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or_else(|| "the file is cut off".to_owned())?;
        self.0 = rest;
        Ok(taken)
    }

    /// A block of data behind its length; empty at the end of a row of blocks.
    fn block(&mut self) -> Result<&'a [u8], String> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    fn palette(&mut self, flags: u8) -> Result<Option<[[u8; 3]; 256]>, String> {
        if flags & 0x80 == 0 {
            return Ok(None);
        }
        let colours = self.take(3 << ((flags & 7) + 1))?;
        Ok(Some(filled(colours.chunks_exact(3).map(|c| [c[0], c[1], c[2]]))))
    }
}

fn pair(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// Reads up to the data of the first frame.
fn first_frame(bytes: &[u8]) -> Result<Frame<'_>, String> {
    let mut data = Bytes(bytes);
    let screen = data.take(13)?;
    let shared = data.palette(screen[10])?;
    let mut transparent = None;
    loop {
        match data.take(1)?[0] {
            b'!' => {
                let label = data.take(1)?[0];
                let mut block = data.block()?;
                if label == 0xF9 && !block.is_empty() {
                    if block.len() < 4 {
                        return Err("a control block is damaged".to_owned());
                    }
                    transparent = if block[0] & 1 == 1 { Some(block[3]) } else { transparent };
                }
                while !block.is_empty() {
                    block = data.block()?;
                }
            }
            b',' => {
                let head = data.take(9)?;
                let own = data.palette(head[8])?;
                let (left, top, width, height) = (pair(head, 0), pair(head, 2), pair(head, 4), pair(head, 6));
                if width == 0 || height == 0 {
                    return Err("its first frame has no pixels".to_owned());
                }
                // A frame that is larger than the screen enlarges it.
                let (wide, high) = (pair(screen, 6).max(left + width), pair(screen, 8).max(top + height));
                let screen = checked(wide as u64, high as u64)?;
                let code_size = data.take(1)?[0];
                let palette = own.or(shared).unwrap_or_else(greys);
                let interlaced = head[8] & 0x40 != 0;
                return Ok(Frame {
                    screen,
                    left,
                    top,
                    width,
                    height,
                    interlaced,
                    transparent,
                    palette,
                    code_size,
                    data,
                });
            }
            b';' => return Err("it has no frame".to_owned()),
            // Pillow skips other bytes between blocks.
            _ => {}
        }
    }
}

/// Size.
pub(super) fn header(bytes: &[u8]) -> Result<Seen, String> {
    Ok(Seen { size: first_frame(bytes)?.screen, ..Seen::default() })
}

/// Decodes a file.
pub(super) fn decode(bytes: &[u8]) -> Result<(RgbImage, Seen), String> {
    let mut frame = first_frame(bytes)?;
    let (width, height) = (frame.screen.0 as usize, frame.screen.1 as usize);
    let indices = frame.indices()?;
    let mut screen = vec![frame.transparent.unwrap_or(0); width * height];
    for (row, line) in frame.rows().zip(indices.chunks_exact(frame.width)) {
        let start = (frame.top + row) * width + frame.left;
        screen[start..start + frame.width].copy_from_slice(line);
    }
    let pixels = screen.iter().flat_map(|&i| frame.palette[usize::from(i)]).collect();
    let image = RgbImage::from_raw(frame.screen.0, frame.screen.1, pixels);
    Ok((
        image.ok_or_else(|| "its size and its data disagree".to_owned())?,
        Seen { size: frame.screen, ..Seen::default() },
    ))
}

impl Frame<'_> {
    /// Colours of the frame's pixels in stored order. There must be one for each.
    fn indices(&mut self) -> Result<Vec<u8>, String> {
        if !(1..=8).contains(&self.code_size) {
            return Err(format!("its codes begin with {} bits; 2 to 8 are read", self.code_size));
        }
        let mut decoder = Decoder::new(BitOrder::Lsb, self.code_size);
        let mut out = vec![0; self.width * self.height];
        let mut done = 0;
        while done < out.len() {
            let mut block = self.data.block()?;
            let is_last = block.is_empty();
            // The decoder keeps what it has read: all of a small picture. Once it may say that it did not move though it did.
            let mut idle = 0;
            while done < out.len() {
                let step = decoder.decode_bytes(block, &mut out[done..]);
                done += step.consumed_out;
                block = &block[step.consumed_in..];
                match step.status {
                    Ok(LzwStatus::Done) if done < out.len() => {
                        return Err("its data end before its pixels do".to_owned());
                    }
                    Ok(LzwStatus::NoProgress) if step.consumed_in == 0 && step.consumed_out == 0 => {
                        idle += 1;
                        if idle == 2 {
                            break;
                        }
                    }
                    Ok(_) => idle = 0,
                    Err(_) => return Err("its data are damaged".to_owned()),
                }
            }
            if is_last && done < out.len() {
                return Err("its data end before its pixels do".to_owned());
            }
        }
        Ok(out)
    }

    /// The rows of the frame in stored order.
    fn rows(&self) -> impl Iterator<Item = usize> + use<> {
        let (height, passes): (usize, &[(usize, usize)]) =
            (self.height, if self.interlaced { &[(0, 8), (4, 8), (2, 4), (1, 2)] } else { &[(0, 1)] });
        passes.iter().flat_map(move |&(from, step)| (from..height).step_by(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Pillow writes them: all codes lie in one block, which the decoder takes before it gives a pixel.
    const ONE: &[u8] = b"GIF87a\x01\0\x01\0\x81\0\0\xC8\x1E\x28\0\0\0\0\0\0\0\0\0\x2C\0\0\0\0\x01\0\x01\0\0\x08\x04\0\x01\x04\x04\0\x3B";
    const FOUR: &[u8] = b"GIF87a\x02\0\x02\0\x81\0\0\xFA\xFA\0\x0A\xDC\x1E\x05\x3C\xFA\xC8\x1E\x28\x2C\0\0\0\0\x02\0\x02\0\0\x08\x07\0\x07\x04\x10\0\x20\x20\0\x3B";

    #[test]
    fn the_smallest_pictures_are_read() {
        let pixels = |bytes: &[u8]| decode(bytes).map(|(image, _)| image.into_raw());
        assert_eq!(pixels(ONE), Ok(vec![200, 30, 40]));
        assert_eq!(pixels(FOUR), Ok(vec![200, 30, 40, 10, 220, 30, 5, 60, 250, 250, 250, 0]));
        // Without its last codes there are too few pixels.
        let short = [&FOUR[..36], b"\x02\0\x07\0\x3B"].concat();
        assert_eq!(pixels(&short), Err("its data end before its pixels do".to_owned()));
    }
}
