//! AdamW in place, as PyTorch computes it.

use super::dispatch::{dispatch, level};
use super::math::fma;
use super::parallel::PIECE;
use rayon::prelude::*;

/// The numbers of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Which step this is, counted from 1.
    pub step: u64,
}

impl AdamWStep {
    pub(super) fn factors(&self) -> Factors {
        assert!(self.step > 0, "AdamW counts its steps from 1");
        let t = self.step as f64;
        Factors {
            keep: (1.0 - self.lr * self.weight_decay) as f32,
            beta1: self.beta1 as f32,
            rest1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            rest2: (1.0 - self.beta2) as f32,
            eps: self.eps as f32,
            step_size: (self.lr / (1.0 - self.beta1.powf(t))) as f32,
            root_correction: (1.0 - self.beta2.powf(t)).sqrt() as f32,
        }
    }
}

/// The same as the loop needs it.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    pub(super) keep: f32,
    pub(super) beta1: f32,
    pub(super) rest1: f32,
    pub(super) beta2: f32,
    pub(super) rest2: f32,
    pub(super) eps: f32,
    pub(super) step_size: f32,
    pub(super) root_correction: f32,
}

#[inline(always)]
fn body<const FMA: bool>(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], f: Factors) {
    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        *m = fma::<FMA>(f.beta1, *m, f.rest1 * g);
        *v = fma::<FMA>(f.beta2, *v, f.rest2 * g * g);
        let denominator = v.sqrt() / f.root_correction + f.eps;
        *p = *p * f.keep - f.step_size * (*m / denominator);
    }
}

/// What an update was like: squared lengths and inner products, in float64.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moved {
    /// `||new - start||^2`
    pub drift: f64,
    /// `||new - old||^2`
    pub update: f64,
    /// `||g||^2`
    pub gradient: f64,
    /// `||m||^2` of the first moment before the update.
    pub moment: f64,
    /// `<g, m>` of the same.
    pub inner: f64,
}

/// Sums beside each other, so that the additions are vector code.
const LANES: usize = 8;
type Lanes = [f64; LANES];

#[inline(always)]
fn square(x: f32) -> f64 {
    f64::from(x) * f64::from(x)
}

/// [`body`], measured while the numbers are at hand.
#[inline(always)]
fn measured_body<const FMA: bool>(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    start: &[f32],
    f: Factors,
) -> Moved {
    let (mut drift, mut update): (Lanes, Lanes) = ([0.0; LANES], [0.0; LANES]);
    let (mut gradient, mut moment, mut inner): (Lanes, Lanes, Lanes) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let whole = p.len() - p.len() % LANES;
    let mut one = |lane: usize, p: &mut f32, g: f32, m: &mut f32, v: &mut f32, start: f32| {
        let (before, moment_before) = (*p, *m);
        *m = fma::<FMA>(f.beta1, *m, f.rest1 * g);
        *v = fma::<FMA>(f.beta2, *v, f.rest2 * g * g);
        let denominator = v.sqrt() / f.root_correction + f.eps;
        *p = *p * f.keep - f.step_size * (*m / denominator);
        drift[lane] += square(*p - start);
        update[lane] += square(*p - before);
        gradient[lane] += square(g);
        moment[lane] += square(moment_before);
        inner[lane] += f64::from(g) * f64::from(moment_before);
    };
    let eights = p[..whole].as_chunks_mut::<LANES>().0.iter_mut().zip(g.as_chunks::<LANES>().0);
    let eights = eights.zip(m[..whole].as_chunks_mut::<LANES>().0).zip(v[..whole].as_chunks_mut::<LANES>().0);
    for ((((p, g), m), v), start) in eights.zip(start.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            one(lane, &mut p[lane], g[lane], &mut m[lane], &mut v[lane], start[lane]);
        }
    }
    for i in whole..p.len() {
        one(i - whole, &mut p[i], g[i], &mut m[i], &mut v[i], start[i]);
    }
    Moved {
        drift: drift.iter().sum(),
        update: update.iter().sum(),
        gradient: gradient.iter().sum(),
        moment: moment.iter().sum(),
        inner: inner.iter().sum(),
    }
}

dispatch! {
    fn measured_piece(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], start: &[f32], f: Factors) -> Moved
        = measured_body
}

dispatch! { fn piece(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], f: Factors) = body }

/// `p *= 1 - lr * weight_decay`; `m = beta1 m + (1 - beta1) g`; `v = beta2 v + (1 - beta2) g^2`;
/// `p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)`.
///
/// # Panics
/// If the lengths differ or `step` is 0.
pub fn adamw_update(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: &AdamWStep) {
    assert!(p.len() == g.len() && p.len() == m.len() && p.len() == v.len(), "parameter, gradient and moments");
    let factors = step.factors();
    let level = level();
    if p.len() <= PIECE {
        return piece(level, p, g, m, v, factors);
    }
    p.par_chunks_mut(PIECE)
        .zip(g.par_chunks(PIECE))
        .zip(m.par_chunks_mut(PIECE))
        .zip(v.par_chunks_mut(PIECE))
        .for_each(|(((p, g), m), v)| piece(level, p, g, m, v, factors));
}

/// [`adamw_update`], the same to the last bit, measured on the way: no number is read twice but `start`.
///
/// # Panics
/// As [`adamw_update`].
pub fn adamw_update_measured(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    start: &[f32],
    step: &AdamWStep,
) -> Moved {
    let lengths = [g.len(), m.len(), v.len(), start.len()];
    assert!(lengths == [p.len(); 4], "parameter, gradient, moments and start");
    let factors = step.factors();
    let level = level();
    if p.len() <= PIECE {
        return measured_piece(level, p, g, m, v, start, factors);
    }
    let pieces = p.par_chunks_mut(PIECE).zip(g.par_chunks(PIECE)).zip(m.par_chunks_mut(PIECE));
    let pieces = pieces.zip(v.par_chunks_mut(PIECE)).zip(start.par_chunks(PIECE));
    let sums: Vec<Moved> =
        pieces.map(|((((p, g), m), v), start)| measured_piece(level, p, g, m, v, start, factors)).collect();
    sums.into_iter().fold(Moved::default(), |a, b| a + b)
}

impl std::ops::Add for Moved {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            drift: self.drift + other.drift,
            update: self.update + other.update,
            gradient: self.gradient + other.gradient,
            moment: self.moment + other.moment,
            inner: self.inner + other.inner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{available_levels, with_level};

    /// Textbook AdamW in float64.
    fn reference(p: &mut [f64], m: &mut [f64], v: &mut [f64], g: &[f32], s: &AdamWStep) {
        for i in 0..p.len() {
            let g = f64::from(g[i]);
            p[i] -= s.lr * s.weight_decay * p[i];
            m[i] = s.beta1 * m[i] + (1.0 - s.beta1) * g;
            v[i] = s.beta2 * v[i] + (1.0 - s.beta2) * g * g;
            let m_hat = m[i] / (1.0 - s.beta1.powi(s.step as i32));
            let v_hat = v[i] / (1.0 - s.beta2.powi(s.step as i32));
            p[i] -= s.lr * m_hat / (v_hat.sqrt() + s.eps);
        }
    }

    #[test]
    fn follows_float64_at_every_level_and_thread_count() {
        let n = 20_000;
        let mut outcomes = Vec::new();
        for level in available_levels() {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let start: Vec<f32> = (0..n).map(|i| (i as f32 * 0.01).cos()).collect();
                let (mut p, mut m, mut v) = (start.clone(), vec![0.0; n], vec![0.0; n]);
                let mut exact: Vec<f64> = start.iter().map(|v| f64::from(*v)).collect();
                let (mut em, mut ev) = (vec![0.0; n], vec![0.0; n]);
                for step in 1..=5 {
                    let g: Vec<f32> = (0..n).map(|i| ((i * step as usize) as f32 * 0.37).sin()).collect();
                    let s = AdamWStep { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step };
                    pool.install(|| with_level(level, || adamw_update(&mut p, &g, &mut m, &mut v, &s)));
                    reference(&mut exact, &mut em, &mut ev, &g, &s);
                }
                let worst = p.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                assert!(worst < 2e-6, "{worst} at {level:?}");
                outcomes.push((level, p));
            }
        }
        for pair in outcomes.windows(2).filter(|w| w[0].0 == w[1].0) {
            assert_eq!(pair[0].1, pair[1].1);
        }
    }

    #[test]
    fn measuring_changes_no_bit_and_gives_the_naive_sums() {
        let wave = |n: usize, k: f32| -> Vec<f32> { (0..n).map(|i| ((i + 1) as f32 * k).sin()).collect() };
        let s = AdamWStep { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 3 };
        for n in [1, 7, 8, 100, PIECE + 3, 2 * PIECE + 16] {
            let (g, start, before, m0) = (wave(n, 0.37), wave(n, 0.011), wave(n, 0.012), wave(n, 0.5));
            for level in available_levels() {
                let (mut p, mut m, mut v) = (before.clone(), m0.clone(), vec![0.25; n]);
                let mut plain = (p.clone(), m.clone(), v.clone());
                with_level(level, || adamw_update(&mut plain.0, &g, &mut plain.1, &mut plain.2, &s));
                let run = |threads, p: &mut [f32], m: &mut [f32], v: &mut [f32]| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(|| with_level(level, || adamw_update_measured(p, &g, m, v, &start, &s)))
                };
                let (mut p3, mut m3, mut v3) = (p.clone(), m.clone(), v.clone());
                let moved = run(1, &mut p, &mut m, &mut v);
                assert_eq!(run(3, &mut p3, &mut m3, &mut v3), moved);
                assert!((&p, &m, &v) == (&plain.0, &plain.1, &plain.2), "{n} at {level:?}");
                let naive = |a: &[f32], b: &[f32]| {
                    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>()
                };
                let zero = vec![0.0; n];
                let inner: f64 = g.iter().zip(&m0).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let expected = [naive(&p, &start), naive(&p, &before), naive(&g, &zero), naive(&m0, &zero)];
                let got = [moved.drift, moved.update, moved.gradient, moved.moment];
                for (a, b) in got.iter().zip(expected) {
                    assert!((a - b).abs() <= 1e-6 * b, "{n}: {a} {b}");
                }
                assert!((moved.inner - inner).abs() <= 1e-9 * n as f64);
            }
        }
    }
}
