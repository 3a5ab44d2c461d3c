//! The context vectors that an analysis is over.

use super::error::{AnalysisError, Result};
use crate::stats::Stream;
use crate::store::{
    ContextRow, Record, RoutingRow, RunDir, SampleRow, StoreError, option_that_logs, read_dataset, visit_batches,
};
use ndarray::Array2;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Name of the task of samples whose data name none.
pub const NO_TASK: &str = "(no task)";

/// Which steps of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steps {
    /// The last step with tracked samples; the later half of the stage where none are tracked.
    #[default]
    Late,
    /// From the first to the second, both included.
    Between(u64, u64),
}

/// Which context vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Stage; the last with context vectors if `None`.
    pub stage: Option<String>,
    /// Layer; the deepest with context vectors if `None`.
    pub layer: Option<String>,
    /// Steps. A sample that occurs at several counts once, with its last vector.
    pub steps: Steps,
    /// Vectors of the tracked samples (`true`) or of the steps' own (`false`); the tracked ones where the steps have any if
    /// `None`.
    pub tracked: Option<bool>,
    /// At most so many samples (drawn with `seed` where there are more); 0 = 100,000.
    pub most: usize,
    /// Seed of that draw.
    pub seed: u64,
}

/// A sample of an analysis.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextSample {
    /// Sample id.
    pub sample: String,
    /// Step of its vector.
    pub step: u64,
    /// Task, or [`NO_TASK`].
    pub task: String,
    /// Image, relative to the run directory or absolute.
    pub image: Option<String>,
    /// First question; empty where the run keeps no data set.
    pub question: String,
    /// First answer.
    pub answer: String,
}

/// Context vectors of one layer with what is known of their samples.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextData {
    /// Stage.
    pub stage: String,
    /// Layer.
    pub layer: String,
    /// Sort key of the layer.
    pub depth: Option<i32>,
    /// First and last step that could have given a vector.
    pub steps: (u64, u64),
    /// Whether the vectors are those of the tracked samples.
    pub tracked: bool,
    /// Samples `[N]`, in order of id.
    pub samples: Vec<ContextSample>,
    /// Context vectors `[N, C]`.
    pub vectors: Array2<f32>,
    /// Routing weights `[N, E]` of the same samples at the same step and layer, where all of them are logged.
    pub weights: Option<Array2<f32>>,
    /// Samples that the selection has; more than `samples` where some were drawn.
    pub of: usize,
    /// Samples that were left out because their vector is not finite.
    pub not_finite: usize,
    /// One message a damaged part.
    pub problems: Vec<String>,
}

/// A layer with context vectors.
#[derive(Debug, Default)]
struct Seen {
    /// Steps with samples of their own.
    own: BTreeSet<u64>,
    tracked: BTreeSet<u64>,
}

impl Seen {
    /// First and last step of one kind.
    fn ends(steps: &BTreeSet<u64>) -> (u64, u64) {
        (steps.first().copied().unwrap_or(0), steps.last().copied().unwrap_or(0))
    }
}

type Overview = BTreeMap<(String, Option<i32>, String), Seen>;

/// What there is, by stage, depth and layer; and the stage that came last.
fn overview(run: &RunDir) -> Result<(Overview, String, Vec<StoreError>)> {
    let mut found = Overview::new();
    let mut last = String::new();
    let problems = visit_batches(run, ContextRow::STREAM, None, |path, batch| {
        for row in ContextRow::rows(&batch, path)? {
            last.clone_from(&row.stage);
            let seen = found.entry((row.stage, row.depth, row.layer)).or_default();
            if row.tracked { &mut seen.tracked } else { &mut seen.own }.insert(row.step);
        }
        Ok(())
    })?;
    Ok((found, last, problems))
}

/// Layers with context vectors of `stage` (the last with any if `None`), shallowest first.
///
/// # Errors
/// The run has no context vectors, or none of this stage.
pub fn context_layers(run: &RunDir, stage: Option<&str>) -> Result<Vec<String>> {
    let (found, last, _) = overview(run)?;
    let stage = pick_stage(run, &found, last, stage)?;
    Ok(found.keys().filter(|k| k.0 == stage).map(|k| k.2.clone()).collect())
}

fn pick_stage(run: &RunDir, found: &Overview, last: String, asked: Option<&str>) -> Result<String> {
    let stream = ContextRow::STREAM;
    let path = run.path().to_owned();
    if found.is_empty() {
        return Err(AnalysisError::NoRecords { stream, option: option_that_logs(stream), path });
    }
    let Some(asked) = asked else { return Ok(last) };
    let stages: BTreeSet<&str> = found.keys().map(|k| k.0.as_str()).collect();
    if stages.contains(asked) {
        return Ok(asked.to_owned());
    }
    let known = stages.into_iter().collect::<Vec<_>>().join(", ");
    Err(AnalysisError::Unknown { stream, what: "stage", asked: asked.to_owned(), known, path })
}

/// Stage, layer and steps of a selection, made definite.
struct Definite {
    stage: String,
    layer: String,
    depth: Option<i32>,
    steps: (u64, u64),
    tracked: bool,
}

fn definite(run: &RunDir, selection: &Selection) -> Result<(Definite, Vec<StoreError>)> {
    let (found, last, problems) = overview(run)?;
    let stage = pick_stage(run, &found, last, selection.stage.as_deref())?;
    let layers: Vec<_> = found.iter().filter(|(k, _)| k.0 == stage).collect();
    let unknown = |what, asked: String, known| {
        let path = run.path().to_owned();
        AnalysisError::Unknown { stream: ContextRow::STREAM, what, asked, known, path }
    };
    let layer = match &selection.layer {
        None => layers.last(),
        Some(asked) => layers.iter().find(|(k, _)| k.2 == *asked),
    };
    let Some(((_, depth, layer), seen)) = layer else {
        let known = layers.iter().map(|(k, _)| k.2.as_str()).collect::<Vec<_>>().join(", ");
        return Err(unknown("layer", selection.layer.clone().unwrap_or_default(), known));
    };
    let tracked = selection.tracked.unwrap_or_else(|| match selection.steps {
        Steps::Late => !seen.tracked.is_empty(),
        Steps::Between(from, to) => seen.tracked.range(from..=to.max(from)).next().is_some(),
    });
    let there = if tracked { &seen.tracked } else { &seen.own };
    let (first, last) = Seen::ends(there);
    let steps = match selection.steps {
        Steps::Late if tracked => (last, last),
        Steps::Late => (first + (last - first).div_ceil(2), last),
        Steps::Between(from, to) => (from, to),
    };
    if steps.0 > steps.1 || there.range(steps.0..=steps.1).next().is_none() {
        let kind = if tracked { " of tracked samples" } else { "" };
        let known = if there.is_empty() { format!("none{kind}") } else { format!("{first} to {last}{kind}") };
        return Err(unknown("steps", format!("{} to {}", steps.0, steps.1), known));
    }
    Ok((Definite { stage, layer: layer.clone(), depth: *depth, steps, tracked }, problems))
}

impl ContextData {
    /// Reads the selected context vectors, their routing weights and what the data set says of their samples.
    ///
    /// # Errors
    /// The run has no context vectors, or none of this selection; fewer than three samples are left.
    pub fn load(run: &RunDir, selection: &Selection) -> Result<Self> {
        let (what, mut problems) = definite(run, selection)?;
        let mut found: BTreeMap<String, (u64, Vec<f32>)> = BTreeMap::new();
        let mut not_finite = BTreeSet::new();
        visit_batches(run, ContextRow::STREAM, None, |path, batch| {
            for row in ContextRow::rows(&batch, path)? {
                let chosen = row.stage == what.stage
                    && row.layer == what.layer
                    && row.tracked == what.tracked
                    && (what.steps.0..=what.steps.1).contains(&row.step);
                if !chosen {
                    continue;
                }
                if row.vector.iter().all(|v| v.is_finite()) {
                    found.insert(row.sample, (row.step, row.vector.iter().map(|v| v.to_f32()).collect()));
                } else {
                    not_finite.insert(row.sample);
                }
            }
            Ok(())
        })?;
        // Widths can differ only between parts of a run that was resumed with another model: the last one counts.
        let width = found.values().max_by_key(|v| v.0).map_or(0, |v| v.1.len());
        found.retain(|_, v| v.1.len() == width);
        let of = found.len();
        if of < 3 {
            return Err(AnalysisError::TooFew { found: of, needed: 3, path: run.path().to_owned() });
        }
        let most = if selection.most == 0 { 100_000 } else { selection.most };
        let drawn: BTreeSet<usize> = Stream::new(selection.seed).choose(of, most).into_iter().collect();
        let mut rows = Vec::with_capacity(drawn.len() * width);
        let mut keys = Vec::with_capacity(drawn.len());
        for (_, (sample, (step, vector))) in found.into_iter().enumerate().filter(|(i, _)| drawn.contains(i)) {
            rows.extend(vector);
            keys.push((sample, step));
        }
        let vectors = Array2::from_shape_vec((keys.len(), width), rows).expect("rows of one width");
        let (weights, more) = weights(run, &what, &keys)?;
        problems.extend(more);
        let samples = describe(run, &keys, &mut problems)?;
        Ok(Self {
            stage: what.stage,
            layer: what.layer,
            depth: what.depth,
            steps: what.steps,
            tracked: what.tracked,
            samples,
            vectors,
            weights,
            of,
            not_finite: not_finite.len(),
            problems: problems.iter().map(ToString::to_string).collect(),
        })
    }

    /// Names of the tasks, sorted, and the index of each sample's.
    #[must_use]
    pub fn tasks(&self) -> (Vec<String>, Vec<usize>) {
        let names: BTreeSet<&str> = self.samples.iter().map(|s| s.task.as_str()).collect();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let at = |s: &ContextSample| names.binary_search(&s.task).unwrap_or(0);
        let of = self.samples.iter().map(at).collect();
        (names, of)
    }
}

/// Routing weights of the samples at their steps; `None` unless all are there.
fn weights(run: &RunDir, what: &Definite, keys: &[(String, u64)]) -> Result<(Option<Array2<f32>>, Vec<StoreError>)> {
    let place: HashMap<(&str, u64), usize> =
        keys.iter().enumerate().map(|(i, (sample, step))| ((sample.as_str(), *step), i)).collect();
    let mut found: Vec<Vec<f32>> = vec![Vec::new(); keys.len()];
    let problems = visit_batches(run, RoutingRow::STREAM, None, |path, batch| {
        for row in RoutingRow::rows(&batch, path)? {
            if row.stage == what.stage
                && row.layer == what.layer
                && let Some(i) = place.get(&(row.sample.as_str(), row.step))
            {
                found[*i] = row.weights;
            }
        }
        Ok(())
    })?;
    let experts = found.first().map_or(0, Vec::len);
    let whole = experts > 0 && found.iter().all(|w| w.len() == experts && w.iter().all(|v| v.is_finite()));
    let weights = whole.then(|| Array2::from_shape_vec((keys.len(), experts), found.concat()).expect("one width"));
    Ok((weights, problems))
}

/// What the data set, or else the sample records, say of the samples.
fn describe(run: &RunDir, keys: &[(String, u64)], problems: &mut Vec<StoreError>) -> Result<Vec<ContextSample>> {
    let dataset = read_dataset(run).unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    let wanted: BTreeSet<&str> = keys.iter().map(|k| k.0.as_str()).collect();
    let known: HashMap<&str, usize> = dataset
        .iter()
        .enumerate()
        .filter(|(_, row)| wanted.contains(row.sample.as_str()))
        .map(|(i, row)| (row.sample.as_str(), i))
        .collect();
    let mut tasks: HashMap<String, String> = HashMap::new();
    if known.len() < wanted.len() {
        problems.extend(visit_batches(run, SampleRow::STREAM, None, |path, batch| {
            for row in SampleRow::rows(&batch, path)? {
                if let (Some(task), true) = (row.task, wanted.contains(row.sample.as_str())) {
                    tasks.insert(row.sample, task);
                }
            }
            Ok(())
        })?);
    }
    let one = |(sample, step): &(String, u64)| {
        let row = known.get(sample.as_str()).map(|i| &dataset[*i]);
        let task = row.and_then(|r| r.task.clone()).or_else(|| tasks.get(sample).cloned());
        ContextSample {
            sample: sample.clone(),
            step: *step,
            task: task.unwrap_or_else(|| NO_TASK.to_owned()),
            image: row.and_then(|r| r.image.clone()),
            question: row.map_or_else(String::new, |r| r.question.clone()),
            answer: row.map_or_else(String::new, |r| r.answer.clone()),
        }
    };
    Ok(keys.iter().map(one).collect())
}
