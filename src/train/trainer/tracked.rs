//! Samples that are looked at again and again: forward, and backward past closed slots.

use super::{Collaborator, Result, Trainer};
use crate::ops::{BackwardObserver, Ctx};
use crate::train::error::{SampleIds, TrainError};
use crate::train::hook::{MicroBatch, MicroView, TrackedView};
use crate::train::step::{BatchSource, ForwardOutput, StepBatch, StepModel};
use std::sync::Arc;
use std::time::Instant;

impl<M: StepModel, S: BatchSource<Batch = M::Batch>> Trainer<'_, M, S> {
    /// Nothing of it is left behind: no draw, no gradient, no place in the data.
    pub(super) fn measure_tracked(&mut self) -> Result<()> {
        let (at, place, model) = (self.id(), self.at(), self.model);
        let Some(Collaborator(tracked)) = self.tracked.as_mut().filter(|_| self.hooks.wants_tracked(at)) else {
            return Ok(());
        };
        let began = Instant::now();
        let batches = tracked.batches().map_err(|source| TrainError::Data { at: place.clone(), source })?;
        let labelled: usize = batches.iter().map(StepBatch::labelled_tokens).sum();
        let mut micro_batches = Vec::with_capacity(batches.len());
        for (micro, batch) in (0u32..).zip(batches) {
            let samples = batch.samples();
            let view = MicroView { at, micro, micro_batches: batches.len(), member: 0, samples: &samples };
            let observer = self.hooks.tracked_observer(&view);
            let measured = look(model, batch, observer, labelled);
            let failed = |source| TrainError::Model { at: place.clone(), samples: SampleIds(batch.samples()), source };
            let output = measured.map_err(failed)?;
            let sums = output.losses.read().map_err(failed)?;
            let samples = output.by_sample(samples, sums);
            micro_batches.push(MicroBatch { samples, routing: output.routing });
        }
        let view = TrackedView { at, micro_batches: &micro_batches, took: began.elapsed() };
        self.hooks.tracked(&view).map_err(|source| self.hook_failed(source))
    }
}

/// One batch: forward as in an evaluation, and for an observer backward from its share of the mean loss.
fn look<M: StepModel>(
    model: &M,
    batch: &M::Batch,
    observer: Option<Arc<dyn BackwardObserver>>,
    labelled: usize,
) -> candle_core::Result<ForwardOutput> {
    let Some(observer) = observer else { return model.forward(&Ctx::eval(), batch) };
    let ctx = Ctx::train(model.device())?.with_closed_slots().with_observer(observer);
    let output = model.forward(&ctx, batch)?;
    // Without an image in the batch nothing leads to the encoder.
    if labelled > 0 && output.loss_sum.track_op() {
        drop((&output.loss_sum * (1.0 / labelled as f64))?.backward()?);
    }
    Ok(output)
}
