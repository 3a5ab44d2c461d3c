//! Count sketches: K sums of signed numbers, from which inner products can be estimated.
//!
//! Coordinate j belongs to run `r = j / 16`. One hash of (key, r) gives the run a bucket b and sixteen signs; coordinate j
//! goes to bucket `(b + j mod 16) mod K` with its sign. Two coordinates of different runs meet with probability 1/K, two of
//! one run never; signs are independent: the estimate `<Sx, Sy>` of `<x, y>` is unbiased and its variance at most
//! `(|x|^2 |y|^2 + <x, y>^2) / K`, as with one hash a coordinate, but a run is added as a vector.

use super::dispatch::{dispatch, level};

/// Coordinates that share a hash.
pub const SKETCH_RUN: usize = 16;

/// Mixes 64 bits (the finaliser of SplitMix64).
#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Bucket of a run's first coordinate, and its signs in the low bits.
#[inline(always)]
fn place(key: u64, run: u64, buckets: usize) -> (usize, u32) {
    let hash = mix(key.wrapping_add(run.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    ((((hash >> 32) * buckets as u64) >> 32) as usize, hash as u32 & 0xFFFF)
}

#[inline(always)]
fn body<const FMA: bool>(sums: &mut [f32], buckets: usize, key: u64, first_run: u64, x: &[f32]) -> f64 {
    let _ = FMA;
    let mut squares = [0.0_f64; SKETCH_RUN];
    let (runs, rest) = x.as_chunks::<SKETCH_RUN>();
    for (run, x) in (first_run..).zip(runs) {
        let (bucket, signs) = place(key, run, buckets);
        let sums: &mut [f32; SKETCH_RUN] =
            (&mut sums[bucket..bucket + SKETCH_RUN]).try_into().expect("a slice of sixteen");
        for lane in 0..SKETCH_RUN {
            let sign = (signs << (31 - lane as u32)) & 0x8000_0000;
            sums[lane] += f32::from_bits(x[lane].to_bits() ^ sign);
        }
        for lane in 0..SKETCH_RUN {
            squares[lane] += f64::from(x[lane]) * f64::from(x[lane]);
        }
    }
    let (bucket, signs) = place(key, first_run + runs.len() as u64, buckets);
    for (lane, x) in rest.iter().enumerate() {
        let sign = (signs << (31 - lane as u32)) & 0x8000_0000;
        sums[bucket + lane] += f32::from_bits(x.to_bits() ^ sign);
        squares[lane] += f64::from(*x) * f64::from(*x);
    }
    squares.iter().sum()
}

dispatch! {
    fn dispatched(sums: &mut [f32], buckets: usize, key: u64, first_run: u64, x: &[f32]) -> f64 = body
}

/// Adds the sketch of `x` to `sums` and returns `|x|^2`. `sums` holds the buckets and, behind them, [`SKETCH_RUN`] numbers
/// of scratch that [`sketch_fold`] brings home; `x` begins at coordinate `16 * first_run` of the tensor that `key` names.
///
/// # Panics
/// If `sums` is not longer than [`SKETCH_RUN`].
pub fn sketch_add(sums: &mut [f32], key: u64, first_run: u64, x: &[f32]) -> f64 {
    assert!(sums.len() > SKETCH_RUN, "buckets and scratch");
    let buckets = sums.len() - SKETCH_RUN;
    dispatched(level(), sums, buckets, key, first_run, x)
}

/// Adds the scratch behind the buckets to the buckets that it stands for, and clears it.
///
/// # Panics
/// If there are fewer buckets than [`SKETCH_RUN`].
pub fn sketch_fold(sums: &mut [f32]) {
    let (buckets, scratch) = sums.split_at_mut(sums.len() - SKETCH_RUN);
    for (bucket, more) in buckets[..SKETCH_RUN].iter_mut().zip(scratch) {
        *bucket += std::mem::take(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{available_levels, with_level};

    fn sketch(key: u64, x: &[f32], buckets: usize) -> (Vec<f32>, f64) {
        let mut sums = vec![0.0; buckets + SKETCH_RUN];
        let square = sketch_add(&mut sums, key, 0, x);
        sketch_fold(&mut sums);
        sums.truncate(buckets);
        (sums, square)
    }

    fn wave(n: usize, k: f32) -> Vec<f32> {
        (0..n).map(|i| ((i + 1) as f32 * k).sin()).collect()
    }

    #[test]
    fn every_coordinate_has_one_bucket_and_one_sign_at_every_level() {
        let (n, buckets) = (1003, 100);
        let x = wave(n, 0.7);
        let mut one_by_one = vec![0.0_f64; buckets];
        for j in 0..n {
            let mut unit = vec![0.0; n];
            unit[j] = 1.0;
            let (single, square) = sketch(9, &unit, buckets);
            let at: Vec<usize> = (0..buckets).filter(|b| single[*b] != 0.0).collect();
            assert_eq!((at.len(), square, single[at[0]].abs()), (1, 1.0, 1.0));
            one_by_one[at[0]] += f64::from(single[at[0]]) * f64::from(x[j]);
        }
        let first = sketch(9, &x, buckets);
        assert!(first.0.iter().zip(&one_by_one).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5));
        for level in available_levels() {
            assert_eq!(with_level(level, || sketch(9, &x, buckets)), first);
        }
        // A tensor in pieces that begin at whole runs is the tensor.
        let mut sums = vec![0.0; buckets + SKETCH_RUN];
        sketch_add(&mut sums, 9, 0, &x[..512]);
        sketch_add(&mut sums, 9, 32, &x[512..]);
        sketch_fold(&mut sums);
        assert!(sums.iter().zip(&first.0).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn inner_products_are_unbiased_with_the_stated_error() {
        let (n, buckets, trials) = (3000, 128, 600);
        let (x, y) = (wave(n, 0.01), wave(n, 0.012));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let (exact, norms) = (dot(&x, &y), dot(&x, &x) * dot(&y, &y));
        let bound = ((norms + exact * exact) / buckets as f64).sqrt();
        let errors: Vec<f64> = (0..trials)
            .map(|key| dot(&sketch(mix(key), &x, buckets).0, &sketch(mix(key), &y, buckets).0) - exact)
            .collect();
        let mean = errors.iter().sum::<f64>() / trials as f64;
        let deviation = (errors.iter().map(|e| e * e).sum::<f64>() / trials as f64).sqrt();
        assert!(mean.abs() < 3.5 * bound / (trials as f64).sqrt(), "{mean} {bound}");
        assert!((0.75..1.1).contains(&(deviation / bound)), "{deviation} {bound}");
    }
}
