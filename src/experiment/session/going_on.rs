//! A run goes on under the premises it began with, or says under which others.

use super::error::SessionError;
use super::premises::{Difference, Premise, Premises};
use super::{Session, Work};
use crate::train::hook::Hook;
use covft_analyses::store::{Change, Manifest, RunDir, timestamp};
use serde_json::json;
use std::time::SystemTime;

/// The program, as the manifest's `versions` name it.
const PROGRAM: &str = "covft-probe";

/// What is no longer as it was when the run began.
#[derive(Debug, Default)]
pub(in crate::experiment) struct Changed {
    /// For the manifest.
    pub(super) list: Vec<Change>,
    /// What is told before the first step.
    warnings: Vec<String>,
    notes: Vec<String>,
    /// Samples or steps may lie elsewhere than the checkpoint says.
    moved: bool,
}

impl Session {
    /// Compares what is there now with what the run, or the one that it goes beside, began with.
    pub(super) fn compare(&self, now: &Premises) -> Result<Changed, SessionError> {
        let mut changed = Changed::default();
        let differences = match (&self.from, &self.beside) {
            (Some(_), _) => {
                changed.other_version(&self.dir)?;
                if let Some(began) = Premises::read(&self.dir)? {
                    now.since(&began)
                } else {
                    changed.warnings.push(unknown(&self.dir));
                    Vec::new()
                }
            }
            (None, Some(other)) => Premises::read(other)?.map(|began| now.beside(&began)).unwrap_or_default(),
            (None, None) => Vec::new(),
        };
        let refused = |d: &&Difference| d.premise.is_some_and(|premise| !self.accept.contains(&premise));
        if differences.iter().any(|d| refused(&d)) {
            let differences = differences.into_iter().filter(|d| refused(&d)).collect();
            return Err(SessionError::Changed { differences, path: self.dir.path().to_path_buf() });
        }
        differences.into_iter().for_each(|difference| changed.accept(difference));
        let step = self.from.as_ref().map_or(0, |from| from.state.global_step);
        changed.list.iter_mut().for_each(|change| change.step = step);
        Ok(changed)
    }

    /// Puts the checkpoint's place at the same step of what is there now: the order of the samples is a function of seed and
    /// step over their new number.
    pub(super) fn go_to_the_same_step(&mut self, work: &mut Work) {
        let Some(index) = self.from.as_ref().map(|from| from.state.stage_index) else { return };
        let Some(from) = &self.from else { return };
        let (step, before) = (from.state.step, from.state.global_step - from.state.step.min(from.state.global_step));
        // The stages before were as long as they were, whatever they would be now.
        for (i, length) in work.lengths[..index].iter_mut().enumerate() {
            *length = if i == 0 { before } else { 0 };
        }
        if from.state.stage_finished {
            work.lengths[index] = step;
        }
        let stage = &self.stages[index];
        let seed = stage.seed.unwrap_or(self.recipe.seed);
        let sampler = self.sampler(stage, work.samples(index), stage.order_seed.unwrap_or(seed));
        let (position, steps) = (json!(sampler.state(step)), work.lengths[index]);
        if let Some(from) = &mut self.from {
            (from.state.position, from.state.steps_in_stage, from.state.seed) = (position, steps, seed);
        }
    }
}

impl Changed {
    pub(super) fn moved(&self) -> bool {
        self.moved
    }

    /// Tells the hooks.
    pub(super) fn tell(&self, hooks: &mut [&mut dyn Hook]) -> Result<(), SessionError> {
        for hook in hooks.iter_mut() {
            self.warnings.iter().try_for_each(|line| hook.warn(line)).map_err(super::records::hook_error)?;
            self.notes.iter().try_for_each(|line| hook.note(line)).map_err(super::records::hook_error)?;
        }
        Ok(())
    }

    /// What is told before the first step, in a study.
    pub(in crate::experiment) fn lines(&self) -> impl Iterator<Item = String> {
        let warnings = self.warnings.iter().map(|line| format!("warning: {line}"));
        warnings.chain(self.notes.iter().cloned())
    }

    fn accept(&mut self, difference: Difference) {
        match difference.premise {
            Some(premise) => {
                self.warnings.push(format!("{difference} (accepted)"));
                self.moved |= matches!(premise, Premise::Recipe | Premise::Data | Premise::Tokenizers);
            }
            None => self.notes.push(difference.to_string()),
        }
        self.push(difference.premise, difference.what, difference.was, format!("{}{}", difference.is, difference.more));
    }

    fn push(&mut self, premise: Option<Premise>, what: String, was: String, is: String) {
        let accepted = premise.map(|premise| premise.name().to_owned());
        self.list.push(Change { at: timestamp(SystemTime::now()), step: 0, what, was, is, accepted });
    }

    fn other_version(&mut self, dir: &RunDir) -> Result<(), SessionError> {
        let manifest = Manifest::read(dir)?;
        let is = env!("CARGO_PKG_VERSION").to_owned();
        let was = manifest.versions.get(PROGRAM).cloned().unwrap_or_else(|| "no version".to_owned());
        if was != is {
            self.warnings.push(format!(
                "the run was begun by version {was} and goes on with {is}: the same bytes are promised within one version"
            ));
            self.push(None, "version".to_owned(), was, is);
        }
        Ok(())
    }
}

fn unknown(dir: &RunDir) -> String {
    let path = dir.path().display();
    format!("the run has no premises.json (an older version began it): nothing is compared with how it began: {path}")
}

/// Writes into the manifest what changed, and what holds from now on.
pub(super) fn note(manifest: &mut Manifest, changed: &Changed) {
    manifest.changed.extend(changed.list.iter().cloned());
    crate::kernels::dispatch_level().clone_into(&mut manifest.dispatch);
    manifest.versions.insert(PROGRAM.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
}
