//! Clusters of the tracked samples over the steps of a run, their numbers carried from step to step.

use super::data::ContextData;
use super::error::{AnalysisError, Result};
use crate::cluster::{KMeansParams, adjusted_rand, matched};
use crate::store::{ContextRow, Record, RunDir, visit_batches};
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::Array2;
use std::collections::{BTreeMap, BTreeSet};

/// Clusters of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryStep {
    /// Step.
    pub step: u64,
    /// Cluster of each sample of [`ClusterHistory::samples`], numbered so that each shares as many samples as possible with
    /// the cluster of the same number one step before (the first step: with the analysis' own).
    pub labels: Vec<usize>,
    /// Adjusted Rand index against the step before.
    pub ari_before: Option<f64>,
    /// Adjusted Rand index against the last step.
    pub ari_last: Option<f64>,
    /// Sum of squared distances to the centroids.
    pub inertia: f64,
}

/// Clusters over steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterHistory {
    /// The tracked samples that occur at every step.
    pub samples: Vec<String>,
    /// Steps in order.
    pub steps: Vec<HistoryStep>,
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
    let mut by_step: BTreeMap<u64, BTreeMap<String, Vec<f32>>> = BTreeMap::new();
    if !data.tracked {
        return Ok(ClusterHistory::default());
    }
    visit_batches(run, ContextRow::STREAM, None, |path, batch| {
        for row in ContextRow::rows(&batch, path)? {
            let wanted = row.tracked && row.stage == data.stage && row.layer == data.layer;
            if wanted && row.vector.iter().all(|v| v.is_finite()) {
                let vector = row.vector.iter().map(|v| v.to_f32()).collect();
                by_step.entry(row.step).or_default().insert(row.sample, vector);
            }
        }
        Ok(())
    })?;
    let mut samples: Option<BTreeSet<String>> = None;
    for rows in by_step.values() {
        let here = rows.keys().cloned().collect();
        samples = Some(samples.map_or(here, |s| &s & &rows.keys().cloned().collect()));
    }
    let samples: Vec<String> = samples.unwrap_or_default().into_iter().collect();
    if by_step.len() < 2 || samples.len() < clusters.max(2) {
        return Ok(ClusterHistory::default());
    }
    let mut steps: Vec<HistoryStep> = Vec::new();
    let all = by_step.len();
    for (i, (step, rows)) in by_step.iter().enumerate() {
        if !progress("clusters over steps", i, all) {
            return Err(AnalysisError::Stopped);
        }
        let width = samples.first().map_or(0, |s| rows[s].len());
        let flat: Vec<f32> = samples.iter().flat_map(|s| &rows[s]).copied().collect();
        let Ok(x) = Array2::from_shape_vec((samples.len(), width), flat) else { continue };
        let found = KMeansParams::new(clusters).restarts(restarts).seed(seed).fit(&DatasetBase::from(x))?;
        let labels = found.labels().to_vec();
        let before = steps.last().map(|s| s.labels.as_slice());
        let to = before.map_or_else(|| (0..clusters).collect(), |before| matched(before, &labels, clusters, clusters));
        let labels: Vec<usize> = labels.into_iter().map(|l| to[l]).collect();
        let ari_before = before.and_then(|before| adjusted_rand(before, &labels));
        steps.push(HistoryStep { step: *step, ari_before, ari_last: None, inertia: found.inertia(), labels });
    }
    let last = steps.last().map(|s| s.labels.clone()).unwrap_or_default();
    steps.iter_mut().for_each(|s| s.ari_last = adjusted_rand(&s.labels, &last));
    Ok(ClusterHistory { samples, steps })
}
