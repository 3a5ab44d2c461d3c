//! The numbers of one run that tables are made of.

use crate::direction::{Definition, directions};
use crate::stats::{NotFinite, Summary, quantiles};
use crate::store::{
    ALL, BySample, EvalRow, LayerRow, Manifest, OfSample, PredictionRow, Result, RunDir, StageEntry, StepRow,
    read_where,
};
use std::collections::BTreeMap;

/// One run in one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct RunNumbers {
    /// Name of its folder.
    pub label: String,
    /// Stage that the numbers are of.
    pub stage: String,
    /// Steps recorded; 0 for a stage whose end was loaded.
    pub steps: u64,
    /// Mean training loss over the last tenth of the steps that is finite; NaN where none is.
    pub train_loss: Option<f64>,
    /// Training losses of that tenth that are not finite, and in no mean.
    pub losses_not_finite: NotFinite,
    /// Which held-out samples: `val` or `val-subset`.
    pub split: Option<String>,
    /// The last evaluation by task, `all` included.
    pub tasks: BTreeMap<String, TaskNumbers>,
    /// Samples that it scored.
    pub scored: BySample<()>,
    /// Cosine of the gradients with their dominant direction.
    pub direction: Option<DirectionNumbers>,
    /// Cosine of the gradients with AdamW's first moment, over what the method trains.
    pub momentum: Option<DirectionNumbers>,
    /// How far the vision encoder went, `||theta - theta_0||`.
    pub drift: Option<f64>,
    /// The same over the start's norm.
    pub drift_relative: Option<f64>,
    /// Numbers that train and that the loss reaches, in the whole model.
    pub trained: u64,
    /// Those of the vision encoder.
    pub trained_vision: u64,
    /// Median seconds a step, probes included; over the times that are finite.
    pub step_seconds: Option<f64>,
    /// Times of steps that are not finite.
    pub times_not_finite: NotFinite,
    /// Largest resident memory, bytes.
    pub peak_memory: Option<u64>,
}

/// A task in an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskNumbers {
    /// Mean loss over labelled tokens.
    pub loss: Option<f64>,
    /// Score in 0..=1.
    pub score: Option<f64>,
    /// Answers that it is over.
    pub scored: u64,
}

/// A series of cosines.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectionNumbers {
    /// `mean`, `momentum`, ...
    pub definition: Definition,
    /// `trainable` or `shared`.
    pub space: String,
    /// Mean over the steps.
    pub mean: f64,
    /// Standard deviation over the steps.
    pub deviation: f64,
    /// Steps.
    pub t: usize,
    /// Mean and deviation that gradients of random sign would give.
    pub null: Option<[f64; 2]>,
}

impl RunNumbers {
    /// Reads a run; the numbers are of `stage`, or of its last one.
    ///
    /// # Errors
    /// No run, or records that cannot be listed. Damaged parts are passed over.
    pub fn read(run: &RunDir, stage: Option<&str>) -> Result<Self> {
        let manifest = Manifest::read(run)?;
        let stage = stage.map(str::to_owned).or_else(|| manifest.stages.last().map(|s| s.name.clone()));
        let stage = stage.unwrap_or_default();
        let entry = manifest.stages.iter().find(|entry| entry.name == stage);
        let steps: Vec<StepRow> = of_stage(run, |row: &StepRow| row.stage == stage)?;
        let end = last_evaluation(of_stage(run, |row: &EvalRow| row.stage == stage)?);
        let scored = scored_samples(run, &stage, &end)?;
        let layers: Vec<LayerRow> =
            of_stage(run, |row: &LayerRow| row.stage == stage && row.layer == ALL && row.module == ALL)?;
        let last = layers.iter().max_by_key(|row| row.step);
        let (train_loss, losses_not_finite) = last_tenth(&steps);
        let (step_seconds, times_not_finite) = median_seconds(&steps);
        Ok(Self {
            label: run.name(),
            steps: steps.len() as u64,
            train_loss,
            losses_not_finite,
            split: end.first().map(|row| row.split.clone()),
            tasks: end.into_iter().map(task).collect(),
            scored,
            direction: direction(run, &stage)?,
            momentum: series(run, Definition::Momentum, &stage, "trainable")?,
            drift: last.map(|row| row.drift),
            drift_relative: last.and_then(|row| row.drift_relative),
            trained: trained(entry, |_| true),
            trained_vision: trained(entry, |part| part == "vision"),
            step_seconds,
            times_not_finite,
            peak_memory: steps.iter().filter_map(|row| row.peak_memory).max(),
            stage,
        })
    }

    /// Score of a task.
    #[must_use]
    pub fn score(&self, task: &str) -> Option<f64> {
        self.tasks.get(task).and_then(|numbers| numbers.score)
    }

    /// Held-out loss over all tasks.
    #[must_use]
    pub fn held_out_loss(&self) -> Option<f64> {
        self.tasks.get(ALL).and_then(|numbers| numbers.loss)
    }
}

fn of_stage<R: crate::store::Record>(run: &RunDir, wanted: impl Fn(&R) -> bool) -> Result<Vec<R>> {
    let read = read_where(run, wanted)?;
    read.problems.iter().for_each(|problem| tracing::warn!("{problem}"));
    Ok(read.rows)
}

/// The rows of the evaluation that came last: at one step the whole held-out set comes after the subset.
fn last_evaluation(rows: Vec<EvalRow>) -> Vec<EvalRow> {
    let Some(last) = rows.last().map(|row| (row.step, row.split.clone())) else { return Vec::new() };
    rows.into_iter().filter(|row| (row.step, &row.split) == (last.0, &last.1)).collect()
}

fn task(row: EvalRow) -> (String, TaskNumbers) {
    (row.task, TaskNumbers { loss: row.loss, score: row.score, scored: row.scored })
}

fn scored_samples(run: &RunDir, stage: &str, end: &[EvalRow]) -> Result<BySample<()>> {
    let mut scored = BySample::default();
    let Some(last) = end.first() else { return Ok(scored) };
    let here = |row: &PredictionRow| row.stage == stage && row.step == last.step && row.split == last.split;
    let rows = of_stage(run, |row: &PredictionRow| here(row) && row.correct.is_some())?;
    rows.iter().for_each(|row| scored.insert(row.place(), row.id(), ()));
    Ok(scored)
}

fn last_tenth(steps: &[StepRow]) -> (Option<f64>, NotFinite) {
    let n = (steps.len() / 10).max(1).min(steps.len());
    let (finite, left) = NotFinite::split(steps[steps.len() - n..].iter().map(|row| row.loss));
    let mean = Summary::of(finite).map(|all| all.mean);
    (mean.or_else(|| steps.last().map(|row| row.loss)), left)
}

fn median_seconds(steps: &[StepRow]) -> (Option<f64>, NotFinite) {
    let (times, left) = NotFinite::split(steps.iter().map(|row| row.ms_total / 1000.0));
    (quantiles(&times, &[0.5]).map(|q| q[0]), left)
}

fn trained(entry: Option<&StageEntry>, part: impl Fn(&str) -> bool) -> u64 {
    let parameters = entry.into_iter().flat_map(|entry| &entry.parameters);
    let counted = parameters.filter(|p| p.trained && p.reached && part(&p.part));
    counted.map(|p| p.shape.iter().product::<usize>() as u64).sum()
}

/// The default definition over what all methods share, or else over what the method trains.
fn direction(run: &RunDir, stage: &str) -> Result<Option<DirectionNumbers>> {
    match series(run, Definition::Mean, stage, "shared")? {
        Some(found) => Ok(Some(found)),
        None => series(run, Definition::Mean, stage, "trainable"),
    }
}

fn series(run: &RunDir, definition: Definition, stage: &str, space: &str) -> Result<Option<DirectionNumbers>> {
    let all = directions(run, definition, Some(stage), space)?;
    let found = all.into_iter().find(|series| series.layer == ALL);
    Ok(found.and_then(|series| {
        let summary = series.summary()?;
        Some(DirectionNumbers {
            definition,
            space: space.to_owned(),
            mean: summary.mean,
            deviation: summary.deviation,
            t: series.t(),
            null: series.null.map(|null| [null.mean, null.deviation]),
        })
    }))
}
