//! How an operation shows one of its weights to the observer of its pass.

use super::ctx::Ctx;
use super::graph;
use super::observer::{BackwardObserver, LinearBackward, Place, VectorBackward};
use super::weight::{Weight, read_numbers};
use crate::kernels;
use candle_core::{Result, Tensor};
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

    /// Both factors: `input [rows, d_in]`, `output_grad [rows, d_out]`.
    pub(super) fn linear(&self, input: &[f32], output_grad: &[f32], samples: usize, (d_in, d_out): (usize, usize)) {
        let (place, weight, trains) = (self.place, self.weight.name(), self.trains);
        self.observer.linear(&LinearBackward { place, weight, trains, input, output_grad, samples, d_in, d_out });
    }

    /// The samples' gradients of the numbers from `offset` on.
    pub(super) fn vectors(&self, offset: usize, gradients: &[f32], samples: usize) {
        let (place, weight, trains) = (self.place, self.weight.name(), self.trains);
        self.observer.vectors(&VectorBackward { place, weight, trains, offset, gradients, samples });
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

/// `y`, whose gradient (in float32) is shown to `see` on the way back. An untracked `y` is tied into the graph for it.
pub(super) fn shown(
    ctx: &Ctx,
    y: Tensor,
    see: impl Fn(&[f32]) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    let tracked = y.track_op();
    let Some(input) = (if tracked { Some(&y) } else { ctx.anchor() }) else { return Ok(y) };
    graph::carry("watched", input, y.detach(), move |grad| {
        read_numbers(grad, &see)??;
        Ok(tracked.then(|| grad.clone()))
    })
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
    let d = y.dim(candle_core::D::Minus1)?;
    observe(ctx, y, bias, offset, move |grad, samples| kernels::sample_sums(grad, samples, d))
}
