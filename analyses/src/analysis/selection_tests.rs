//! Which samples an analysis is over, and that figures are over the same.

use super::*;
use crate::figures::{FigureId, Inputs, Options, Plot};
use crate::store::{ContextRow, Manifest, RecordWriter, RoutingRow, RunDir, WriterOptions};
use half::f16;
use std::collections::BTreeMap;
use std::fs;

const STAGE: &str = "instruct";
const LAYERS: [&str; 3] = ["2", "3", "4"];

fn vector(sample: u64, step: u64, layer: u64) -> Vec<f16> {
    let noise =
        |j: u64| (((sample * 31 + step * 17 + layer * 7 + j) as f64 * 12.9898).sin() * 43_758.545).fract() as f32;
    (0..6).map(|j| f16::from_f32(if j == sample % 4 { 4.0 } else { 0.0 } + noise(j))).collect()
}

/// 40 steps of 16 of 100 samples in three layers, over several parts; tracked samples (0 to 19) at every tenth if asked for.
fn run(tracked: bool) -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    Manifest::start(vec!["train".into()], 1, "cpu", "plain").write(&dir).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    let mut push = |step: u64, sample: u64, tracked: bool| {
        for (depth, layer) in LAYERS.into_iter().enumerate() {
            let (stage, layer, depth, id) =
                (STAGE.to_owned(), layer.to_owned(), Some(depth as i32 + 2), format!("s{sample:03}"));
            let vector = vector(sample, step, depth.unwrap_or(0) as u64);
            let first = 0.2 + 0.15 * (sample % 4) as f32;
            let weights = vec![first, 1.0 - first];
            let row = ContextRow {
                index: None,
                split: None,
                stage: stage.clone(),
                step,
                sample: id.clone(),
                layer: layer.clone(),
                depth,
                tracked,
                vector,
            };
            writer.push(&[row]).unwrap();
            let row = RoutingRow {
                index: None,
                split: None,
                stage,
                step,
                sample: id,
                layer,
                depth,
                tracked,
                logits: weights.clone(),
                weights,
                entropy: 0.5,
            };
            writer.push(&[row]).unwrap();
        }
    };
    for step in 0..40 {
        (0..16).for_each(|i| push(step, (step * 16 + i) * 7 % 100, false));
        if tracked && step % 10 == 9 {
            (0..20).for_each(|sample| push(step, sample, true));
        }
    }
    writer.finish().unwrap();
    (root, dir)
}

#[test]
fn a_draw_of_samples_is_the_same_rows_whether_all_fit_or_not() {
    let (_root, dir) = run(false);
    let load = |most| ContextData::load(&dir, &Selection { most, seed: 3, ..Selection::default() }).unwrap();
    let all = load(0);
    // 20 steps of 16 go round 100 samples three times: each counts once, with its last vector.
    assert_eq!((all.samples.len(), all.of, all.steps, all.layer.as_str()), (100, 100, (20, 39), "3"));
    let mut last: BTreeMap<String, (u64, Vec<f16>)> = BTreeMap::new();
    for step in 20..40 {
        for i in 0..16 {
            let sample = (step * 16 + i) * 7 % 100;
            last.insert(format!("s{sample:03}"), (step, vector(sample, step, 3)));
        }
    }
    for (i, sample) in all.samples.iter().enumerate() {
        let (step, expected) = &last[&sample.sample];
        assert_eq!(sample.step, *step, "{}", sample.sample);
        assert!(all.vectors.row(i).iter().zip(expected).all(|(a, b)| *a == b.to_f32()), "{}", sample.sample);
    }
    let few = load(30);
    assert_eq!((few.samples.len(), few.of), (30, 100));
    let at = |id: &str| all.samples.iter().position(|s| s.sample == id).unwrap();
    let places: Vec<usize> = few.samples.iter().map(|s| at(&s.sample)).collect();
    for (i, place) in places.iter().enumerate() {
        assert_eq!(few.samples[i], all.samples[*place]);
        assert_eq!(few.vectors.row(i), all.vectors.row(*place));
        assert_eq!(few.weights.as_ref().unwrap().row(i), all.weights.as_ref().unwrap().row(*place));
    }
    assert!(
        places.windows(2).any(|p| p[1] > p[0] + 1) && places != (0..30).collect::<Vec<_>>(),
        "drawn, not the first"
    );
}

#[test]
fn figures_are_over_the_samples_and_clusters_of_the_analysis() {
    for tracked in [false, true] {
        let (_root, dir) = run(tracked);
        let data = ContextData::load(&dir, &Selection::default()).unwrap();
        assert_eq!((data.layer.as_str(), data.tracked), ("3", tracked), "the last layer but one");
        let params = ContextParams { clusters: Some(4), seeds: 0, ..ContextParams::default() };
        let found = ContextAnalysis::run(&params, &data, &mut |_, _, _| true).unwrap();
        let inputs = Inputs::of_run(&dir).unwrap();
        let options = Options { clusters: 4, ..Options::default() };
        let plot = Plot::load(FigureId::ContextClusters, &inputs, &options).unwrap().remove(0);
        let csv = plot.csv();
        let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|l| l.split(',').collect()).collect();
        assert_eq!(rows.len(), data.samples.len());
        for (row, (sample, label)) in rows.iter().zip(data.samples.iter().zip(found.labels())) {
            assert_eq!((row[0], row[2]), (sample.sample.as_str(), label.to_string().as_str()));
        }
        let options = options.of_figure(FigureId::RoutingContext);
        let plot = Plot::load(FigureId::RoutingContext, &inputs, &options).unwrap().remove(0);
        let json: serde_json::Value =
            serde_json::from_str(&plot.json(crate::figures::Venue::Cvpr, &[]).unwrap()).unwrap();
        let r = found.routing.unwrap().r.unwrap();
        // Sidecars keep nine digits.
        let near = |note: &serde_json::Value, value: f64| (note.as_f64().unwrap() - value).abs() < 1e-8;
        assert!(
            near(&json["notes"]["pearson_r"], r.estimate) && near(&json["notes"]["interval_95"][0], r.ends.unwrap().0),
            "{r:?}"
        );
    }
}

#[test]
fn tracked_samples_are_followed_step_by_step() {
    let (_root, dir) = run(true);
    let data = ContextData::load(&dir, &Selection::default()).unwrap();
    let history = cluster_history(&dir, &data, 4, 4, 0, &mut |_, _, _| true).unwrap();
    assert_eq!(history.steps.iter().map(|s| s.step).collect::<Vec<_>>(), [9, 19, 29, 39]);
    assert_eq!(history.samples.len(), 20);
    assert_eq!(history.steps[0].ari_before, None);
    // The blobs stand still: so do the clusters and their numbers.
    assert!(
        history.steps.iter().all(|s| s.labels == history.steps[0].labels && s.ari_last == Some(1.0)),
        "{history:?}"
    );
    let stopped = cluster_history(&dir, &data, 4, 4, 0, &mut |_, _, _| false).unwrap_err();
    assert!(matches!(stopped, AnalysisError::Stopped));
}

#[test]
fn what_cannot_be_read_is_not_called_missing() {
    let (_root, dir) = run(false);
    for stream in ["contexts", "routing"] {
        for part in fs::read_dir(dir.stream(stream)).unwrap() {
            fs::write(part.unwrap().path(), "no parquet").unwrap();
        }
    }
    let error = ContextData::load(&dir, &Selection::default()).unwrap_err().to_string();
    assert!(error.contains("no `contexts` records can be read") && error.ends_with(".parquet"), "{error}");
    let error = routing_stats(&dir).unwrap_err().to_string();
    assert!(error.contains("no `routing` records can be read") && error.ends_with(".parquet"), "{error}");
}
