//! Bicubic resizing of a table of position embeddings, as a fixed matrix, so that a table that trains keeps its
//! gradients: `rows_out = M rows_in`.

use candle_core::{Device, Result, Tensor};

/// Cubic convolution coefficient of PyTorch's `interpolate(mode = "bicubic")`.
const A: f64 = -0.75;

/// The weights of one axis, `[to, from]` row-major: half-pixel centres, `a = -0.75`, edges repeated, no smoothing.
fn axis(from: usize, to: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; to * from];
    for (i, row) in matrix.chunks_mut(from).enumerate() {
        let centre = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let first = centre.floor();
        let t = centre - first;
        for (tap, weight) in [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)].into_iter().enumerate() {
            let source = (first as i64 + tap as i64 - 1).clamp(0, from as i64 - 1);
            row[source as usize] += weight;
        }
    }
    matrix
}

/// The kernel at distance `x <= 1`.
fn near(x: f64) -> f64 {
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

/// The kernel at distance `1 <= x <= 2`.
fn far(x: f64) -> f64 {
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}

/// `[to.0 * to.1, from.0 * from.1]` (height, width): resizes a grid of rows, row-major.
pub(super) fn resize_matrix(from: (usize, usize), to: (usize, usize), device: &Device) -> Result<Tensor> {
    let (vertical, horizontal) = (axis(from.0, to.0), axis(from.1, to.1));
    let mut matrix = Vec::with_capacity(to.0 * to.1 * from.0 * from.1);
    for v in vertical.chunks(from.0) {
        for h in horizontal.chunks(from.1) {
            matrix.extend(v.iter().flat_map(|v| h.iter().map(move |h| (v * h) as f32)));
        }
    }
    Tensor::from_vec(matrix, (to.0 * to.1, from.0 * from.1), device)
}

/// The samples' gradients of a position table `[1 + from.0 * from.1, width]` (class token first) whose grid was resized
/// by [`resize_matrix`], from those of the resized rows: `[B, 1 + to.0 * to.1, width]` to `[B, 1 + from.0 * from.1, width]`.
pub(super) fn resize_gradients(grad: &[f32], from: (usize, usize), to: (usize, usize), width: usize) -> Vec<f32> {
    let (vertical, horizontal) = (axis(from.0, to.0), axis(from.1, to.1));
    // Four taps an axis: sixteen rows of the table for each row of the result.
    let taps = |axis: &[f64], n: usize| -> Vec<Vec<(usize, f32)>> {
        let row =
            |row: &[f64]| row.iter().enumerate().filter(|(_, w)| **w != 0.0).map(|(i, w)| (i, *w as f32)).collect();
        axis.chunks(n).map(row).collect()
    };
    let (vertical, horizontal) = (taps(&vertical, from.0), taps(&horizontal, from.1));
    let (rows, table) = ((1 + to.0 * to.1) * width, (1 + from.0 * from.1) * width);
    let mut gradients = vec![0.0; grad.len() / rows * table];
    for (grad, sums) in grad.chunks_exact(rows).zip(gradients.chunks_exact_mut(table)) {
        sums[..width].copy_from_slice(&grad[..width]);
        for (place, row) in grad[width..].chunks_exact(width).enumerate() {
            for (y, wy) in &vertical[place / to.1] {
                for (x, wx) in &horizontal[place % to.1] {
                    let at = (1 + y * from.1 + x) * width;
                    let weight = wy * wx;
                    sums[at..at + width].iter_mut().zip(row).for_each(|(s, g)| *s += weight * g);
                }
            }
        }
    }
    gradients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_go_back_through_the_transpose() {
        let (from, to, width) = ((3, 4), (2, 5), 2);
        let matrix = resize_matrix(from, to, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        let rows = 1 + to.0 * to.1;
        let grad: Vec<f32> = (0..2 * rows * width).map(|i| (i as f32 * 0.7).sin()).collect();
        let table = 1 + from.0 * from.1;
        let got = resize_gradients(&grad, from, to, width);
        assert_eq!(got.len(), 2 * table * width);
        for (at, got) in got.iter().enumerate() {
            let (sample, row, column) = (at / (table * width), at / width % table, at % width);
            let of = |r: usize| grad[(sample * rows + r) * width + column];
            let want = if row == 0 { of(0) } else { (0..to.0 * to.1).map(|r| matrix[r][row - 1] * of(r + 1)).sum() };
            assert!((got - want).abs() < 1e-5, "{at}: {got} {want}");
        }
    }

    #[test]
    fn same_size_is_the_identity() {
        let matrix = axis(5, 5);
        for (i, w) in matrix.iter().enumerate() {
            assert_eq!(*w, if i / 5 == i % 5 { 1.0 } else { 0.0 });
        }
    }

    #[test]
    fn weights_sum_to_one_and_match_the_kernel_by_hand() {
        for (from, to) in [(4, 6), (37, 16), (3, 7)] {
            for row in axis(from, to).chunks(from) {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
        // 4 -> 2: the first output stands at 0.5 between inputs 0 and 1; inputs -1 and 2 weigh A / 8 each.
        let row = &axis(4, 2)[..4];
        let outer = A / 8.0;
        let inner = 0.5 - outer;
        let expected = [outer + inner, inner, outer, 0.0];
        for (a, b) in row.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{row:?}");
        }
    }
}
