//! From the micro-batches of a step to the gradient of its mean loss.

use super::{Result, Trainer};
use crate::ops::Draw;
use crate::train::error::{SampleIds, TrainError};
use crate::train::gradients::{Fault, Norm};
use crate::train::hook::{MicroBatch, MicroView, StepTimes};
use crate::train::pass::{Job, Pass, Settled, Step};
use crate::train::readout::Readout;
use crate::train::step::{BatchSource, StepBatch, StepModel};
use crate::train::team::Team;
use std::sync::Arc;

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

/// The passes that this device ran, some of whose numbers wait on it.
#[derive(Debug, Default)]
pub(super) struct Queued {
    labelled_tokens: usize,
    passes: Vec<Pass>,
    readout: Readout,
}

impl<M: StepModel, S: BatchSource<Batch = M::Batch>> Trainer<'_, M, S> {
    /// Runs every micro-batch forward and backward, here and on the other members of a team. The slots then hold the
    /// gradient of `sum of all token losses / labelled tokens of the whole step` plus the objectives' means.
    pub(super) fn run_passes(&mut self, batches: &Arc<Vec<M::Batch>>, times: &mut StepTimes) -> Result<Queued> {
        let labelled = self.count_labels(batches)?;
        let mut jobs = self.jobs(batches);
        let at = self.at();
        if let Some(team) = &self.team {
            jobs = team.deal(batches, jobs, labelled, &at)?;
        }
        let mut queued = Queued { labelled_tokens: labelled, ..Queued::default() };
        let step = Step { batches, labelled, at: &at };
        for job in &jobs {
            queued.passes.push(Pass::run(self.model, &step, job, &mut queued.readout, times)?);
        }
        if let Some(team) = &mut self.team {
            team.sum(self.model.params(), &at)?;
        }
        Ok(queued)
    }

    /// Reads what the passes left on their device, losses and the gradients' norm together: the one time in a step that
    /// the host waits for a card.
    pub(super) fn settle(&self, batches: &[M::Batch], queued: Queued) -> Result<Gathered> {
        let Queued { labelled_tokens, passes, mut readout } = queued;
        let norm = Norm::ask(self.model.params(), &mut readout).map_err(|fault| self.gradient_fault(batches, fault))?;
        readout.read().map_err(|source| self.tensor_failed(source))?;
        let at = self.at();
        let step = Step { batches, labelled: labelled_tokens, at: &at };
        let mut settled = passes.into_iter().map(|pass| pass.settle(&step, &readout)).collect::<Result<Vec<_>>>()?;
        if let Some(team) = &self.team {
            settled.append(&mut team.settle(&at)?);
            settled.sort_by_key(|pass| pass.micro);
        }
        let mut gathered = Gathered { labelled_tokens, ..Gathered::default() };
        settled.into_iter().for_each(|pass| gathered.add(pass));
        gathered.loss /= labelled_tokens as f64;
        gathered.grad_norm = norm.finish(&readout).map_err(|fault| self.gradient_fault(batches, fault))?;
        Ok(gathered)
    }

    fn gradient_fault(&self, batches: &[M::Batch], fault: Fault) -> TrainError {
        let samples = || SampleIds(batches.iter().flat_map(StepBatch::samples).collect());
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
                0 => return Err(TrainError::NoLabels { at: self.at(), samples: SampleIds(batch.samples()) }),
                tokens => total += tokens,
            }
        }
        Ok(total)
    }

    /// What travels with the forward pass of each micro-batch.
    fn jobs(&mut self, batches: &[M::Batch]) -> Vec<Job> {
        let (at, members) = (self.plan.id(self.progress.step), self.team.as_ref().map_or(1, Team::size));
        let mut jobs = Vec::with_capacity(batches.len());
        for (micro, batch) in batches.iter().enumerate() {
            let samples = batch.samples();
            let number = micro as u32;
            let member = micro % members;
            let view = MicroView { at, micro: number, micro_batches: batches.len(), member, samples: &samples };
            let draw = Draw { seed: self.plan.seed, step: at.global_step, micro: number };
            jobs.push(Job { micro, member, draw, observer: self.hooks.observer(&view) });
        }
        jobs
    }
}

impl Gathered {
    fn add(&mut self, pass: Settled) {
        self.loss += pass.batch.samples.iter().map(|s| s.loss_sum).sum::<f64>();
        self.sequence_tokens += pass.sequence_tokens;
        for (name, value) in pass.objectives {
            self.add_objective(name, value);
        }
        self.micro_batches.push(pass.batch);
    }

    fn add_objective(&mut self, name: &'static str, value: f64) {
        match self.objectives.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += value,
            None => self.objectives.push((name, value)),
        }
    }
}
