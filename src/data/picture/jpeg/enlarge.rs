//! Chroma enlarged to the size of luma: smoothly (3 to 1) where it has half the samples, by repeating elsewhere.

use super::marker::{Component, Frame};

/// How a component is enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By repeating each sample so often, across and down.
    Repeat(usize, usize),
    /// Smoothly across, down, or both.
    Smooth { across: bool, down: bool },
}

/// Makes rows of a component at the size of the picture.
#[derive(Debug)]
pub(super) struct Enlarger {
    way: Way,
    samples: (usize, usize),
    width: usize,
}

/// How `component` is brought to the size of its frame.
pub(super) fn enlarge(component: &Component, frame: &Frame) -> Result<Enlarger, String> {
    let ((h, v), (most_h, most_v)) = (component.sampling, frame.most);
    if !most_h.is_multiple_of(h) || !most_v.is_multiple_of(v) {
        return Err("its chroma has a fraction of luma's samples that is not read".to_owned());
    }
    let (across, down) = (most_h / h, most_v / v);
    let wide = component.samples.0 > 2;
    let way = match (across, down) {
        (2, 1) if wide => Way::Smooth { across: true, down: false },
        (1, 2) => Way::Smooth { across: false, down: true },
        (2, 2) if wide => Way::Smooth { across: true, down: true },
        _ => Way::Repeat(across, down),
    };
    Ok(Enlarger { way, samples: component.samples, width: frame.width })
}

impl Enlarger {
    /// Row `y` of the picture; `out` holds a few values more than the picture is wide.
    pub(super) fn row(&self, plane: &[u8], stride: usize, y: usize, out: &mut [u8]) {
        let (n, rows) = self.samples;
        let line = |row: usize| &plane[row * stride..row * stride + n.min(stride)];
        match self.way {
            Way::Repeat(across, down) => {
                // Also beyond the picture's own samples, whole blocks are there.
                let source = &plane[y / down * stride..][..stride];
                for (x, value) in out[..self.width].iter_mut().enumerate() {
                    *value = source[x / across];
                }
            }
            Way::Smooth { across: true, down: false } => smooth(line(y), out),
            Way::Smooth { across, .. } => {
                let near = line(y / 2);
                let other = if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(rows - 1) };
                let far = line(other);
                let sum = |i: usize| u16::from(near[i]) * 3 + u16::from(far[i]);
                if across {
                    let sums: Vec<u16> = (0..n).map(sum).collect();
                    smooth_sums(&sums, out);
                } else {
                    let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                    (0..n).for_each(|i| out[i] = ((sum(i) + bias) >> 2) as u8);
                }
            }
        }
    }
}

/// Twice the samples: each output is three parts of the nearer and one of the farther neighbour.
fn smooth(line: &[u8], out: &mut [u8]) {
    let at = |i: usize| u16::from(line[i]);
    let n = line.len();
    for i in 0..n {
        out[2 * i] = if i == 0 { line[0] } else { ((3 * at(i) + at(i - 1) + 1) >> 2) as u8 };
        out[2 * i + 1] = if i + 1 == n { line[i] } else { ((3 * at(i) + at(i + 1) + 2) >> 2) as u8 };
    }
}

/// The same from sums of two rows, which are four times too large.
fn smooth_sums(sums: &[u16], out: &mut [u8]) {
    let n = sums.len();
    for i in 0..n {
        let left = if i == 0 { sums[0] } else { sums[i - 1] };
        let right = if i + 1 == n { sums[i] } else { sums[i + 1] };
        out[2 * i] = ((3 * sums[i] + left + 8) >> 4) as u8;
        out[2 * i + 1] = ((3 * sums[i] + right + 7) >> 4) as u8;
    }
}
