//! Bicubic resizing that gives the bytes Pillow gives: the same filter (a = -1/2, widened by the shrinking factor), the
//! same fixed-point weights, a horizontal and then a vertical pass, each rounded and clipped to 8 bits. The padding
//! around an image is weighed, not made, and rows are added to the outputs that they are part of as they come, so that
//! memory depends on the output alone.

use image::RgbImage;
use std::ops::Range;

/// Fractional bits of a weight: 32, less 8 of the value and 2 for overshoot.
const BITS: u32 = 22;
/// Half a unit, so that shifting rounds.
const HALF: i32 = 1 << (BITS - 1);

/// Weights of the inputs that make one output.
struct Taps {
    /// First pixel of the image.
    first: usize,
    /// Weights of the image's pixels from there on.
    weights: Vec<i32>,
    /// Sum of the weights of the padding.
    padding: i32,
}

/// How one direction of an image is resized.
pub(super) struct Axis(Vec<Taps>);

impl Axis {
    /// `length` pixels that lie at `start` of a padded line of `full`, to `to` pixels.
    pub(super) fn padded(full: usize, start: usize, length: usize, to: usize) -> Self {
        Self((0..to).map(|out| taps(full, to, out).of_image(start, length)).collect())
    }

    /// `length` pixels to `to`, of which `kept` are wanted.
    pub(super) fn cropped(length: usize, to: usize, kept: Range<usize>) -> Self {
        Self(kept.map(|out| taps(length, to, out)).collect())
    }
}

impl Taps {
    /// The same for pixels that lie at `start` of the line.
    fn of_image(mut self, start: usize, length: usize) -> Self {
        let end = self.first + self.weights.len();
        let inside = self.first.clamp(start, start + length)..end.clamp(start, start + length);
        let (from, to) = (inside.start.max(self.first) - self.first, inside.end.max(self.first) - self.first);
        let (from, to) = (from.min(self.weights.len()), to.min(self.weights.len()));
        let all: i32 = self.weights.iter().sum();
        self.weights = self.weights[from..to].to_vec();
        self.padding = all - self.weights.iter().sum::<i32>();
        self.first = inside.start - start;
        self
    }
}

/// Resizes an image; `fill` is the colour of the padding.
pub(super) fn bicubic(image: &RgbImage, x: &Axis, y: &Axis, fill: [u8; 3]) -> RgbImage {
    let (width, height) = (x.0.len(), y.0.len());
    let row = width * 3;
    let mut line = vec![0; row];
    let mut sums = vec![HALF; row * height];
    // A row of padding, as the horizontal pass leaves it.
    let padding: Vec<u8> = x.0.iter().flat_map(|tap| fill.map(|v| clip(HALF + i32::from(v) * tap.total()))).collect();
    for (sums, tap) in sums.chunks_exact_mut(row).zip(&y.0).filter(|(_, tap)| tap.padding != 0) {
        add(sums, &padding, tap.padding);
    }
    let mut outputs = 0..0;
    for (number, source) in image.as_raw().chunks_exact(image.width() as usize * 3).enumerate() {
        let end = |out: usize| y.0[out].first + y.0[out].weights.len();
        while outputs.end < height && y.0[outputs.end].first <= number {
            outputs.end += 1;
        }
        while outputs.start < outputs.end && end(outputs.start) <= number {
            outputs.start += 1;
        }
        if outputs.is_empty() {
            continue;
        }
        horizontal(source, &x.0, fill, &mut line);
        for out in outputs.clone() {
            if let Some(&weight) = number.checked_sub(y.0[out].first).and_then(|i| y.0[out].weights.get(i)) {
                add(&mut sums[out * row..(out + 1) * row], &line, weight);
            }
        }
    }
    let pixels = sums.into_iter().map(clip).collect();
    RgbImage::from_raw(width as u32, height as u32, pixels).expect("three bytes are made of every pixel")
}

impl Taps {
    fn total(&self) -> i32 {
        self.padding + self.weights.iter().sum::<i32>()
    }
}

fn add(sums: &mut [i32], line: &[u8], weight: i32) {
    for (sum, &value) in sums.iter_mut().zip(line) {
        *sum += i32::from(value) * weight;
    }
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

/// Weights of output `out` where `from` pixels become `to`.
fn taps(from: usize, to: usize, out: usize) -> Taps {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let support = 2.0 * widening;
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
    Taps { first, weights: raw.iter().map(fixed).collect(), padding: 0 }
}

fn clip(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

fn horizontal(row: &[u8], taps: &[Taps], fill: [u8; 3], out: &mut [u8]) {
    for (tap, out) in taps.iter().zip(out.chunks_exact_mut(3)) {
        let mut sums = fill.map(|v| HALF + i32::from(v) * tap.padding);
        let window = &row[tap.first * 3..(tap.first + tap.weights.len()) * 3];
        for (pixel, &weight) in window.chunks_exact(3).zip(&tap.weights) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(value) * weight;
            }
        }
        out.copy_from_slice(&sums.map(clip));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn weights_sum_to_one_and_flat_images_stay_flat() {
        for (from, to) in [(37, 24), (53, 100), (640, 224), (5, 1), (1, 9)] {
            for out in 0..to {
                let sum = taps(from, to, out).total();
                assert!((sum - (1 << BITS)).abs() <= 16, "{from} -> {to}: {sum}");
            }
        }
        let flat = RgbImage::from_pixel(31, 17, Rgb([3, 128, 255]));
        let (x, y) = (Axis::cropped(31, 9, 0..9), Axis::cropped(17, 40, 0..40));
        assert!(bicubic(&flat, &x, &y, [0; 3]).pixels().all(|p| p.0 == [3, 128, 255]));
    }
}
