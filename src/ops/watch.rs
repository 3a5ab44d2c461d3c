//! How an operation shows one of its weights to the observer of its pass.

use super::ctx::Ctx;
use super::graph;
use super::observer::{BackwardObserver, LinearTensors, Place, VectorBackward, VectorTensors};
use super::path;
use super::precision::wide;
use super::segment::is_tracked;
use super::weight::{Weight, read_numbers};
use crate::kernels;
use candle_core::{D, Result, Tensor};
use std::sync::Arc;

/// A weight that the observer of a recording pass wants to see.
#[derive(Clone)]
pub(super) struct Watch {
    observer: Arc<dyn BackwardObserver>,
    place: Place,
    weight: Weight,
    trains: bool,
}

impl Watch {
    /// `None` where nothing is recorded, nobody watches, the operation has no place, or the weight is not wanted.
    pub(super) fn of(ctx: &Ctx, weight: &Weight) -> Option<Self> {
        let (observer, place) = ctx.watched()?;
        let trains = weight.is_trainable();
        observer.wants(place, trains).then(|| Self { observer, place, weight: weight.clone(), trains })
    }

    /// The samples' gradients of the numbers from `offset` on.
    pub(super) fn vectors(&self, offset: usize, gradients: &[f32], samples: usize) {
        let (place, weight, trains) = (self.place, self.weight.name(), self.trains);
        self.observer.vectors(&VectorBackward { place, weight, trains, offset, gradients, samples });
    }

    /// Both factors wherever they lie: `input [.., d_in]`, `output_grad [.., d_out]`.
    pub(super) fn linear_tensors(&self, input: &Tensor, output_grad: &Tensor, samples: usize) -> Result<()> {
        let flat = |t: &Tensor| t.reshape((t.elem_count() / t.dim(D::Minus1)?, t.dim(D::Minus1)?));
        let (input, output_grad) = (&flat(input)?, &flat(output_grad)?);
        let (place, weight, trains) = (self.place, self.weight.name(), self.trains);
        self.observer.linear_tensors(&LinearTensors { place, weight, trains, input, output_grad, samples })
    }

    /// The samples' gradients `[samples, ..]`, float32, wherever they lie.
    pub(super) fn vector_tensors(&self, offset: usize, gradients: &Tensor, samples: usize) -> Result<()> {
        let (place, weight, trains) = (self.place, self.weight.name(), self.trains);
        let seen = VectorTensors { place, weight, trains, offset, gradients, samples };
        if path::on_host(gradients) {
            return seen.copied(|seen| self.observer.vectors(seen));
        }
        self.observer.vector_tensors(&seen)
    }

    /// What is added to every row: the gradient is the sum of `grad [rows, d]` over each sample's rows.
    pub(super) fn added(&self, offset: usize, grad: &[f32], samples: usize, d: usize) {
        self.vectors(offset, &kernels::sample_sums(grad, samples, d), samples);
    }

    /// The numbers of the weight.
    pub(super) fn weight(&self) -> &Weight {
        &self.weight
    }
}

/// Samples in a batch of this shape; one row is one sample's.
pub(super) fn samples(x: &Tensor) -> usize {
    if x.rank() > 1 { x.dims()[0] } else { 1 }
}

/// Sums `[samples, d]` over each sample's rows of `x [rows, d]`, any leading dimensions, in float32.
pub(super) fn sample_sums(x: &Tensor, samples: usize) -> Result<Tensor> {
    let d = x.dim(D::Minus1)?;
    wide(x)?.reshape((samples, (), d))?.sum(1)
}

/// `y`, whose gradient, as it is and where it is, is shown to `see` on the way back. An untracked `y` is tied into the
/// graph for it.
pub(super) fn shown_there(
    ctx: &Ctx,
    y: Tensor,
    see: impl Fn(&Tensor) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    let tracked = is_tracked(&y);
    let Some(input) = (if tracked { Some(&y) } else { ctx.anchor() }) else { return Ok(y) };
    graph::carry("watched", input, y.detach(), move |grad| {
        see(grad)?;
        Ok(tracked.then(|| grad.clone()))
    })
}

/// `y`, whose gradient (in float32) is shown to `see` on the way back. An untracked `y` is tied into the graph for it.
pub(super) fn shown(
    ctx: &Ctx,
    y: Tensor,
    see: impl Fn(&[f32]) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    shown_there(ctx, y, move |grad| read_numbers(grad, &see)?)
}

/// `y [B, ..]`, made of a parameter by plain tensor operations: shows an observer the samples' gradients of the
/// parameter's numbers from `offset` on, which `gradients` computes from the gradient of `y` and the number of samples.
pub fn observe(
    ctx: &Ctx,
    y: Tensor,
    weight: &Weight,
    offset: usize,
    gradients: impl Fn(&[f32], usize) -> Vec<f32> + Send + Sync + 'static,
) -> Result<Tensor> {
    let Some(watch) = Watch::of(ctx, weight) else { return Ok(y) };
    let samples = samples(&y);
    shown(ctx, y, move |grad| {
        watch.vectors(offset, &gradients(grad, samples), samples);
        Ok(())
    })
}

/// `y [B, .., d]` to whose every row `d` numbers of `bias` from `offset` on were added by plain tensor operations.
pub fn observe_bias(ctx: &Ctx, y: Tensor, bias: &Weight, offset: usize) -> Result<Tensor> {
    let Some(watch) = Watch::of(ctx, bias) else { return Ok(y) };
    let samples = samples(&y);
    shown_there(ctx, y, move |grad| watch.vector_tensors(offset, &sample_sums(grad, samples)?, samples))
}
