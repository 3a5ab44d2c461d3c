//! JPEG files as Pillow (libjpeg) shows them. The decoder is `zune-jpeg`; it smooths halved chroma over the block's
//! padding at the lower and right edge, where libjpeg repeats the last sample, so those edges are put right here.

use image::RgbImage;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Whether chroma has half the samples of luma, across and down.
type Halving = (bool, bool);

/// Decodes a JPEG with luma and chroma; `None` for other kinds (grey, CMYK, plain RGB), which the general decoder reads.
pub(super) fn decode(bytes: &[u8]) -> Option<Result<RgbImage, String>> {
    let halving = chroma_halving(bytes)?;
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::YCbCr);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let decoded = decoder.decode();
    if decoder.input_colorspace() != Some(ColorSpace::YCbCr) {
        return None;
    }
    let size = decoder.dimensions();
    Some(decoded.map_err(|e| e.to_string()).and_then(|pixels| {
        let (width, height) = size.ok_or("it has no size")?;
        to_rgb(pixels, width, height, halving).ok_or_else(|| "its size and its data disagree".to_owned())
    }))
}

/// Whether chroma is halved across and down, from the frame header of a file with three components.
fn chroma_halving(bytes: &[u8]) -> Option<Halving> {
    let mut at = 2;
    loop {
        let &[0xFF, marker, high, low] = bytes.get(at..at + 4)? else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let is_frame = matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
        if is_frame {
            let frame = bytes.get(at + 4..at + 2 + length)?;
            let &[.., 3, _, first, _, _, second, _, _, third, _] = frame else { return None };
            let chroma_is_single = second == 0x11 && third == 0x11;
            return Some((chroma_is_single && first >> 4 == 2, chroma_is_single && first & 15 == 2));
        }
        at += 2 + length;
    }
}

/// Chroma made right at the edges, then libjpeg's fixed-point conversion.
fn to_rgb(mut pixels: Vec<u8>, width: usize, height: usize, (across, down): Halving) -> Option<RgbImage> {
    if pixels.len() != width * height * 3 {
        return None;
    }
    // A block row covers 16 pixels where chroma is halved; an edge at its end, or an odd one, has no padding beside it.
    let padded = |n: usize| n.is_multiple_of(2) && !n.is_multiple_of(16) && n >= 4;
    if down && padded(height) {
        let row = width * 3;
        (0..row).filter(|i| i % 3 > 0).for_each(|i| repeat_last(&mut pixels, i, row, height));
    }
    if across && padded(width) {
        let start = |i: usize| i / 2 * width * 3 + 1 + i % 2;
        (0..2 * height).for_each(|i| repeat_last(&mut pixels, start(i), 3, width));
    }
    for pixel in pixels.chunks_exact_mut(3) {
        let [y, cb, cr] = [0, 1, 2].map(|i| i32::from(pixel[i]));
        pixel.copy_from_slice(&rgb(y, cb - 128, cr - 128));
    }
    RgbImage::from_raw(width as u32, height as u32, pixels)
}

/// Puts the last chroma sample L of a line into its last value. The two values before it are (3 L + P) / 4 and
/// (3 P + L) / 4, P being the sample before L, so L is half of three times the nearer less the farther.
fn repeat_last(values: &mut [u8], start: usize, stride: usize, n: usize) {
    let at = |i: usize| start + i * stride;
    let twice = 3 * i32::from(values[at(n - 2)]) - i32::from(values[at(n - 3)]);
    values[at(n - 1)] = ((twice + 1) >> 1).clamp(0, 255) as u8;
}

fn rgb(y: i32, cb: i32, cr: i32) -> [u8; 3] {
    // 1.402, 1.772, 0.714136286 and 0.344136286 with 16 fractional bits.
    const HALF: i32 = 1 << 15;
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|v| v.clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::image::decode as decode_file;
    use crate::data::testing::images;

    #[test]
    fn sampling_is_read_from_the_frame() {
        let of = |name: &str| chroma_halving(&std::fs::read(images(name)).unwrap());
        assert_eq!(of("420.jpg"), Some((true, true)));
        assert_eq!((of("444.jpg"), of("grey.jpg")), (Some((false, false)), None));
        assert_eq!(chroma_halving(&[0xFF, 0xD8, 0xFF]), None);
    }

    #[test]
    fn edges_of_halved_chroma_are_pillows() {
        // 46 x 38 pixels, whose colours change fast towards the lower and right edge.
        let ours = decode_file(&images("edges.jpg")).unwrap();
        let pillow = decode_file(&images("expected/edges.jpg.png")).unwrap();
        let worst = ours.as_raw().iter().zip(pillow.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst.unwrap() <= 4, "{worst:?} levels before any resizing");
        let general = image::load_from_memory(&std::fs::read(images("edges.jpg")).unwrap()).unwrap().to_rgb8();
        let worst = general.as_raw().iter().zip(pillow.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst.unwrap() > 5, "the edges need no care any more: {worst:?}");
    }
}
