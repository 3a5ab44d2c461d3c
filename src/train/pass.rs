//! A micro-batch, forward and backward.

use super::error::{At, SampleIds, TrainError};
use super::hook::{MicroBatch, SampleInfo, StepTimes};
use super::readout::{Readout, Ticket};
use super::step::{ForwardOutput, StepBatch, StepModel};
use crate::ops::{BackwardObserver, Ctx, Draw};
use candle_core::Tensor;
use std::sync::Arc;
use std::time::Instant;

type Result<T> = std::result::Result<T, TrainError>;

/// A micro-batch that is to run.
#[derive(Clone)]
pub(super) struct Job {
    /// Number within the step.
    pub(super) micro: usize,
    /// Which member of a team runs it.
    pub(super) member: usize,
    pub(super) draw: Draw,
    pub(super) observer: Option<Arc<dyn BackwardObserver>>,
}

/// The micro-batches of a step, and what each pass must know of all of them.
pub(super) struct Step<'b, B> {
    pub(super) batches: &'b [B],
    /// Labelled tokens of all.
    pub(super) labelled: usize,
    pub(super) at: &'b At,
}

/// A micro-batch that went forward and backward; some of its numbers wait on their device.
#[derive(Debug)]
pub(super) struct Pass {
    micro: usize,
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

/// A micro-batch whose numbers were read.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) micro: usize,
    pub(super) batch: MicroBatch,
    pub(super) objectives: Vec<(&'static str, f64)>,
    pub(super) sequence_tokens: usize,
}

impl Pass {
    /// Runs one micro-batch of `step`. Its part of the gradient of the step's mean loss is then in the slots of `model`.
    pub(super) fn run<M: StepModel>(
        model: &M,
        step: &Step<'_, M::Batch>,
        job: &Job,
        readout: &mut Readout,
        times: &mut StepTimes,
    ) -> Result<Self> {
        let began = Instant::now();
        let batch = &step.batches[job.micro];
        let failed = |source| step.model_failed(batch, source);
        let mut ctx = Ctx::train(model.device()).map_err(failed)?.with_draw(job.draw);
        if let Some(observer) = &job.observer {
            ctx = ctx.with_observer(Arc::clone(observer));
        }
        let mut output = model.forward(&ctx, batch).map_err(failed)?;
        step.check_labels(batch, &output)?;
        let losses = match output.losses.waiting() {
            Some(rows) => Losses::Waiting(readout.ask(rows).map_err(failed)?),
            None => Losses::Here(step.finite(batch, output.losses.read().map_err(failed)?)?),
        };
        times.forward += began.elapsed();

        let began = Instant::now();
        let parts = step.mean_parts(&output).map_err(failed)?;
        let ask = |(name, part): &(&'static str, Tensor)| Ok((*name, readout.ask(part)?));
        let objectives = parts.iter().map(ask).collect::<candle_core::Result<_>>().map_err(failed)?;
        backward(&output, &parts, step.labelled).map_err(failed)?;
        // The graph goes now, not when the numbers have been read.
        output.loss_sum = output.loss_sum.detach();
        output.objectives.clear();
        times.backward += began.elapsed();
        Ok(Self { micro: job.micro, output, samples: batch.samples(), losses, objectives })
    }

    /// After `readout` was read.
    pub(super) fn settle<B: StepBatch>(self, step: &Step<'_, B>, readout: &Readout) -> Result<Settled> {
        let Self { micro, output, samples, losses, objectives } = self;
        let sums = match losses {
            Losses::Here(sums) => sums,
            Losses::Waiting(ticket) => {
                let rows = readout.numbers(&ticket).iter().copied();
                step.finite(&step.batches[micro], output.losses.sums(rows))?
            }
        };
        let objective = |(name, ticket): (_, Ticket)| (name, readout.numbers(&ticket).iter().sum());
        Ok(Settled {
            micro,
            objectives: objectives.into_iter().map(objective).collect(),
            sequence_tokens: output.sequence_tokens,
            batch: MicroBatch { samples: output.by_sample(samples, sums), routing: output.routing },
        })
    }
}

impl<B: StepBatch> Step<'_, B> {
    fn check_labels(&self, batch: &B, output: &ForwardOutput) -> Result<()> {
        let (seen, announced) = (output.losses.tokens().iter().sum(), batch.labelled_tokens());
        if seen != announced {
            let samples = SampleIds(batch.samples());
            return Err(TrainError::LabelCount { at: self.at.clone(), announced, seen, samples });
        }
        Ok(())
    }

    /// The samples' losses, if they are finite.
    fn finite(&self, batch: &B, sums: Vec<f64>) -> Result<Vec<f64>> {
        let samples = batch.samples().into_iter().zip(&sums);
        let bad: Vec<_> = samples.filter(|(_, sum)| !sum.is_finite()).map(|(sample, _)| sample).collect();
        if bad.is_empty() {
            Ok(sums)
        } else {
            Err(TrainError::LossNotFinite { at: self.at.clone(), samples: SampleIds(bad) })
        }
    }

    /// Each objective's share of its mean over the whole step, tracked.
    fn mean_parts(&self, output: &ForwardOutput) -> candle_core::Result<Vec<(&'static str, Tensor)>> {
        let mut parts = Vec::new();
        for objective in &output.objectives {
            let count: usize = self.batches.iter().map(|b| b.objective_count(objective.name)).sum();
            if count > 0 {
                parts.push((objective.name, (&objective.sum * (1.0 / count as f64))?));
            }
        }
        Ok(parts)
    }

    fn model_failed(&self, batch: &B, source: candle_core::Error) -> TrainError {
        TrainError::Model { at: self.at.clone(), samples: SampleIds(batch.samples()), source }
    }
}

fn backward(output: &ForwardOutput, parts: &[(&'static str, Tensor)], labelled: usize) -> candle_core::Result<()> {
    let mut loss = (&output.loss_sum * (1.0 / labelled as f64))?;
    for (_, part) in parts {
        loss = (loss + part)?;
    }
    // Gradients of parameters went to their slots; what the store holds is dropped before the next forward pass.
    loss.backward().map(drop)
}
