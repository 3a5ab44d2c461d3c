//! Bicubic resizing that gives the bytes Pillow gives: the same filter (a = -1/2, widened by the shrinking factor), the
//! same fixed-point weights, a horizontal and then a vertical pass, each rounded and clipped to 8 bits.

use image::RgbImage;

/// Fractional bits of a weight: 32, less 8 of the value and 2 for overshoot.
const BITS: u32 = 22;
/// Half a unit, so that shifting rounds.
const HALF: i32 = 1 << (BITS - 1);

/// Weights of the inputs that make one output.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// Resizes to `width` by `height` pixels.
pub(super) fn bicubic(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (w, h) = (image.width() as usize, image.height() as usize);
    let (nw, nh) = (width as usize, height as usize);
    let wide = if nw == w { image.as_raw().clone() } else { horizontal(image.as_raw(), w, h, &taps(w, nw)) };
    let both = if nh == h { wide } else { vertical(&wide, nw, &taps(h, nh)) };
    RgbImage::from_raw(width, height, both).expect("both passes make three bytes a pixel")
}

/// The cubic kernel.
fn kernel(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let support = 2.0 * widening;
    let one = |out: usize| {
        let centre = (out as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let raw: Vec<f64> = (first..end).map(|i| kernel((i as f64 - centre + 0.5) * (1.0 / widening))).collect();
        let sum: f64 = raw.iter().sum();
        let fixed = |k: &f64| {
            let scaled = k / sum * f64::from(1 << BITS);
            // Half away from zero, as adding and cutting off does.
            if scaled < 0.0 { (scaled - 0.5) as i32 } else { (scaled + 0.5) as i32 }
        };
        Taps { first, weights: raw.iter().map(fixed).collect() }
    };
    (0..to).map(one).collect()
}

fn clip(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

fn horizontal(pixels: &[u8], width: usize, height: usize, taps: &[Taps]) -> Vec<u8> {
    let mut out = Vec::with_capacity(taps.len() * height * 3);
    for row in pixels.chunks_exact(width * 3) {
        for tap in taps {
            let mut sums = [HALF; 3];
            let window = &row[tap.first * 3..(tap.first + tap.weights.len()) * 3];
            for (pixel, &weight) in window.chunks_exact(3).zip(&tap.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(clip));
        }
    }
    out
}

fn vertical(pixels: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let row = width * 3;
    let mut out = Vec::with_capacity(taps.len() * row);
    let mut sums = vec![0; row];
    for tap in taps {
        sums.fill(HALF);
        for (source, &weight) in pixels[tap.first * row..].chunks_exact(row).zip(&tap.weights) {
            for (sum, &value) in sums.iter_mut().zip(source) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().map(|&s| clip(s)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn weights_sum_to_one_and_flat_images_stay_flat() {
        for (from, to) in [(37, 24), (53, 100), (640, 224), (5, 1), (1, 9)] {
            for tap in taps(from, to) {
                let sum: i32 = tap.weights.iter().sum();
                assert!((sum - (1 << BITS)).abs() <= 16, "{from} -> {to}: {sum}");
            }
        }
        let flat = RgbImage::from_pixel(31, 17, Rgb([3, 128, 255]));
        assert!(bicubic(&flat, 9, 40).pixels().all(|p| p.0 == [3, 128, 255]));
    }
}
