//! Numbers of the routing: by task, by step, and against the contexts; summed by the code of `covft-probe analyze`.

use super::bits::Bits;
use super::fit;
use super::scatter::match_rows;
use crate::data::{LayerKey, NO_TASK, Routing, RunData};
use covft_analyses::analysis::{RoutingContext, RoutingSums, default_steps, routing_context};
use ndarray::Array2;
use std::collections::BTreeMap;

/// Resamples behind the interval of a correlation.
const RESAMPLES: usize = 500;
/// Samples that pairs are drawn from at most.
const SAMPLES: usize = 1000;

/// Steps of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// Number of the stage.
    pub stage: u16,
    /// First and last step, both included.
    pub steps: (u64, u64),
}

impl Range {
    /// What `covft-probe analyze` takes where nothing is said, up to step `until` of the run: the later half of the last
    /// stage; or `whole`, that stage from its beginning.
    pub(crate) fn new(data: &RunData, until: u32, whole: bool) -> Option<Self> {
        let starts = data.stage_starts();
        let rows = || {
            let each =
                data.routing.values().flat_map(|r| r.rows.stage.iter().copied().zip(r.rows.step.iter().copied()));
            each.filter(|(stage, step)| starts[usize::from(*stage)].saturating_add(*step) <= until)
        };
        let stage = rows().map(|(stage, _)| stage).max()?;
        let steps = || rows().filter(|(s, _)| *s == stage).map(|(_, step)| u64::from(step));
        let (first, last) = (steps().min()?, steps().max()?);
        let steps = if whole { (first, last) } else { default_steps(first, last, false) };
        Some(Self { stage, steps })
    }

    pub(crate) fn has(&self, stage: u16, step: u32) -> bool {
        stage == self.stage && (self.steps.0..=self.steps.1).contains(&u64::from(step))
    }
}

/// Sums by task, over rows of `range` of the samples in `only`.
pub(crate) fn by_task(
    data: &RunData,
    routing: &Routing,
    range: &Range,
    only: Option<&Bits>,
) -> BTreeMap<String, RoutingSums> {
    let of: Vec<u32> = (0..data.samples.len() as u32).map(|s| data.samples.task_number(s)).collect();
    let mut sums: BTreeMap<u32, RoutingSums> = BTreeMap::new();
    let rows = &routing.rows;
    for i in 0..rows.len() {
        let sample = rows.sample[i];
        if !range.has(rows.stage[i], rows.step[i]) || only.is_some_and(|o| !o.has(sample)) {
            continue;
        }
        sums.entry(of[sample as usize]).or_default().add(routing.weights(i));
    }
    let name = |task: u32| if task == u32::MAX { NO_TASK } else { data.samples.tasks.name(task) }.to_owned();
    sums.into_iter().map(|(task, sum)| (name(task), sum)).collect()
}

/// Load, gate mass and entropy by step of the run.
pub(crate) fn by_step(data: &RunData, routing: &Routing) -> BTreeMap<u32, RoutingSums> {
    let starts = data.stage_starts();
    let mut steps: BTreeMap<u32, RoutingSums> = BTreeMap::new();
    let rows = &routing.rows;
    for i in 0..rows.len() {
        steps.entry(starts[rows.stage[i] as usize] + rows.step[i]).or_default().add(routing.weights(i));
    }
    steps
}

/// Similarity of routing against similarity of contexts over at most `most` pairs of samples, of the last rows up to step
/// `until`; `None` where no sample has both.
pub(crate) fn similarity(data: &RunData, layer: &LayerKey, until: u32, most: usize) -> Option<RoutingContext> {
    let (contexts, routing) = (data.contexts.get(layer)?, data.routing.get(layer)?);
    let matched = match_rows(&contexts.rows, &routing.rows);
    // As `covft-probe analyze` does.
    let tracked = contexts.tracked.contains(&true);
    let basis = fit::basis(data, contexts, tracked, until)?;
    let rows = fit::rows(data, contexts, &basis, SAMPLES);
    let mut found = fit::describe(data, layer, contexts, &basis, &rows);
    let routed = |row: usize| matched[row].map(|i| routing.weights(i as usize).to_vec());
    let none = || vec![f32::NAN; routing.experts];
    let weights: Vec<f32> = rows.iter().flat_map(|(_, row)| routed(*row).unwrap_or_else(none)).collect();
    found.weights = Array2::from_shape_vec((rows.len(), routing.experts), weights).ok();
    found.without_routing = (0..rows.len()).filter(|i| matched[rows[*i].1].is_none()).collect();
    routing_context(&found, most, RESAMPLES, 0)
}
