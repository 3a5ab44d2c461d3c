//! What is shown of one run, kept in columns as the records come in.

mod contexts;
mod distances;
mod gradients;
mod layers;
mod names;
mod pairs;
mod roll;
mod samples;
mod table;

pub(crate) use contexts::{Chunk, Contexts, Routing};
pub(crate) use distances::{ByLayer, Distances, Far, PairOfRuns};
pub(crate) use gradients::{NoisePlace, SampleGradients};
pub(crate) use layers::{Measure, Series};
pub(crate) use names::Names;
pub(crate) use pairs::{Cell as PairCell, Place};
pub(crate) use samples::{NO_TASK, Samples};

use covft_analyses::store::{
    ALL, ContextRow, DistanceRow, EvalRow, LayerRow, Manifest, News, NoiseRow, PairRow, Poll, PredictionRow, Record,
    RoutingRow, RunDir, SampleGradientRow, SampleRow, StepRow, StoreError, read_dataset,
};
use roll::Roll;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use table::Table;

/// A layer in order of depth: the key, then its name.
pub(crate) type LayerKey = (Option<i32>, String);

/// Names that rows are about, as numbers.
struct Keys<'a> {
    samples: &'a mut Roll,
    tasks: &'a mut Names,
    stages: &'a mut Names,
}

impl Keys<'_> {
    fn task(&mut self, name: Option<&str>) -> u32 {
        self.tasks.number(name.unwrap_or(NO_TASK))
    }
}

/// The run's step and the loss.
#[derive(Debug, Default)]
pub(crate) struct Curves {
    pub train: Vec<[f64; 2]>,
    pub held_out: Vec<[f64; 2]>,
}

/// Who and when, row by row.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub sample: Vec<u32>,
    /// Number of the stage.
    pub stage: Vec<u16>,
    /// Step in the stage.
    pub step: Vec<u32>,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.sample.len()
    }

    fn take(&mut self, samples: &[u32], stage: u16, steps: &[u64]) {
        self.sample.extend_from_slice(samples);
        self.stage.extend(std::iter::repeat_n(stage, samples.len()));
        self.step.extend(steps.iter().map(|s| *s as u32));
    }
}

/// Everything read of a run so far.
#[derive(Debug, Default)]
pub(crate) struct RunData {
    /// Grows with everything that is taken in; no two runs ever have the same.
    pub version: u64,
    pub manifest: Option<Manifest>,
    /// Names of the stages, in order of their beginning in the manifest.
    pub stages: Names,
    /// By number of the stage.
    pub curves: Vec<Curves>,
    pub samples: Samples,
    pub contexts: BTreeMap<LayerKey, Contexts>,
    pub routing: BTreeMap<LayerKey, Routing>,
    pub layers: layers::Layers,
    pub pairs: pairs::Pairs,
    pub gradients: SampleGradients,
    pub distances: Distances,
    pub problems: Vec<String>,
    /// Streams that some of them are about.
    damaged: BTreeSet<String>,
    pub steps: u64,
    /// First step of the run in each stage, where records tell.
    first: Vec<Option<u64>>,
    dataset_read: bool,
}

impl RunData {
    /// Whether a stream is kept in memory. Sketches of gradients are not: what is computed from them reads them itself.
    pub(crate) fn wants(stream: &str) -> bool {
        const KEPT: [&str; 10] = [
            ContextRow::STREAM,
            RoutingRow::STREAM,
            SampleRow::STREAM,
            StepRow::STREAM,
            EvalRow::STREAM,
            LayerRow::STREAM,
            PredictionRow::STREAM,
            PairRow::STREAM,
            SampleGradientRow::STREAM,
            NoiseRow::STREAM,
        ];
        KEPT.contains(&stream)
    }

    /// Whether a part of a stream could not be read.
    pub(crate) fn is_damaged(&self, stream: &str) -> bool {
        self.damaged.contains(stream)
    }

    /// Takes in what is new.
    pub(crate) fn absorb(&mut self, dir: &RunDir, poll: Poll) {
        if poll.reset {
            self.news(News::Reset);
        }
        if let Some(manifest) = poll.manifest {
            self.news(News::Manifest(Box::new(manifest)));
        }
        self.read_dataset(dir);
        poll.problems.into_iter().for_each(|problem| self.news(News::Problem(problem)));
        poll.batches.into_iter().for_each(|(stream, path, rows)| self.news(News::Rows(&stream, &path, rows)));
        self.taken();
    }

    /// Takes in one piece of news; [`RunData::taken`] after the last.
    pub(crate) fn news(&mut self, news: News<'_>) {
        match news {
            News::Reset => {
                let expected = self.distances.expected;
                *self = Self { manifest: self.manifest.take(), version: self.version, ..Self::default() };
                self.distances.expected = expected;
                self.number_stages();
            }
            News::Manifest(manifest) => {
                self.manifest = Some(*manifest);
                self.number_stages();
            }
            News::Problem(problem) => self.problem(&problem),
            News::Rows(stream, path, rows) => {
                if let Err(problem) = self.take(stream, Table { batch: &rows, path })
                    && !self.problems.contains(&problem)
                {
                    self.problems.push(problem);
                    self.damaged.insert(stream.to_owned());
                }
            }
        }
    }

    fn problem(&mut self, problem: &StoreError) {
        self.damaged.extend(problem.stream().map(str::to_owned));
        self.problems.push(problem.to_string());
    }

    /// Reads what the samples are, once it is there; before their records, so that tasks have the data set's order.
    pub(crate) fn read_dataset(&mut self, dir: &RunDir) {
        if self.dataset_read || !dir.dataset().exists() {
            return;
        }
        match read_dataset(dir) {
            Ok(rows) => self.samples.set_dataset(rows),
            Err(problem) => self.problem(&problem),
        }
        self.dataset_read = true;
    }

    /// After the last piece of news.
    pub(crate) fn taken(&mut self) {
        static TAKEN: AtomicU64 = AtomicU64::new(0);
        self.samples.link();
        self.version = TAKEN.fetch_add(1, Ordering::Relaxed) + 1;
    }

    fn number_stages(&mut self) {
        for stage in self.manifest.iter().flat_map(|m| &m.stages) {
            self.stages.number(&stage.name);
        }
    }

    fn take(&mut self, stream: &str, table: Table<'_>) -> table::Result<()> {
        let words = |e: covft_analyses::store::StoreError| e.to_string();
        let samples = &mut self.samples;
        let keys = &mut Keys { samples: &mut samples.roll, tasks: &mut samples.tasks, stages: &mut self.stages };
        match stream {
            ContextRow::STREAM => contexts::take_contexts(&mut self.contexts, table, keys)?,
            RoutingRow::STREAM => contexts::take_routing(&mut self.routing, table, keys)?,
            SampleRow::STREAM => self.samples.take(table)?,
            StepRow::STREAM => {
                StepRow::rows(table.batch, table.path).map_err(words)?.iter().for_each(|r| self.step(r));
            }
            EvalRow::STREAM => EvalRow::rows(table.batch, table.path).map_err(words)?.iter().for_each(|r| self.eval(r)),
            LayerRow::STREAM => {
                for row in LayerRow::rows(table.batch, table.path).map_err(words)? {
                    let stage = self.stages.number(&row.stage) as u16;
                    self.layers.take(stage, row);
                }
            }
            PredictionRow::STREAM => {
                let rows = PredictionRow::rows(table.batch, table.path).map_err(words)?;
                rows.into_iter().for_each(|r| self.samples.predict(r));
            }
            PairRow::STREAM => self.pairs.take(table, keys)?,
            SampleGradientRow::STREAM => self.gradients.take_alignments(table, keys)?,
            DistanceRow::STREAM => {
                let rows = DistanceRow::rows(table.batch, table.path).map_err(words)?;
                rows.into_iter().for_each(|r| self.distances.take(r));
            }
            NoiseRow::STREAM => {
                for row in NoiseRow::rows(table.batch, table.path).map_err(words)? {
                    let stage = self.stages.number(&row.stage) as u16;
                    self.gradients.take_noise(stage, row);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn curves(&mut self, stage: &str) -> &mut Curves {
        let at = self.stages.number(stage) as usize;
        if self.curves.len() <= at {
            self.curves.resize_with(at + 1, Curves::default);
        }
        &mut self.curves[at]
    }

    fn step(&mut self, row: &StepRow) {
        self.steps += 1;
        self.curves(&row.stage).train.push([row.global_step as f64, row.loss]);
        let at = self.stages.number(&row.stage) as usize;
        if self.first.len() <= at {
            self.first.resize(at + 1, None);
        }
        self.first[at] = Some(row.global_step.saturating_sub(row.step));
    }

    fn eval(&mut self, row: &EvalRow) {
        if let Some(loss) = row.loss.filter(|_| row.task == ALL) {
            self.curves(&row.stage).held_out.push([row.global_step as f64, loss]);
        }
    }

    /// First step of the run in each stage: recorded, or else as planned.
    pub(crate) fn stage_starts(&self) -> Vec<u32> {
        let mut planned = 0;
        let mut starts = Vec::new();
        for stage in 0..self.stages.len() {
            let recorded = self.first.get(stage).copied().flatten();
            let start = recorded.unwrap_or(planned);
            starts.push(start as u32);
            let steps = self.manifest.as_ref().and_then(|m| m.stages.get(stage)).map_or(0, |s| s.steps);
            planned = start + steps;
        }
        starts
    }

    /// Whether a step of a stage is reached at step `until` of the run.
    pub(crate) fn reached(&self, until: u32) -> impl Fn(u16, u32) -> bool + use<> {
        let starts = self.stage_starts();
        move |stage, step| starts[usize::from(stage)].saturating_add(step) <= until
    }

    /// The last step of the run that is recorded.
    pub(crate) fn last_step(&self) -> u32 {
        self.curves.iter().filter_map(|c| c.train.last()).map(|p| p[0] as u32).max().unwrap_or(0)
    }

    /// The layers that have context vectors, with how many rows.
    pub(crate) fn context_layers(&self) -> Vec<(LayerKey, usize)> {
        self.contexts.iter().map(|(layer, c)| (layer.clone(), c.rows.len())).collect()
    }
}
