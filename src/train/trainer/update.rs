//! From a step's gradients to its new parameters.

use super::{Result, Trainer};
use crate::config::train::GradClip;
use crate::train::error::TrainError;
use crate::train::gradients::clip_factor;
use crate::train::hook::{GradientView, StepTimes, UpdateView};
use crate::train::schedule::learning_rate_share;
use crate::train::step::{BatchSource, StepModel};
use crate::train::team::Everyones;
use std::time::Instant;

/// What an optimiser step did.
pub(super) struct Update {
    pub grad_norm: f64,
    pub clip_factor: f64,
    pub learning_rates: Vec<(String, f64)>,
}

impl<M: StepModel, S: BatchSource<Batch = M::Batch>> Trainer<'_, M, S> {
    pub(super) fn show_gradients(&mut self) -> Result<()> {
        if !self.hooks.wants_gradients(self.id()) {
            return Ok(());
        }
        let at = self.plan.id(self.progress.step);
        let first_moments = &Everyones { own: &self.optimizer, team: self.team.as_ref(), at: self.at() };
        let view = GradientView { at, params: self.model.params(), first_moments };
        self.hooks.gradients(&view).map_err(|source| TrainError::Hook { at: self.at(), source })
    }

    pub(super) fn update(&mut self, grad_norm: f64, times: &mut StepTimes) -> Result<Update> {
        let began = Instant::now();
        let stage = &self.plan.stage;
        let warmup = stage.warmup.steps(self.plan.steps);
        let share = learning_rate_share(stage.schedule, self.progress.step, self.plan.steps, warmup);
        let factor = match stage.clip {
            GradClip::Off => 1.0,
            GradClip::Norm(largest) => clip_factor(grad_norm, largest),
        };
        let at = self.at();
        let watch = self.hooks.wants_update(self.id()).then_some(&self.start);
        if let Some(team) = &self.team {
            team.update(share, factor, watch.is_some(), &at)?;
        }
        let stepped = self.optimizer.step_measured(share, factor, watch);
        let mut moved = stepped.map_err(|source| self.tensor_failed(source))?;
        if let Some(team) = &self.team {
            moved.append(&mut team.spread(self.model.params(), &at)?);
            moved.sort_by_key(|(name, _)| self.optimizer.place_of(name));
        }
        self.model.params().clear_gradients();
        times.optimizer += began.elapsed();
        if watch.is_some() {
            let view = UpdateView { at: self.id(), moved: &moved };
            self.hooks.updated(&view).map_err(|source| self.hook_failed(source))?;
        }
        Ok(Update { grad_norm, clip_factor: factor, learning_rates: self.optimizer.learning_rates(share) })
    }
}
