//! The loop.

mod evaluate;
mod gather;
mod save;
mod tracked;
mod update;

use super::adamw::AdamW;
use super::checkpoint::{Loaded, StartValues};
use super::error::{At, BoxError, TrainError};
use super::hook::{Hook, StageView, StepId, StepTimes, StepView};
use super::hooks::Hooks;
use super::spike::SpikeMonitor;
use super::step::{BatchSource, Evaluator, Saver, Scope, StepModel, TrackedSource};
use super::team::Team;
use crate::config::train::{EvalAtEnd, Stage};
use crate::nn::ParamStore;
use gather::Gathered;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use update::Update;

/// One stage of a run, with its place in it.
#[derive(Clone, Debug)]
pub struct StagePlan {
    /// The checked configuration.
    pub stage: Stage,
    /// Index in the recipe.
    pub index: usize,
    /// Optimiser steps of this stage.
    pub steps: u64,
    /// Optimiser steps of the stages before.
    pub steps_before: u64,
    /// Optimiser steps of the whole run.
    pub steps_in_run: u64,
    /// The run's seed.
    pub seed: u64,
    /// Stop (with a checkpoint) when so many steps of the run are done.
    pub stop_after: Option<u64>,
    /// Set it to end after the step that is under way (with a checkpoint).
    pub stop: Arc<AtomicBool>,
}

impl StagePlan {
    /// Where a record of step `step` of the stage belongs.
    fn id(&self, step: u64) -> StepId<'_> {
        StepId { stage: &self.stage.name, step, global_step: self.steps_before + step }
    }
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All its steps are done.
    Finished,
    /// It was asked to stop and is saved.
    Stopped,
}

type Result<T> = std::result::Result<T, TrainError>;

/// Trains one stage.
#[derive(Debug)]
pub struct Trainer<'a, M: StepModel, S: BatchSource<Batch = M::Batch>> {
    plan: &'a StagePlan,
    model: &'a M,
    source: &'a mut S,
    hooks: Hooks<'a>,
    evaluator: Option<Collaborator<'a, dyn Evaluator<M> + 'a>>,
    saver: Option<Collaborator<'a, dyn Saver + 'a>>,
    tracked: Option<Collaborator<'a, dyn TrackedSource<M::Batch> + 'a>>,
    /// Other devices that take part.
    team: Option<Team<M::Batch>>,
    optimizer: AdamW,
    start: StartValues,
    progress: Progress,
}

/// A borrowed collaborator that need not be printable.
struct Collaborator<'a, T: ?Sized>(&'a mut T);

impl<T: ?Sized> std::fmt::Debug for Collaborator<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<T>())
    }
}

/// What moves from step to step, beside parameters and moments.
#[derive(Clone, Debug, Default)]
struct Progress {
    step: u64,
    started_at: u64,
    spikes: SpikeMonitor,
    eval_loss: Option<f32>,
    best_eval_loss: Option<f32>,
}

impl<'a, M: StepModel, S: BatchSource<Batch = M::Batch>> Trainer<'a, M, S> {
    /// A stage from its beginning.
    ///
    /// # Errors
    /// No trainable parameter; a tensor that cannot be copied.
    pub fn new(plan: &'a StagePlan, model: &'a M, source: &'a mut S) -> Result<Self> {
        let stage = &plan.stage;
        if model.params().trainable().next().is_none() {
            return Err(TrainError::NothingTrains { stage: stage.name.clone() });
        }
        let failed = |source| TrainError::Tensor { stage: stage.name.clone(), source };
        Ok(Self {
            plan,
            model,
            source,
            hooks: Hooks::default(),
            evaluator: None,
            saver: None,
            tracked: None,
            team: None,
            optimizer: AdamW::new(model.params(), stage),
            start: StartValues::copy(model.params()).map_err(failed)?,
            progress: Progress::default(),
        })
    }

    /// One more listener, called after the others.
    #[must_use]
    pub fn with_hook(mut self, hook: &'a mut dyn Hook) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Evaluates on held-out samples when the stage says so.
    #[must_use]
    pub fn with_evaluator(mut self, evaluator: &'a mut dyn Evaluator<M>) -> Self {
        self.evaluator = Some(Collaborator(evaluator));
        self
    }

    /// Measures these samples, without training on them, when a hook says so.
    #[must_use]
    pub fn with_tracked(mut self, tracked: &'a mut dyn TrackedSource<M::Batch>) -> Self {
        self.tracked = Some(Collaborator(tracked));
        self
    }

    /// Saves checkpoints when the stage says so.
    #[must_use]
    pub fn with_saver(mut self, saver: &'a mut dyn Saver) -> Self {
        self.saver = Some(Collaborator(saver));
        self
    }

    /// Shares the micro-batches of every step with other devices.
    #[must_use]
    pub fn with_team(mut self, team: Team<M::Batch>) -> Self {
        // Each member keeps its own part of the optimiser.
        self.optimizer.keep_only(|i| team.trainer_moves(i));
        self.team = Some(team);
        self
    }

    /// Goes on from a checkpoint of this stage, whose model is this model. Call it after the hooks and the team are there.
    ///
    /// # Errors
    /// A checkpoint of another stage, seed, length or set of trained parameters.
    pub fn resume(mut self, loaded: &Loaded) -> Result<Self> {
        self.take_over(loaded)?;
        Ok(self)
    }

    /// Trains until the stage is over or it is asked to stop.
    ///
    /// # Errors
    /// See [`TrainError`]; the optimiser has not moved in the step that the error names.
    pub fn run(mut self) -> Result<Outcome> {
        self.begin()?;
        while !self.is_over() {
            let improved = match self.step() {
                // Nothing has moved yet: the run can go on from here once the data are mended.
                Err(error @ TrainError::Data { .. }) => {
                    self.save()?;
                    return Err(error);
                }
                stepped => stepped?,
            };
            if self.must_stop() {
                self.save()?;
                return Ok(Outcome::Stopped);
            }
            if self.save_is_due(improved) {
                self.save()?;
            }
        }
        self.finish()?;
        Ok(Outcome::Finished)
    }

    /// Tells the hooks that the stage begins or goes on. [`run`](Self::run) does this and all that follows; who leads
    /// several trainers side by side calls `begin`, then `step` until [`is_over`](Self::is_over), then `finish`, and saves
    /// them together.
    ///
    /// # Errors
    /// A hook's, or the first evaluation's.
    pub fn begin(&mut self) -> Result<()> {
        self.model.params().clear_gradients();
        if let Some(team) = &self.team {
            team.begin(&self.start, &self.at())?;
        }
        let view = stage_view(self.plan, self.model, &self.progress, &self.start);
        self.hooks.stage_start(&view).map_err(|source| self.hook_failed(source))?;
        if self.plan.stage.eval_at_start && self.progress.step == 0 {
            self.evaluate(Scope::Subset)?;
        }
        Ok(())
    }

    /// One optimiser step, and the evaluation that is due after it. Whether the held-out loss is the lowest so far.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn step(&mut self) -> Result<bool> {
        let began = Instant::now();
        // First, so that nothing is recorded of a step that has no data.
        let batches = Arc::new(self.load()?);
        let mut times = StepTimes { data: began.elapsed(), ..StepTimes::default() };
        self.measure_tracked()?;
        let queued = self.run_passes(&batches, &mut times)?;
        let gathered = self.settle(&batches, queued)?;
        self.show_gradients()?;
        let update = self.update(gathered.grad_norm, &mut times)?;
        times.hooks = self.hooks.take_spent();
        times.total = began.elapsed();
        self.report(&gathered, &update, times)?;
        self.progress.step += 1;
        self.evaluate_if_due()
    }

    /// The last evaluation, the stage's last checkpoint, and the word to the hooks that it is over.
    ///
    /// # Errors
    /// A hook's, the evaluation's, or a checkpoint that cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        match self.plan.stage.eval_at_end {
            EvalAtEnd::Whole => self.evaluate(Scope::Whole)?,
            // With `eval_every` the subset was evaluated after the last step already.
            EvalAtEnd::Subset if self.plan.stage.eval_every.is_some() => false,
            EvalAtEnd::Subset => self.evaluate(Scope::Subset)?,
        };
        self.save_as(true)?;
        let view = stage_view(self.plan, self.model, &self.progress, &self.start);
        self.hooks.stage_end(&view).map_err(|source| self.hook_failed(source))
    }

    /// For a stage whose end was loaded: evaluates and saves it as if its steps had just been made.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn run_from_its_end(mut self) -> Result<Outcome> {
        self.progress = Progress { step: self.plan.steps, started_at: self.plan.steps, ..Progress::default() };
        self.begin()?;
        self.finish()?;
        Ok(Outcome::Finished)
    }

    /// Whether all steps are done.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.progress.step >= self.plan.steps
    }

    /// Steps of the stage that are done.
    #[must_use]
    pub fn steps_done(&self) -> u64 {
        self.progress.step
    }

    /// Steps of the stage in all.
    #[must_use]
    pub fn steps_planned(&self) -> u64 {
        self.plan.steps
    }

    /// Steps of the run that are done.
    #[must_use]
    pub fn global_step(&self) -> u64 {
        self.id().global_step
    }

    /// The parameters as they are now.
    #[must_use]
    pub fn params(&self) -> &'a ParamStore {
        self.model.params()
    }

    /// The stage as hooks see it begin.
    #[must_use]
    pub fn view(&self) -> StageView<'_> {
        stage_view(self.plan, self.model, &self.progress, &self.start)
    }

    fn load(&mut self) -> Result<Vec<M::Batch>> {
        let batches = self.source.next_step().map_err(|source| TrainError::Data { at: self.at(), source })?;
        if batches.is_empty() { Err(TrainError::NoBatch { at: self.at() }) } else { Ok(batches) }
    }

    fn report(&mut self, gathered: &Gathered, update: &Update, times: StepTimes) -> Result<()> {
        let view = StepView {
            at: self.id(),
            steps_in_stage: self.plan.steps,
            steps_in_run: self.plan.steps_in_run,
            loss: gathered.loss,
            objectives: &gathered.objectives,
            learning_rates: &update.learning_rates,
            grad_norm: update.grad_norm,
            clip_factor: update.clip_factor,
            labelled_tokens: gathered.labelled_tokens,
            sequence_tokens: gathered.sequence_tokens,
            micro_batches: &gathered.micro_batches,
            params: self.model.params(),
            times,
        };
        self.hooks.step(&view).map_err(|source| self.hook_failed(source))?;
        let warnings = self.progress.spikes.observe(&self.plan.stage.spikes, gathered.loss, update.grad_norm);
        for warning in warnings {
            let line = format!("{}: {warning}", self.at());
            self.hooks.warn(&line).map_err(|source| self.hook_failed(source))?;
        }
        Ok(())
    }

    fn must_stop(&self) -> bool {
        let done = self.id().global_step;
        let limit = self.plan.stop_after.is_some_and(|limit| done >= limit) && !self.is_over();
        limit || self.plan.stop.load(Ordering::SeqCst)
    }

    fn id(&self) -> StepId<'a> {
        self.plan.id(self.progress.step)
    }

    fn at(&self) -> At {
        At { stage: self.plan.stage.name.clone(), step: self.progress.step }
    }

    fn hook_failed(&self, source: BoxError) -> TrainError {
        TrainError::Hook { at: self.at(), source }
    }

    fn tensor_failed(&self, source: candle_core::Error) -> TrainError {
        TrainError::Tensor { stage: self.plan.stage.name.clone(), source }
    }
}

fn stage_view<'v>(
    plan: &'v StagePlan,
    model: &'v impl StepModel,
    progress: &Progress,
    start: &'v StartValues,
) -> StageView<'v> {
    StageView {
        stage: &plan.stage.name,
        index: plan.index,
        steps: plan.steps,
        steps_in_run: plan.steps_in_run,
        start_step: progress.started_at,
        params: model.params(),
        start_values: start,
    }
}
