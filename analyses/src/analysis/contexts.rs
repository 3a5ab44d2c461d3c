//! Principal components and clusters of context vectors, and what the clusters are about.

use super::data::{ContextData, clusters_of};
use super::error::{AnalysisError, Result};
use super::fitted::stratified;
use super::labels::{Word, over_represented};
use super::routing_context::{RoutingContext, routing_context};
use crate::cluster::{Clusters, Contingency, KMeansError, Silhouette, adjusted_rand, silhouette};
use crate::reduce::Pca;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array2, Axis};

/// How context vectors are analysed. Every field is kept beside the results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextParams {
    /// Clusters; with `sweep`, `None` takes the number with the best silhouette, else 10.
    pub clusters: Option<usize>,
    /// Numbers of clusters to try, both ends included.
    pub sweep: Option<(usize, usize)>,
    /// Samples that components and clusters are found from at most, even over tasks ([`stratified`]); the others are placed
    /// among them. `None`: all.
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
            fit: None,
            components: 10,
            restarts: 10,
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
    /// Mean silhouette; `None` where it is undefined.
    pub silhouette: Option<Silhouette>,
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
    /// Share of samples of their cluster's commonest task.
    pub purity: f64,
    /// Normalised mutual information of clusters and tasks.
    pub nmi: f64,
    /// Adjusted Rand index of clusters and tasks.
    pub ari: f64,
    /// The clusters in words, by number.
    pub summaries: Vec<ClusterSummary>,
    /// Silhouette of the clusters.
    pub silhouette: Option<Silhouette>,
    /// The numbers of clusters that were tried.
    pub sweep: Vec<SweepPoint>,
    /// Stability over seeds.
    pub stability: Option<SeedStability>,
    /// Routing similarity against context similarity; `None` where the run logs no routing for these samples.
    pub routing: Option<RoutingContext>,
}

impl ContextAnalysis {
    /// Analyses `data`. `progress(what, done, all)` is called between the parts; what it returns says whether to go on.
    ///
    /// # Errors
    /// More clusters than samples; an empty sweep; `progress` said to stop.
    pub fn run(
        params: &ContextParams,
        data: &ContextData,
        progress: &mut dyn FnMut(&str, usize, usize) -> bool,
    ) -> Result<Self> {
        let mut on =
            |what: &str, done, all| if progress(what, done, all) { Ok(()) } else { Err(AnalysisError::Stopped) };
        let (tasks, task_of) = data.tasks();
        let all = data.samples.len();
        let drawn = params.fit.filter(|most| *most < all).map(|most| stratified(&task_of, most));
        let drawn = drawn.map(|rows| data.vectors.select(Axis(0), &rows));
        let x = DatasetBase::from(drawn.as_ref().map_or(data.vectors.view(), ndarray::ArrayBase::view));
        on("principal components", 0, 1)?;
        let (n, width) = x.records().dim();
        let most = width.min(n.saturating_sub(1)).max(1);
        let pca = Pca::params(params.components.clamp(1, most)).fit(&x)?;
        let coordinates = pca.transform(data.vectors.view());
        let k_means = |k: usize, seed: u64| {
            if k > n {
                return Err(KMeansError::Clusters { clusters: k, samples: n }.into());
            }
            clusters_of(x.records().view(), k, params.restarts, seed)
        };
        let quality = |c: &Clusters| {
            let of = if c.labels().len() == all { data.vectors.view() } else { x.records().view() };
            silhouette(of, &c.labels().to_vec(), params.silhouette_samples, params.seed)
        };
        let mut sweep = Vec::new();
        if let Some((low, high)) = params.sweep {
            if low < 1 || high < low || high > n {
                return Err(AnalysisError::Sweep { low, high, samples: n });
            }
            for k in low..=high {
                on("clusters by number", k - low, high - low + 1)?;
                let found = k_means(k, params.seed)?;
                sweep.push(SweepPoint { clusters: k, inertia: found.inertia(), silhouette: quality(&found) });
            }
        }
        let k = params.clusters.or_else(|| best(&sweep)).unwrap_or_else(|| 10.min(n));
        on("clusters", 0, 1)?;
        let clusters = k_means(k, params.seed)?;
        let found = clusters.labels().to_vec();
        let clusters = clusters.labelling(data.vectors.view());
        let labels = clusters.labels().to_vec();
        let mut stability =
            (params.seeds > 0).then(|| SeedStability { seeds: vec![], ari: vec![], inertia_ratio: vec![] });
        if let Some(stability) = &mut stability {
            for i in 0..params.seeds {
                on("clusters of other seeds", i, params.seeds)?;
                let seed = params.seed.wrapping_add(1 + i as u64);
                let other = k_means(k, seed)?;
                stability.seeds.push(seed);
                stability.ari.extend(adjusted_rand(&found, &other.labels().to_vec()));
                let ratio = other.inertia() / clusters.inertia();
                stability.inertia_ratio.push(if clusters.inertia() > 0.0 { ratio } else { 1.0 });
            }
        }
        let contingency = Contingency::of(&labels, &task_of, k, tasks.len());
        let distances = clusters.distances(data.vectors.view());
        on("words of the clusters", 0, 1)?;
        let summaries = summaries(data, params, &contingency, &labels, &distances, &tasks);
        on("routing against contexts", 0, 1)?;
        let routing = routing_context(data, params.pairs, params.resamples, params.seed);
        let whole = "there are at least three samples";
        Ok(Self {
            params: params.clone(),
            silhouette: quality(&clusters),
            purity: contingency.purity().expect(whole),
            nmi: contingency.nmi().expect(whole),
            ari: contingency.ari().expect(whole),
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
            routing,
        })
    }

    /// Cluster of each sample `[N]`.
    #[must_use]
    pub fn labels(&self) -> Vec<usize> {
        self.clusters.labels().to_vec()
    }
}

/// The number of clusters with the best silhouette, the smallest of equals.
fn best(sweep: &[SweepPoint]) -> Option<usize> {
    let known = sweep.iter().filter_map(|p| Some((p.clusters, p.silhouette?.mean)));
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
    words.into_iter().enumerate().map(one).collect()
}
