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

/// The stage of the last routing up to step `until` of the run, and the steps of it that are looked at: those of
/// `routing-by-task`.
pub(crate) fn late(data: &RunData, routing: &Routing, until: u32) -> Option<(u16, (u64, u64))> {
    let (starts, rows) = (data.stage_starts(), &routing.rows);
    let seen = |i: &usize| starts[usize::from(rows.stage[*i])] + rows.step[*i] <= until;
    let stage = rows.stage[(0..rows.len()).rev().find(seen)?];
    let steps = || (0..rows.len()).filter(seen).filter(|i| rows.stage[*i] == stage).map(|i| u64::from(rows.step[i]));
    Some((stage, default_steps(steps().min()?, steps().max()?, false)))
}

/// Sums by task, over the rows of [`late`] of the samples in `only`.
pub(crate) fn by_task(
    data: &RunData,
    routing: &Routing,
    until: u32,
    only: Option<&Bits>,
) -> BTreeMap<String, RoutingSums> {
    let Some((stage, (from, to))) = late(data, routing, until) else { return BTreeMap::new() };
    let of: Vec<u32> = (0..data.samples.len() as u32).map(|s| data.samples.task_number(s)).collect();
    let mut sums: BTreeMap<u32, RoutingSums> = BTreeMap::new();
    let rows = &routing.rows;
    for i in 0..rows.len() {
        let sample = rows.sample[i];
        let counts = rows.stage[i] == stage && (from..=to).contains(&u64::from(rows.step[i]));
        if !counts || only.is_some_and(|o| !o.has(sample)) {
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
/// `until`; `None` where too few samples have both.
pub(crate) fn similarity(data: &RunData, layer: &LayerKey, until: u32, most: usize) -> Option<RoutingContext> {
    let (contexts, routing) = (data.contexts.get(layer)?, data.routing.get(layer)?);
    let matched = match_rows(&contexts.rows, &routing.rows);
    let tracked = contexts.tracked.iter().all(|t| *t);
    let basis = fit::basis(data, contexts, tracked, until)?;
    let rows = fit::rows(data, contexts, &basis, SAMPLES);
    let both: Vec<(u32, usize)> = rows.into_iter().filter(|(_, row)| matched[*row].is_some()).collect();
    let mut found = fit::describe(data, layer, contexts, &basis, &both);
    let weights = both.iter().filter_map(|(_, row)| matched[*row]).flat_map(|i| routing.weights(i as usize));
    let weights: Vec<f32> = weights.copied().collect();
    found.weights = Array2::from_shape_vec((both.len(), routing.experts), weights).ok();
    routing_context(&found, most, RESAMPLES, 0).filter(|r| !r.pairs.is_empty())
}
