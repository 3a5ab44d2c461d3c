//! What the loop hands to be saved, and takes back.

use super::{Collaborator, Progress, Result, Trainer};
use crate::train::checkpoint::{Loaded, Policy, RunState, SCHEMA, Snapshot, StartValues};
use crate::train::error::TrainError;
use crate::train::step::{BatchSource, StepModel};
use crate::train::team::Everyones;

impl<M: StepModel, S: BatchSource<Batch = M::Batch>> Trainer<'_, M, S> {
    /// Whether a checkpoint is to be written after this step. The stage's last one is written by
    /// [`finish`](Self::finish), after the last evaluation.
    #[must_use]
    pub fn save_is_due(&self, improved: bool) -> bool {
        let stage = &self.plan.stage;
        let due = stage.checkpoint_every.is_some_and(|every| self.progress.step.is_multiple_of(every));
        !self.is_over() && (due || (improved && stage.keep_best))
    }

    /// Writes a checkpoint of the stage under way.
    ///
    /// # Errors
    /// A hook's, or a file that cannot be written.
    pub fn save(&mut self) -> Result<()> {
        self.save_as(false)
    }

    pub(super) fn save_as(&mut self, stage_finished: bool) -> Result<()> {
        let at = self.at();
        if let Some(team) = &self.team {
            team.check(self.model.params(), &at)?;
        }
        if self.saver.is_none() {
            return Ok(());
        }
        self.hooks.before_checkpoint(self.id()).map_err(|source| self.hook_failed(source))?;
        let state = self.state(stage_finished);
        let stage = &self.plan.stage;
        let snapshot = Snapshot {
            state: &state,
            params: self.model.params(),
            optimizer: &Everyones { own: &self.optimizer, team: self.team.as_ref(), at },
            start: &self.start,
            policy: Policy { last: stage.keep_last, best: stage.keep_best, end: stage.keep_end },
        };
        if let Some(Collaborator(saver)) = &mut self.saver {
            saver.save(&snapshot)?;
        }
        Ok(())
    }

    fn state(&self, stage_finished: bool) -> RunState {
        RunState {
            schema: SCHEMA,
            stage: self.plan.stage.name.clone(),
            stage_index: self.plan.index,
            step: self.progress.step,
            steps_in_stage: self.plan.steps,
            global_step: self.id().global_step,
            stage_finished,
            seed: self.plan.seed,
            position: self.source.position(),
            eval_loss: self.progress.eval_loss,
            best_eval_loss: self.progress.best_eval_loss,
            spikes: self.progress.spikes.clone(),
            tensors: Some(self.model.params().len()),
            hooks: self.hooks.save_state(),
        }
    }

    pub(super) fn take_over(&mut self, loaded: &Loaded) -> Result<()> {
        let state = &loaded.state;
        self.check_same_stage(state)?;
        let refused =
            |e: candle_core::Error| TrainError::Resume { stage: self.plan.stage.name.clone(), reason: e.to_string() };
        loaded.check(self.model.params()).map_err(refused)?;
        self.start = StartValues::from_file(self.model.params(), &loaded.start).map_err(refused)?;
        let moments = loaded.moments().map_err(refused)?;
        if let Some(team) = &self.team {
            team.restore(state.step, self.model.params(), &moments, &self.at())?;
        }
        self.optimizer.restore(state.step, moments).map_err(refused)?;
        self.source.seek(&state.position).map_err(|source| TrainError::Data { at: self.at(), source })?;
        self.progress = Progress {
            step: state.step,
            started_at: state.step,
            spikes: state.spikes.clone(),
            eval_loss: state.eval_loss,
            best_eval_loss: state.best_eval_loss,
        };
        self.hooks.load_state(&state.hooks).map_err(|source| self.hook_failed(source))
    }

    fn check_same_stage(&self, state: &RunState) -> Result<()> {
        let plan = self.plan;
        let pairs = [
            ("stage", state.stage.clone(), plan.stage.name.clone()),
            ("stage index", state.stage_index.to_string(), plan.index.to_string()),
            ("steps in the stage", state.steps_in_stage.to_string(), plan.steps.to_string()),
            ("seed", state.seed.to_string(), plan.seed.to_string()),
            ("steps done", state.global_step.to_string(), (plan.steps_before + state.step).to_string()),
        ];
        match pairs.into_iter().find(|(_, saved, now)| saved != now) {
            None => Ok(()),
            Some((what, saved, now)) => Err(TrainError::Resume {
                stage: plan.stage.name.clone(),
                reason: format!("its {what} is {saved}, this run's is {now}"),
            }),
        }
    }
}
