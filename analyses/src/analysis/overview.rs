//! Which stages, layers and steps of a run have context vectors.

use super::data::{Selection, Steps};
use super::defaults::{default_layer, default_steps};
use super::error::{AnalysisError, Result};
use crate::store::{ContextKey, Record, RunDir, option_that_logs, visit_records};
use std::collections::{BTreeMap, BTreeSet};

/// The steps of a layer that have context vectors.
#[derive(Debug, Default)]
struct Seen {
    /// Steps with samples of their own.
    own: BTreeSet<u64>,
    tracked: BTreeSet<u64>,
}

/// What context vectors there are, by stage, depth and layer, read once for any number of selections.
#[derive(Debug)]
pub struct ContextOverview {
    run: RunDir,
    found: BTreeMap<(String, Option<i32>, String), Seen>,
    /// The stage that came last.
    last: String,
    problems: Vec<String>,
}

/// Stage, layer and steps of a selection, made definite.
pub(super) struct Definite {
    pub stage: String,
    pub layer: String,
    pub depth: Option<i32>,
    pub steps: (u64, u64),
    pub tracked: bool,
    /// Whether these are all steps that the layer has.
    pub all_steps: bool,
}

impl ContextOverview {
    /// Reads where the context vectors of `run` stand, not the vectors.
    ///
    /// # Errors
    /// The run cannot be listed.
    pub fn read(run: &RunDir) -> Result<Self> {
        let mut found: BTreeMap<(String, Option<i32>, String), Seen> = BTreeMap::new();
        let mut last = String::new();
        let problems = visit_records(run, |row: ContextKey| {
            if last != row.stage {
                last.clone_from(&row.stage);
            }
            let seen = found.entry((row.stage, row.depth, row.layer)).or_default();
            if row.tracked { &mut seen.tracked } else { &mut seen.own }.insert(row.step);
        })?;
        let problems = problems.iter().map(ToString::to_string).collect();
        Ok(Self { run: run.clone(), found, last, problems })
    }

    /// The run.
    pub(super) fn run(&self) -> &RunDir {
        &self.run
    }

    /// One message a damaged part.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Layers with context vectors of `stage` (the last with any if `None`), shallowest first.
    ///
    /// # Errors
    /// The run has no context vectors, or none of this stage.
    pub fn layers(&self, stage: Option<&str>) -> Result<Vec<String>> {
        let stage = self.stage(stage)?;
        Ok(self.found.keys().filter(|k| k.0 == stage).map(|k| k.2.clone()).collect())
    }

    fn unknown(&self, what: &'static str, asked: String, known: String) -> AnalysisError {
        let path = self.run.path().to_owned();
        AnalysisError::Unknown { stream: ContextKey::STREAM, what, asked, known, path }
    }

    fn stage<'a>(&'a self, asked: Option<&'a str>) -> Result<&'a str> {
        if self.found.is_empty() {
            let stream = ContextKey::STREAM;
            if let Some(why) = self.problems.first() {
                return Err(AnalysisError::Unreadable { stream, why: why.clone() });
            }
            let path = self.run.path().to_owned();
            return Err(AnalysisError::NoRecords { stream, option: option_that_logs(stream), path });
        }
        let Some(asked) = asked else { return Ok(&self.last) };
        let stages: BTreeSet<&str> = self.found.keys().map(|k| k.0.as_str()).collect();
        if stages.contains(asked) {
            return Ok(asked);
        }
        Err(self.unknown("stage", asked.to_owned(), stages.into_iter().collect::<Vec<_>>().join(", ")))
    }

    pub(super) fn definite(&self, selection: &Selection) -> Result<Definite> {
        let stage = self.stage(selection.stage.as_deref())?;
        let layers: Vec<_> = self.found.iter().filter(|(k, _)| k.0 == stage).collect();
        let layer = match &selection.layer {
            None => default_layer(&layers),
            Some(asked) => layers.iter().find(|(k, _)| k.2 == *asked),
        };
        let Some(((_, depth, layer), seen)) = layer else {
            let known = layers.iter().map(|(k, _)| k.2.as_str()).collect::<Vec<_>>().join(", ");
            return Err(self.unknown("layer", selection.layer.clone().unwrap_or_default(), known));
        };
        let tracked = selection.tracked.unwrap_or_else(|| match selection.steps {
            Steps::Late => !seen.tracked.is_empty(),
            Steps::Between(from, to) => seen.tracked.range(from..=to.max(from)).next().is_some(),
        });
        let there = if tracked { &seen.tracked } else { &seen.own };
        if there.is_empty() {
            let [asked, known] =
                if tracked { ["tracked", "the steps' own"] } else { ["the steps' own", "tracked ones"] };
            return Err(self.unknown(asked, "samples".to_owned(), known.to_owned()));
        }
        let (first, last) = (there.first().copied().unwrap_or(0), there.last().copied().unwrap_or(0));
        let steps = match selection.steps {
            Steps::Late => default_steps(first, last, tracked),
            Steps::Between(from, to) => (from, to),
        };
        if steps.0 > steps.1 || there.range(steps.0..=steps.1).next().is_none() {
            let kind = if tracked { " of tracked samples" } else { "" };
            let known = format!("{first} to {last}{kind}");
            return Err(self.unknown("steps", format!("{} to {}", steps.0, steps.1), known));
        }
        let all_steps = steps.0 <= first && last <= steps.1;
        Ok(Definite { stage: stage.to_owned(), layer: layer.clone(), depth: *depth, steps, tracked, all_steps })
    }
}
