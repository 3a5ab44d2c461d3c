//! `covft-probe analyze RUN`.

use super::beside_manifest;
use super::out::{say, tell};
use super::steps;
use super::table::Table;
use anyhow::Context;
use covft_analyses::analysis::{
    AnalysisError, ClusterHistory, ContextAnalysis, ContextData, ContextOverview, ContextParams, RoutingContext,
    RoutingStats, Selection, Steps, ViewFile, Written, cluster_history, routing_context, routing_stats, write,
};
use covft_analyses::stats::{Interval, Summary, Undefined};
use covft_analyses::store::RunDir;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes into RUN/analysis: contexts, clusters, cluster_tasks, cluster_samples, components, routing_context,
routing_context_pairs, routing_steps, routing_tasks, and where they apply sweep and cluster_history (parquet), and
analysis.json with every parameter, seed and result.

Clusters are found in the original space, not on the components. They are numbered from the largest.

Examples:
  covft-probe analyze runs/scenes                             last layer but one, later half of the stage, 10 clusters
  covft-probe analyze runs/scenes --sweep 2..20               the number of clusters with the best silhouette
  covft-probe analyze runs/scenes --layer 3 --k 8 --seed 1
  covft-probe analyze runs/scenes --steps 100..149 --out early
  covft-probe analyze --from view.json                        repeat what the explorer saved")]
pub(super) struct Args {
    /// Run directory; with --from, the file's own if left out.
    #[arg(required_unless_present = "from")]
    run: Option<PathBuf>,
    /// Stage; the last with context vectors if left out.
    #[arg(long)]
    stage: Option<String>,
    /// Layer; the last but one with context vectors if left out, as in `plot`.
    #[arg(long)]
    layer: Option<String>,
    /// One step. Without --step and --steps: the last one with tracked samples, else the later half of the stage.
    #[arg(long, conflicts_with = "steps")]
    step: Option<u64>,
    /// Steps A..B, both included; a sample that occurs at several counts once, with its last vector.
    #[arg(long, value_parser = steps::range::<u64>)]
    steps: Option<(u64, u64)>,
    /// Clusters; with --sweep the best of it if left out, else 10.
    #[arg(long = "k")]
    clusters: Option<usize>,
    /// Numbers of clusters to try, A..B, both included.
    #[arg(long, value_parser = steps::range::<usize>)]
    sweep: Option<(usize, usize)>,
    /// Seed of everything that is drawn.
    #[arg(long)]
    seed: Option<u64>,
    /// Beginnings of k-means.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    restarts: Option<u64>,
    /// Samples that components and clusters are found from at most, even over tasks; the others are placed among them.
    /// 5,000 if left out, as in `plot` and the explorer.
    #[arg(long, value_parser = steps::samples)]
    fit: Option<usize>,
    /// Samples at most (100,000 if left out; all of them with a file of the explorer); a seeded draw, said so, where there
    /// are more.
    #[arg(long, value_parser = steps::samples)]
    samples: Option<usize>,
    /// Where to write; RUN/analysis if left out, in place of the analysis of before. In a folder that is named, no file is
    /// written over.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write over files that are there.
    #[arg(long)]
    force: bool,
    /// An analysis file saved by the explorer; flags that are given override it.
    #[arg(long)]
    from: Option<PathBuf>,
}

impl Args {
    /// What the file says, overridden by the flags.
    fn asked(&self) -> anyhow::Result<(PathBuf, Selection, ContextParams, Option<ViewFile>)> {
        let view = self.from.as_deref().map(ViewFile::read).transpose()?;
        let run = self.run.clone().or_else(|| view.as_ref().map(|v| PathBuf::from(&v.run)));
        let run = run.context("name a run directory")?;
        let mut selection = view.as_ref().map(ViewFile::selection).unwrap_or_default();
        let mut params = view.as_ref().map(ViewFile::params).unwrap_or_default();
        if self.stage.is_some() {
            selection.stage.clone_from(&self.stage);
        }
        if self.layer.is_some() {
            selection.layer.clone_from(&self.layer);
        }
        if let Some((from, to)) = self.steps.or(self.step.map(|s| (s, s))) {
            selection.steps = Steps::Between(from, to);
        }
        // The explorer draws what clusters are found from out of all samples; so must who repeats it.
        let all = if view.is_some() && params.fit.is_some() { usize::MAX } else { 0 };
        selection.most = self.samples.unwrap_or(all);
        params.fit = self.fit.or(params.fit);
        params.clusters = self.clusters.or(params.clusters);
        params.sweep = self.sweep.or(params.sweep);
        params.seed = self.seed.unwrap_or(params.seed);
        params.restarts = self.restarts.map_or(params.restarts, |r| r as usize);
        selection.seed = params.seed;
        Ok((run, selection, params, view))
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (path, selection, params, view) = args.asked()?;
    let run = RunDir::open(path)?;
    let progress = steps::Steps::new();
    let mut on = |what: &str, done: usize, all: usize| {
        progress.show(what, done, all);
        true
    };
    on("reading context vectors", 0, 1);
    let told = |error: AnalysisError| beside_manifest(&run, error);
    let overview = ContextOverview::read(&run).map_err(told)?;
    let data = ContextData::of(&overview, &selection).map_err(told)?;
    let analysis = ContextAnalysis::run(&params, &data, &mut on)?;
    let k = analysis.clusters.centroids().nrows();
    let history = cluster_history(&run, &data, k, params.restarts, params.seed, &mut on)?;
    let layers = by_layer(&overview, &selection, &params, &data, &analysis, &mut on)?;
    on("routing", 0, 1);
    let (routing, no_routing) = match routing_stats(&run) {
        Ok(stats) => (Some(stats), None),
        Err(error @ (AnalysisError::NoRecords { .. } | AnalysisError::NotFinite { .. })) => (None, Some(error)),
        Err(error) => return Err(error.into()),
    };
    let out = args.out.clone().unwrap_or_else(|| run.analysis());
    let command: Vec<String> = std::env::args().collect();
    let written = Written {
        run: &run,
        command: &command,
        selection: &selection,
        data: &data,
        analysis: &analysis,
        layers: &layers,
        history: &history,
        routing: routing.as_ref(),
        view: view.as_ref(),
    };
    let before = out.join("analysis.json").exists();
    let files = write(&out, &written, args.force || args.out.is_none())?;
    drop(progress);
    summary(&data, &analysis, view.as_ref());
    tell_routing(&layers, &data);
    match (&routing, &no_routing) {
        (Some(routing), _) => tell_routing_stats(routing, &data.stage),
        (None, Some(why)) => say!("{why}"),
        (None, None) => {}
    }
    tell_history(&history);
    for problem in data.problems.iter().chain(routing.iter().flat_map(|r| &r.problems)) {
        tell!("warning: {problem}");
    }
    let anew = if before { ", in place of those of before" } else { "" };
    say!("\n{} files in {}{anew}", files.len(), out.display());
    Ok(ExitCode::SUCCESS)
}

/// Routing against contexts in every layer that has both.
fn by_layer(
    overview: &ContextOverview,
    selection: &Selection,
    params: &ContextParams,
    data: &ContextData,
    analysis: &ContextAnalysis,
    on: &mut dyn FnMut(&str, usize, usize) -> bool,
) -> anyhow::Result<Vec<(String, RoutingContext)>> {
    let mut found = Vec::new();
    let layers = overview.layers(Some(&data.stage))?;
    for (i, layer) in layers.iter().enumerate() {
        on("routing against contexts, by layer", i, layers.len());
        if *layer == data.layer {
            found.extend(analysis.routing.clone().map(|r| (layer.clone(), r)));
            continue;
        }
        let other = Selection { layer: Some(layer.clone()), stage: Some(data.stage.clone()), ..selection.clone() };
        match ContextData::of(overview, &other) {
            Ok(data) => {
                let compared = routing_context(&data, params.pairs, params.resamples, params.seed);
                found.extend(compared.map(|r| (layer.clone(), r)));
            }
            // Other layers are logged at fewer steps, so that these steps may hold too few of theirs.
            Err(AnalysisError::TooFew { .. } | AnalysisError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn interval(of: Result<Interval, Undefined>) -> String {
    match of.map(|i| (i.estimate, i.ends)) {
        Ok((r, Ok((low, high)))) => format!("{r:.3} [{low:.3}, {high:.3}]"),
        Ok((r, Err(_))) => format!("{r:.3} [no interval]"),
        Err(_) => "-".to_owned(),
    }
}

/// Why numbers of these correlations are missing, each reason once.
fn reasons(layers: &[(String, RoutingContext)]) -> BTreeSet<String> {
    let all = layers
        .iter()
        .flat_map(|(_, c)| [("all pairs", c.r), ("within a task", c.within_tasks), ("between tasks", c.between_tasks)]);
    let why = |(what, r): (&str, Result<Interval, Undefined>)| match r.map(|i| i.ends) {
        Ok(Ok(_)) => None,
        Ok(Err(why)) => Some(format!("no interval ({what}): {why}")),
        Err(why) => Some(format!("no r ({what}): {why}")),
    };
    all.filter_map(why).collect()
}

fn summary(data: &ContextData, found: &ContextAnalysis, view: Option<&ViewFile>) {
    let (from, to) = data.steps;
    let tracked = if data.tracked { "tracked samples" } else { "samples" };
    let samples = data.samples.len();
    let drawn = if data.of > samples { format!(" drawn from {}", data.of) } else { String::new() };
    say!(
        "stage {}, layer {}, steps {from} to {to}: {samples} {tracked}{drawn}, vectors of {} numbers",
        data.stage,
        data.layer,
        data.vectors.ncols()
    );
    if let Some(left) = data.left_out() {
        say!("{left}");
    }
    if found.fitted < data.samples.len() {
        say!("components and clusters are found from {} of them, even over tasks", found.fitted);
    }
    for remark in &found.remarks {
        say!("{remark}");
    }
    let ratios: Vec<String> =
        found.pca.variance_ratio().iter().take(5).map(|r| format!("{:.1} %", 100.0 * r)).collect();
    say!("share of the variance on the first components: {}", ratios.join(", "));
    if !found.sweep.is_empty() {
        say!("");
        let mut table = Table::new(&["clusters", "inertia", "silhouette"]);
        for point in &found.sweep {
            let silhouette = point.silhouette.map_or_else(|_| "-".to_owned(), |s| format!("{:.4}", s.mean));
            table.row([point.clusters.to_string(), format!("{:.4}", point.inertia), silhouette]);
        }
        table.print();
    }
    say!("");
    let mut table = Table::new(&["cluster", "samples", "task", "share", "name", "nearest"]);
    for cluster in &found.summaries {
        let given = view.and_then(|v| v.cluster_names.get(&cluster.cluster)).cloned();
        let words = cluster.words.iter().take(3).map(|w| w.word.as_str()).collect::<Vec<_>>().join(", ");
        table.row([
            cluster.cluster.to_string(),
            cluster.size.to_string(),
            cluster.task.clone(),
            format!("{:.0} %", 100.0 * cluster.task_share),
            given.unwrap_or(words),
            cluster.nearest.first().map_or_else(String::new, |(i, _)| data.samples[*i].title()),
        ]);
    }
    table.print();
    say!("");
    match found.agreement {
        Ok(a) => say!("clusters and tasks: purity {:.3}, NMI {:.3}, ARI {:.3}", a.purity, a.nmi, a.ari),
        Err(why) => say!("clusters and tasks: no purity, NMI and ARI ({why})"),
    }
    match found.silhouette {
        Ok(s) => say!("silhouette {:.4} over {} of {} samples", s.mean, s.samples, s.of),
        Err(why) => say!("no silhouette ({why})"),
    }
    match found.stability.as_ref().map(|s| s.as_ref().map(|s| (s.ari.len(), Summary::of(s.ari.iter().copied())))) {
        Some(Ok((n, Some(ari)))) => {
            say!("the same clusters under {n} other seeds: ARI {:.3} on average, {:.3} at least", ari.mean, ari.min);
        }
        Some(Err(why)) => say!("nothing is said of other seeds ({why})"),
        _ => {}
    }
}

fn tell_routing(layers: &[(String, RoutingContext)], data: &ContextData) {
    if layers.is_empty() {
        say!(
            "routing against contexts: the run has no routing weights of these {} samples at their steps",
            data.samples.len()
        );
    } else {
        say!("\nrouting similarity against context similarity, Pearson's r with its 95 % interval over samples:");
        let mut table = Table::new(&["layer", "samples", "pairs", "all pairs", "within a task", "between tasks"]);
        for (layer, r) in layers {
            let counts = [layer.clone(), r.samples.to_string(), r.pairs.len().to_string()];
            table.row(counts.into_iter().chain([interval(r.r), interval(r.within_tasks), interval(r.between_tasks)]));
        }
        table.print();
        for why in reasons(layers) {
            say!("{why}");
        }
        for (layer, context) in layers {
            if let Some(words) = context.left_out.words() {
                say!("layer {layer}: {words}");
            }
        }
    }
}

fn tell_routing_stats(routing: &RoutingStats, stage: &str) {
    if let Some(words) = routing.not_finite.words("routing row", "routing rows") {
        say!("{words}");
    }
    let last = routing.steps.iter().filter(|s| s.stage == stage).map(|s| s.step).max();
    let mut table = Table::new(&["layer", "experts in use by a sample", "by all", "dead", "gate mass", "hard load"]);
    let list = |v: &[f64]| v.iter().map(|v| format!("{v:.2}")).collect::<Vec<_>>().join(" ");
    for step in routing.steps.iter().filter(|s| s.stage == stage && Some(s.step) == last) {
        if step.samples == 0 {
            table.row([step.layer.clone(), "no finite row".to_owned()]);
            continue;
        }
        table.row([
            step.layer.clone(),
            format!("{:.2}", step.effective_experts),
            format!("{:.2}", step.effective_mass),
            step.dead_experts.to_string(),
            list(&step.gate_mass),
            list(&step.hard_load),
        ]);
    }
    if let Some(last) = last {
        say!("\nrouting at step {last}:");
        table.print();
    }
}

fn tell_history(history: &ClusterHistory) {
    if let Some(words) = history.not_finite.words("vector of a tracked sample", "vectors of tracked samples") {
        say!("\nclusters over steps: {words}, with those samples");
    }
    let (Some(first), Some(last)) = (history.steps.first(), history.steps.last()) else { return };
    say!(
        "\nclusters of {} tracked samples over {} steps: ARI of step {} against step {} {}",
        history.samples.len(),
        history.steps.len(),
        first.step,
        last.step,
        first.ari_last.map_or_else(|| "-".to_owned(), |a| format!("{a:.3}"))
    );
}
