//! Numbers that are not finite, few samples, and samples that do not differ.

use super::*;
use crate::figures::{FigureId, Inputs, Options, Plot};
use crate::stats::{NotFinite, Undefined};
use crate::store::{ContextRow, Manifest, RecordWriter, RoutingRow, RunDir, WriterOptions};
use half::f16;
use std::fs;

/// What sample `i` has in layer 4 at step `i / 8`: its context vector and its routing weights (none: not logged).
type Of<'a> = &'a dyn Fn(usize) -> (Vec<f32>, Option<Vec<f32>>);

fn run(samples: usize, of: Of<'_>) -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    Manifest::start(vec!["train".into()], 1, "cpu", "plain").write(&dir).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    for i in 0..samples {
        let key = || ("instruct".to_owned(), i as u64 / 8, format!("s{i:03}"), "4".to_owned());
        let (vector, weights) = of(i);
        let (stage, step, sample, layer) = key();
        let vector = vector.into_iter().map(f16::from_f32).collect();
        let (index, split) = (None, None);
        let row = ContextRow { index, split, stage, step, sample, layer, depth: Some(4), tracked: false, vector };
        writer.push(&[row]).unwrap();
        if let Some(weights) = weights {
            let (stage, step, sample, layer) = key();
            let logits = weights.clone();
            let row = RoutingRow {
                index: None,
                split: None,
                stage,
                step,
                sample,
                layer,
                depth: Some(4),
                tracked: false,
                logits,
                weights,
                entropy: 1.0,
            };
            writer.push(&[row]).unwrap();
        }
    }
    writer.finish().unwrap();
    (root, dir)
}

fn noise(i: usize) -> f32 {
    ((i as f64 * 12.9898).sin() * 43_758.545).fract() as f32
}

/// Four blobs with noise, routed by blob.
fn blob(i: usize) -> (Vec<f32>, Option<Vec<f32>>) {
    let vector = (0..6).map(|j| if j == i % 4 { 4.0 } else { 0.0 } + 0.3 * noise(i * 6 + j)).collect();
    let first = 0.2 + 0.15 * (i % 4) as f32 + 0.02 * noise(i);
    (vector, Some(vec![first, 1.0 - first]))
}

fn analysis(dir: &RunDir, params: &ContextParams) -> (ContextData, ContextAnalysis) {
    let data = ContextData::load(dir, &Selection::default()).unwrap();
    let found = ContextAnalysis::run(params, &data, &mut |_, _, _| true).unwrap();
    (data, found)
}

fn few() -> ContextParams {
    ContextParams { resamples: 100, restarts: 3, seeds: 2, ..ContextParams::default() }
}

#[test]
fn one_row_of_routing_that_is_not_finite_is_left_out_and_counted_everywhere() {
    let (_root, dir) = run(80, &|i| if i == 60 { (blob(i).0, Some(vec![f32::NAN; 2])) } else { blob(i) });
    let (data, found) = analysis(&dir, &few());
    assert!(data.without_routing.is_empty());
    let routing = found.routing.unwrap();
    assert_eq!((routing.samples, routing.left_out.not_finite), (data.samples.len() - 1, 1));
    assert!(routing.r.unwrap().estimate.is_finite());
    assert_eq!(routing.left_out.words().unwrap(), "samples left out: 1 whose routing weights are not finite");
    let stats = routing_stats(&dir).unwrap();
    assert_eq!(stats.not_finite, NotFinite { nan: 1, infinite: 0 });
    let task = &stats.tasks[0];
    assert!(task.not_finite.total() == 1 && task.weights.iter().all(|w| w.is_finite()), "{task:?}");
    let inputs = Inputs::of_run(&dir).unwrap();
    for id in [FigureId::RoutingContext, FigureId::RoutingByTask, FigureId::ExpertLoad] {
        let plot = Plot::load(id, &inputs, &Options::default()).unwrap().remove(0);
        let left = plot.left_out().join("; ");
        assert!(left.contains("not finite"), "{id}: {left}");
        let json: serde_json::Value =
            serde_json::from_str(&plot.json(crate::figures::Venue::Cvpr, &[]).unwrap()).unwrap();
        assert_eq!(json["notes"]["left_out"][0].as_str().unwrap(), plot.left_out()[0]);
        // The task's cells are the mean of the others.
        assert!(!plot.csv().lines().skip(1).any(|line| line.split(',').nth(3) == Some("")), "{id}: {}", plot.csv());
    }
}

#[test]
fn samples_without_routing_or_with_a_zero_vector_are_told_apart() {
    let (_root, dir) = run(80, &|i| match i {
        50 => (blob(i).0, None),
        60 => (vec![0.0; 6], blob(i).1),
        61 => (blob(i).0, Some(vec![f32::INFINITY, 0.0])),
        _ => blob(i),
    });
    let (data, found) = analysis(&dir, &few());
    let left = found.routing.unwrap().left_out;
    assert_eq!(left, LeftOut { without_routing: 1, not_finite: 1, zero: 1 });
    assert_eq!(data.without_routing.len(), 1);
}

#[test]
fn routing_that_is_nowhere_finite_is_not_called_missing() {
    let (_root, dir) = run(40, &|i| (blob(i).0, Some(vec![f32::NAN, 0.5])));
    let error = routing_stats(&dir).unwrap_err().to_string();
    assert!(error.contains("all 40 rows") && error.contains("40 NaN") && error.ends_with("run"), "{error}");
    let (_, found) = analysis(&dir, &few());
    let routing = found.routing.unwrap();
    assert_eq!((routing.samples, routing.r), (0, Err(Undefined::TooFew { what: "pairs", found: 0, needed: 3 })));
    let inputs = Inputs::of_run(&dir).unwrap();
    for id in [FigureId::RoutingContext, FigureId::RoutingByTask, FigureId::ExpertLoad] {
        let error = Plot::load(id, &inputs, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("not finite") && !error.contains("logged by"), "{id}: {error}");
    }
}

#[test]
fn a_step_whose_routing_is_not_finite_is_a_gap() {
    let (_root, dir) = run(80, &|i| if i / 8 == 4 { (blob(i).0, Some(vec![f32::NAN; 2])) } else { blob(i) });
    let steps = routing_stats(&dir).unwrap().steps;
    assert_eq!((steps.len(), steps[4].samples, steps[4].not_finite.nan), (10, 0, 8));
    assert!(steps[4].gate_mass.is_empty() && steps[4].entropy.is_nan());
    let inputs = Inputs::of_run(&dir).unwrap();
    let plot = Plot::load(FigureId::ExpertLoad, &inputs, &Options::default()).unwrap().remove(0);
    assert!(plot.csv().lines().any(|line| line.starts_with("4,0,4,,,0")), "{}", plot.csv());
}

#[test]
fn vectors_that_are_not_finite_are_counted_once_a_sample_and_explain_an_empty_layer() {
    let bad = |i: usize| vec![if i.is_multiple_of(2) { f32::NAN } else { f32::INFINITY }; 6];
    let (_root, dir) = run(80, &|i| if (40..42).contains(&i) { (bad(i), None) } else { blob(i) });
    let (data, _) = analysis(&dir, &few());
    assert_eq!((data.not_finite, data.rows_not_finite), (2, NotFinite { nan: 1, infinite: 1 }));
    let words = "2 context vectors are not finite (1 NaN, 1 infinite): left out; 2 samples have no other";
    assert_eq!(data.left_out().unwrap(), words);
    let (_root, dir) = run(40, &|i| (bad(i), None));
    let error = ContextData::load(&dir, &Selection::default()).unwrap_err().to_string();
    assert!(error.starts_with("0 samples with a finite context vector") && error.contains("12 NaN"), "{error}");
    let inputs = Inputs::of_run(&dir).unwrap();
    let error = Plot::load(FigureId::ContextClusters, &inputs, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("rows are not finite"), "{error}");
}

#[test]
fn there_are_no_more_clusters_than_distinct_vectors() {
    let corner = |i: usize| ((0..6).map(|j| if j == i % 4 { 4.0 } else { 0.0 }).collect(), blob(i).1);
    let (_root, dir) = run(80, &corner);
    let (data, found) = analysis(&dir, &ContextParams { sweep: Some((2, 8)), ..few() });
    assert_eq!(found.sweep.iter().map(|p| p.clusters).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(found.remarks, ["the sweep ends at 4 clusters, not 8: there are only 4 distinct vectors"]);
    let (_, found) = analysis(&dir, &few());
    assert_eq!((found.clusters.sizes(), found.summaries.len()), (vec![10; 4], 4));
    assert_eq!(found.remarks, ["4 clusters, not 10: there are only 4 distinct vectors"]);
    assert!((found.silhouette.unwrap().mean - 1.0).abs() < 1e-6);
    let inputs = Inputs::of_run(&dir).unwrap();
    let plot = Plot::load(FigureId::ContextClusters, &inputs, &Options::default()).unwrap().remove(0);
    assert_eq!(plot.left_out(), ["4 clusters, not 10: there are only 4 distinct vectors"]);
    let clusters: std::collections::BTreeSet<String> =
        plot.csv().lines().skip(1).map(|l| l.split(',').nth(2).unwrap().to_owned()).collect();
    assert_eq!(clusters.len(), 4);
    let wrong = ContextParams { sweep: Some((5, 8)), ..few() };
    let error = ContextAnalysis::run(&wrong, &data, &mut |_, _, _| true).unwrap_err().to_string();
    assert!(error.contains("4 distinct vectors"), "{error}");
}

#[test]
fn equal_vectors_are_one_cluster_and_say_so() {
    for vector in [vec![1.5; 6], vec![0.0; 6]] {
        let (_root, dir) = run(40, &|i| (vector.clone(), blob(i).1));
        let (data, found) = analysis(&dir, &few());
        assert_eq!((found.clusters.sizes(), found.remarks.len()), (vec![data.samples.len()], 1));
        assert_eq!(found.silhouette, Err(Undefined::One("cluster")));
        assert_eq!(
            (found.agreement, found.stability.unwrap()),
            (Err(Undefined::One("cluster")), Err(Undefined::One("cluster")))
        );
        let routing = found.routing.unwrap();
        let zero = vector[0] == 0.0;
        assert_eq!(routing.left_out.zero, if zero { data.samples.len() } else { 0 });
        let why = if zero { "0 pairs, 3 are needed" } else { "the values of one side are all alike" };
        assert_eq!(routing.r.unwrap_err().to_string(), why);
        assert!(found.pca.variance_ratio().iter().all(|v| *v == 0.0));
    }
}

#[test]
fn few_samples_have_clusters_but_no_claims() {
    // Steps 0 and 1, of which the later half is step 1.
    for (samples, left) in [(9, 1), (10, 2)] {
        let (_root, dir) = run(samples, &blob);
        let error = ContextData::load(&dir, &Selection::default()).unwrap_err().to_string();
        let plural = if left == 1 { "" } else { "s" };
        let words = format!("{left} sample{plural} with a finite context vector, 3 are needed; widen --steps: ");
        assert!(error.starts_with(&words), "{error}");
        let all = Selection { steps: Steps::Between(1, 1), tracked: Some(true), ..Selection::default() };
        let error = ContextData::load(&dir, &all).unwrap_err().to_string();
        assert!(error.contains("no `contexts` records of tracked samples; there are the steps' own"), "{error}");
    }
    let (_root, dir) = run(2, &blob);
    let error = ContextData::load(&dir, &Selection::default()).unwrap_err().to_string();
    assert!(error.contains("3 are needed; these are all that the run logged in this layer: "), "{error}");
    let (_root, dir) = run(11, &blob);
    let (data, found) = analysis(&dir, &few());
    assert_eq!((data.samples.len(), found.clusters.sizes()), (3, vec![1; 3]));
    let why = Undefined::TooFew { what: "samples", found: 3, needed: 10 };
    assert_eq!((found.silhouette, found.agreement), (Err(why), Err(why)));
    assert_eq!(found.stability, Some(Err(why)));
    let r = found.routing.as_ref().unwrap().r.unwrap();
    assert!(r.estimate.abs() <= 1.0 && r.ends == Err(why), "an interval of three samples would have no width: {r:?}");
    let layers = [("4".to_owned(), found.routing.clone().unwrap())];
    let (selection, history) = (Selection::default(), ClusterHistory::default());
    let written = Written {
        run: &dir,
        command: &[],
        selection: &selection,
        data: &data,
        analysis: &found,
        layers: &layers,
        history: &history,
        routing: None,
        view: None,
    };
    write(&dir.analysis(), &written, false).unwrap();
    let text = fs::read(dir.analysis().join("analysis.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let results = &json["results"];
    assert_eq!(results["silhouette"]["why"], "3 samples, 10 are needed");
    assert!(results["ari"].is_null() && results["agreement_missing"] == "3 samples, 10 are needed");
    let r = &results["routing_context"][0]["r"];
    assert!(r["low"].is_null() && r["why"] == "3 samples, 10 are needed" && r["estimate"].is_number(), "{r}");
    let inputs = Inputs::of_run(&dir).unwrap();
    let plot = Plot::load(FigureId::RoutingContext, &inputs, &Options::default()).unwrap().remove(0);
    assert_eq!(plot.left_out(), ["no interval of r: 3 samples, 10 are needed"]);
}
