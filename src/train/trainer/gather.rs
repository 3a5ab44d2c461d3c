//! From the micro-batches of a step to the gradient of its mean loss.

use super::{Result, Trainer};
use crate::ops::{Ctx, Draw};
use crate::train::error::{SampleIds, TrainError};
use crate::train::gradients::{Fault, Norm};
use crate::train::hook::{MicroBatch, MicroView, SampleInfo, StepTimes};
use crate::train::readout::{Readout, Ticket};
use crate::train::step::{BatchSource, ForwardOutput, StepBatch, StepModel};
use candle_core::Tensor;
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
    /// Global norm of the gradients.
    pub grad_norm: f64,
}

/// The passes of a step, some of whose numbers wait on their device.
#[derive(Debug, Default)]
pub(super) struct Queued {
    labelled_tokens: usize,
    passes: Vec<Pass>,
    readout: Readout,
}

/// A micro-batch that went forward and backward.
#[derive(Debug)]
struct Pass {
    output: ForwardOutput,
    samples: Vec<SampleInfo>,
    losses: Losses,
    objectives: Vec<(&'static str, Ticket)>,
}

/// Losses by sample.
#[derive(Debug)]
enum Losses {
    Here(Vec<f64>),
    /// The rows' losses are to be fetched.
    Waiting(Ticket),
}

impl<M: StepModel, S: BatchSource<Batch = M::Batch>> Trainer<'_, M, S> {
    /// Runs every micro-batch forward and backward. The slots then hold the gradient of
    /// `sum of all token losses / labelled tokens of the whole step` plus the objectives' means.
    pub(super) fn run_passes(&mut self, batches: &[M::Batch], times: &mut StepTimes) -> Result<Queued> {
        let mut queued = Queued { labelled_tokens: self.count_labels(batches)?, ..Queued::default() };
        for (micro, batch) in (0u32..).zip(batches) {
            let began = Instant::now();
            let ctx = self.context(batches, micro)?;
            let mut output = self.model.forward(&ctx, batch).map_err(|source| self.model_failed(batch, source))?;
            self.check_labels(batch, &output)?;
            let failed = |source| self.model_failed(batch, source);
            let losses = match output.losses.waiting() {
                Some(rows) => Losses::Waiting(queued.readout.ask(rows).map_err(failed)?),
                None => Losses::Here(self.finite(batch, output.losses.read().map_err(failed)?)?),
            };
            times.forward += began.elapsed();

            let began = Instant::now();
            let parts = Self::mean_parts(batches, &output).map_err(failed)?;
            let ask = |(name, part): &(&'static str, Tensor)| Ok((*name, queued.readout.ask(part)?));
            let objectives = parts.iter().map(ask).collect::<candle_core::Result<_>>().map_err(failed)?;
            Self::backward(&output, &parts, queued.labelled_tokens).map_err(failed)?;
            // The graph goes now, not when the numbers have been read.
            output.loss_sum = output.loss_sum.detach();
            output.objectives.clear();
            times.backward += began.elapsed();
            queued.passes.push(Pass { output, samples: batch.samples(), losses, objectives });
        }
        Ok(queued)
    }

    /// Reads what the passes left on their device, losses and the gradients' norm together: the one time in a step that
    /// the host waits for a card.
    pub(super) fn settle(&self, batches: &[M::Batch], queued: Queued) -> Result<Gathered> {
        let Queued { labelled_tokens, passes, mut readout } = queued;
        let norm = Norm::ask(self.model.params(), &mut readout).map_err(|fault| self.gradient_fault(batches, fault))?;
        readout.read().map_err(|source| self.tensor_failed(source))?;
        let mut gathered = Gathered { labelled_tokens, ..Gathered::default() };
        for (batch, pass) in batches.iter().zip(passes) {
            let Pass { output, samples, losses, objectives } = pass;
            let sums = match losses {
                Losses::Here(sums) => sums,
                Losses::Waiting(ticket) => {
                    self.finite(batch, output.losses.sums(readout.numbers(&ticket).iter().copied()))?
                }
            };
            let samples = output.by_sample(samples, sums);
            gathered.loss += samples.iter().map(|s| s.loss_sum).sum::<f64>();
            gathered.sequence_tokens += output.sequence_tokens;
            for (name, ticket) in objectives {
                gathered.add_objective(name, readout.numbers(&ticket).iter().sum());
            }
            gathered.micro_batches.push(MicroBatch { samples, routing: output.routing });
        }
        gathered.loss /= labelled_tokens as f64;
        gathered.grad_norm = norm.finish(&readout).map_err(|fault| self.gradient_fault(batches, fault))?;
        Ok(gathered)
    }

    fn gradient_fault(&self, batches: &[M::Batch], fault: Fault) -> TrainError {
        let samples = || SampleIds(batches.iter().flat_map(StepBatch::sample_ids).collect());
        match fault {
            Fault::Missing(parameter) => TrainError::GradientMissing { at: self.at(), parameter, samples: samples() },
            Fault::NotFinite(parameter) => {
                TrainError::GradientNotFinite { at: self.at(), parameter, samples: samples() }
            }
            Fault::Unreadable(reason) => self.tensor_failed(candle_core::Error::Msg(reason)),
        }
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

    fn check_labels(&self, batch: &M::Batch, output: &ForwardOutput) -> Result<()> {
        let (seen, announced) = (output.losses.tokens().iter().sum(), batch.labelled_tokens());
        if seen != announced {
            let samples = SampleIds(batch.sample_ids());
            return Err(TrainError::LabelCount { at: self.at(), announced, seen, samples });
        }
        Ok(())
    }

    /// The samples' losses, if they are finite.
    fn finite(&self, batch: &M::Batch, sums: Vec<f64>) -> Result<Vec<f64>> {
        let ids = batch.sample_ids();
        let bad: Vec<_> = ids.into_iter().zip(&sums).filter(|(_, sum)| !sum.is_finite()).map(|(id, _)| id).collect();
        if bad.is_empty() {
            Ok(sums)
        } else {
            Err(TrainError::LossNotFinite { at: self.at(), samples: SampleIds(bad) })
        }
    }

    /// Each objective's share of its mean over the whole step, tracked.
    fn mean_parts(batches: &[M::Batch], output: &ForwardOutput) -> candle_core::Result<Vec<(&'static str, Tensor)>> {
        let mut parts = Vec::new();
        for objective in &output.objectives {
            let count: usize = batches.iter().map(|b| b.objective_count(objective.name)).sum();
            if count > 0 {
                parts.push((objective.name, (&objective.sum * (1.0 / count as f64))?));
            }
        }
        Ok(parts)
    }

    fn backward(output: &ForwardOutput, parts: &[(&'static str, Tensor)], labelled: usize) -> candle_core::Result<()> {
        let mut loss = (&output.loss_sum * (1.0 / labelled as f64))?;
        for (_, part) in parts {
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
    fn add_objective(&mut self, name: &'static str, value: f64) {
        match self.objectives.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += value,
            None => self.objectives.push((name, value)),
        }
    }
}
