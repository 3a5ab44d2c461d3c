//! How whoever watches a study hears of it, also from another process.

use crate::train::hook::{EvalView, Hook, HookResult, StageView, StepView};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fmt;

/// Something that happened in a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// So many optimiser steps, over all runs, are left.
    Left {
        /// Steps.
        steps: u64,
    },
    /// A run made a step.
    Step {
        /// Label of the run.
        run: String,
        /// Stage.
        stage: String,
        /// Step in the stage, from 0.
        step: u64,
        /// Steps of the stage.
        steps: u64,
        /// Loss; null where it is not finite.
        loss: f64,
    },
    /// A line for the reader.
    Note {
        /// The line.
        line: String,
    },
}

/// The listener, lent to several hooks at once.
pub(super) struct Tell<'a>(RefCell<&'a mut dyn FnMut(Event)>);

impl fmt::Debug for Tell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}

impl<'a> Tell<'a> {
    pub(super) fn new(told: &'a mut dyn FnMut(Event)) -> Self {
        Self(RefCell::new(told))
    }

    pub(super) fn event(&self, event: Event) {
        (self.0.borrow_mut())(event);
    }

    pub(super) fn note(&self, line: String) {
        self.event(Event::Note { line });
    }

    pub(super) fn left(&self, steps: u64) {
        self.event(Event::Left { steps });
    }
}

/// The hook of one run that tells.
#[derive(Debug)]
pub(super) struct Relay<'t, 'a> {
    pub(super) run: String,
    pub(super) tell: &'t Tell<'a>,
}

impl Hook for Relay<'_, '_> {
    fn stage_start(&mut self, view: &StageView<'_>) -> HookResult {
        let from = if view.start_step > 0 { format!(" from step {}", view.start_step) } else { String::new() };
        self.tell.note(format!("{}: stage {}, {} steps{from}", self.run, view.stage, view.steps));
        Ok(())
    }

    fn step(&mut self, view: &StepView<'_>) -> HookResult {
        self.tell.event(Event::Step {
            run: self.run.clone(),
            stage: view.at.stage.to_owned(),
            step: view.at.step,
            steps: view.steps_in_stage,
            loss: view.loss,
        });
        Ok(())
    }

    fn evaluated(&mut self, view: &EvalView<'_>) -> HookResult {
        let Some(all) = view.rows.iter().find(|r| r.task == "all") else { return Ok(()) };
        let score = all.score.map(|s| format!(", score {:.1} %", 100.0 * s)).unwrap_or_default();
        let at = format!("{} {} step {}", self.run, view.at.stage, view.at.step);
        self.tell.note(format!("{at}: held-out loss {:.4} ({}{score})", all.loss, view.split));
        Ok(())
    }

    fn warn(&mut self, line: &str) -> HookResult {
        self.tell.note(format!("{}: warning: {line}", self.run));
        Ok(())
    }

    fn note(&mut self, line: &str) -> HookResult {
        self.tell.note(format!("{}: {line}", self.run));
        Ok(())
    }
}
