//! The files of an analysis: one parquet table a result, and `analysis.json` with every parameter, seed and summary.

use super::contexts::{ContextAnalysis, SeedStability};
use super::data::{ContextData, Steps};
use super::history::ClusterHistory;
use super::routing::RoutingStats;
use super::routing_context::RoutingContext;
use super::{Selection, ViewFile};
use crate::export::table::Table;
use crate::stats::{Interval, Undefined, finite};
use crate::store::{BySample, Place, RunDir, StoreError, check_free, timestamp, write_atomic};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The run.
    pub run: &'a RunDir,
    /// Command line.
    pub command: &'a [String],
    /// What was asked for.
    pub selection: &'a Selection,
    /// What was read.
    pub data: &'a ContextData,
    /// What was found.
    pub analysis: &'a ContextAnalysis,
    /// Routing similarity against context similarity by layer: name and result.
    pub layers: &'a [(String, RoutingContext)],
    /// Clusters over steps.
    pub history: &'a ClusterHistory,
    /// Routing statistics, where the run logs routing.
    pub routing: Option<&'a RoutingStats>,
    /// The file that the analysis repeats.
    pub view: Option<&'a ViewFile>,
}

/// Writes the tables and `analysis.json` into the folder `out` and returns their paths; over files that are there only if `force`
/// says so.
///
/// # Errors
/// A file is there already, which is told before anything is written; the file system refuses.
pub fn write(out: &Path, what: &Written<'_>, force: bool) -> super::Result<Vec<PathBuf>> {
    let mut tables = vec![
        ("contexts", contexts(what)),
        ("clusters", clusters(what)),
        ("cluster_tasks", cluster_tasks(what)),
        ("cluster_samples", cluster_samples(what)),
        ("components", components(what)),
    ];
    if !what.analysis.sweep.is_empty() {
        tables.push(("sweep", sweep(what)));
    }
    if !what.layers.is_empty() {
        tables.push(("routing_context", routing_context(what)));
    }
    if what.analysis.routing.is_some() {
        tables.push(("routing_context_pairs", pairs(what)));
    }
    if !what.history.steps.is_empty() {
        tables.push(("cluster_history", history(what)));
    }
    if let Some(routing) = what.routing {
        tables.push(("routing_steps", routing_steps(routing)));
        tables.push(("routing_tasks", routing_tasks(routing)));
    }
    let mut paths: Vec<PathBuf> = tables.iter().map(|(name, _)| out.join(format!("{name}.parquet"))).collect();
    let path = out.join("analysis.json");
    check_free(paths.iter().chain([&path]), force)?;
    fs::create_dir_all(out).map_err(StoreError::io("make the folder", out))?;
    for ((_, table), path) in tables.into_iter().zip(&paths) {
        table.write_parquet(path)?;
    }
    let json = |source| StoreError::Json { source, path: path.clone() };
    let text = serde_json::to_vec_pretty(&sidecar(what)).map_err(json)?;
    write_atomic(&path, |file| file.write_all(&text))?;
    paths.push(path);
    Ok(paths)
}

/// A name that people gave the cluster, or the automatic one.
fn label(what: &Written<'_>, cluster: usize) -> String {
    let given = what.view.and_then(|v| v.cluster_names.get(&cluster)).cloned();
    let automatic = || what.analysis.summaries.iter().find(|s| s.cluster == cluster).map(|s| s.label.clone());
    given.or_else(automatic).unwrap_or_default()
}

/// Where samples stand in the data.
fn places(table: &mut Table, places: impl Iterator<Item = Option<Place>> + Clone) {
    table.maybe_whole("index", places.clone().map(|place| place.map(Place::index)));
    table.maybe_text("split", places.map(|place| place.map(|place| place.split().to_owned())));
}

fn contexts(what: &Written<'_>) -> Table {
    let (data, found) = (what.data, what.analysis);
    let labels = found.clusters.labels();
    let mut table = Table::new();
    table.text("stage", data.samples.iter().map(|_| data.stage.clone()));
    table.text("layer", data.samples.iter().map(|_| data.layer.clone()));
    table.whole("step", data.samples.iter().map(|s| s.step));
    table.text("sample", data.samples.iter().map(|s| s.sample.clone()));
    places(&mut table, data.samples.iter().map(|s| s.place));
    table.text("task", data.samples.iter().map(|s| s.task.clone()));
    table.whole("cluster", labels.iter().map(|l| *l as u64));
    table.text("cluster_label", labels.iter().map(|l| label(what, *l)));
    table.number("distance", found.distances.iter().copied());
    for (c, column) in found.coordinates.columns().into_iter().enumerate() {
        table.number(&format!("pc{}", c + 1), column.iter().copied());
    }
    for selection in what.view.into_iter().flat_map(|v| &v.selections) {
        let mut chosen = BySample::default();
        selection.each().for_each(|(place, id)| chosen.insert(place, id, ()));
        let has = |s: &super::ContextSample| chosen.get(s.place, &s.sample).is_some();
        table.flag(&format!("in {}", selection.name), data.samples.iter().map(has));
    }
    table
}

fn clusters(what: &Written<'_>) -> Table {
    let all = &what.analysis.summaries;
    let mut table = Table::new();
    table.whole("cluster", all.iter().map(|c| c.cluster as u64));
    table.text("label", all.iter().map(|c| label(what, c.cluster)));
    table.whole("samples", all.iter().map(|c| c.size as u64));
    table.text("task", all.iter().map(|c| c.task.clone()));
    table.number("task_share", all.iter().map(|c| c.task_share));
    let words = |c: &super::ClusterSummary| c.words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(" ");
    table.text("words", all.iter().map(words));
    table.list("centroid", all.iter().map(|c| what.analysis.clusters.centroids().row(c.cluster).to_vec()));
    table
}

fn cluster_tasks(what: &Written<'_>) -> Table {
    let counts = &what.analysis.contingency.counts;
    let mut table = Table::new();
    table.whole("cluster", counts.indexed_iter().map(|((c, _), _)| c as u64));
    table.text("task", counts.indexed_iter().map(|((_, t), _)| what.analysis.tasks[t].clone()));
    table.whole("samples", counts.iter().copied());
    table
}

fn cluster_samples(what: &Written<'_>) -> Table {
    let rows: Vec<_> = what
        .analysis
        .summaries
        .iter()
        .flat_map(|c| {
            c.nearest.iter().enumerate().map(move |(rank, (i, d))| (c.cluster, rank, &what.data.samples[*i], *d))
        })
        .collect();
    let mut table = Table::new();
    table.whole("cluster", rows.iter().map(|r| r.0 as u64));
    table.whole("rank", rows.iter().map(|r| r.1 as u64));
    table.text("sample", rows.iter().map(|r| r.2.sample.clone()));
    places(&mut table, rows.iter().map(|r| r.2.place));
    table.text("task", rows.iter().map(|r| r.2.task.clone()));
    table.number("distance", rows.iter().map(|r| r.3));
    table.maybe_text("image", rows.iter().map(|r| r.2.image.clone()));
    table.text("question", rows.iter().map(|r| r.2.question.clone()));
    table.text("answer", rows.iter().map(|r| r.2.answer.clone()));
    table
}

fn components(what: &Written<'_>) -> Table {
    let pca = &what.analysis.pca;
    let mut table = Table::new();
    table.whole("component", (1..).take(pca.variance().len()));
    table.number("variance", pca.variance().iter().copied());
    table.number("variance_ratio", pca.variance_ratio().iter().copied());
    table.list("loadings", pca.components().rows().into_iter().map(|r| r.to_vec()));
    table
}

fn sweep(what: &Written<'_>) -> Table {
    let all = &what.analysis.sweep;
    let mut table = Table::new();
    table.whole("clusters", all.iter().map(|p| p.clusters as u64));
    table.number("inertia", all.iter().map(|p| p.inertia));
    table.maybe_number("silhouette", all.iter().map(|p| p.silhouette.ok().map(|s| s.mean)));
    table.whole("silhouette_samples", all.iter().map(|p| p.silhouette.map_or(0, |s| s.samples as u64)));
    table
}

fn routing_context(what: &Written<'_>) -> Table {
    let mut table = Table::new();
    table.text("layer", what.layers.iter().map(|l| l.0.clone()));
    table.whole("samples", what.layers.iter().map(|l| l.1.samples as u64));
    table.whole("pairs", what.layers.iter().map(|l| l.1.pairs.len() as u64));
    let kinds: [(&str, fn(&RoutingContext) -> Result<Interval, Undefined>); 3] =
        [("r", |c| c.r), ("r_within_tasks", |c| c.within_tasks), ("r_between_tasks", |c| c.between_tasks)];
    for (name, of) in kinds {
        let ends = |l: &(String, RoutingContext)| of(&l.1).and_then(|i| i.ends);
        table.maybe_number(name, what.layers.iter().map(|l| of(&l.1).ok().map(|i| i.estimate)));
        table.maybe_number(&format!("{name}_low"), what.layers.iter().map(|l| ends(l).ok().map(|e| e.0)));
        table.maybe_number(&format!("{name}_high"), what.layers.iter().map(|l| ends(l).ok().map(|e| e.1)));
        table.maybe_text(&format!("{name}_missing"), what.layers.iter().map(|l| ends(l).err().map(|e| e.to_string())));
    }
    table
}

fn pairs(what: &Written<'_>) -> Table {
    let all = what.analysis.routing.iter().flat_map(|r| &r.pairs);
    let sample = |i: usize| what.data.samples[i].sample.clone();
    let index = |i: usize| what.data.samples[i].place.map(Place::index);
    let mut table = Table::new();
    table.text("layer", all.clone().map(|_| what.data.layer.clone()));
    table.text("sample_a", all.clone().map(|p| sample(p.a)));
    table.maybe_whole("index_a", all.clone().map(|p| index(p.a)));
    table.text("sample_b", all.clone().map(|p| sample(p.b)));
    table.maybe_whole("index_b", all.clone().map(|p| index(p.b)));
    table.number("context_cosine", all.clone().map(|p| p.context));
    table.number("routing_cosine", all.map(|p| p.routing));
    table
}

fn history(what: &Written<'_>) -> Table {
    let rows: Vec<_> = what
        .history
        .steps
        .iter()
        .flat_map(|s| what.history.samples.iter().zip(&s.labels).map(move |(sample, label)| (s, sample, *label)))
        .collect();
    let mut table = Table::new();
    table.whole("step", rows.iter().map(|r| r.0.step));
    table.text("sample", rows.iter().map(|r| r.1.1.clone()));
    places(&mut table, rows.iter().map(|r| r.1.0.place()));
    table.whole("cluster", rows.iter().map(|r| r.2 as u64));
    table.maybe_number("ari_step_before", rows.iter().map(|r| r.0.ari_before));
    table.maybe_number("ari_last_step", rows.iter().map(|r| r.0.ari_last));
    table
}

fn routing_steps(routing: &RoutingStats) -> Table {
    let all = &routing.steps;
    let mut table = Table::new();
    table.text("stage", all.iter().map(|s| s.stage.clone()));
    table.whole("step", all.iter().map(|s| s.step));
    table.text("layer", all.iter().map(|s| s.layer.clone()));
    table.whole("samples", all.iter().map(|s| s.samples));
    table.whole("not_finite", all.iter().map(|s| s.not_finite.total()));
    table.maybe_number("entropy", all.iter().map(|s| finite(s.entropy)));
    table.maybe_number("effective_experts", all.iter().map(|s| finite(s.effective_experts)));
    table.maybe_number("effective_mass", all.iter().map(|s| finite(s.effective_mass)));
    table.whole("dead_experts", all.iter().map(|s| s.dead_experts));
    table.list("gate_mass", all.iter().map(|s| s.gate_mass.clone()));
    table.list("hard_load", all.iter().map(|s| s.hard_load.clone()));
    table
}

fn routing_tasks(routing: &RoutingStats) -> Table {
    let all = &routing.tasks;
    let mut table = Table::new();
    table.text("stage", all.iter().map(|s| s.stage.clone()));
    table.text("layer", all.iter().map(|s| s.layer.clone()));
    table.text("task", all.iter().map(|s| s.task.clone()));
    table.whole("samples", all.iter().map(|s| s.samples));
    table.whole("not_finite", all.iter().map(|s| s.not_finite.total()));
    table.list("weights", all.iter().map(|s| s.weights.clone()));
    table
}

/// Null with its reason where there is none.
fn interval(i: Result<Interval, Undefined>) -> Value {
    match i.map(|i| (i.estimate, i.ends)) {
        Ok((estimate, Ok((low, high)))) => json!({"estimate": estimate, "low": low, "high": high}),
        Ok((estimate, Err(why))) => json!({"estimate": estimate, "low": null, "high": null, "why": why.to_string()}),
        Err(why) => json!({"estimate": null, "why": why.to_string()}),
    }
}

fn or_why(value: Result<Value, Undefined>) -> Value {
    value.unwrap_or_else(|why| json!({"value": null, "why": why.to_string()}))
}

fn sidecar(what: &Written<'_>) -> Value {
    let (data, found, params) = (what.data, what.analysis, &what.analysis.params);
    let steps = match what.selection.steps {
        Steps::Late => Value::Null,
        Steps::Between(from, to) => json!([from, to]),
    };
    let silhouette = or_why(found.silhouette.map(|s| json!({"mean": s.mean, "samples": s.samples, "of": s.of})));
    let stability = |s: &SeedStability| json!({"seeds": s.seeds, "ari": s.ari, "inertia_ratio": s.inertia_ratio});
    let stability = found.stability.as_ref().map(|s| or_why(s.as_ref().map(stability).map_err(|why| *why)));
    let agreement = found.agreement.ok();
    json!({
        "schema": 1,
        "made_by": concat!("covft-probe ", env!("CARGO_PKG_VERSION")),
        "made": timestamp(SystemTime::now()),
        "command": what.command,
        "run": what.run.name(),
        "asked": {"stage": what.selection.stage, "layer": what.selection.layer, "steps": steps, "most": what.selection.most},
        "view": what.view,
        "data": {
            "stage": data.stage, "layer": data.layer, "steps": [data.steps.0, data.steps.1], "tracked": data.tracked,
            "samples": data.samples.len(), "of": data.of, "not_finite": data.not_finite, "width": data.vectors.ncols(),
            "rows_not_finite": data.rows_not_finite,
            "problems": data.problems,
        },
        "params": {
            "clusters": found.clusters.centroids().nrows(), "sweep": params.sweep, "restarts": params.restarts,
            "fit": params.fit, "fitted": found.fitted, "seed": params.seed, "components": params.components, "silhouette_samples": params.silhouette_samples,
            "seeds": params.seeds, "nearest": params.nearest, "pairs": params.pairs, "resamples": params.resamples,
            "method": found.clusters.method().name(), "space": "original, Euclidean", "tolerance": 1e-4,
        },
        "results": {
            "variance_ratio": found.pca.variance_ratio().to_vec(), "inertia": found.clusters.inertia(),
            "iterations": found.clusters.iterations(), "silhouette": silhouette,
            "purity": agreement.map(|a| a.purity), "nmi": agreement.map(|a| a.nmi), "ari": agreement.map(|a| a.ari),
            "agreement_missing": found.agreement.err().map(|why| why.to_string()), "remarks": found.remarks,
            "stability_over_seeds": stability, "routing_rows_not_finite": what.routing.map(|r| r.not_finite),
            "routing_context": what.layers.iter().map(|(layer, c)| json!({
                "layer": layer, "samples": c.samples, "pairs": c.pairs.len(), "r": interval(c.r),
                "within_tasks": interval(c.within_tasks), "between_tasks": interval(c.between_tasks), "left_out": c.left_out.words(),
            })).collect::<Vec<_>>(),
        },
    })
}
