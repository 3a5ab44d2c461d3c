//! One pass over each tensor, in float64. Chunks have a size of their own, whatever the number of threads, and their
//! sums are added in order: the same numbers give the same sums.

use rayon::prelude::*;

/// A module's gradient that is less than this share of the whole encoder's is what float32 sums leave where zero should be
/// (a gate before its experts differ): its norm is recorded, but it has no direction. Rounding errors are some 1e-8 of what is
/// added up.
pub(super) const ROUNDING: f64 = 1e-6;

/// Elements a chunk.
const CHUNK: usize = 1 << 15;
/// Independent partial sums, so that the additions can be vectorised.
const LANES: usize = 8;

/// `sum_i f(i)` for two sums at once, over chunks of equally long slices.
fn pair_sum(pairs: impl Fn(usize) -> (f64, f64), len: usize) -> (f64, f64) {
    let mut first = [0.0; LANES];
    let mut second = [0.0; LANES];
    let whole = len - len % LANES;
    for base in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let (a, b) = pairs(base + lane);
            first[lane] += a;
            second[lane] += b;
        }
    }
    for i in whole..len {
        let (a, b) = pairs(i);
        first[i - whole] += a;
        second[i - whole] += b;
    }
    (first.iter().sum(), second.iter().sum())
}

fn square(x: f64) -> f64 {
    x * x
}

/// How far a tensor went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shift {
    /// `||now - start||^2`
    pub drift: f64,
    /// `||now - before||^2`
    pub update: f64,
}

/// Measures `now` against `start` and `before`; with `keep`, `before` becomes `now` in the same pass.
pub(super) fn shift(now: &[f32], start: &[f32], before: &mut [f32], keep: bool) -> Shift {
    let chunk = |((now, start), before): ((&[f32], &[f32]), &mut [f32])| {
        let (start, was) = (&start[..now.len()], &before[..now.len()]);
        let sums = pair_sum(
            |i| {
                let at = f64::from(now[i]);
                (square(at - f64::from(start[i])), square(at - f64::from(was[i])))
            },
            now.len(),
        );
        if keep {
            before.copy_from_slice(now);
        }
        sums
    };
    let sums: Vec<(f64, f64)> = if now.len() <= CHUNK {
        vec![chunk(((now, start), before))]
    } else {
        now.par_chunks(CHUNK).zip(start.par_chunks(CHUNK)).zip(before.par_chunks_mut(CHUNK)).map(chunk).collect()
    };
    Shift { drift: sums.iter().map(|s| s.0).sum(), update: sums.iter().map(|s| s.1).sum() }
}

/// A gradient, and how it lies to AdamW's first moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Direction {
    /// `||g||^2`
    pub gradient: f64,
    /// `||m||^2`
    pub moment: f64,
    /// `<g, m>`
    pub inner: f64,
}

/// Measures `gradient` against `moment` (empty = none yet).
pub(super) fn direction(gradient: &[f32], moment: &[f32]) -> Direction {
    if moment.len() != gradient.len() {
        return Direction { gradient: square_norm(gradient), ..Direction::default() };
    }
    let chunk = |(gradient, moment): (&[f32], &[f32])| {
        let moment = &moment[..gradient.len()];
        let (own, inner) = pair_sum(
            |i| {
                let g = f64::from(gradient[i]);
                (g * g, g * f64::from(moment[i]))
            },
            gradient.len(),
        );
        (own, inner, pair_sum(|i| (square(f64::from(moment[i])), 0.0), gradient.len()).0)
    };
    let sums: Vec<(f64, f64, f64)> = if gradient.len() <= CHUNK {
        vec![chunk((gradient, moment))]
    } else {
        gradient.par_chunks(CHUNK).zip(moment.par_chunks(CHUNK)).map(chunk).collect()
    };
    Direction {
        gradient: sums.iter().map(|s| s.0).sum(),
        inner: sums.iter().map(|s| s.1).sum(),
        moment: sums.iter().map(|s| s.2).sum(),
    }
}

/// `||a - b||^2`
pub(super) fn square_distance(a: &[f32], b: &[f32]) -> f64 {
    let chunk = |(a, b): (&[f32], &[f32])| {
        let b = &b[..a.len()];
        pair_sum(|i| (square(f64::from(a[i]) - f64::from(b[i])), 0.0), a.len()).0
    };
    let sums: Vec<f64> = if a.len() <= CHUNK {
        vec![chunk((a, b))]
    } else {
        a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(chunk).collect()
    };
    sums.iter().sum()
}

/// `||x||^2`
pub(super) fn square_norm(x: &[f32]) -> f64 {
    let chunk = |x: &[f32]| pair_sum(|i| (square(f64::from(x[i])), 0.0), x.len()).0;
    let sums: Vec<f64> = if x.len() <= CHUNK { vec![chunk(x)] } else { x.par_chunks(CHUNK).map(chunk).collect() };
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, k: f32) -> Vec<f32> {
        (0..n).map(|i| ((i + 1) as f32 * k).sin()).collect()
    }

    fn naive(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum()
    }

    #[test]
    fn equals_the_naive_sums_at_every_size() {
        for n in [1, 7, 8, 9, CHUNK - 1, CHUNK, CHUNK + 3, 3 * CHUNK + 5] {
            let (now, start, mut before) = (wave(n, 0.1), wave(n, 0.2), wave(n, 0.3));
            let (drift, update) = (naive(&now, &start), naive(&now, &before));
            let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-12 * b.abs(), "{n}: {a} {b}");
            let got = shift(&now, &start, &mut before, false);
            close(got.drift, drift);
            close(got.update, update);
            close(square_distance(&now, &start), drift);
            assert_ne!(now, before);
            shift(&now, &start, &mut before, true);
            assert_eq!(now, before);
            let got = direction(&now, &start);
            let inner: f64 = now.iter().zip(&start).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((got.inner - inner).abs() <= 1e-9 * n as f64);
            close(got.gradient, square_norm(&now));
            close(got.moment, naive(&start, &vec![0.0; n]));
            assert_eq!(direction(&now, &[]).moment, 0.0);
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let n = 5 * CHUNK + 11;
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let s = shift(&wave(n, 0.1), &wave(n, 0.7), &mut wave(n, 0.3), true);
                (s.drift.to_bits(), s.update.to_bits(), direction(&wave(n, 0.1), &wave(n, 0.2)).inner.to_bits())
            })
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }
}
