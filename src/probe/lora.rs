//! The weight that `LoRA` makes: `W + scale * up * down`, without ever forming it after the start.

use rayon::prelude::*;

/// One factor pair: `up [out, r]`, `down [r, in]`, row-major.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factors<'a> {
    pub up: &'a [f32],
    pub down: &'a [f32],
    pub rank: usize,
}

/// `||up_a down_a - up_b down_b||^2`.
///
/// With `D` for differences this is `||[D up, up_b] [down_a; D down]||^2 = <U^T U, V V^T>`: a few `2r x 2r` products, and
/// exactly 0 when nothing moved.
pub(super) fn square_distance(a: Factors<'_>, b: Factors<'_>) -> f64 {
    let r = a.rank;
    let d_in = a.down.len() / r;
    let left = |row: usize, k: usize| {
        if k < r {
            f64::from(a.up[row * r + k]) - f64::from(b.up[row * r + k])
        } else {
            f64::from(b.up[row * r + k - r])
        }
    };
    let right = |k: usize, column: usize| {
        if k < r {
            f64::from(a.down[k * d_in + column])
        } else {
            let at = (k - r) * d_in + column;
            f64::from(a.down[at]) - f64::from(b.down[at])
        }
    };
    let entry = |i: usize, j: usize| {
        let u: f64 = (0..a.up.len() / r).map(|row| left(row, i) * left(row, j)).sum();
        let v: f64 = (0..d_in).map(|column| right(i, column) * right(j, column)).sum();
        u * v
    };
    let rows: Vec<f64> = (0..2 * r).into_par_iter().map(|i| (0..2 * r).map(|j| entry(i, j)).sum()).collect();
    // The true value is no less than 0; rounding may be.
    rows.iter().sum::<f64>().max(0.0)
}

/// `||w + scale * up * down||^2`, row by row, added in order.
pub(super) fn square_norm(w: &[f32], factors: Factors<'_>, scale: f64) -> f64 {
    let d_in = factors.down.len() / factors.rank;
    let rows: Vec<f64> = w
        .par_chunks(d_in)
        .zip(factors.up.par_chunks(factors.rank))
        .map(|(w, up)| {
            let column = |j: usize| {
                let low: f64 =
                    up.iter().enumerate().map(|(k, u)| f64::from(*u) * f64::from(factors.down[k * d_in + j])).sum();
                scale.mul_add(low, f64::from(w[j]))
            };
            (0..d_in).map(|j| column(j).powi(2)).sum()
        })
        .collect();
    rows.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(f: Factors<'_>) -> Vec<f64> {
        let d_in = f.down.len() / f.rank;
        let rows = f.up.len() / f.rank;
        (0..rows * d_in)
            .map(|i| {
                let term = |k: usize| f64::from(f.up[i / d_in * f.rank + k]) * f64::from(f.down[k * d_in + i % d_in]);
                (0..f.rank).map(term).sum()
            })
            .collect()
    }

    #[test]
    fn equals_the_formed_products() {
        let numbers = |n: usize, k: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * k + k).cos()).collect() };
        let (up_a, down_a, up_b, down_b) = (numbers(15, 0.3), numbers(12, 0.7), numbers(15, 1.1), numbers(12, 0.2));
        let a = Factors { up: &up_a, down: &down_a, rank: 3 };
        let b = Factors { up: &up_b, down: &down_b, rank: 3 };
        let naive: f64 = product(a).iter().zip(product(b)).map(|(x, y)| (x - y).powi(2)).sum();
        assert!((square_distance(a, b) - naive).abs() < 1e-12 * naive);
        assert_eq!(square_distance(a, a), 0.0);
        let w = numbers(20, 0.9);
        let naive: f64 = w.iter().zip(product(a)).map(|(w, p)| 2.5_f64.mul_add(p, f64::from(*w)).powi(2)).sum();
        assert!((square_norm(&w, a, 2.5) - naive).abs() < 1e-12 * naive);
    }
}
