//! Routing by step and by task, in one pass over the records.

use super::data::NO_TASK;
use super::defaults::default_steps;
use super::error::{AnalysisError, Result};
use super::tasks::sample_tasks;
use crate::stats::NotFinite;
use crate::store::{Name, Record, RoutingWeights, RunDir, StoreError, option_that_logs, visit_records};
use std::collections::BTreeMap;

/// A step's routing in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingStep {
    /// Stage.
    pub stage: String,
    /// Step.
    pub step: u64,
    /// Layer.
    pub layer: String,
    /// Sort key of the layer.
    pub depth: Option<i32>,
    /// Samples.
    pub samples: u64,
    /// Rows with a weight that is not finite; they are in none of the means. A step of such rows alone has means of nothing:
    /// no experts, and numbers that are NaN.
    pub not_finite: NotFinite,
    /// Mean weight of each expert `[E]`; sums to 1.
    pub gate_mass: Vec<f64>,
    /// Share of samples whose largest weight is this expert's `[E]` (the first of equals).
    pub hard_load: Vec<f64>,
    /// Mean over the samples of the entropy of their weights, in nats.
    pub entropy: f64,
    /// `exp` of that mean: as many experts as a sample uses.
    pub effective_experts: f64,
    /// `exp` of the entropy of the gate mass: as many experts as all samples together use.
    pub effective_mass: f64,
    /// Experts with less than a tenth of an even share of the gate mass.
    pub dead_experts: u64,
}

/// Mean routing of a task in one layer, over the later half of its stage ([`super::default_steps`]).
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingTask {
    /// Stage.
    pub stage: String,
    /// Layer.
    pub layer: String,
    /// Sort key of the layer.
    pub depth: Option<i32>,
    /// Task.
    pub task: String,
    /// Rows that the mean is over.
    pub samples: u64,
    /// Rows that are left out because a weight is not finite.
    pub not_finite: NotFinite,
    /// Mean weight of each expert `[E]`.
    pub weights: Vec<f64>,
}

/// Routing of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoutingStats {
    /// By stage, depth, layer and step.
    pub steps: Vec<RoutingStep>,
    /// By stage, depth, layer and task.
    pub tasks: Vec<RoutingTask>,
    /// Rows with a weight that is not finite; they are in none of the means.
    pub not_finite: NotFinite,
    /// One message a damaged part.
    pub problems: Vec<String>,
}

/// Sums over the routing weights of several rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoutingSums {
    /// Rows.
    pub rows: u64,
    /// Rows with a weight that is not finite; they are in nothing else.
    pub not_finite: NotFinite,
    mass: Vec<f64>,
    hard: Vec<u64>,
    entropy: f64,
}

impl RoutingSums {
    /// Takes in the weights `[E]` of a row, which sum to 1; a row with a weight that is not finite is left out, and told by
    /// `false`.
    pub fn add(&mut self, weights: &[f32]) -> bool {
        if !self.not_finite.take_row(weights) {
            return false;
        }
        if self.mass.len() < weights.len() {
            self.mass.resize(weights.len(), 0.0);
            self.hard.resize(weights.len(), 0);
        }
        self.rows += 1;
        self.mass.iter_mut().zip(weights).for_each(|(m, w)| *m += f64::from(*w));
        let largest = weights.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
        if let Some((expert, _)) = largest {
            self.hard[expert] += 1;
        }
        self.entropy += entropy(weights.iter().map(|w| f64::from(*w)));
        true
    }

    /// Of no row there is no mean.
    fn each(&self, sum: f64) -> f64 {
        sum / self.rows as f64
    }

    /// Mean weight of each expert `[E]`.
    #[must_use]
    pub fn gate_mass(&self) -> Vec<f64> {
        self.mass.iter().map(|m| self.each(*m)).collect()
    }

    /// Share of the rows whose largest weight is each expert's `[E]` (the first of equals).
    #[must_use]
    pub fn hard_load(&self) -> Vec<f64> {
        self.hard.iter().map(|h| self.each(*h as f64)).collect()
    }

    /// Mean over the rows of the entropy of their weights, in nats; NaN without a row.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        self.each(self.entropy)
    }
}

fn entropy(weights: impl Iterator<Item = f64>) -> f64 {
    -weights.filter(|w| *w > 0.0).map(|w| w * w.ln()).sum::<f64>()
}

type Key = (String, Option<i32>, String);

/// Reads the routing records once (twice for the tasks), whatever their number, in memory for one row a step and layer.
///
/// # Errors
/// The run has no routing records; the folder cannot be read.
pub fn routing_stats(run: &RunDir) -> Result<RoutingStats> {
    let mut steps: BTreeMap<(Key, u64), RoutingSums> = BTreeMap::new();
    let mut stages: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut problems = visit_records(run, |row: RoutingWeights| {
        match stages.get_mut(&row.stage) {
            Some((first, last)) => (*first, *last) = (row.step.min(*first), row.step.max(*last)),
            None => drop(stages.insert(row.stage.clone(), (row.step, row.step))),
        }
        steps.entry(((row.stage, row.depth, row.layer), row.step)).or_default().add(&row.weights);
    })?;
    if steps.is_empty() {
        let stream = RoutingWeights::STREAM;
        if let Some(problem) = problems.first() {
            return Err(AnalysisError::Unreadable { stream, why: problem.to_string() });
        }
        return Err(AnalysisError::NoRecords { stream, option: option_that_logs(stream), path: run.path().to_owned() });
    }
    let mut not_finite = NotFinite::default();
    steps.values().for_each(|sums| not_finite.add(sums.not_finite));
    if steps.values().all(|sums| sums.rows == 0) {
        let (stream, rows, kinds) = (RoutingWeights::STREAM, not_finite.total(), not_finite.kinds());
        return Err(AnalysisError::NotFinite { stream, rows, kinds, path: run.path().to_owned() });
    }
    let tasks = by_task(run, &stages, &mut problems)?;
    let steps = steps.into_iter().map(|(((stage, depth, layer), step), sums)| {
        let (gate_mass, samples, entropy_mean) = (sums.gate_mass(), sums.rows, sums.entropy());
        let dead = 0.1 / gate_mass.len().max(1) as f64;
        RoutingStep {
            not_finite: sums.not_finite,
            hard_load: sums.hard_load(),
            entropy: entropy_mean,
            effective_experts: entropy_mean.exp(),
            effective_mass: if samples > 0 { entropy(gate_mass.iter().copied()).exp() } else { f64::NAN },
            dead_experts: gate_mass.iter().filter(|m| **m < dead).count() as u64,
            stage,
            step,
            layer,
            depth,
            samples,
            gate_mass,
        }
    });
    let problems = problems.iter().map(ToString::to_string).collect();
    Ok(RoutingStats { steps: steps.collect(), tasks, not_finite, problems })
}

fn by_task(
    run: &RunDir,
    stages: &BTreeMap<String, (u64, u64)>,
    problems: &mut Vec<StoreError>,
) -> Result<Vec<RoutingTask>> {
    let (tasks, more) = sample_tasks(run)?;
    problems.extend(more);
    let mut sums: BTreeMap<(Key, &str), RoutingSums> = BTreeMap::new();
    visit_records(run, |row: RoutingWeights| {
        let (from, to) = stages.get(&row.stage).map_or((1, 0), |(first, last)| default_steps(*first, *last, false));
        if (from..=to).contains(&row.step) {
            let task = tasks.of(&row).map_or(NO_TASK, Name::as_str);
            sums.entry(((row.stage, row.depth, row.layer), task)).or_default().add(&row.weights);
        }
    })?;
    let row = |(((stage, depth, layer), task), sums): ((Key, &str), RoutingSums)| {
        let weights = sums.gate_mass();
        let (samples, not_finite) = (sums.rows, sums.not_finite);
        RoutingTask { stage, layer, depth, task: task.to_owned(), samples, not_finite, weights }
    };
    Ok(sums.into_iter().map(row).collect())
}
