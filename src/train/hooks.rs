//! The listeners of a run, called in order, and the time they take.

use super::hook::{EvalView, GradientView, Hook, HookResult, MicroView, StageView, StepId, StepView, UpdateView};
use crate::ops::{BackwardObserver, Observers};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Hooks in the order they are called.
#[derive(Default)]
pub struct Hooks<'h> {
    list: Vec<&'h mut dyn Hook>,
    spent: Duration,
}

impl fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hooks({})", self.list.len())
    }
}

impl<'h> Hooks<'h> {
    /// One more, called after the others.
    pub fn push(&mut self, hook: &'h mut dyn Hook) {
        self.list.push(hook);
    }

    pub(super) fn wants_gradients(&self, at: StepId<'_>) -> bool {
        self.list.iter().any(|hook| hook.wants_gradients(at))
    }

    pub(super) fn observer(&mut self, view: &MicroView<'_>) -> Option<Arc<dyn BackwardObserver>> {
        let begin = Instant::now();
        let observers = self.list.iter_mut().filter_map(|hook| hook.observer(view)).collect();
        self.spent += begin.elapsed();
        Observers(observers).joined()
    }

    pub(super) fn gradients(&mut self, view: &GradientView<'_>) -> HookResult {
        self.each(|hook| if hook.wants_gradients(view.at) { hook.gradients(view) } else { Ok(()) })
    }

    pub(super) fn wants_update(&self, at: StepId<'_>) -> bool {
        self.list.iter().any(|hook| hook.wants_update(at))
    }

    pub(super) fn updated(&mut self, view: &UpdateView<'_>) -> HookResult {
        self.each(|hook| if hook.wants_update(view.at) { hook.updated(view) } else { Ok(()) })
    }

    pub(super) fn step(&mut self, view: &StepView<'_>) -> HookResult {
        self.each(|hook| hook.step(view))
    }

    pub(super) fn stage_start(&mut self, view: &StageView<'_>) -> HookResult {
        self.each(|hook| hook.stage_start(view))
    }

    pub(super) fn stage_end(&mut self, view: &StageView<'_>) -> HookResult {
        self.each(|hook| hook.stage_end(view))
    }

    pub(super) fn evaluated(&mut self, view: &EvalView<'_>) -> HookResult {
        self.each(|hook| hook.evaluated(view))
    }

    pub(super) fn before_checkpoint(&mut self, at: StepId<'_>) -> HookResult {
        self.list.iter_mut().try_for_each(|hook| hook.before_checkpoint(at))
    }

    pub(super) fn warn(&mut self, line: &str) -> HookResult {
        self.each(|hook| hook.warn(line))
    }

    pub(super) fn save_state(&self) -> BTreeMap<String, serde_json::Value> {
        let states = self.list.iter().filter_map(|hook| hook.save_state());
        states.map(|(name, state)| (name.to_owned(), state)).collect()
    }

    pub(super) fn load_state(&mut self, states: &BTreeMap<String, serde_json::Value>) -> HookResult {
        self.list.iter_mut().try_for_each(|hook| hook.load_state(states))
    }

    /// Time spent in hooks since this was last asked.
    pub(super) fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    fn each(&mut self, mut call: impl FnMut(&mut dyn Hook) -> HookResult) -> HookResult {
        let begin = Instant::now();
        let result = self.list.iter_mut().try_for_each(|hook| call(*hook));
        self.spent += begin.elapsed();
        result
    }
}
