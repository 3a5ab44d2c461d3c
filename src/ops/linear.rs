//! `y = x W^T + b (+ residual)`.

use super::ctx::Ctx;
use super::device;
use super::graph::{self, anchored, fits, host};
use super::precision::{add_bias, matmul};
use super::segment::is_tracked;
use super::watch::{self, Watch};
use super::weight::{GradSlot, Weight, lend, read_all_f32};
use crate::kernels::{self, LinearShape};
use candle_core::{D, Result, Tensor, bail};
use std::sync::Arc;

/// `x [.., d_in]`, `weight [d_out, ..]` whose trailing dimensions multiply to `d_in`, `bias [d_out]`; returns `[.., d_out]`.
///
/// Backward: `dx = dy W`, `dW += dy^T x`, `db += sum_rows dy`, each only where it is wanted.
pub fn linear(ctx: &Ctx, x: &Tensor, weight: &Weight, bias: Option<&Weight>) -> Result<Tensor> {
    fused(ctx, x, weight, bias, None)
}

/// `x W^T + b + residual`, `residual` shaped as the result: the sum costs no pass over memory of its own.
pub fn linear_add(ctx: &Ctx, x: &Tensor, weight: &Weight, bias: Option<&Weight>, residual: &Tensor) -> Result<Tensor> {
    fused(ctx, x, weight, bias, Some(residual))
}

/// The same in plain tensor operations.
pub(crate) fn composed(ctx: &Ctx, x: &Tensor, weight: &Weight, bias: Option<&Weight>) -> Result<Tensor> {
    let d_in = x.dim(D::Minus1)?;
    let d_out = weight.dims()[0];
    let mut dims = x.dims().to_vec();
    let rows = x.elem_count() / d_in;
    let w = ctx.operand(weight)?.reshape((d_out, d_in))?;
    let y = matmul(&x.reshape((rows, d_in))?, &w.t()?)?;
    let y = match bias {
        Some(b) => add_bias(&y, &ctx.operand(b)?)?,
        None => y,
    };
    if let Some(last) = dims.last_mut() {
        *last = d_out;
    }
    y.reshape(dims)
}

fn fused(ctx: &Ctx, x: &Tensor, weight: &Weight, bias: Option<&Weight>, residual: Option<&Tensor>) -> Result<Tensor> {
    let mut operands = vec![x, weight.tensor()];
    operands.extend(bias.map(Weight::tensor));
    operands.extend(residual);
    let beside: Vec<&Tensor> = std::iter::once(weight.tensor()).chain(bias.map(Weight::tensor)).collect();
    let activations: Vec<&Tensor> = std::iter::once(x).chain(residual).collect();
    if let Some(engine) = device::fits(&activations, &beside) {
        let y = device::linear::linear(engine, ctx, x, weight, bias, residual)?;
        return watched(ctx, x, (weight, bias), y);
    }
    if !fits(&operands) || x.elem_count() == 0 {
        let y = watched(ctx, x, (weight, bias), composed(ctx, x, weight, bias)?)?;
        return residual.map_or(Ok(y.clone()), |r| y + r);
    }
    let back = Back::new(ctx, x, weight, bias)?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = back.shape.d_out;
    }
    let Some(residual) = residual else {
        let y = back.forward(bias, None)?;
        let input = anchored(ctx, x, back.is_wanted())?;
        return graph::record("linear", [&input], y, &dims, move |_, grad| Ok([back.run(grad)?]));
    };
    if residual.dims() != dims {
        bail!("linear: a residual of shape {:?} for a result of shape {dims:?}", residual.dims());
    }
    let residual = residual.contiguous()?;
    let y = back.forward(bias, Some(&residual))?;
    let input = anchored(ctx, x, back.is_wanted())?;
    graph::record("linear-add", [&input, &residual], y, &dims, move |_, grad| Ok([back.run(grad)?, Some(grad.clone())]))
}

/// Lets the observer of a composed form see what that of a fused one sees: `y`, with copies of both factors shown to it
/// on the way back.
fn watched(ctx: &Ctx, x: &Tensor, (weight, bias): (&Weight, Option<&Weight>), y: Tensor) -> Result<Tensor> {
    let (weight, bias) = (Watch::of(ctx, weight), bias.and_then(|b| Watch::of(ctx, b)));
    if weight.is_none() && bias.is_none() {
        return Ok(y);
    }
    let (samples, x) = (watch::samples(x), x.detach());
    watch::shown_there(ctx, y, move |grad| {
        if let Some(weight) = &weight {
            weight.linear_tensors(&x, grad, samples)?;
        }
        if let Some(bias) = &bias {
            bias.vector_tensors(0, &watch::sample_sums(grad, samples)?, samples)?;
        }
        Ok(())
    })
}

/// From so many samples on rows are summed by sample: each sample is one thread's.
const BY_SAMPLE: usize = 4;

/// What the backward pass of a linear layer needs.
struct Back {
    /// Contiguous and detached; the node holds the original.
    x: Tensor,
    tracked: bool,
    weight: Weight,
    weight_slot: Option<Arc<GradSlot>>,
    bias_slot: Option<Arc<GradSlot>>,
    watched: [Option<Watch>; 2],
    shape: LinearShape,
    samples: usize,
}

impl Back {
    fn new(ctx: &Ctx, x: &Tensor, weight: &Weight, bias: Option<&Weight>) -> Result<Self> {
        let d_in = x.dim(D::Minus1)?;
        let d_out = weight.dims().first().copied().unwrap_or(0);
        if weight.tensor().elem_count() != d_out * d_in {
            bail!("linear: {} {:?} does not take an input of width {d_in}", weight.name(), weight.dims());
        }
        if let Some(b) = bias
            && b.dims() != [d_out]
        {
            bail!("linear: {} {:?} is not the bias of {} {:?}", b.name(), b.dims(), weight.name(), weight.dims());
        }
        Ok(Self {
            x: x.contiguous()?.detach(),
            tracked: is_tracked(x),
            weight: weight.clone(),
            weight_slot: ctx.slot(weight).cloned(),
            bias_slot: bias.and_then(|b| ctx.slot(b)).cloned(),
            watched: [Watch::of(ctx, weight), bias.and_then(|b| Watch::of(ctx, b))],
            shape: LinearShape { rows: x.elem_count() / d_in, d_in, d_out },
            samples: watch::samples(x),
        })
    }

    fn forward(&self, bias: Option<&Weight>, residual: Option<&Tensor>) -> Result<Vec<f32>> {
        let mut operands = vec![&self.x, self.weight.tensor()];
        operands.extend(bias.map(Weight::tensor));
        operands.extend(residual);
        read_all_f32(&operands, |of| {
            let bias = bias.map(|_| of[2]);
            let residual = residual.and_then(|_| of.last().copied());
            kernels::linear(of[0], of[1], bias, residual, self.shape)
        })
    }

    /// Whether the backward pass must come here, even if nothing before it is tracked.
    fn is_wanted(&self) -> bool {
        self.weight_slot.is_some() || self.bias_slot.is_some() || self.watched.iter().any(Option::is_some)
    }

    fn run(&self, grad: &Tensor) -> Result<Option<Tensor>> {
        let shape = self.shape;
        // While both factors are warm.
        if let Some(weight) = &self.watched[0] {
            weight.linear_tensors(&self.x, grad, self.samples)?;
        }
        self.weights(grad)?;
        if !self.tracked {
            return Ok(None);
        }
        let dx = lend([grad, self.weight.tensor()], |[dy, w]| kernels::linear_backward_input(dy, w, shape))?;
        host(dx, self.x.dims()).map(Some)
    }

    /// The gradients of weight and bias.
    fn weights(&self, grad: &Tensor) -> Result<()> {
        let (shape, samples) = (self.shape, self.samples);
        lend([grad, &self.x], |[dy, x]| {
            if let Some(slot) = &self.weight_slot {
                slot.accumulate_host(shape.d_out * shape.d_in, |dw, add| {
                    kernels::linear_backward_weight(dw, dy, x, shape, add);
                });
            }
            if self.bias_slot.is_none() && self.watched[1].is_none() {
                return;
            }
            // A sample's sums first: the observer wants them, and whether there is one changes no number.
            let by_sample = (BY_SAMPLE..shape.rows).contains(&samples);
            let sums = by_sample.then(|| kernels::sample_sums(dy, samples, shape.d_out));
            if let Some(bias) = &self.watched[1] {
                match &sums {
                    Some(sums) => bias.vectors(0, sums, samples),
                    None => bias.added(0, dy, samples, shape.d_out),
                }
            }
            if let Some(slot) = &self.bias_slot {
                let rows = sums.as_deref().unwrap_or(dy);
                slot.accumulate_host(shape.d_out, |db, add| kernels::column_sums_into(db, rows, add));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, random, without_kernels};
    use super::super::{BackwardObserver, Ctx, LayerId, LinearBackward, Place, Weight};
    use super::super::{Path, on_path};
    use super::*;
    use candle_core::{Device, Var};
    use std::sync::Mutex;

    fn case(rows: &[usize], d_in: usize, d_out: usize) -> Case {
        Case {
            inputs: vec![[rows, &[d_in]].concat()],
            weights: vec![vec![d_out, d_in], vec![d_out]],
            fused: |ctx, x, w| linear(ctx, &x[0], &w[0], Some(&w[1])),
            composed: |ctx, x, w| composed(ctx, &x[0], &w[0], Some(&w[1])),
        }
    }

    #[test]
    fn small() {
        case(&[2, 3], 5, 4).check();
        case(&[3], 1, 2).check();
    }

    #[test]
    fn large() {
        case(&[3, 67], 130, 75).check_large();
    }

    #[test]
    fn without_bias_from_a_convolution_kernel() {
        let case = Case {
            inputs: vec![vec![2, 3, 12]],
            weights: vec![vec![4, 3, 2, 2]],
            fused: |ctx, x, w| linear(ctx, &x[0], &w[0], None),
            composed: |ctx, x, w| composed(ctx, &x[0], &w[0], None),
        };
        // A product alone is the library's.
        without_kernels(|| case.check());
    }

    #[test]
    fn with_residual() {
        let case = |rows: usize, d_in: usize, d_out: usize| Case {
            inputs: vec![vec![2, rows, d_in], vec![2, rows, d_out]],
            weights: vec![vec![d_out, d_in], vec![d_out]],
            fused: |ctx, x, w| linear_add(ctx, &x[0], &w[0], Some(&w[1]), &x[1]),
            composed: |ctx, x, w| composed(ctx, &x[0], &w[0], Some(&w[1]))? + &x[1],
        };
        case(3, 5, 4).check();
        case(150, 64, 70).check_large();
    }

    #[test]
    fn strided_input_and_gradient() {
        let x = Var::from_tensor(&random(&[3, 4], 1)).unwrap();
        let weight = Weight::trainable("w", &random(&[5, 3], 2)).unwrap();
        let ctx = Ctx::train(&Device::Cpu).unwrap();
        let go = |f: fn(&Ctx, &Tensor, &Weight, Option<&Weight>) -> Result<Tensor>| {
            weight.slot().unwrap().clear();
            let y = f(&ctx, &x.t().unwrap(), &weight, None).unwrap().t().unwrap();
            let grads = (y * random(&[5, 4], 3)).unwrap().sum_all().unwrap().backward().unwrap();
            let dx = grads.get(x.as_tensor()).unwrap().to_vec2::<f32>().unwrap();
            (dx, weight.slot().unwrap().tensor(&[5, 3]).unwrap().unwrap().to_vec2::<f32>().unwrap())
        };
        let ((dx, dw), (want_dx, want_dw)) = (go(linear), go(composed));
        for (got, want) in dx.iter().chain(&dw).flatten().zip(want_dx.iter().chain(&want_dw).flatten()) {
            assert!((got - want).abs() < 1e-5);
        }
    }

    #[test]
    fn micro_batches_add_up_and_a_cleared_slot_starts_again() {
        let weight = Weight::trainable("w", &random(&[5, 3], 2)).unwrap();
        let ctx = Ctx::train(&Device::Cpu).unwrap();
        let step = || {
            let y = linear(&ctx, &random(&[2, 4, 3], 1), &weight, None).unwrap();
            y.sum_all().unwrap().backward().unwrap();
            weight.slot().unwrap().with_host(|g| g.to_vec()).unwrap()
        };
        let (once, twice) = (step(), step());
        assert!(once.iter().zip(&twice).all(|(a, b)| (2.0 * a - b).abs() < 1e-6));
        weight.slot().unwrap().clear();
        assert_eq!(step(), once);
    }

    #[test]
    fn wrong_shapes_are_errors() {
        let (ctx, x) = (Ctx::eval(), random(&[2, 3], 1));
        let weight = |dims: &[usize]| Weight::frozen("w", random(dims, 2));
        assert!(linear(&ctx, &x, &weight(&[4, 2]), None).is_err());
        assert!(linear(&ctx, &x, &weight(&[4, 3]), Some(&weight(&[3]))).is_err());
        assert!(linear_add(&ctx, &x, &weight(&[4, 3]), None, &random(&[2, 3], 1)).is_err());
    }

    /// Weight name, sizes, and the weight gradient made of the factors.
    type Seen = (String, [usize; 4], Vec<f32>);

    #[derive(Default)]
    struct Recorder(Mutex<Vec<Seen>>);

    impl BackwardObserver for Recorder {
        fn linear(&self, seen: &LinearBackward<'_>) {
            let rows = seen.input.len() / seen.d_in;
            let mut dw = vec![0.0; seen.d_out * seen.d_in];
            for r in 0..rows {
                for o in 0..seen.d_out {
                    for i in 0..seen.d_in {
                        dw[o * seen.d_in + i] += seen.output_grad[r * seen.d_out + o] * seen.input[r * seen.d_in + i];
                    }
                }
            }
            assert_eq!(seen.place, Place { layer: LayerId::Block(2), module: "mlp" });
            self.0.lock().unwrap().push((seen.weight.to_owned(), [seen.samples, rows, seen.d_in, seen.d_out], dw));
        }
    }

    #[test]
    fn the_observer_sees_both_factors() {
        for path in [Path::Host, Path::Composed, Path::Device] {
            on_path(path, sees_both_factors);
        }
    }

    fn sees_both_factors() {
        let recorder = Arc::new(Recorder::default());
        let ctx = Ctx::train(&Device::Cpu).unwrap().with_observer(recorder.clone());
        let weight = Weight::trainable("here.weight", &random(&[5, 3], 2)).unwrap();
        let x = random(&[2, 4, 3], 1);
        let placed = ctx.at(LayerId::Block(2), "mlp");
        // Only operations with a place are seen.
        for ctx in [&ctx, &placed] {
            weight.slot().unwrap().clear();
            let y = linear(ctx, &x, &weight, None).unwrap();
            (y * random(&[2, 4, 5], 3)).unwrap().sum_all().unwrap().backward().unwrap();
        }
        let seen = recorder.0.lock().unwrap();
        assert_eq!((seen.len(), seen[0].0.as_str(), seen[0].1), (1, "here.weight", [2, 8, 3, 5]));
        let slot = weight.slot().unwrap().tensor(&[15]).unwrap().unwrap().to_vec1::<f32>().unwrap();
        assert!(seen[0].2.iter().zip(&slot).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
