//! The context vectors that an analysis is over.

use super::error::{AnalysisError, Result};
use super::overview::{ContextOverview, Definite};
use crate::cluster::{Clusters, KMeansParams};
use crate::stats::{NotFinite, Stream};
use crate::store::{
    BySample, ContextRow, DatasetRow, Name, OfSample, Place, Record, RoutingWeights, RunDir, SampleKey, SampleTask,
    StoreError, visit_dataset, visit_records,
};
use half::f16;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array2, ArrayView2};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Samples of a selection at most where it does not say.
const MOST: usize = 100_000;

/// Samples of an analysis at least.
const LEAST: usize = 3;

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
    /// Layer; the last but one with context vectors if `None` (the paper's penultimate layer).
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
    /// Its place in the data; `None` in older runs.
    pub place: Option<Place>,
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

impl ContextSample {
    /// What it is called in messages: its id and, where the run has places, its entry.
    #[must_use]
    pub fn title(&self) -> String {
        let id = &self.sample;
        self.place.map_or_else(|| id.clone(), |place| format!("{id} ({} entry {})", place.split(), place.index()))
    }
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
    /// Samples `[N]`, in the order of the data set; of older runs in order of id.
    pub samples: Vec<ContextSample>,
    /// Context vectors `[N, C]`.
    pub vectors: Array2<f32>,
    /// Routing weights `[N, E]` of the same samples at the same step and layer; rows of NaN where they are not finite or
    /// there are none. `None` where there are none at all.
    pub weights: Option<Array2<f32>>,
    /// Indices of the samples without routing weights, where others have some.
    pub without_routing: BTreeSet<usize>,
    /// Samples that the selection has; more than `samples` where some were drawn.
    pub of: usize,
    /// Samples that were left out because none of their vectors is finite.
    pub not_finite: usize,
    /// Rows that were passed over because their vector is not finite.
    pub rows_not_finite: NotFinite,
    /// One message a damaged part.
    pub problems: Vec<String>,
}

/// A sample at a step.
struct At {
    key: SampleKey,
    id: String,
    step: u64,
}

/// Vectors by sample, with the samples' ids and the steps.
type Found = BTreeMap<SampleKey, (String, u64, Vec<f16>)>;

/// Samples of a selection and their vectors, one a sample: its last.
struct Chosen {
    vectors: Found,
    /// Samples that the selection has.
    of: usize,
    not_finite: usize,
    rows_not_finite: NotFinite,
    /// Samples whose vectors have another width than the last ones.
    other_width: usize,
    /// The first part that could not be read, if any.
    problem: Option<StoreError>,
}

/// Goes through the selected rows whose vectors are finite.
fn visit_selected(run: &RunDir, what: &Definite, mut see: impl FnMut(ContextRow)) -> Result<Vec<StoreError>> {
    Ok(visit_records(run, |row: ContextRow| {
        let chosen = row.stage == what.stage
            && row.layer == what.layer
            && row.tracked == what.tracked
            && (what.steps.0..=what.steps.1).contains(&row.step);
        if chosen {
            see(row);
        }
    })?)
}

/// The vectors of at most `most` samples, drawn with `seed` where there are more. No more than so many are ever in memory:
/// where there turn out to be more, the records are read a second time for those that were drawn.
fn choose(run: &RunDir, what: &Definite, most: usize, seed: u64) -> Result<Chosen> {
    // Step and width of each sample's last vector.
    let mut last: BTreeMap<SampleKey, (u64, usize)> = BTreeMap::new();
    let mut vectors = Some(Found::new());
    let (mut not_finite, mut rows_not_finite) = (BTreeSet::new(), NotFinite::default());
    let problems = visit_selected(run, what, |row| {
        let key = row.key();
        if !rows_not_finite.take_row(&row.vector) {
            not_finite.insert(key);
            return;
        }
        last.insert(key.clone(), (row.step, row.vector.len()));
        if let Some(held) = &mut vectors {
            held.insert(key, (row.sample, row.step, row.vector));
        }
        vectors.take_if(|held| held.len() > most);
    })?;
    // Widths can differ only between parts of a run that was resumed with another model: the last one counts.
    let width = last.values().max_by_key(|v| v.0).map_or(0, |v| v.1);
    not_finite.retain(|sample| !last.contains_key(sample));
    let known = last.len();
    last.retain(|_, v| v.1 == width);
    let of = last.len();
    let drawn = Stream::new(seed).choose(of, most);
    let mut place = 0;
    last.retain(|_, _| {
        let keep = drawn.binary_search(&place).is_ok();
        place += 1;
        keep
    });
    let mut vectors = if let Some(held) = vectors {
        held
    } else {
        let mut again = Found::new();
        visit_selected(run, what, |row| {
            let key = row.key();
            let finite = NotFinite::default().take_row(&row.vector);
            if finite && last.get(&key) == Some(&(row.step, row.vector.len())) {
                again.insert(key, (row.sample, row.step, row.vector));
            }
        })?;
        again
    };
    vectors.retain(|sample, _| last.contains_key(sample));
    let problem = problems.into_iter().next();
    Ok(Chosen { vectors, of, not_finite: not_finite.len(), rows_not_finite, other_width: known - of, problem })
}

/// Why there are too few samples and what to do.
fn too_few(run: &RunDir, what: &Definite, chosen: &Chosen) -> AnalysisError {
    let stream = ContextRow::STREAM;
    if let (0, Some(problem)) = (chosen.of, &chosen.problem) {
        return AnalysisError::Unreadable { stream, why: problem.to_string() };
    }
    let samples = if chosen.of == 1 { "1 sample" } else { &format!("{} samples", chosen.of) };
    let left = chosen.rows_not_finite.words("row", "rows").map_or_else(String::new, |words| format!(" ({words})"));
    // More steps bring other samples, or tracked ones whose vectors are finite there.
    let more_steps = !what.all_steps && (!what.tracked || chosen.not_finite > 0);
    let advice = match (more_steps, what.tracked) {
        (true, _) => "widen --steps",
        (false, true) => "no others are tracked; `[probe] tracked` is their number",
        (false, false) => "these are all that the run logged in this layer",
    };
    let why = format!("{samples} with a finite context vector, {LEAST} are needed{left}; {advice}");
    AnalysisError::TooFew { why, path: run.path().to_owned() }
}

impl ContextData {
    /// Reads the selected context vectors, their routing weights and what the data set says of their samples.
    ///
    /// # Errors
    /// The run has no context vectors, or none of this selection; fewer than three samples are left.
    pub fn load(run: &RunDir, selection: &Selection) -> Result<Self> {
        Self::of(&ContextOverview::read(run)?, selection)
    }

    /// The same where the overview of the run is at hand.
    ///
    /// # Errors
    /// See [`Self::load`].
    pub fn of(overview: &ContextOverview, selection: &Selection) -> Result<Self> {
        let run = overview.run();
        let what = overview.definite(selection)?;
        let most = if selection.most == 0 { MOST } else { selection.most };
        let chosen = choose(run, &what, most, selection.seed)?;
        if chosen.of < LEAST {
            return Err(too_few(run, &what, &chosen));
        }
        let Chosen { vectors: found, of, not_finite, rows_not_finite, other_width, .. } = chosen;
        let width = found.values().next().map_or(0, |v| v.2.len());
        let mut rows = Vec::with_capacity(found.len() * width);
        let mut keys = Vec::with_capacity(found.len());
        for (key, (id, step, vector)) in found {
            rows.extend(vector.iter().map(|v| v.to_f32()));
            keys.push(At { key, id, step });
        }
        let vectors = Array2::from_shape_vec((keys.len(), width), rows).expect("rows of one width");
        let mut problems = overview.problems().to_vec();
        if other_width > 0 {
            problems.push(format!(
                "{other_width} samples left out: their vectors have not {width} numbers, as the last ones"
            ));
        }
        let (weights, without_routing, more) = weights(run, &what, &keys)?;
        problems.extend(more.iter().map(ToString::to_string));
        let samples = describe(run, &keys, &mut problems)?;
        let Definite { stage, layer, depth, steps, tracked, .. } = what;
        Ok(Self {
            stage,
            layer,
            depth,
            steps,
            tracked,
            samples,
            vectors,
            weights,
            without_routing,
            of,
            not_finite,
            rows_not_finite,
            problems,
        })
    }

    /// What was left out because it is not finite, in words; nothing if all is.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let words = self.rows_not_finite.words("context vector", "context vectors")?;
        Some(match self.not_finite {
            0 => format!("{words}; every sample has another"),
            1 => format!("{words}; 1 sample has no other"),
            n => format!("{words}; {n} samples have no other"),
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

/// k-means of `x [N, C]`, its clusters numbered from the largest on.
pub(super) fn clusters_of(x: ArrayView2<'_, f32>, clusters: usize, restarts: usize, seed: u64) -> Result<Clusters> {
    let params = KMeansParams::new(clusters).restarts(restarts).seed(seed);
    Ok(by_size(params.fit(&DatasetBase::from(x))?))
}

/// The same clusters, numbered from the largest on; of equally large ones, the one whose first sample comes first.
fn by_size(clusters: Clusters) -> Clusters {
    let sizes = clusters.sizes();
    let first = |c: usize| clusters.labels().iter().position(|l| *l == c).unwrap_or(usize::MAX);
    let mut order: Vec<(usize, usize, usize)> =
        (0..sizes.len()).map(|c| (usize::MAX - sizes[c], first(c), c)).collect();
    order.sort_unstable();
    let mut to = vec![0; sizes.len()];
    order.iter().enumerate().for_each(|(new, (_, _, old))| to[*old] = new);
    clusters.renumbered(&to)
}

/// Routing weights of the samples at their steps (see [`ContextData::weights`]), and which samples are without any.
fn weights(
    run: &RunDir,
    what: &Definite,
    keys: &[At],
) -> Result<(Option<Array2<f32>>, BTreeSet<usize>, Vec<StoreError>)> {
    let place: HashMap<(SampleKey, u64), usize> =
        keys.iter().enumerate().map(|(i, at)| ((at.key.clone(), at.step), i)).collect();
    let mut found: Vec<Vec<f32>> = vec![Vec::new(); keys.len()];
    let problems = visit_records(run, |row: RoutingWeights| {
        if row.stage == what.stage
            && row.layer == what.layer
            && let Some(i) = place.get(&(row.key(), row.step))
            // Older records do not say which rows are of tracked samples.
            && (row.tracked == what.tracked || found[*i].is_empty())
        {
            found[*i] = row.weights;
        }
    })?;
    let experts = found.iter().map(Vec::len).find(|n| *n > 0).unwrap_or(0);
    if experts == 0 {
        return Ok((None, BTreeSet::new(), problems));
    }
    let without = (0..found.len()).filter(|i| found[*i].len() != experts).collect();
    for row in &mut found {
        if row.len() != experts || !NotFinite::default().take_row(row) {
            *row = vec![f32::NAN; experts];
        }
    }
    let weights = Array2::from_shape_vec((keys.len(), experts), found.concat()).expect("rows of one width");
    Ok((Some(weights), without, problems))
}

/// What the data set, or else the sample records, say of the samples.
fn describe(run: &RunDir, keys: &[At], problems: &mut Vec<String>) -> Result<Vec<ContextSample>> {
    let mut wanted = BySample::default();
    keys.iter().for_each(|at| wanted.insert(at.key.place(), &at.id, ()));
    let (mut rows, mut known): (Vec<DatasetRow>, BySample<usize>) = (Vec::new(), BySample::default());
    let read = visit_dataset(run, |row: DatasetRow| {
        if wanted.of(&row).is_some() {
            known.insert(row.place(), row.id(), rows.len());
            rows.push(row);
        }
    });
    problems.extend(read.err().map(|problem| problem.to_string()));
    let row = |at: &At| known.get(at.key.place(), &at.id).map(|row| &rows[*row]);
    let mut tasks: BySample<Name> = BySample::default();
    if keys.iter().any(|at| row(at).is_none()) {
        let read = visit_records(run, |row: SampleTask| {
            if let (Some(task), true) = (&row.task, wanted.of(&row).is_some()) {
                tasks.insert(row.place(), row.id(), task.clone());
            }
        })?;
        problems.extend(read.iter().map(ToString::to_string));
    }
    let one = |at: &At| {
        let place = at.key.place();
        let row = row(at);
        let task = row.and_then(|r| r.task.as_ref()).or_else(|| tasks.get(place, &at.id));
        let task = task.map_or(NO_TASK, Name::as_str).to_owned();
        let image = row.and_then(|r| r.image.clone());
        let [question, answer] = row.map_or(["", ""], |r| [&r.question, &r.answer]).map(str::to_owned);
        ContextSample { sample: at.id.clone(), place, step: at.step, task, image, question, answer }
    };
    Ok(keys.iter().map(one).collect())
}
