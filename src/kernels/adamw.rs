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

/// The same as the loop needs it.
#[derive(Clone, Copy)]
struct Factors {
    keep: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    eps: f32,
    step_size: f32,
    root_correction: f32,
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

dispatch! { fn piece(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], f: Factors) = body }

/// `p *= 1 - lr * weight_decay`; `m = beta1 m + (1 - beta1) g`; `v = beta2 v + (1 - beta2) g^2`;
/// `p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)`.
///
/// # Panics
/// If the lengths differ or `step` is 0.
pub fn adamw_update(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: &AdamWStep) {
    assert!(p.len() == g.len() && p.len() == m.len() && p.len() == v.len(), "parameter, gradient and moments");
    assert!(step.step > 0, "AdamW counts its steps from 1");
    let t = step.step as f64;
    let factors = Factors {
        keep: (1.0 - step.lr * step.weight_decay) as f32,
        beta1: step.beta1 as f32,
        rest1: (1.0 - step.beta1) as f32,
        beta2: step.beta2 as f32,
        rest2: (1.0 - step.beta2) as f32,
        eps: step.eps as f32,
        step_size: (step.lr / (1.0 - step.beta1.powf(t))) as f32,
        root_correction: (1.0 - step.beta2.powf(t)).sqrt() as f32,
    };
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
}
