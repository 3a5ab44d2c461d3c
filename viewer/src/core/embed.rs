//! Principal components and clusters of the context vectors of one layer, by the code of `covft-probe analyze`.
//!
//! Both are found from the rows of [`super::fit`]; every row is then projected, and belongs to the nearest centroid. The
//! basis stays as it is while the steps are replayed.

use crate::data::{Chunk, LayerKey};
use crate::jobs::Progress;
use crate::notes::Basis;
pub(crate) use covft_analyses::analysis::{FIT as FITTED, RESTARTS};

use covft_analyses::analysis::{AnalysisError, ContextAnalysis, ContextData, ContextParams};
use covft_analyses::figures::looks::Looks;
use half::f16;
use half::slice::HalfFloatSliceExt;
use linfa::traits::Predict;
use ndarray::Array2;
use std::sync::Arc;

/// Components that are kept at most.
pub(crate) const COMPONENTS: usize = 6;
/// Samples that a silhouette is measured on.
const SILHOUETTE: usize = 1000;
/// Label of a row that cannot be placed.
pub(crate) const NO_CLUSTER: u16 = u16::MAX;
/// Rows that are placed at once.
const AT_ONCE: usize = 8192;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub layer: LayerKey,
    pub clusters: usize,
    pub seed: u64,
    pub restarts: usize,
    pub fit: usize,
    /// Whether they are found from the tracked samples.
    pub tracked: bool,
    /// The rows that they are found from, if these are given.
    pub basis: Option<Basis>,
}

/// The rows.
#[derive(Debug)]
pub(crate) struct Input {
    pub asked: Asked,
    /// What components and clusters are found from; `None` to place rows only.
    pub fit: Option<ContextData>,
    pub width: usize,
    pub chunks: Vec<Arc<Chunk>>,
    /// Rows in the chunks.
    pub rows: usize,
}

/// The result, for the rows that there were.
#[derive(Debug)]
pub(crate) struct Embedding {
    pub asked: Asked,
    pub basis: Basis,
    /// By component, then by row.
    pub coordinates: Vec<Vec<f32>>,
    /// Cluster of each row, the largest first; [`NO_CLUSTER`] where the vector is not finite.
    pub labels: Vec<u16>,
    /// Share of the total variance by component.
    pub ratios: Vec<f64>,
    /// Components, clusters and their words, over the samples that they were found from.
    pub found: Arc<ContextAnalysis>,
}

fn rows(chunks: &[Arc<Chunk>], width: usize) -> impl Iterator<Item = &[f16]> {
    chunks.iter().flat_map(move |c| c.vectors.chunks_exact(width))
}

impl Embedding {
    /// Finds components and clusters and places every row. `Ok(None)`: cancelled.
    ///
    /// # Errors
    /// Too few rows, or numbers that are not finite; said in words.
    pub(crate) fn find(input: &Input, progress: &Progress) -> Result<Option<Self>, String> {
        let Some(fit) = &input.fit else { return Ok(None) };
        let asked = &input.asked;
        let params = ContextParams {
            clusters: Some(asked.clusters),
            components: COMPONENTS,
            restarts: asked.restarts,
            seed: asked.seed,
            silhouette_samples: SILHOUETTE,
            seeds: 0,
            ..ContextParams::default()
        };
        let share = |what: &str| match what {
            "principal components" => 0.05,
            "clusters" => 0.2,
            _ => 0.6,
        };
        let mut on = |what: &str, _: usize, _: usize| {
            progress.at(share(what), what);
            !progress.cancelled()
        };
        let found = match ContextAnalysis::run(&params, fit, &mut on) {
            Ok(found) => found,
            Err(AnalysisError::Stopped) => return Ok(None),
            Err(error) => return Err(format!("no clusters were found: {error}")),
        };
        let empty = Self {
            asked: asked.clone(),
            basis: Basis { stage: fit.stage.clone(), steps: fit.steps, tracked: fit.tracked },
            coordinates: vec![Vec::with_capacity(input.rows); found.pca.components().nrows()],
            labels: Vec::with_capacity(input.rows),
            ratios: found.pca.variance_ratio().to_vec(),
            found: Arc::new(found),
        };
        Ok(empty.placed(input, progress))
    }

    /// The same components and clusters with the rows that came since.
    pub(crate) fn extended(&self, input: &Input, progress: &Progress) -> Option<Self> {
        let copy = Self {
            asked: self.asked.clone(),
            basis: self.basis.clone(),
            coordinates: self.coordinates.clone(),
            labels: self.labels.clone(),
            ratios: self.ratios.clone(),
            found: Arc::clone(&self.found),
        };
        copy.placed(input, progress)
    }

    /// With the place and the cluster of each row of `input` that has none yet.
    fn placed(mut self, input: &Input, progress: &Progress) -> Option<Self> {
        let mut waiting = Vec::with_capacity(AT_ONCE * input.width);
        let all = input.rows.max(1);
        for (row, vector) in rows(&input.chunks, input.width).enumerate().skip(self.labels.len()) {
            if waiting.is_empty() {
                if progress.cancelled() {
                    return None;
                }
                progress.at(0.8 + 0.2 * row as f64 / all as f64, "placing rows");
            }
            waiting.extend_from_slice(vector);
            if waiting.len() == AT_ONCE * input.width {
                self.place(&waiting, input.width);
                waiting.clear();
            }
        }
        self.place(&waiting, input.width);
        progress.at(1.0, "done");
        Some(self)
    }

    fn place(&mut self, vectors: &[f16], width: usize) {
        let mut plain = Array2::<f32>::zeros((vectors.len() / width.max(1), width));
        if let Some(to) = plain.as_slice_mut() {
            vectors.convert_to_f32_slice(to);
        }
        let at = self.found.pca.transform(plain.view());
        for (k, to) in self.coordinates.iter_mut().enumerate() {
            to.extend(at.column(k).iter().map(|v| *v as f32));
        }
        let labels = self.found.clusters.predict(&plain);
        let finite = plain.rows().into_iter().map(|row| row.iter().all(|v| v.is_finite()));
        self.labels.extend(labels.iter().zip(finite).map(|(l, finite)| if finite { *l as u16 } else { NO_CLUSTER }));
    }

    /// Whether this is what is asked for: the same, or found from the very rows that are named now.
    pub(crate) fn answers(&self, asked: &Asked) -> bool {
        let same = Asked { basis: self.asked.basis.clone(), ..asked.clone() };
        self.asked == same && asked.basis.as_ref().is_none_or(|basis| *basis == self.basis)
    }

    pub(crate) fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Samples of each cluster, of those that clusters were found from.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.found.contingency.counts.rows().into_iter().map(|row| row.sum() as usize).collect()
    }

    /// The look of each cluster.
    pub(crate) fn looks(&self) -> Looks {
        Looks::assign(&self.sizes(), None)
    }

    /// Samples that components and clusters were found from.
    pub(crate) fn fitted(&self) -> usize {
        self.found.fitted
    }

    /// What a cluster is about, in the words of its questions; empty where nothing sets it apart.
    pub(crate) fn words(&self, cluster: u16) -> String {
        let summary = self.found.summaries.iter().find(|s| s.cluster == usize::from(cluster));
        let words = summary.map_or(&[][..], |s| &s.words).iter().take(3);
        words.map(|w| w.word.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The `most` rows of `among` whose vectors are nearest to row `to` (itself left out), nearest first, with distances.
pub(crate) fn neighbors(
    chunks: &[Arc<Chunk>],
    width: usize,
    to: usize,
    among: impl Fn(usize) -> bool,
    most: usize,
    progress: &Progress,
) -> Option<Vec<(usize, f32)>> {
    let target: Vec<f32> = rows(chunks, width).nth(to)?.iter().map(|v| v.to_f32()).collect();
    let mut nearest: Vec<(usize, f32)> = Vec::new();
    for (row, vector) in rows(chunks, width).enumerate() {
        if row % 65_536 == 0 && progress.cancelled() {
            return None;
        }
        if row == to || !among(row) {
            continue;
        }
        let far: f32 = vector.iter().zip(&target).map(|(a, b)| (a.to_f32() - b).powi(2)).sum();
        if nearest.len() < most || nearest.last().is_some_and(|l| far < l.1) {
            let at = nearest.partition_point(|n| n.1 <= far);
            nearest.insert(at, (row, far));
            nearest.truncate(most);
        }
    }
    Some(nearest.into_iter().map(|(row, far)| (row, far.sqrt())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use covft_analyses::analysis::ContextSample;

    fn input(n: usize, clusters: usize) -> Input {
        // Two far blobs in 8 dimensions; the second is smaller.
        let value = |i: usize, j: usize| {
            ((i * 31 + j * 17) as f32).sin() * 0.1 + if i.is_multiple_of(3) && j < 2 { 4.0 } else { 0.0 }
        };
        let vectors: Vec<f16> = (0..n).flat_map(|i| (0..8).map(move |j| f16::from_f32(value(i, j)))).collect();
        let sample = |i: usize| ContextSample {
            sample: format!("s{i:03}"),
            place: None,
            step: 0,
            task: ["a", "b", "c"][i % 3].into(),
            image: None,
            question: (if i.is_multiple_of(3) { "how many cats" } else { "which colour" }).into(),
            answer: String::new(),
        };
        let fit = ContextData {
            stage: "instruct".into(),
            layer: "3".into(),
            depth: Some(3),
            steps: (0, 0),
            tracked: false,
            samples: (0..n).map(sample).collect(),
            vectors: Array2::from_shape_vec((n, 8), vectors.iter().map(|v| v.to_f32()).collect()).unwrap(),
            weights: None,
            without_routing: std::collections::BTreeSet::new(),
            of: n,
            not_finite: 0,
            rows_not_finite: covft_analyses::stats::NotFinite::default(),
            problems: Vec::new(),
        };
        let cut = n / 3 * 8;
        let chunks = vec![vectors[..cut].to_vec(), vectors[cut..].to_vec()];
        Input {
            asked: Asked {
                layer: (Some(3), "3".into()),
                clusters,
                seed: 1,
                restarts: 3,
                fit: FITTED,
                tracked: false,
                basis: None,
            },
            fit: Some(fit),
            width: 8,
            chunks: chunks.into_iter().map(|vectors| Arc::new(Chunk { vectors })).collect(),
            rows: n,
        }
    }

    #[test]
    fn blobs_are_clusters_and_the_largest_is_first() {
        let found = Embedding::find(&input(90, 2), &Progress::default()).unwrap().unwrap();
        assert!((0..90).all(|i| found.labels[i] == u16::from(i % 3 == 0)));
        assert!(found.ratios[0] > 0.9, "{:?}", found.ratios);
        assert_eq!((found.rows(), found.fitted(), found.coordinates.len()), (90, 90, 6));
        assert_eq!((found.words(0), found.words(1)), ("colour, which".into(), "cats, how, many".into()));
    }

    #[test]
    fn rows_that_come_later_are_placed() {
        let few = Embedding::find(&input(60, 2), &Progress::default()).unwrap().unwrap();
        let more = few.extended(&Input { fit: None, ..input(90, 2) }, &Progress::default()).unwrap();
        assert_eq!(more.labels[..60], few.labels[..]);
        assert!((60..90).all(|i| more.labels[i] == u16::from(i % 3 == 0)), "{:?}", more.labels);
        assert_eq!(more.coordinates[0].len(), 90);
    }

    #[test]
    fn too_many_clusters_and_cancelling() {
        let few = Embedding::find(&input(6, 10), &Progress::default()).unwrap().unwrap();
        assert_eq!(few.found.remarks, ["6 clusters, not 10: there are only 6 distinct vectors"]);
        let progress = Progress::default();
        progress.cancel();
        assert!(Embedding::find(&input(60, 2), &progress).unwrap().is_none());
    }

    #[test]
    fn neighbors_in_the_original_space() {
        let input = input(60, 2);
        let near = neighbors(&input.chunks, 8, 3, |i| i != 6, 5, &Progress::default()).unwrap();
        assert!(near.len() == 5 && near.iter().all(|(i, _)| i % 3 == 0 && *i != 3 && *i != 6), "{near:?}");
        assert!(near.windows(2).all(|w| w[0].1 <= w[1].1));
    }
}
