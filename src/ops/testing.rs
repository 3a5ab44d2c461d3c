//! One check for every operation: the fused form against the composed one, and its gradients against float64.
//!
//! With `COVFT_TEST_DEVICE=emulated` the kernels for cards are checked too, run on the CPU (`scripts/cuda-emulate` sets all
//! that this needs), with `COVFT_TEST_DEVICE=cuda:0` on a card.

use super::path::{Path, on_path};
use super::{Ctx, Weight, checkpoint};
use crate::kernels::cuda::{launched, test_device};
use crate::kernels::{available_levels, with_level};
use candle_core::{DType, Device, Result, Tensor, Var};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// An operation as a function of activations and weights.
pub(super) type Form = fn(&Ctx, &[Tensor], &[Weight]) -> Result<Tensor>;

/// Shapes of the arguments and both forms.
pub(super) struct Case {
    pub inputs: Vec<Vec<usize>>,
    pub weights: Vec<Vec<usize>>,
    pub fused: Form,
    pub composed: Form,
}

/// Result and gradients, inputs first, `None` for untracked arguments.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    y: Vec<f64>,
    grads: Vec<Option<Vec<f64>>>,
}

/// Numbers in [-1.5, 1.5), the same in float32 and float64.
pub(super) fn numbers(n: usize, seed: u64) -> Vec<f64> {
    (0..n as u64)
        .map(|i| {
            let mut z = (seed << 32).wrapping_add(i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z ^= z >> 32;
            f64::from(((z % 3001) as f32 - 1500.0) * 1e-3)
        })
        .collect()
}

/// A float32 tensor of such numbers.
pub(super) fn random(dims: &[usize], seed: u64) -> Tensor {
    tensor(&numbers(dims.iter().product(), seed), dims, DType::F32)
}

fn tensor(data: &[f64], dims: &[usize], dtype: DType) -> Tensor {
    let here = Tensor::from_vec(data.to_vec(), dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    here.to_device(&device()).unwrap()
}

thread_local! {
    static COMPOSED_ON_CARDS: Cell<bool> = const { Cell::new(false) };
    static DEVICE: RefCell<Device> = const { RefCell::new(Device::Cpu) };
}

/// Where tensors of a test are made: the CPU, but within [`with_kernels_here`].
pub(crate) fn device() -> Device {
    DEVICE.with_borrow(Clone::clone)
}

/// Checks of an operation that has no kernel of ours: on a card its composed form runs.
pub(super) fn without_kernels<R>(check: impl FnOnce() -> R) -> R {
    COMPOSED_ON_CARDS.set(true);
    let result = check();
    COMPOSED_ON_CARDS.set(false);
    result
}

/// Runs `work` where kernels for cards run, if that was asked for; [`device`] is there.
pub(crate) fn with_kernels_here<R>(work: impl FnOnce() -> R) -> Option<R> {
    with_kernels(|card| on_device(card, work))
}

/// Runs `work`; [`device`] is `there`.
pub(crate) fn on_device<R>(there: &Device, work: impl FnOnce() -> R) -> R {
    let before = DEVICE.replace(there.clone());
    let result = work();
    DEVICE.set(before);
    result
}

/// The same, told the device.
pub(crate) fn with_kernels<R>(work: impl FnOnce(&Device) -> R) -> Option<R> {
    let device = test_device()?;
    Some(if device.is_cpu() { on_path(Path::Kernels, || work(&device)) } else { work(&device) })
}

/// For tests of other modules that were asked for by name.
pub(crate) fn on_kernels<R>(work: impl FnOnce() -> R) -> R {
    with_kernels_here(work).expect("COVFT_TEST_DEVICE says where the kernels run")
}

fn floats(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Largest difference over the largest reference.
pub(super) fn relative(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-3, |m: f64, w| m.max(w.abs()));
    got.iter().zip(want).fold(0.0, |m: f64, (g, w)| if g.is_finite() { m.max((g - w).abs()) } else { f64::MAX }) / scale
}

impl Case {
    fn shapes(&self) -> impl Iterator<Item = &Vec<usize>> {
        self.inputs.iter().chain(&self.weights)
    }

    fn data(&self) -> Vec<Vec<f64>> {
        self.shapes().enumerate().map(|(i, s)| numbers(s.iter().product(), i as u64 + 1)).collect()
    }

    fn count(&self) -> usize {
        self.inputs.len() + self.weights.len()
    }

    fn weights(&self, data: &[Vec<f64>], dtype: DType, tracked: &[bool]) -> Vec<Weight> {
        let first = self.inputs.len();
        (self.weights.iter().enumerate())
            .map(|(i, dims)| {
                let value = tensor(&data[first + i], dims, dtype);
                let name = format!("w{i}");
                if tracked[first + i] { Weight::trainable(name, &value).unwrap() } else { Weight::frozen(name, value) }
            })
            .collect()
    }

    /// Runs a form, forward only.
    fn value(&self, form: Form, data: &[Vec<f64>]) -> Vec<f64> {
        let inputs: Vec<_> = self.inputs.iter().zip(data).map(|(s, d)| tensor(d, s, DType::F64)).collect();
        let y = form(&Ctx::eval(), &inputs, &self.weights(data, DType::F64, &vec![false; self.count()])).unwrap();
        floats(&y)
    }

    /// Runs a form forward and backward, `sum(y * cotangent)` being the loss.
    fn run(&self, form: Form, dtype: DType, tracked: &[bool], checkpointed: bool) -> Outcome {
        self.run_on(&self.data(), form, dtype, tracked, checkpointed)
    }

    /// The data, activations rounded to bfloat16.
    fn rounded(&self) -> Vec<Vec<f64>> {
        let mut data = self.data();
        for values in &mut data[..self.inputs.len()] {
            for v in values.iter_mut() {
                *v = half::bf16::from_f64(*v).to_f64();
            }
        }
        data
    }

    fn run_on(&self, data: &[Vec<f64>], form: Form, dtype: DType, tracked: &[bool], checkpointed: bool) -> Outcome {
        // Short floats are for activations: weights stay float32.
        let short = dtype == DType::BF16;
        let weights = self.weights(data, if short { DType::F32 } else { dtype }, tracked);
        let ctx = Ctx::train(&device()).unwrap();
        let ctx = if short { ctx.computing_in(dtype) } else { ctx };
        let inputs: Vec<Tensor> = (self.inputs.iter().zip(data).zip(tracked))
            .map(|((s, d), tracked)| {
                let t = tensor(d, s, dtype);
                if *tracked { Var::from_tensor(&t).unwrap().into_inner() } else { t }
            })
            .collect();
        let y = if checkpointed {
            let (rest, own) = (inputs[1..].to_vec(), weights.clone());
            let block = move |ctx: &Ctx, x: &Tensor| {
                let all: Vec<Tensor> = std::iter::once(x.clone()).chain(rest.clone()).collect();
                Ok((form(ctx, &all, &own)?, ()))
            };
            checkpoint(&ctx, &inputs[0], Arc::new(block)).unwrap().0
        } else {
            form(&ctx, &inputs, &weights).unwrap()
        };
        let expects_graph = tracked.iter().any(|t| *t);
        assert_eq!(y.track_op(), expects_graph, "tracking with {tracked:?}");
        let mut grads = vec![None; self.count()];
        if expects_graph {
            let cotangent = tensor(&numbers(y.elem_count(), 99), y.dims(), y.dtype());
            let product = (&y * cotangent).unwrap();
            // The library's sum of one number without dimensions fails on a card.
            let sum = if product.rank() == 0 { product } else { product.sum_all().unwrap() };
            let store = sum.backward().unwrap();
            for (grad, input) in grads.iter_mut().zip(&inputs) {
                *grad = store.get(input).map(floats);
            }
            for (grad, weight) in grads[inputs.len()..].iter_mut().zip(&weights) {
                *grad = weight.slot().and_then(|s| s.tensor(weight.dims()).unwrap()).map(|g| floats(&g));
            }
        }
        Outcome { y: floats(&y), grads }
    }

    /// Central differences of the composed form in float64.
    fn finite_differences(&self) -> Vec<Vec<f64>> {
        let mut data = self.data();
        let y = self.value(self.composed, &data);
        let cotangent = numbers(y.len(), 99);
        let loss = |data: &[Vec<f64>]| -> f64 {
            self.value(self.composed, data).iter().zip(&cotangent).map(|(y, c)| y * c).sum()
        };
        (0..data.len())
            .map(|arg| {
                (0..data[arg].len())
                    .map(|i| {
                        let (x, h) = (data[arg][i], 1e-5);
                        data[arg][i] = x + h;
                        let up = loss(&data);
                        data[arg][i] = x - h;
                        let down = loss(&data);
                        data[arg][i] = x;
                        (up - down) / (2.0 * h)
                    })
                    .collect()
            })
            .collect()
    }

    /// For small shapes: values, gradients by finite differences, every choice of tracked arguments, checkpointing.
    pub(super) fn check(&self) {
        let all = vec![true; self.count()];
        let reference = self.value(self.composed, &self.data());
        let differences = self.finite_differences();
        let composed = self.run(self.composed, DType::F32, &all, false);
        for level in available_levels() {
            let full = with_level(level, || self.run(self.fused, DType::F32, &all, false));
            assert!(relative(&full.y, &reference) < 1e-5, "value at {level:?}: {}", relative(&full.y, &reference));
            assert!(relative(&full.y, &composed.y) < 1e-5, "composed value at {level:?}");
            for (arg, (got, want)) in full.grads.iter().zip(&differences).enumerate() {
                let got = got.as_ref().unwrap_or_else(|| panic!("no gradient of argument {arg}"));
                let error = relative(got, want);
                assert!(error < 2e-5, "gradient of argument {arg} at {level:?}: {error}");
            }
        }
        self.check_tracking(false);
        self.check_short();
        self.check_kernels(&reference, &differences);
        with_kernels_here(|| self.check_tracking(Self::is_composed_on_cards()));
    }

    /// Operations that have no kernel of ours.
    fn is_composed_on_cards() -> bool {
        COMPOSED_ON_CARDS.get()
    }

    /// On a card, or its emulation, in float32 and bfloat16.
    fn check_kernels(&self, value: &[f64], gradients: &[Vec<f64>]) {
        let all = vec![true; self.count()];
        let before = launched();
        let Some(full) = with_kernels_here(|| self.run(self.fused, DType::F32, &all, false)) else { return };
        let error = relative(&full.y, value);
        assert!(error < 1e-5, "value of the kernels: {error}");
        for (arg, (got, want)) in full.grads.iter().zip(gradients).enumerate() {
            let got = got.as_ref().unwrap_or_else(|| panic!("no gradient of argument {arg}"));
            let error = relative(got, want);
            assert!(error < 2e-5, "gradient of argument {arg} of the kernels: {error}");
        }
        with_kernels_here(|| self.check_short());
        assert_eq!(launched() > before, !Self::is_composed_on_cards(), "whether a kernel ran");
    }

    /// Computing in bfloat16: values and gradients within its rounding, those of weights in float32, and the same through
    /// a checkpointed block.
    fn check_short(&self) {
        let all = vec![true; self.count()];
        // Not of the inputs, whose rounding no operation can undo.
        let before = DEVICE.replace(Device::Cpu);
        let reference = on_path(Path::Host, || self.run_on(&self.rounded(), self.composed, DType::F64, &all, false));
        DEVICE.set(before);
        let outcome = self.run(self.fused, DType::BF16, &all, false);
        let error = relative(&outcome.y, &reference.y);
        assert!(error < 1.5e-2, "value in bfloat16: {error}");
        for (arg, (got, want)) in outcome.grads.iter().zip(&reference.grads).enumerate() {
            let error = relative(got.as_ref().unwrap(), want.as_ref().unwrap());
            assert!(error < 3e-2, "gradient of argument {arg} in bfloat16: {error}");
        }
        if !self.inputs.is_empty() {
            let mut tracked = vec![true; self.count()];
            tracked[1..self.inputs.len()].fill(false);
            // Plain tensor operations compute gradients of untracked inputs too; nobody asks for them.
            let run = |checkpointed| {
                let mut outcome = self.run(self.fused, DType::BF16, &tracked, checkpointed);
                outcome.grads.drain(1..self.inputs.len());
                outcome
            };
            assert_eq!(run(true), run(false), "checkpointed in bfloat16");
        }
    }

    /// `composed`: plain tensor operations run, which compute gradients of untracked inputs too; nobody asks for them.
    fn check_tracking(&self, composed: bool) {
        let full = self.run(self.fused, DType::F32, &vec![true; self.count()], false);
        for mask in 0..1u32 << self.count() {
            let tracked: Vec<bool> = (0..self.count()).map(|i| mask >> i & 1 == 1).collect();
            let outcome = self.run(self.fused, DType::F32, &tracked, false);
            assert_eq!(outcome.y, full.y);
            for (arg, tracked) in tracked.iter().enumerate() {
                let want = if *tracked { full.grads[arg].clone() } else { None };
                if *tracked || !composed || arg >= self.inputs.len() {
                    assert_eq!(outcome.grads[arg], want, "argument {arg} of {mask:b}");
                }
            }
        }
        if self.inputs.is_empty() {
            return;
        }
        // The first input of a checkpointed block may be untracked; the others are constants to it.
        for first in [true, false] {
            let mut tracked = vec![true; self.count()];
            tracked[..self.inputs.len()].fill(false);
            tracked[0] = first;
            if tracked.iter().any(|t| *t) {
                let run = |checkpointed| {
                    let mut outcome = self.run(self.fused, DType::F32, &tracked, checkpointed);
                    if composed {
                        outcome.grads.drain(1..self.inputs.len());
                        outcome.grads[0] = outcome.grads[0].take().filter(|_| first);
                    }
                    outcome
                };
                assert_eq!(run(true), run(false), "checkpointed");
            }
        }
    }

    /// For shapes of several pieces: against the composed form in float64, and the same bytes on 1, 2 and 3 threads.
    pub(super) fn check_large(&self) {
        let all = vec![true; self.count()];
        let reference = self.run(self.composed, DType::F64, &all, false);
        for level in available_levels() {
            let outcomes: Vec<Outcome> = [1, 2, 3]
                .iter()
                .map(|threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(*threads).build().unwrap();
                    pool.install(|| with_level(level, || self.run(self.fused, DType::F32, &all, false)))
                })
                .collect();
            assert!(outcomes.iter().all(|o| *o == outcomes[0]), "threads change the numbers at {level:?}");
            let error = relative(&outcomes[0].y, &reference.y);
            assert!(error < 1e-5, "value at {level:?}: {error}");
            for (arg, (got, want)) in outcomes[0].grads.iter().zip(&reference.grads).enumerate() {
                let error = relative(got.as_ref().unwrap(), want.as_ref().unwrap());
                assert!(error < 2e-5, "gradient of argument {arg} at {level:?}: {error}");
            }
        }
        let gradients: Vec<Vec<f64>> = reference.grads.into_iter().map(Option::unwrap).collect();
        self.check_kernels(&reference.y, &gradients);
    }
}
