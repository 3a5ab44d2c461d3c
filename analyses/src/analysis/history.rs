//! Clusters of the tracked samples over the steps of a run, their numbers carried from step to step.

use super::data::ContextData;
use super::error::{AnalysisError, Result};
use crate::cluster::{KMeansParams, adjusted_rand, matched};
use crate::stats::{NotFinite, Undefined};
use crate::store::{ContextRow, OfSample, RunDir, SampleKey, visit_records};
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::Array2;
use std::collections::BTreeMap;

/// Clusters of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryStep {
    /// Step.
    pub step: u64,
    /// Cluster of each sample of [`ClusterHistory::samples`], numbered so that each shares as many samples as possible with
    /// the cluster of the same number one step before (the first step: with the analysis' own).
    pub labels: Vec<usize>,
    /// Adjusted Rand index against the step before; `None` at the first, and of fewer samples than
    /// [`LEAST`](crate::stats::LEAST).
    pub ari_before: Option<f64>,
    /// Adjusted Rand index against the last step; `None` of fewer samples.
    pub ari_last: Option<f64>,
    /// Sum of squared distances to the centroids.
    pub inertia: f64,
}

/// Clusters over steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterHistory {
    /// The tracked samples that occur at every step: what tells each apart, and its id.
    pub samples: Vec<(SampleKey, String)>,
    /// Steps in order.
    pub steps: Vec<HistoryStep>,
    /// Rows of tracked samples whose vector is not finite; such a sample is left out at every step.
    pub not_finite: NotFinite,
}

/// Clusters the tracked samples of `data`'s stage and layer at every step at which they were looked at, into `clusters`
/// clusters; empty where the run tracks none, or at fewer than two steps.
///
/// # Errors
/// The run cannot be read; `progress` said to stop.
pub fn cluster_history(
    run: &RunDir,
    data: &ContextData,
    clusters: usize,
    restarts: usize,
    seed: u64,
    progress: &mut dyn FnMut(&str, usize, usize) -> bool,
) -> Result<ClusterHistory> {
    if !data.tracked {
        return Ok(ClusterHistory::default());
    }
    let (samples, all, not_finite) = everywhere(run, data)?;
    if all < 2 || samples.len() < clusters.max(2) {
        return Ok(ClusterHistory { not_finite, ..ClusterHistory::default() });
    }
    let enough = Undefined::unless_enough(samples.len()).is_ok();
    let mut steps: Vec<HistoryStep> = Vec::new();
    let params = KMeansParams::new(clusters).restarts(restarts).seed(seed);
    // One step's vectors at a time.
    visit_steps(run, data, &mut NotFinite::default(), |step, rows| {
        if !progress("clusters over steps", steps.len(), all) {
            return Err(AnalysisError::Stopped);
        }
        let width = samples.first().and_then(|s| rows.get(&s.0)).map_or(0, |row| row.1.len());
        let flat: Vec<f32> = samples.iter().filter_map(|s| rows.get(&s.0)).flat_map(|row| &row.1).copied().collect();
        let Ok(x) = Array2::from_shape_vec((samples.len(), width), flat) else { return Ok(()) };
        let found = params.fit(&DatasetBase::from(x))?;
        let labels = found.labels().to_vec();
        let before = steps.last().map(|s| s.labels.as_slice());
        let to = before.map_or_else(|| (0..clusters).collect(), |before| matched(before, &labels, clusters, clusters));
        let labels: Vec<usize> = labels.into_iter().map(|l| to[l]).collect();
        let ari_before = before.filter(|_| enough).and_then(|before| adjusted_rand(before, &labels));
        steps.push(HistoryStep { step, ari_before, ari_last: None, inertia: found.inertia(), labels });
        Ok(())
    })?;
    let last = steps.last().map(|s| s.labels.clone()).unwrap_or_default();
    steps.iter_mut().filter(|_| enough).for_each(|s| s.ari_last = adjusted_rand(&s.labels, &last));
    Ok(ClusterHistory { samples, steps, not_finite })
}

/// The samples that occur at every step with finite vectors, the number of steps, and the rows that are not finite.
fn everywhere(run: &RunDir, data: &ContextData) -> Result<(Vec<(SampleKey, String)>, usize, NotFinite)> {
    let mut not_finite = NotFinite::default();
    let mut samples: Option<BTreeMap<SampleKey, String>> = None;
    let mut steps = 0;
    visit_steps(run, data, &mut not_finite, |_, rows| {
        steps += 1;
        match &mut samples {
            Some(samples) => samples.retain(|s, _| rows.contains_key(s)),
            None => samples = Some(rows.iter().map(|(key, row)| (key.clone(), row.0.clone())).collect()),
        }
        Ok(())
    })?;
    Ok((samples.unwrap_or_default().into_iter().collect(), steps, not_finite))
}

/// Ids and vectors of samples.
type Rows = BTreeMap<SampleKey, (String, Vec<f32>)>;

/// Hands over the finite vectors of the tracked samples step by step (those with any). The rows of a step lie together in the
/// records.
fn visit_steps(
    run: &RunDir,
    data: &ContextData,
    not_finite: &mut NotFinite,
    mut see: impl FnMut(u64, &Rows) -> Result<()>,
) -> Result<()> {
    let mut now: Option<u64> = None;
    let mut rows = Rows::new();
    let mut ended = Ok(());
    visit_records(run, |row: ContextRow| {
        let wanted = row.tracked && row.stage == data.stage && row.layer == data.layer;
        if !wanted || ended.is_err() {
            return;
        }
        if let Some(before) = now.filter(|now| *now != row.step && !rows.is_empty()) {
            ended = see(before, &rows);
            rows.clear();
        }
        now = Some(row.step);
        if not_finite.take_row(&row.vector) {
            let vector = row.vector.iter().map(|v| v.to_f32()).collect();
            rows.insert(row.key(), (row.sample, vector));
        }
    })?;
    ended?;
    now.filter(|_| !rows.is_empty()).map_or(Ok(()), |now| see(now, &rows))
}
