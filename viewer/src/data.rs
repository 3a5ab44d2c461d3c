//! What the panels show of one run, kept as the records come in.

use covft_analyses::store::{ALL, EvalRow, LayerRow, Manifest, Poll, Record, RoutingRow, SampleRow, StepRow};
use std::collections::{BTreeMap, BTreeSet};

/// A layer in order of depth: the key, then its name.
pub(crate) type LayerKey = (Option<i32>, String);

/// The step and the loss by stage.
#[derive(Debug, Default)]
pub(crate) struct Curves {
    pub train: Vec<[f64; 2]>,
    pub held_out: Vec<[f64; 2]>,
}

/// Sum of the routing weights of one sample in one layer.
#[derive(Debug, Default)]
struct Routing {
    count: u64,
    weights: Vec<f64>,
}

/// One row of the sample table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub id: String,
    pub task: String,
    pub seen: u64,
    pub loss: Option<f64>,
    pub tokens: u64,
}

/// Everything read of a run so far.
#[derive(Debug, Default)]
pub(crate) struct RunData {
    pub manifest: Option<Manifest>,
    /// In the order they began.
    pub stages: Vec<(String, Curves)>,
    /// Stage, then layer, then step and drift.
    pub drift: BTreeMap<String, BTreeMap<LayerKey, Vec<(u64, f64)>>>,
    /// Stages whose vision encoder trains.
    pub moving: BTreeSet<String>,
    pub samples: BTreeMap<String, Sample>,
    pub problems: Vec<String>,
    pub steps: u64,
    routing: BTreeMap<LayerKey, BTreeMap<String, Routing>>,
}

impl RunData {
    /// Takes in what is new.
    pub(crate) fn absorb(&mut self, poll: Poll) {
        if poll.reset {
            *self = Self { manifest: self.manifest.take(), ..Self::default() };
        }
        if poll.manifest.is_some() {
            self.manifest = poll.manifest;
        }
        self.problems.extend(poll.problems.iter().map(ToString::to_string));
        for (stream, path, batch) in poll.batches {
            let taken = match stream.as_str() {
                StepRow::STREAM => StepRow::rows(&batch, &path).map(|r| r.into_iter().for_each(|r| self.step(&r))),
                EvalRow::STREAM => EvalRow::rows(&batch, &path).map(|r| r.into_iter().for_each(|r| self.eval(&r))),
                LayerRow::STREAM => LayerRow::rows(&batch, &path).map(|r| r.into_iter().for_each(|r| self.layer(r))),
                SampleRow::STREAM => SampleRow::rows(&batch, &path).map(|r| r.into_iter().for_each(|r| self.sample(r))),
                RoutingRow::STREAM => {
                    RoutingRow::rows(&batch, &path).map(|r| r.into_iter().for_each(|r| self.route(r)))
                }
                _ => Ok(()),
            };
            if let Err(problem) = taken {
                self.problems.push(problem.to_string());
            }
        }
    }

    fn curves(&mut self, stage: &str) -> &mut Curves {
        let at = self.stages.iter().position(|(name, _)| name == stage).unwrap_or_else(|| {
            self.stages.push((stage.to_owned(), Curves::default()));
            self.stages.len() - 1
        });
        &mut self.stages[at].1
    }

    fn step(&mut self, row: &StepRow) {
        self.steps += 1;
        self.curves(&row.stage).train.push([row.global_step as f64, row.loss]);
    }

    fn eval(&mut self, row: &EvalRow) {
        if let Some(loss) = row.loss.filter(|_| row.task == ALL) {
            self.curves(&row.stage).held_out.push([row.global_step as f64, loss]);
        }
    }

    fn layer(&mut self, row: LayerRow) {
        if row.module != ALL || row.layer == ALL {
            return;
        }
        if row.elements > 0 {
            self.moving.insert(row.stage.clone());
        }
        let layers = self.drift.entry(row.stage).or_default();
        layers.entry((row.depth, row.layer)).or_default().push((row.step, row.drift));
    }

    fn sample(&mut self, row: SampleRow) {
        let task = row.task.unwrap_or_else(|| "(no task)".to_owned());
        let new = Sample { id: row.sample.clone(), task, seen: 0, loss: None, tokens: row.tokens };
        let sample = self.samples.entry(row.sample).or_insert(new);
        sample.seen += 1;
        sample.loss = row.loss;
    }

    fn route(&mut self, row: RoutingRow) {
        let samples = self.routing.entry((row.depth, row.layer)).or_default();
        let sum = samples.entry(row.sample).or_default();
        sum.count += 1;
        sum.weights.resize(row.weights.len().max(sum.weights.len()), 0.0);
        sum.weights.iter_mut().zip(&row.weights).for_each(|(s, w)| *s += f64::from(*w));
    }

    /// Layers that route.
    pub(crate) fn routing_layers(&self) -> Vec<LayerKey> {
        self.routing.keys().cloned().collect()
    }

    /// Mean weight of each expert by task in one layer.
    pub(crate) fn routing_by_task(&self, layer: &LayerKey) -> BTreeMap<String, Vec<f64>> {
        let mut sums: BTreeMap<String, Routing> = BTreeMap::new();
        for (sample, routing) in self.routing.get(layer).into_iter().flatten() {
            let task = self.samples.get(sample).map_or("(no task)", |s| s.task.as_str());
            let sum = sums.entry(task.to_owned()).or_default();
            sum.count += routing.count;
            sum.weights.resize(routing.weights.len().max(sum.weights.len()), 0.0);
            sum.weights.iter_mut().zip(&routing.weights).for_each(|(s, w)| *s += w);
        }
        let mean = |r: Routing| r.weights.into_iter().map(|w| w / r.count as f64).collect();
        sums.into_iter().map(|(task, routing)| (task, mean(routing))).collect()
    }
}

/// At most `most` points: each is the mean of equally many neighbours.
pub(crate) fn thin(points: &[[f64; 2]], most: usize) -> Vec<[f64; 2]> {
    let every = points.len().div_ceil(most.max(1)).max(1);
    let mean = |chunk: &[[f64; 2]], k: usize| chunk.iter().map(|p| p[k]).sum::<f64>() / chunk.len() as f64;
    points.chunks(every).map(|chunk| [mean(chunk, 0), mean(chunk, 1)]).collect()
}
