//! From the micro-batches of a step to the gradient of its mean loss.

use super::{Result, Trainer};
use crate::ops::{Ctx, Draw};
use crate::train::error::{SampleIds, TrainError};
use crate::train::gradients::{Fault, global_norm};
use crate::train::hook::{MicroBatch, MicroView, StepTimes};
use crate::train::step::{BatchSource, ForwardOutput, StepBatch, StepModel};
use candle_core::Tensor;
use std::sync::Arc;
use std::time::Instant;

/// What the forward passes of a step gave.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Mean over the step's labelled tokens.
    pub loss: f64,
    /// Means of further objectives.
    pub objectives: Vec<(&'static str, f64)>,
    pub labelled_tokens: usize,
    pub sequence_tokens: usize,
    pub micro_batches: Vec<MicroBatch>,
}

impl<M: StepModel, S: BatchSource<Batch = M::Batch>> Trainer<'_, M, S> {
    /// Runs every micro-batch forward and backward. The slots then hold the gradient of
    /// `sum of all token losses / labelled tokens of the whole step` plus the objectives' means.
    pub(super) fn gather_gradients(&mut self, batches: &[M::Batch], times: &mut StepTimes) -> Result<Gathered> {
        let mut gathered = Gathered { labelled_tokens: self.count_labels(batches)?, ..Gathered::default() };
        for (micro, batch) in (0u32..).zip(batches) {
            let began = Instant::now();
            let ctx = self.context(batches, micro)?;
            let output = self.model.forward(&ctx, batch).map_err(|source| self.model_failed(batch, source))?;
            self.check_losses(batch, &output)?;
            times.forward += began.elapsed();

            let began = Instant::now();
            let parts = Self::mean_parts(batches, &output);
            let parts = parts.map_err(|source| self.model_failed(batch, source))?;
            Self::backward(&output, &parts, gathered.labelled_tokens)
                .map_err(|source| self.model_failed(batch, source))?;
            times.backward += began.elapsed();
            gathered.add(output, &parts);
        }
        gathered.loss /= gathered.labelled_tokens as f64;
        Ok(gathered)
    }

    /// The global norm of the step's gradients.
    pub(super) fn check_gradients(&self, batches: &[M::Batch]) -> Result<f64> {
        let samples = || SampleIds(batches.iter().flat_map(StepBatch::sample_ids).collect());
        global_norm(self.model.params()).map_err(|fault| match fault {
            Fault::Missing(parameter) => TrainError::GradientMissing { at: self.at(), parameter, samples: samples() },
            Fault::NotFinite(parameter) => {
                TrainError::GradientNotFinite { at: self.at(), parameter, samples: samples() }
            }
            Fault::Unreadable(reason) => self.tensor_failed(candle_core::Error::Msg(reason)),
        })
    }

    fn count_labels(&self, batches: &[M::Batch]) -> Result<usize> {
        let mut total = 0;
        for batch in batches {
            match batch.labelled_tokens() {
                0 => return Err(TrainError::NoLabels { at: self.at(), samples: SampleIds(batch.sample_ids()) }),
                tokens => total += tokens,
            }
        }
        Ok(total)
    }

    /// What travels with the forward pass of a micro-batch.
    fn context(&mut self, batches: &[M::Batch], micro: u32) -> Result<Ctx> {
        let at = self.id();
        let ctx = Ctx::train(self.model.device()).map_err(|source| self.tensor_failed(source))?;
        let ctx = ctx.with_draw(Draw { seed: self.plan.seed, step: at.global_step, micro });
        let samples = batches[micro as usize].samples();
        let view = MicroView { at, micro, micro_batches: batches.len(), samples: &samples };
        Ok(match self.hooks.observer(&view) {
            Some(observer) => ctx.with_observer(observer),
            None => ctx,
        })
    }

    fn check_losses(&self, batch: &M::Batch, output: &ForwardOutput) -> Result<()> {
        let bad = output.samples.iter().filter(|s| !s.loss_sum.is_finite()).map(|s| Arc::clone(&s.id));
        let bad: Vec<_> = bad.collect();
        if !bad.is_empty() {
            return Err(TrainError::LossNotFinite { at: self.at(), samples: SampleIds(bad) });
        }
        let seen = output.samples.iter().map(|s| s.tokens).sum();
        let announced = batch.labelled_tokens();
        if seen != announced {
            let samples = SampleIds(batch.sample_ids());
            return Err(TrainError::LabelCount { at: self.at(), announced, seen, samples });
        }
        Ok(())
    }

    /// Each objective's share of its mean over the whole step: tracked, and as a number.
    fn mean_parts(
        batches: &[M::Batch],
        output: &ForwardOutput,
    ) -> candle_core::Result<Vec<(&'static str, Tensor, f64)>> {
        let mut parts = Vec::new();
        for objective in &output.objectives {
            let count: usize = batches.iter().map(|b| b.objective_count(objective.name)).sum();
            if count > 0 {
                let part = (&objective.sum * (1.0 / count as f64))?;
                let value = f64::from(part.detach().to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()?);
                parts.push((objective.name, part, value));
            }
        }
        Ok(parts)
    }

    fn backward(
        output: &ForwardOutput,
        parts: &[(&'static str, Tensor, f64)],
        labelled: usize,
    ) -> candle_core::Result<()> {
        let mut loss = (&output.loss_sum * (1.0 / labelled as f64))?;
        for (_, part, _) in parts {
            loss = (loss + part)?;
        }
        // Gradients of parameters went to their slots; what the store holds is dropped before the next forward pass.
        loss.backward().map(drop)
    }

    fn model_failed(&self, batch: &M::Batch, source: candle_core::Error) -> TrainError {
        TrainError::Model { at: self.at(), samples: SampleIds(batch.sample_ids()), source }
    }
}

impl Gathered {
    fn add(&mut self, output: ForwardOutput, parts: &[(&'static str, Tensor, f64)]) {
        self.loss += output.samples.iter().map(|s| s.loss_sum).sum::<f64>();
        self.sequence_tokens += output.sequence_tokens;
        for (name, _, value) in parts {
            match self.objectives.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += value,
                None => self.objectives.push((name, *value)),
            }
        }
        self.micro_batches.push(MicroBatch { samples: output.samples, routing: output.routing });
    }
}
