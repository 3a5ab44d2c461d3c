//! Distances of the two runs of conflict studies, read once for both figures of them.

use super::source::Inputs;
use super::{FigureId, Measure, Options, Result};
use crate::stats::{NotFinite, Summary};
use crate::store::{ALL, DistanceRow, Study, StudyRun, option_that_logs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One layer's distance over the steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Layer {
    pub name: String,
    pub depth: i32,
    /// By step; null where the measure is not defined.
    pub values: BTreeMap<u64, Option<f64>>,
}

/// One pair of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pair {
    pub study: String,
    pub run_a: String,
    pub run_b: String,
    pub method: String,
    /// What the two runs differ in: the order of the samples alone is what the instructions must be held against.
    pub differ: String,
    pub seed: Option<u64>,
    pub stage: String,
    /// By depth.
    pub layers: Vec<Layer>,
    /// Distances of any layer and step that are not finite.
    #[serde(default)]
    pub not_finite: NotFinite,
}

/// Pairs by method and by what they differ in, in the order in which they came.
pub(super) fn methods(pairs: &[Pair]) -> Vec<(String, Vec<&Pair>)> {
    let same = pairs.iter().all(|p| p.differ == pairs[0].differ);
    let mut methods: Vec<(String, Vec<&Pair>)> = Vec::new();
    for pair in pairs {
        let name = if same { pair.method.clone() } else { format!("{}, {}", pair.method, pair.differ) };
        match methods.iter_mut().find(|m| m.0 == name) {
            Some((_, of)) => of.push(pair),
            None => methods.push((name, vec![pair])),
        }
    }
    methods
}

/// A method in a legend, with the number of its pairs.
pub(super) fn named(method: &str, seeds: usize) -> String {
    if seeds > 1 { format!("{method} ({seeds} pairs)") } else { method.to_owned() }
}

/// Mean, smallest and largest of what is there.
pub(super) fn spread(values: impl Iterator<Item = f64>) -> Option<(f64, f64, f64)> {
    Summary::of(values).map(|all| (all.mean, all.min, all.max))
}

/// What sets two runs apart besides their name, as legends say it.
fn difference(a: &StudyRun, b: &StudyRun) -> &'static str {
    match (a.tasks == b.tasks, a.seed == b.seed) {
        (false, true) => "instructions",
        (true, false) => "order alone",
        (false, false) => "instructions and order",
        (true, true) => "nothing",
    }
}

fn pairs_of(study: &Study, name: &str, rows: Vec<DistanceRow>, measure: Measure) -> Vec<Pair> {
    let mut pairs: BTreeMap<(String, String), Pair> = BTreeMap::new();
    for row in rows {
        let planned = |label: &str| study.runs.iter().find(|r| r.label == label);
        let (a, b) = (planned(&row.run_a), planned(&row.run_b));
        let pair = pairs.entry((row.run_a.clone(), row.run_b.clone())).or_insert_with(|| Pair {
            study: name.to_owned(),
            method: a.map_or_else(|| row.run_a.clone(), |a| a.method.clone()),
            differ: a.zip(b).map_or_else(String::new, |(a, b)| difference(a, b).to_owned()),
            seed: a.map(|a| a.seed),
            run_a: row.run_a,
            run_b: row.run_b,
            stage: row.stage,
            layers: Vec::new(),
            not_finite: NotFinite::default(),
        });
        let value = match measure {
            Measure::Distance => Some(row.distance),
            Measure::Relative => row.distance_relative,
            // Checked by the caller: the others are of single runs.
            _ => row.distance_per_element,
        };
        let depth = row.depth.unwrap_or(i32::MAX);
        let at = pair.layers.iter().position(|l| l.name == row.layer).unwrap_or_else(|| {
            pair.layers.push(Layer { name: row.layer, depth, values: BTreeMap::new() });
            pair.layers.len() - 1
        });
        let value = value.and_then(|v| pair.not_finite.take(v));
        pair.layers[at].values.insert(row.step, value);
    }
    let mut pairs: Vec<Pair> = pairs.into_values().collect();
    for pair in &mut pairs {
        pair.layers.sort_by_key(|l| l.depth);
    }
    pairs
}

/// Steps that are drawn at most.
const STEPS: usize = 500;

/// At most [`STEPS`] steps of each pair, its last among them.
fn thin(pair: &mut Pair, last_only: bool) {
    for layer in &mut pair.layers {
        let every = if last_only { layer.values.len() } else { layer.values.len().div_ceil(STEPS) }.max(1);
        let last = layer.values.len().saturating_sub(1);
        let kept = layer.values.iter().enumerate().filter(|(i, _)| (last - i).is_multiple_of(every));
        layer.values = kept.map(|(_, (step, value))| (*step, *value)).collect();
    }
}

/// All pairs of all studies; of the last step alone if `last_only`.
pub(super) fn load(id: FigureId, inputs: &Inputs, options: &Options, last_only: bool) -> Result<Vec<Pair>> {
    if !options.measure.is_distance() {
        return Err(super::FigureError::Option {
            figure: id.to_string(),
            option: format!("--measure {}", options.measure),
            takes: "--measure distance, relative or per-element".to_owned(),
        });
    }
    let mut pairs = Vec::new();
    for source in &inputs.studies {
        let stage = options.stage.as_ref().unwrap_or(&source.study.stage);
        let wanted =
            |r: &DistanceRow| r.module == ALL && r.layer != ALL && r.stage == *stage && options.has_step(r.step);
        let rows = source.rows(wanted)?;
        pairs.extend(pairs_of(&source.study, &source.folder.name(), rows, options.measure));
    }
    for pair in &mut pairs {
        thin(pair, last_only);
    }
    if pairs.iter().all(|p| p.layers.iter().all(|l| l.values.values().all(Option::is_none))) {
        let bad = left_out(&pairs);
        if !bad.is_empty() {
            return Err(super::FigureError::Data { figure: id.to_string(), why: bad.join("; "), path: inputs.path() });
        }
        return Err(super::FigureError::Lacks {
            figure: id.to_string(),
            what: "`distances` of two runs".to_owned(),
            option: option_that_logs("distances").to_owned(),
            path: inputs.path(),
        });
    }
    Ok(pairs)
}

/// What is not finite, in words.
pub(super) fn left_out(pairs: &[Pair]) -> Vec<String> {
    let of = |p: &Pair| Some(format!("{}, {}: {}", p.run_a, p.run_b, p.not_finite.words("distance", "distances")?));
    pairs.iter().filter_map(of).collect()
}
