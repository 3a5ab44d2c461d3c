//! AdamW in place.

use super::super::AdamWStep;
use super::call::Call;
use super::engine::{Engine, Source, source};
use super::memory::{Lent, change};
use candle_core::{DType, Result, Tensor, bail};

pub(super) static SOURCE: Source = source!("adamw");

/// What an update changes: a parameter (float32) and its moments (both float32 or both bfloat16), one shape.
#[derive(Clone, Copy, Debug)]
pub struct AdamWState<'t> {
    /// The parameter.
    pub theta: &'t Tensor,
    /// First moment.
    pub first: &'t Tensor,
    /// Second moment.
    pub second: &'t Tensor,
}

/// One step with `gradient` (float32 or bfloat16) times `factor`. `key` names the parameter to the draws that bfloat16
/// moments are rounded by; they differ from step to step.
pub fn adamw_update(
    engine: &Engine,
    state: AdamWState<'_>,
    gradient: &Tensor,
    factor: f32,
    step: &AdamWStep,
    key: u64,
) -> Result<()> {
    let name = |t: &Tensor| match t.dtype() {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        other => bail!("adamw: no kernel for {other:?}"),
    };
    let entry = format!("adamw_{}_{}", name(gradient)?, name(state.first)?);
    let (n, moments) = (state.theta.elem_count(), state.first.dtype());
    let lent = Lent::of(gradient)?;
    let f = step.factors();
    let key = key.wrapping_add(step.step.wrapping_mul(0xD1B5_4A32_D192_ED03));
    change(&[state.theta, state.first, state.second], &mut |spans| {
        Call::new(engine, &SOURCE, entry.clone())
            .changed(spans[0], DType::F32, n)?
            .input(&lent, gradient.dtype(), n)?
            .changed(spans[1], moments, n)?
            .changed(spans[2], moments, n)?
            .long(n)
            .float(factor)
            .float(f.keep)
            .float(f.beta1)
            .float(f.rest1)
            .float(f.beta2)
            .float(f.rest2)
            .float(f.eps)
            .float(f.step_size)
            .float(f.root_correction)
            .long(key as usize)
            .run_over(n)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const STEP: AdamWStep = AdamWStep { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 3 };

    /// Parameter and moments after one step from constants, `n` of each.
    fn stepped(n: usize, moments: DType, gradient: f32, step: &AdamWStep) -> Result<[Vec<f32>; 3]> {
        let full = |value: f32, dtype| Tensor::full(value, n, &Device::Cpu)?.to_dtype(dtype)?.contiguous()?.copy();
        let (theta, first, second) = (full(0.5, DType::F32)?, full(0.25, moments)?, full(1.0, moments)?);
        let state = AdamWState { theta: &theta, first: &first, second: &second };
        adamw_update(&Engine::emulated(), state, &full(gradient, DType::F32)?, 0.5, step, 7)?;
        Ok([theta, first, second].map(|t| t.to_dtype(DType::F32).unwrap().to_vec1().unwrap()))
    }

    #[test]
    #[ignore = "runs the kernels for cards: scripts/cuda-emulate"]
    fn short_moments_are_right_on_average() {
        let n = 20_000;
        let [theta, first, second] = stepped(n, DType::F32, 0.02, &STEP).unwrap();
        let (want_first, want_second) = (0.9 * 0.25 + 0.1 * 0.01, 0.999 + 0.001 * 1e-4);
        assert!((first[0] - want_first).abs() < 1e-6 && (second[0] - want_second).abs() < 1e-6);
        let root = (f64::from(want_second) / (1.0 - 0.999_f64.powi(3))).sqrt() as f32;
        let change = 1e-2 / (1.0 - 0.9_f32.powi(3)) * want_first / root;
        assert!((theta[0] - (0.5 * 0.999 - change)).abs() < 1e-6, "{}", theta[0]);

        let [short_theta, short_first, short_second] = stepped(n, DType::BF16, 0.02, &STEP).unwrap();
        // The parameter moves by what the moments were before they were rounded.
        assert!(short_theta.iter().zip(&theta).all(|(a, b)| (a - b).abs() < 1e-6));
        let mean = |v: &[f32]| v.iter().map(|x| f64::from(*x)).sum::<f64>() / v.len() as f64;
        // A unit of the last digit is 2^-8 of the number; 0.999 lies a quarter of one below 1.
        assert!(short_second.contains(&1.0) && short_second.contains(&(1.0 - 1.0 / 256.0)));
        assert!((mean(&short_second) - f64::from(want_second)).abs() < 1e-4, "{}", mean(&short_second));
        assert!((mean(&short_first) - f64::from(want_first)).abs() < 2e-5, "{}", mean(&short_first));
        // The same step draws the same, the next one something else.
        assert_eq!(stepped(n, DType::BF16, 0.02, &STEP).unwrap()[2], short_second);
        let next = AdamWStep { step: 4, ..STEP };
        assert_ne!(stepped(n, DType::BF16, 0.02, &next).unwrap()[2], short_second);
        // What is not finite is told.
        assert!(stepped(4, DType::BF16, f32::NAN, &STEP).unwrap()[1][0].is_nan());
        assert!(stepped(4, DType::BF16, f32::INFINITY, &STEP).unwrap()[2][0].is_infinite());
    }

    #[test]
    #[ignore = "runs the kernels for cards: scripts/cuda-emulate"]
    fn at_rate_zero_the_moments_advance_alone() {
        let [theta, first, _] = stepped(3, DType::F32, 0.02, &AdamWStep { lr: 0.0, ..STEP }).unwrap();
        assert!(theta == [0.5; 3] && first[0] != 0.25);
    }
}
