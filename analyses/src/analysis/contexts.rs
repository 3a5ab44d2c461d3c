//! Principal components and clusters of context vectors, and what the clusters are about.

use super::data::ContextData;
use super::defaults::{FIT, RESTARTS};
use super::error::AnalysisError;
use super::fitted::Fitted;
use super::labels::{Word, over_represented};
use super::routing_context::{RoutingContext, routing_context};
use crate::cluster::{Clusters, Contingency, Silhouette, adjusted_rand, silhouette};
use crate::reduce::Pca;
use crate::stats::Undefined;
use ndarray::Array2;

/// How context vectors are analysed. Every field is kept beside the results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextParams {
    /// Clusters; with `sweep`, `None` takes the number with the best silhouette, else 10. Never more than distinct vectors.
    pub clusters: Option<usize>,
    /// Numbers of clusters to try, both ends included.
    pub sweep: Option<(usize, usize)>,
    /// Samples that components and clusters are found from at most, even over tasks ([`super::stratified`]); the others are
    /// placed among them. `None`: all.
    pub fit: Option<usize>,
    /// Principal components that coordinates are given on.
    pub components: usize,
    /// Beginnings of k-means.
    pub restarts: usize,
    /// Seed of k-means and of every draw.
    pub seed: u64,
    /// Samples that a silhouette is measured on at most.
    pub silhouette_samples: usize,
    /// Further seeds to cluster with, for the stability of the clusters; 0 leaves it out.
    pub seeds: usize,
    /// Samples shown as nearest to each centroid.
    pub nearest: usize,
    /// Pairs of samples that routing and contexts are compared on.
    pub pairs: usize,
    /// Bootstrap resamples of that correlation.
    pub resamples: usize,
}

impl Default for ContextParams {
    fn default() -> Self {
        Self {
            clusters: None,
            sweep: None,
            fit: Some(FIT),
            components: 10,
            restarts: RESTARTS,
            seed: 0,
            silhouette_samples: 2000,
            seeds: 5,
            nearest: 4,
            pairs: 20_000,
            resamples: 1000,
        }
    }
}

/// A cluster in words.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSummary {
    /// Its number: 0 is the largest cluster.
    pub cluster: usize,
    /// Automatic name: over-represented words and the commonest task with its share.
    pub label: String,
    /// Words over-represented in its questions, surest first.
    pub words: Vec<Word>,
    /// Samples.
    pub size: usize,
    /// Commonest task (the first of equals by name).
    pub task: String,
    /// Share of the samples that are of it.
    pub task_share: f64,
    /// The samples nearest to the centroid (indices) with their distances, nearest first.
    pub nearest: Vec<(usize, f64)>,
}

/// One number of clusters that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SweepPoint {
    /// Number of clusters.
    pub clusters: usize,
    /// Sum of squared distances to the centroids.
    pub inertia: f64,
    /// Mean silhouette, or why there is none.
    pub silhouette: Result<Silhouette, Undefined>,
}

/// How clusters and tasks agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Share of samples of their cluster's commonest task.
    pub purity: f64,
    /// Normalised mutual information.
    pub nmi: f64,
    /// Adjusted Rand index.
    pub ari: f64,
}

/// How far clusters depend on the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedStability {
    /// The further seeds.
    pub seeds: Vec<u64>,
    /// Adjusted Rand index of each against the clusters of the analysis.
    pub ari: Vec<f64>,
    /// Inertia of each over the analysis' own.
    pub inertia_ratio: Vec<f64>,
}

/// Everything that is drawn and listed of one layer's context vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextAnalysis {
    /// How it was made.
    pub params: ContextParams,
    /// Principal components, with loadings and the share of the total variance.
    pub pca: Pca,
    /// Coordinates on them `[N, K]`.
    pub coordinates: Array2<f64>,
    /// Clusters in the original space, numbered from the largest (of the samples that they were found from). Every sample
    /// belongs to its nearest centroid; the inertia is over the samples that they were found from.
    pub clusters: Clusters,
    /// Samples that components and clusters were found from.
    pub fitted: usize,
    /// Distance of each sample to its centroid `[N]`.
    pub distances: Vec<f64>,
    /// Names of the tasks, sorted.
    pub tasks: Vec<String>,
    /// Index of each sample's task `[N]`.
    pub task_of: Vec<usize>,
    /// Cluster x task.
    pub contingency: Contingency,
    /// How clusters and tasks agree, or why that cannot be said.
    pub agreement: Result<Agreement, Undefined>,
    /// The clusters in words, by number; none without a sample.
    pub summaries: Vec<ClusterSummary>,
    /// Silhouette of the clusters, or why there is none.
    pub silhouette: Result<Silhouette, Undefined>,
    /// The numbers of clusters that were tried.
    pub sweep: Vec<SweepPoint>,
    /// Stability over seeds, or why there is nothing to compare; `None` where no other seeds were asked for.
    pub stability: Option<Result<SeedStability, Undefined>>,
    /// What was asked for and cannot be, in words: fewer clusters, a shorter sweep.
    pub remarks: Vec<String>,
    /// Routing similarity against context similarity; `None` where the run logs no routing for these samples.
    pub routing: Option<RoutingContext>,
}

impl ContextAnalysis {
    /// Analyses `data`. `progress(what, done, all)` is called between the parts; what it returns says whether to go on.
    ///
    /// # Errors
    /// No cluster is asked for; a sweep that is empty or begins above the number of distinct vectors; `progress` said to stop.
    pub fn run(
        params: &ContextParams,
        data: &ContextData,
        progress: &mut dyn FnMut(&str, usize, usize) -> bool,
    ) -> Result<Self, AnalysisError> {
        let mut on =
            |what: &str, done, all| if progress(what, done, all) { Ok(()) } else { Err(AnalysisError::Stopped) };
        let (tasks, task_of) = data.tasks();
        let all = data.samples.len();
        let fitted = Fitted::of(data, params.fit);
        let n = fitted.vectors().nrows();
        on("principal components", 0, 1)?;
        let pca = fitted.pca(params.components)?;
        let coordinates = pca.transform(data.vectors.view());
        let quality = |c: &Clusters| {
            let of = if c.labels().len() == all { data.vectors.view() } else { fitted.vectors() };
            silhouette(of, &c.labels().to_vec(), params.silhouette_samples, params.seed)
        };
        let mut remarks = Vec::new();
        let mut sweep = Vec::new();
        for k in swept(params, &fitted, &mut remarks)? {
            on("clusters by number", sweep.len(), fitted.distinct)?;
            let found = fitted.clusters(k, params.restarts, params.seed)?;
            sweep.push(SweepPoint { clusters: k, inertia: found.inertia(), silhouette: quality(&found) });
        }
        let asked = params.clusters.or_else(|| best(&sweep)).unwrap_or(10);
        on("clusters", 0, 1)?;
        let clusters = fitted.clusters(asked, params.restarts, params.seed)?;
        let found = clusters.labels().to_vec();
        let clusters = clusters.labelling(data.vectors.view());
        let k = clusters.centroids().nrows();
        remarks.extend(fitted.fewer(asked, k));
        let labels = clusters.labels().to_vec();
        let stability = match several(n, k) {
            _ if params.seeds == 0 => None,
            Err(why) => Some(Err(why)),
            Ok(()) => Some(Ok(stability(params, &fitted, &clusters, &found, &mut on)?)),
        };
        let contingency = Contingency::of(&labels, &task_of, k, tasks.len());
        let distances = clusters.distances(data.vectors.view());
        on("words of the clusters", 0, 1)?;
        let summaries = summaries(data, params, &contingency, &labels, &distances, &tasks);
        on("routing against contexts", 0, 1)?;
        let routing = routing_context(data, params.pairs, params.resamples, params.seed);
        Ok(Self {
            params: params.clone(),
            silhouette: quality(&clusters),
            agreement: several(all, k).and_then(|()| agreement(&contingency, tasks.len())),
            pca,
            coordinates,
            clusters,
            fitted: n,
            distances,
            tasks,
            task_of,
            contingency,
            summaries,
            sweep,
            stability,
            remarks,
            routing,
        })
    }

    /// Cluster of each sample `[N]`.
    #[must_use]
    pub fn labels(&self) -> Vec<usize> {
        self.clusters.labels().to_vec()
    }
}

/// The numbers of clusters to try: no more than distinct vectors.
fn swept(
    params: &ContextParams,
    fitted: &Fitted<'_>,
    remarks: &mut Vec<String>,
) -> Result<std::ops::RangeInclusive<usize>, AnalysisError> {
    let Some((low, high)) = params.sweep else { return Ok(std::ops::RangeInclusive::new(1, 0)) };
    let distinct = fitted.distinct;
    if low < 1 || high < low || low > distinct {
        return Err(AnalysisError::Sweep { low, high, distinct });
    }
    if high > distinct {
        remarks.push(format!(
            "the sweep ends at {distinct} clusters, not {high}: there are only {distinct} distinct vectors"
        ));
    }
    Ok(low..=high.min(distinct))
}

/// That labels by cluster can be compared with others: of samples enough, with clusters to tell apart.
///
/// # Errors
/// There are fewer than 10 samples, or one cluster, or as many as samples.
pub fn several(samples: usize, clusters: usize) -> Result<(), Undefined> {
    Undefined::unless_enough(samples)?;
    match clusters {
        1 => Err(Undefined::One("cluster")),
        k if k == samples => Err(Undefined::Apart),
        _ => Ok(()),
    }
}

fn agreement(contingency: &Contingency, tasks: usize) -> Result<Agreement, Undefined> {
    let known = (contingency.purity(), contingency.nmi(), contingency.ari());
    match known {
        (Some(purity), Some(nmi), Some(ari)) if tasks > 1 => Ok(Agreement { purity, nmi, ari }),
        _ => Err(Undefined::One("task")),
    }
}

/// The clusters of other seeds against `found`, the labels of the samples that `clusters` were found from.
fn stability(
    params: &ContextParams,
    fitted: &Fitted<'_>,
    clusters: &Clusters,
    found: &[usize],
    on: &mut dyn FnMut(&str, usize, usize) -> Result<(), AnalysisError>,
) -> Result<SeedStability, AnalysisError> {
    let mut stability = SeedStability { seeds: vec![], ari: vec![], inertia_ratio: vec![] };
    for i in 0..params.seeds {
        on("clusters of other seeds", i, params.seeds)?;
        let seed = params.seed.wrapping_add(1 + i as u64);
        let other = fitted.clusters(clusters.centroids().nrows(), params.restarts, seed)?;
        stability.seeds.push(seed);
        stability.ari.extend(adjusted_rand(found, &other.labels().to_vec()));
        let ratio = other.inertia() / clusters.inertia();
        stability.inertia_ratio.push(if clusters.inertia() > 0.0 { ratio } else { 1.0 });
    }
    Ok(stability)
}

/// The number of clusters with the best silhouette, the smallest of equals.
fn best(sweep: &[SweepPoint]) -> Option<usize> {
    let known = sweep.iter().filter_map(|p| Some((p.clusters, p.silhouette.ok()?.mean)));
    known.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|b| b.0)
}

fn summaries(
    data: &ContextData,
    params: &ContextParams,
    contingency: &Contingency,
    labels: &[usize],
    distances: &[f64],
    tasks: &[String],
) -> Vec<ClusterSummary> {
    let clusters = contingency.counts.nrows();
    let questions: Vec<&str> = data.samples.iter().map(|s| s.question.as_str()).collect();
    let words = over_represented(&questions, labels, clusters);
    let one = |(cluster, mut words): (usize, Vec<Word>)| {
        words.truncate(8);
        let counts = contingency.counts.row(cluster);
        let size = counts.sum() as usize;
        let most = counts.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
        let (task, count) = most.map_or((String::new(), 0), |(t, n)| (tasks[t].clone(), *n));
        let task_share = if size > 0 { count as f64 / size as f64 } else { 0.0 };
        let mut nearest: Vec<(usize, f64)> =
            (0..labels.len()).filter(|i| labels[*i] == cluster).map(|i| (i, distances[i])).collect();
        nearest.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        nearest.truncate(params.nearest);
        let said = words.iter().take(3).map(|w| w.word.as_str()).collect::<Vec<_>>().join(", ");
        let share = format!("{task} {:.0} %", 100.0 * task_share);
        let label = if said.is_empty() { share } else { format!("{said} ({share})") };
        ClusterSummary { cluster, label, words, size, task, task_share, nearest }
    };
    words.into_iter().enumerate().map(one).filter(|summary| summary.size > 0).collect()
}
