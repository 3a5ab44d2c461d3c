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

#[cfg(test)]
mod tests {
    use super::*;

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
