//! AdamW in place.

use super::super::{AdamWStep, Moved};
use super::call::Call;
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent, change};
use candle_core::{DType, Result, Tensor, bail};

pub(super) static SOURCE: Source = source!("adamw");

/// What an update changes: a parameter (float32), its moments (both float32 or both bfloat16) and perhaps its copy in
/// bfloat16, one shape.
#[derive(Clone, Copy, Debug)]
pub struct AdamWState<'t> {
    /// The parameter.
    pub theta: &'t Tensor,
    /// Its copy, which follows it.
    pub copy: Option<&'t Tensor>,
    /// First moment.
    pub first: &'t Tensor,
    /// Second moment.
    pub second: &'t Tensor,
}

/// Sums that measure an update, in the order of the fields of [`Moved`].
const SUMS: usize = 5;
/// Threads that add up what the blocks measured: a multiple of [`SUMS`] and of a warp.
const ADDERS: u32 = 960;

/// The numbers of an update from what [`adamw_update`] measured.
///
/// # Panics
/// If these are not such numbers.
#[must_use]
pub fn moved(measured: &[f64]) -> Moved {
    let &[drift, update, gradient, moment, inner] = measured else {
        panic!("{} numbers of a measured update", measured.len());
    };
    Moved { drift, update, gradient, moment, inner }
}

/// One step with `gradient` (float32 or bfloat16) times `factor`. `key` names the parameter to the draws that bfloat16
/// moments are rounded by; they differ from step to step. With `start` (float32) the step is measured against it: what
/// [`moved`] takes, float64, to be read.
pub fn adamw_update(
    engine: &Engine,
    state: AdamWState<'_>,
    gradient: &Tensor,
    factor: f32,
    step: &AdamWStep,
    key: u64,
    start: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let name = |t: &Tensor| match t.dtype() {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        other => bail!("adamw: no kernel for {other:?}"),
    };
    let measured = if start.is_some() { "measured_" } else { "" };
    let entry = format!("adamw_{measured}{}_{}", name(gradient)?, name(state.first)?);
    let (n, moments) = (state.theta.elem_count(), state.first.dtype());
    let blocks = engine.blocks_over(n);
    let mut sums = start.map(|_| Fresh::new(engine, DType::F64, blocks * SUMS)).transpose()?;
    let (lent, lent_start) = (Lent::of(gradient)?, start.map(Lent::of).transpose()?);
    let f = step.factors();
    let key = key.wrapping_add(step.step.wrapping_mul(0xD1B5_4A32_D192_ED03));
    let mut changed = vec![state.theta, state.first, state.second];
    changed.extend(state.copy);
    change(&changed, &mut |spans| {
        let call = Call::new(engine, &SOURCE, entry.clone())
            .changed(spans[0], DType::F32, n)?
            .changed_or_none(spans.get(3), DType::BF16, n)?
            .input(&lent, gradient.dtype(), n)?
            .changed(spans[1], moments, n)?
            .changed(spans[2], moments, n)?;
        let call = match (&lent_start, &mut sums) {
            (Some(start), Some(sums)) => call.input(start, DType::F32, n)?.output(sums, DType::F64, blocks * SUMS)?,
            _ => call,
        };
        call.long(n)
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
    })?;
    sums.map(|sums| added(engine, sums, blocks)).transpose()
}

/// The sums of all blocks: the host is to read five numbers.
fn added(engine: &Engine, sums: Fresh, blocks: usize) -> Result<Tensor> {
    let sums = sums.into_tensor(&[blocks * SUMS])?;
    let mut whole = Fresh::new(engine, DType::F64, SUMS)?;
    let lent = Lent::of(&sums)?;
    Call::new(engine, &SOURCE, "adamw_sums".into())
        .input(&lent, DType::F64, blocks * SUMS)?
        .output(&mut whole, DType::F64, SUMS)?
        .int(blocks)?
        .run([1, 1, 1], ADDERS, 0)?;
    whole.into_tensor(&[SUMS])
}

#[cfg(test)]
mod tests {
    use super::super::test_device;
    use super::*;

    const STEP: AdamWStep = AdamWStep { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 3 };

    /// Parameter and moments after one step from constants, `n` of each.
    fn stepped(n: usize, moments: DType, gradient: f32, step: &AdamWStep) -> Result<[Vec<f32>; 3]> {
        let device = test_device().unwrap();
        let full = |value: f32, dtype| Tensor::full(value, n, &device)?.to_dtype(dtype)?.contiguous()?.copy();
        let (theta, first, second) = (full(0.5, DType::F32)?, full(0.25, moments)?, full(1.0, moments)?);
        let state = AdamWState { theta: &theta, copy: None, first: &first, second: &second };
        adamw_update(&Engine::under_test(&theta), state, &full(gradient, DType::F32)?, 0.5, step, 7, None)?;
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

    #[test]
    #[ignore = "runs the kernels for cards: scripts/cuda-emulate"]
    fn a_measured_step_is_the_same_step_and_measures_what_the_host_measures() {
        let n = 5003;
        let wave = |k: f32| (0..n).map(|i| ((i + 1) as f32 * k).sin()).collect::<Vec<f32>>();
        let device = test_device().unwrap();
        let on_card = |v: &[f32]| Tensor::from_slice(v, n, &device).unwrap();
        let (mut theta, start, g) = (wave(0.7), wave(0.6), wave(0.9));
        let (mut m, mut v) = (wave(0.3), wave(0.2).iter().map(|x| x * x).collect::<Vec<f32>>());
        let there = [&theta, &m, &v, &theta, &m, &v].map(|v| on_card(v));
        let short = [0; 2].map(|_| there[0].to_dtype(DType::BF16).unwrap());
        let measured: Vec<Option<Tensor>> = [None, Some(on_card(&start))]
            .iter()
            .zip(there.chunks(3))
            .zip(&short)
            .map(|((start, t), copy)| {
                let state = AdamWState { theta: &t[0], copy: Some(copy), first: &t[1], second: &t[2] };
                adamw_update(&Engine::under_test(&t[0]), state, &on_card(&g), 0.5, &STEP, 7, start.as_ref()).unwrap()
            })
            .collect();
        let numbers = |t: &Tensor| t.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        for i in 0..3 {
            assert_eq!(numbers(&there[i]), numbers(&there[3 + i]));
        }
        // The copy is the parameter, rounded.
        let rounded = numbers(&there[0].to_dtype(DType::BF16).unwrap());
        assert!(short.iter().all(|copy| numbers(copy) == rounded));
        assert!(measured[0].is_none());
        let got = moved(&measured[1].as_ref().unwrap().to_vec1::<f64>().unwrap());
        let half: Vec<f32> = g.iter().map(|g| 0.5 * g).collect();
        let want = super::super::super::adamw_update_measured(&mut theta, &half, &mut m, &mut v, &start, &STEP);
        let pairs = [
            (got.drift, want.drift),
            (got.update, want.update),
            (got.gradient, want.gradient),
            (got.moment, want.moment),
            (got.inner, want.inner),
        ];
        assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 1e-5 * b.abs()), "{got:?} {want:?}");
    }
}
