//! What the context figures share: which layer and steps, and what is known of the samples.

use super::source::{Source, samples};
use super::{FigureError, FigureId, Options, Result};
use crate::cluster::{Clusters, KMeansParams};
use crate::reduce::Pca;
use crate::stats::Stream;
use crate::store::{ContextRow, Record, RoutingRow, SampleRow, option_that_logs};
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::Array2;
use std::collections::{BTreeMap, BTreeSet};

/// Samples without a task.
pub(super) const NO_TASK: &str = "(no task)";
/// Samples that clusters are sought over at most, as in the paper.
const SAMPLES: usize = 5000;

/// The stage to draw and its last step.
pub(super) fn last_step<R: Record>(
    source: &Source,
    options: &Options,
    of: impl Fn(&R) -> (&str, u64),
) -> Result<Option<(String, u64)>> {
    let wanted = source.stage(options.stage.as_deref());
    let mut found: Option<(String, u64)> = None;
    source.visit(|row: R| {
        let (stage, step) = of(&row);
        if wanted.as_ref().is_some_and(|w| w != stage) {
            return;
        }
        match &mut found {
            Some((known, last)) if known == stage => *last = (*last).max(step),
            _ => found = Some((stage.to_owned(), step)),
        }
    })?;
    Ok(found)
}

/// The task of each sample that has one.
pub(super) fn tasks(source: &Source) -> Result<BTreeMap<String, String>> {
    let known = samples(source)?;
    if !known.is_empty() {
        return Ok(known.into_iter().filter_map(|(sample, row)| Some((sample, row.task?))).collect());
    }
    let mut tasks = BTreeMap::new();
    source.visit(|row: SampleRow| {
        if let Some(task) = row.task {
            tasks.insert(row.sample, task);
        }
    })?;
    Ok(tasks)
}

/// Context vectors of one layer, one a sample: its last in the later half of the stage.
pub(super) struct Contexts {
    pub stage: String,
    pub layer: String,
    pub from_step: u64,
    pub ids: Vec<String>,
    pub tasks: Vec<String>,
    /// `[N, C]`
    pub vectors: Array2<f64>,
    /// Samples that there are; more than `ids` where some were drawn.
    pub of: usize,
    /// `[N, E]`: routing weights at the same step, where all of them are logged.
    pub weights: Option<Vec<Vec<f64>>>,
}

/// The layer to draw: asked for, or the last but one that has contexts (the paper's penultimate layer).
fn layer(id: FigureId, source: &Source, options: &Options, stage: &str) -> Result<String> {
    let mut layers: BTreeSet<(Option<i32>, String)> = BTreeSet::new();
    source.visit(|row: ContextRow| {
        if row.stage == stage {
            layers.insert((row.depth, row.layer));
        }
    })?;
    let names: Vec<String> = layers.into_iter().map(|l| l.1).collect();
    let Some(asked) = &options.layer else {
        let pick = names.len().saturating_sub(2);
        return names.into_iter().nth(pick).ok_or_else(|| lacking(id, source));
    };
    let data = |why| FigureError::Data { figure: id.to_string(), why, path: source.run.path().to_owned() };
    names
        .contains(asked)
        .then(|| asked.clone())
        .ok_or_else(|| data(format!("no context vectors of layer {asked}; there are those of {}", names.join(", "))))
}

fn lacking(id: FigureId, source: &Source) -> FigureError {
    source.lacks(id, "`contexts`", option_that_logs("contexts"))
}

impl Contexts {
    pub(super) fn load(id: FigureId, source: &Source, options: &Options, routing: bool) -> Result<Self> {
        let (stage, last) =
            last_step::<ContextRow>(source, options, |r| (&r.stage, r.step))?.ok_or_else(|| lacking(id, source))?;
        let layer = layer(id, source, options, &stage)?;
        let from_step = last.div_ceil(2);
        let mut found: BTreeMap<String, (u64, Vec<f64>)> = BTreeMap::new();
        source.visit(|row: ContextRow| {
            let wanted = row.stage == stage && row.layer == layer && row.step >= from_step;
            if wanted && row.vector.iter().all(|v| v.is_finite()) {
                found.insert(row.sample, (row.step, row.vector.iter().map(|v| v.to_f64()).collect()));
            }
        })?;
        let of = found.len();
        // Drawn, never the first ones: those may come in some order.
        let mut stream = Stream::new(options.seed);
        while found.len() > SAMPLES {
            let keys: Vec<String> = found.keys().cloned().collect();
            for key in keys {
                if found.len() > SAMPLES && stream.below(of) >= SAMPLES {
                    found.remove(&key);
                }
            }
        }
        let width = found.values().next().map_or(0, |v| v.1.len());
        found.retain(|_, v| v.1.len() == width);
        let known = tasks(source)?;
        let ids: Vec<String> = found.keys().cloned().collect();
        let tasks = ids.iter().map(|s| known.get(s).cloned().unwrap_or_else(|| NO_TASK.to_owned())).collect();
        let flat: Vec<f64> = found.values().flat_map(|v| v.1.iter().copied()).collect();
        let data = |why| FigureError::Data { figure: id.to_string(), why, path: source.run.path().to_owned() };
        if ids.len() < 3 || width == 0 {
            return Err(data(format!("only {} samples have a finite context vector", ids.len())));
        }
        let vectors = Array2::from_shape_vec((ids.len(), width), flat).map_err(|e| data(e.to_string()))?;
        let weights = if routing { weights(source, &stage, &layer, &found)? } else { None };
        Ok(Self { stage, layer, from_step, ids, tasks, vectors, of, weights })
    }

    /// Clusters in the original space.
    pub(super) fn clusters(&self, id: FigureId, source: &Source, options: &Options) -> Result<Clusters> {
        let k = options.clusters.min(self.ids.len());
        let data = |why| FigureError::Data { figure: id.to_string(), why, path: source.run.path().to_owned() };
        let dataset = DatasetBase::from(self.vectors.clone());
        KMeansParams::new(k).seed(options.seed).fit(&dataset).map_err(|e| data(e.to_string()))
    }

    /// Coordinates on the first two principal components, and their shares of the variance.
    pub(super) fn plane(&self, id: FigureId, source: &Source) -> Result<(Array2<f64>, [f64; 2])> {
        let data = |why| FigureError::Data { figure: id.to_string(), why, path: source.run.path().to_owned() };
        let dataset = DatasetBase::from(self.vectors.clone());
        let pca = Pca::params(2).fit(&dataset).map_err(|e| data(e.to_string()))?;
        let ratio = pca.variance_ratio();
        let share = [ratio.first().copied().unwrap_or(0.0), ratio.get(1).copied().unwrap_or(0.0)];
        Ok((pca.transform(self.vectors.view()), share))
    }
}

fn weights(
    source: &Source,
    stage: &str,
    layer: &str,
    found: &BTreeMap<String, (u64, Vec<f64>)>,
) -> Result<Option<Vec<Vec<f64>>>> {
    let mut weights: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    source.visit(|row: RoutingRow| {
        if row.stage == stage && row.layer == layer && found.get(&row.sample).is_some_and(|f| f.0 == row.step) {
            weights.insert(row.sample, row.weights.iter().map(|w| f64::from(*w)).collect());
        }
    })?;
    Ok(found.keys().map(|sample| weights.remove(sample)).collect())
}
