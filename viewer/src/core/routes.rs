//! Numbers of the routing: by task, by step, and against the contexts.

use super::bits::Bits;
use super::scatter::match_rows;
use crate::data::{LayerKey, Routing, RunData};
use covft_analyses::stats::{Interval, pearson_interval};
use std::collections::BTreeMap;

/// Mean weights of one task in one layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TaskRouting {
    pub rows: u64,
    sums: Vec<f64>,
}

impl TaskRouting {
    /// Mean weight of an expert.
    pub(crate) fn mean(&self, expert: usize) -> f64 {
        self.sums.get(expert).map_or(0.0, |s| s / self.rows.max(1) as f64)
    }
}

/// Mean weights by task, over rows up to step `until` of the samples in `only`.
pub(crate) fn by_task(
    data: &RunData,
    routing: &Routing,
    until: u32,
    only: Option<&Bits>,
) -> BTreeMap<String, TaskRouting> {
    let starts = data.stage_starts();
    let of: Vec<u32> = (0..data.samples.len() as u32).map(|s| data.samples.task_number(s)).collect();
    let mut sums: BTreeMap<u32, TaskRouting> = BTreeMap::new();
    let rows = &routing.rows;
    for i in 0..rows.len() {
        let sample = rows.sample[i];
        if starts[rows.stage[i] as usize] + rows.step[i] > until || only.is_some_and(|o| !o.has(sample)) {
            continue;
        }
        let sum = sums.entry(of[sample as usize]).or_default();
        sum.rows += 1;
        sum.sums.resize(routing.experts, 0.0);
        sum.sums.iter_mut().zip(routing.weights(i)).for_each(|(s, w)| *s += f64::from(*w));
    }
    let name = |task: u32| {
        if task == u32::MAX { crate::data::NO_TASK.to_owned() } else { data.samples.tasks.name(task).to_owned() }
    };
    sums.into_iter().map(|(task, sum)| (name(task), sum)).collect()
}

/// One step of a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StepRouting {
    pub rows: u64,
    /// Sum of the weights by expert (gate mass).
    mass: Vec<f64>,
    /// How often each expert has the largest weight (hard load).
    load: Vec<u64>,
    entropy: f64,
}

impl StepRouting {
    pub(crate) fn mass(&self, expert: usize) -> f64 {
        self.mass[expert] / self.rows as f64
    }

    pub(crate) fn load(&self, expert: usize) -> f64 {
        self.load[expert] as f64 / self.rows as f64
    }

    pub(crate) fn entropy(&self) -> f64 {
        self.entropy / self.rows as f64
    }
}

/// Load, gate mass and entropy by step of the run.
pub(crate) fn by_step(data: &RunData, routing: &Routing) -> BTreeMap<u32, StepRouting> {
    let starts = data.stage_starts();
    let mut steps: BTreeMap<u32, StepRouting> = BTreeMap::new();
    let rows = &routing.rows;
    for i in 0..rows.len() {
        let step = steps.entry(starts[rows.stage[i] as usize] + rows.step[i]).or_default();
        step.rows += 1;
        step.mass.resize(routing.experts, 0.0);
        step.load.resize(routing.experts, 0);
        step.mass.iter_mut().zip(routing.weights(i)).for_each(|(s, w)| *s += f64::from(*w));
        step.load[routing.expert(i)] += 1;
        step.entropy += f64::from(routing.entropy[i]);
    }
    steps
}

/// Similarity of contexts against similarity of routing, for pairs of samples.
#[derive(Debug)]
pub(crate) struct Similarity {
    /// Cosine of the contexts, cosine of the routing weights.
    pub pairs: Vec<[f64; 2]>,
    /// Their correlation with its 95 % interval.
    pub correlation: Option<Interval>,
}

fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    covft_analyses::stats::cosine(a, b)
}

/// Up to `most` pairs of rows, evenly spaced, each row in one pair, as of the last `most * 2` rows up to step `until`.
pub(crate) fn similarity(data: &RunData, layer: &LayerKey, until: u32, most: usize) -> Option<Similarity> {
    let (contexts, routing) = (data.contexts.get(layer)?, data.routing.get(layer)?);
    let starts = data.stage_starts();
    let early = |i: &usize| starts[contexts.rows.stage[*i] as usize] + contexts.rows.step[*i] <= until;
    let matched = match_rows(&contexts.rows, &routing.rows);
    let both: Vec<(usize, usize)> =
        (0..contexts.rows.len()).filter(early).filter_map(|i| Some((i, matched[i]? as usize))).collect();
    let recent = &both[both.len().saturating_sub(most * 2)..];
    let half = recent.len() / 2;
    let context = |i: usize| contexts.vector(i).iter().map(|v| v.to_f64()).collect::<Vec<_>>();
    let weights = |i: usize| routing.weights(i).iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    // Contexts share a large common part, which says nothing about which samples are alike.
    let mut mean = vec![0.0; contexts.width];
    recent.iter().for_each(|(i, _)| mean.iter_mut().zip(contexts.vector(*i)).for_each(|(m, v)| *m += v.to_f64()));
    mean.iter_mut().for_each(|m| *m /= recent.len().max(1) as f64);
    let centred = |i: usize| context(i).iter().zip(&mean).map(|(v, m)| v - m).collect::<Vec<_>>();
    let pairs: Vec<[f64; 2]> = (0..half)
        .filter_map(|i| {
            let (a, b) = (recent[i], recent[i + half]);
            Some([cosine(&centred(a.0), &centred(b.0))?, cosine(&weights(a.1), &weights(b.1))?])
        })
        .collect();
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().map(|p| (p[0], p[1])).unzip();
    let correlation = if pairs.len() >= 10 { pearson_interval(&x, &y, 500, 0) } else { None };
    Some(Similarity { pairs, correlation })
}
