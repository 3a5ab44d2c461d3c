//! Principal components and clusters of the context vectors of one layer.
//!
//! Both are found from a sample that is even over tasks and over time; every row is then projected, and belongs to the
//! nearest centroid. The basis stays as it is while the steps are replayed.

use crate::data::{Chunk, LayerKey};
use crate::jobs::Progress;
use covft_analyses::cluster::KMeansParams;
use covft_analyses::reduce::Pca;
use half::f16;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array1, Array2, Axis};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Components that are kept at most.
pub(crate) const COMPONENTS: usize = 6;
/// Rows that components and clusters are found from at most (the paper's number).
pub(crate) const FITTED: usize = 5000;
/// Beginnings of k-means.
pub(crate) const RESTARTS: u64 = 10;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub layer: LayerKey,
    pub clusters: usize,
    pub seed: u64,
}

/// The rows.
#[derive(Debug)]
pub(crate) struct Input {
    pub asked: Asked,
    pub width: usize,
    pub chunks: Vec<Arc<Chunk>>,
    /// Task of each row.
    pub tasks: Vec<u32>,
}

/// The result, for the rows that there were.
#[derive(Debug)]
pub(crate) struct Embedding {
    pub asked: Asked,
    /// By component, then by row.
    pub coordinates: Vec<Vec<f32>>,
    /// Cluster of each row, the largest first.
    pub labels: Vec<u16>,
    /// Share of the total variance by component.
    pub ratios: Vec<f64>,
    /// Rows that components and clusters were found from.
    pub fitted: usize,
    /// Sum of the squared distances of those rows to their centroids.
    pub inertia: f64,
    basis: Basis,
}

/// What projects and assigns a row.
#[derive(Clone, Debug)]
struct Basis {
    mean: Vec<f32>,
    /// `[components][width]`
    components: Vec<Vec<f32>>,
    /// `[clusters][width]`
    centroids: Vec<Vec<f32>>,
    /// Half the squared length of each centroid.
    halves: Vec<f32>,
}

fn rows(chunks: &[Arc<Chunk>], width: usize) -> impl Iterator<Item = &[f16]> {
    chunks.iter().flat_map(move |c| c.vectors.chunks_exact(width))
}

/// Up to `most` rows, as many of each task as is its share (at least one), evenly spaced over its rows.
pub(crate) fn stratified(tasks: &[u32], most: usize) -> Vec<usize> {
    if tasks.len() <= most {
        return (0..tasks.len()).collect();
    }
    let mut by_task: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    tasks.iter().enumerate().for_each(|(row, task)| by_task.entry(*task).or_default().push(row));
    let mut chosen = Vec::with_capacity(most);
    for rows in by_task.values() {
        let quota = (rows.len() * most / tasks.len()).max(1);
        chosen.extend((0..quota).map(|i| rows[(2 * i + 1) * rows.len() / (2 * quota)]));
    }
    chosen.sort_unstable();
    chosen
}

impl Basis {
    fn fit(input: &Input, progress: &Progress) -> Result<Option<(Self, Vec<f64>, usize, f64)>, String> {
        let asked = &input.asked;
        let chosen = stratified(&input.tasks, FITTED);
        progress.at(0.02, "gathering rows");
        let mut x = Array2::<f64>::zeros((chosen.len(), input.width));
        let mut wanted = chosen.iter().copied().enumerate().peekable();
        for (row, vector) in rows(&input.chunks, input.width).enumerate() {
            if let Some((at, _)) = wanted.next_if(|(_, r)| *r == row) {
                x.row_mut(at).iter_mut().zip(vector).for_each(|(to, v)| *to = v.to_f64());
            }
        }
        progress.at(0.05, "finding components");
        let most = COMPONENTS.min(input.width).min(chosen.len().saturating_sub(1));
        let data = DatasetBase::from(x.view());
        let pca = Pca::params(most).fit(&data).map_err(|e| format!("no components were found: {e}"))?;
        let mut best: Option<(Array2<f64>, f64, Array1<usize>)> = None;
        for restart in 0..RESTARTS {
            if progress.cancelled() {
                return Ok(None);
            }
            progress.at(0.2 + 0.06 * restart as f64, "finding clusters");
            let params = KMeansParams::new(asked.clusters).restarts(1).seed(asked.seed.wrapping_add(restart << 32));
            let found = params.fit(&data).map_err(|e| format!("no clusters were found: {e}"))?;
            if best.as_ref().is_none_or(|b| found.inertia() < b.1) {
                best = Some((found.centroids().clone(), found.inertia(), found.labels().clone()));
            }
        }
        let Some((centroids, inertia, labels)) = best else { return Ok(None) };
        // The largest cluster first, so that numbers say something and repeat.
        let mut order: Vec<(usize, usize)> =
            (0..asked.clusters).map(|c| (labels.iter().filter(|l| **l == c).count(), c)).collect();
        order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let order: Vec<usize> = order.into_iter().map(|(_, c)| c).collect();
        let lists = |a: Array2<f64>| a.rows().into_iter().map(|r| r.iter().map(|v| *v as f32).collect()).collect();
        let centroids: Vec<Vec<f32>> = lists(centroids.select(Axis(0), &order));
        let halves = centroids.iter().map(|c| c.iter().map(|v| v * v).sum::<f32>() / 2.0).collect();
        let mean = pca.mean().iter().map(|v| *v as f32).collect();
        let basis = Self { mean, components: lists(pca.components().clone()), centroids, halves };
        Ok(Some((basis, pca.variance_ratio().to_vec(), chosen.len(), inertia)))
    }

    /// Appends the place and the cluster of each row of `chunks`, from row `from` on.
    fn project(&self, into: &mut Embedding, input: &Input, from: usize, progress: &Progress) -> Option<()> {
        let all = input.tasks.len().max(1);
        let mut centred = vec![0.0_f32; input.width];
        let mut plain = vec![0.0_f32; input.width];
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for (row, vector) in rows(&input.chunks, input.width).enumerate().skip(from) {
            if row % 4096 == 0 {
                if progress.cancelled() {
                    return None;
                }
                progress.at(0.8 + 0.2 * row as f64 / all as f64, "placing rows");
            }
            plain.iter_mut().zip(vector).for_each(|(to, v)| *to = v.to_f32());
            centred.iter_mut().zip(&plain).zip(&self.mean).for_each(|((to, v), m)| *to = v - m);
            for (to, component) in into.coordinates.iter_mut().zip(&self.components) {
                to.push(dot(component, &centred));
            }
            // The nearest centroid has the largest <x, c> - |c|^2 / 2.
            let score = |c: usize| dot(&self.centroids[c], &plain) - self.halves[c];
            let mut best = (0, f32::NEG_INFINITY);
            for c in 0..self.centroids.len() {
                let s = score(c);
                if s > best.1 {
                    best = (c, s);
                }
            }
            into.labels.push(best.0 as u16);
        }
        progress.at(1.0, "done");
        Some(())
    }
}

impl Embedding {
    /// Finds components and clusters and places every row. `Ok(None)`: cancelled.
    ///
    /// # Errors
    /// Too few rows, or numbers that are not finite; said in words.
    pub(crate) fn find(input: &Input, progress: &Progress) -> Result<Option<Self>, String> {
        if input.tasks.len() < 2 {
            return Err(format!("{} context vectors are too few to project", input.tasks.len()));
        }
        let Some((basis, ratios, fitted, inertia)) = Basis::fit(input, progress)? else { return Ok(None) };
        let mut found = Self {
            asked: input.asked.clone(),
            coordinates: vec![Vec::with_capacity(input.tasks.len()); basis.components.len()],
            labels: Vec::with_capacity(input.tasks.len()),
            ratios,
            fitted,
            inertia,
            basis: basis.clone(),
        };
        Ok(basis.project(&mut found, input, 0, progress).map(|()| found))
    }

    /// The same components and clusters with the rows that came since.
    pub(crate) fn extended(&self, input: &Input, progress: &Progress) -> Option<Self> {
        let mut more = Self {
            asked: self.asked.clone(),
            coordinates: self.coordinates.clone(),
            labels: self.labels.clone(),
            ratios: self.ratios.clone(),
            basis: self.basis.clone(),
            ..*self
        };
        self.basis.project(&mut more, input, self.labels.len(), progress).map(|()| more)
    }

    pub(crate) fn rows(&self) -> usize {
        self.labels.len()
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

    fn input(n: usize, clusters: usize) -> Input {
        // Two far blobs in 8 dimensions; the second is smaller.
        let value = |i: usize, j: usize| {
            ((i * 31 + j * 17) as f32).sin() * 0.1 + if i.is_multiple_of(3) && j < 2 { 4.0 } else { 0.0 }
        };
        let vectors: Vec<f16> = (0..n).flat_map(|i| (0..8).map(move |j| f16::from_f32(value(i, j)))).collect();
        let cut = n / 3 * 8;
        let chunks = vec![vectors[..cut].to_vec(), vectors[cut..].to_vec()];
        Input {
            asked: Asked { layer: (Some(3), "3".into()), clusters, seed: 1 },
            width: 8,
            chunks: chunks.into_iter().map(|vectors| Arc::new(Chunk { vectors })).collect(),
            tasks: (0..n as u32).map(|i| i % 3).collect(),
        }
    }

    #[test]
    fn blobs_are_clusters_and_the_largest_is_first() {
        let found = Embedding::find(&input(90, 2), &Progress::default()).unwrap().unwrap();
        assert!((0..90).all(|i| found.labels[i] == u16::from(i % 3 == 0)));
        assert!(found.ratios[0] > 0.9, "{:?}", found.ratios);
        let side = |i: usize| found.coordinates[0][i] > 0.0;
        assert!((0..90).all(|i| side(i) == side(i % 3)) && side(0) != side(1));
    }

    #[test]
    fn newer_rows_are_placed_as_the_old_were() {
        let mut early = input(90, 2);
        let whole = Embedding::find(&early, &Progress::default()).unwrap().unwrap();
        let mut late = Embedding::find(&early, &Progress::default()).unwrap().unwrap();
        late.labels.truncate(40);
        late.coordinates.iter_mut().for_each(|c| c.truncate(40));
        early.tasks.truncate(90);
        let extended = late.extended(&early, &Progress::default()).unwrap();
        assert_eq!((extended.labels, extended.coordinates), (whole.labels, whole.coordinates));
    }

    #[test]
    fn too_few_rows_and_too_many_clusters() {
        assert!(Embedding::find(&input(1, 1), &Progress::default()).unwrap_err().contains("too few"));
        assert!(Embedding::find(&input(9, 20), &Progress::default()).unwrap_err().contains("20 clusters"));
    }

    #[test]
    fn neighbors_in_the_original_space() {
        let input = input(60, 2);
        let near = neighbors(&input.chunks, 8, 3, |i| i != 6, 5, &Progress::default()).unwrap();
        assert!(near.len() == 5 && near.iter().all(|(i, _)| i % 3 == 0 && *i != 3 && *i != 6), "{near:?}");
        assert!(near.windows(2).all(|w| w[0].1 <= w[1].1));
    }

    #[test]
    fn samples_are_even_over_tasks() {
        let tasks: Vec<u32> = (0..1000).map(|i| u32::from(i >= 900)).collect();
        let chosen = stratified(&tasks, 100);
        let second = chosen.iter().filter(|i| **i >= 900).count();
        assert_eq!((chosen.len(), second), (100, 10));
        assert!(chosen[0] < 20 && chosen[89] > 880, "even over time too");
    }
}
