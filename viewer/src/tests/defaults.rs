//! Where nothing is chosen, `analyze`, `plot` and the window look at the same.

use super::run::{begin, id, rest, window};
use covft_analyses::analysis::{ContextAnalysis, ContextData, ContextParams, Selection};
use covft_analyses::figures::{FigureId, Inputs, Options, Plot, Venue};
use covft_analyses::store::{ContextRow, RunDir};
use half::f16;
use std::collections::BTreeMap;
use std::path::Path;

/// Ten steps of six of twenty-four samples in three layers; at some steps four tracked samples more.
fn run(root: &Path, own: bool, tracked: &[u64]) -> RunDir {
    let dir = RunDir::create(root.join("run")).unwrap();
    let mut writer = begin(&dir, "2026-01-01");
    for step in 0..10_u64 {
        let own = (0..6).map(|k| ((step * 6 + k) % 24, false)).filter(|_| own);
        let fixed = (0..4).map(|k| (k * 5, true)).filter(|_| tracked.contains(&step));
        for ((sample, tracked), depth) in own.chain(fixed).flat_map(|s| (0..3).map(move |d| (s, d))) {
            let value = |j: u64| ((sample * 31 + step * 3 + j * 17 + depth * 5) as f32).sin() * 0.3;
            let corner = |j: u64| if j == sample % 3 { 3.0 } else { 0.0 };
            writer
                .push(&[ContextRow {
                    index: None,
                    split: None,
                    stage: "instruct".into(),
                    step,
                    sample: id(sample),
                    layer: depth.to_string(),
                    depth: Some(depth as i32),
                    tracked,
                    vector: (0..8).map(|j| f16::from_f32(value(j) + corner(j))).collect(),
                }])
                .unwrap();
        }
    }
    rest(&dir, &mut writer);
    writer.finish().unwrap();
    dir
}

/// Layer, stage, steps, tracked or not, and the cluster of every sample.
type Answer = (String, String, (u64, u64), bool, BTreeMap<String, usize>);

fn analyzed(dir: &RunDir) -> Answer {
    let data = ContextData::load(dir, &Selection::default()).unwrap();
    let found = ContextAnalysis::run(&ContextParams::default(), &data, &mut |_, _, _| true).unwrap();
    let ids = data.samples.iter().map(|s| s.sample.clone());
    let clusters = ids.zip(found.clusters.labels().iter().copied()).collect();
    (data.layer.clone(), data.stage.clone(), data.steps, data.tracked, clusters)
}

fn plotted(dir: &RunDir, from: &Answer) -> Answer {
    let inputs = Inputs::open(&[dir.path().to_owned()]).unwrap();
    let plot = Plot::load(FigureId::ContextClusters, &inputs, &Options::default()).unwrap().remove(0);
    let sidecar: serde_json::Value = serde_json::from_str(&plot.json(Venue::Cvpr, &[]).unwrap()).unwrap();
    let notes = &sidecar["notes"];
    let text = |name: &str| notes[name].as_str().unwrap().to_owned();
    let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    let clusters = plot.csv().lines().skip(1).map(cells).map(|c| (c[0].clone(), c[2].parse().unwrap())).collect();
    // The figure says its first step; the last one and whose samples they are show in the samples and their clusters.
    (text("layer"), text("stage"), (notes["first_step"].as_u64().unwrap(), from.2.1), from.3, clusters)
}

fn shown(dir: &RunDir) -> Answer {
    let (window, _reader) = window(vec![dir.path().to_owned()]);
    let found = window.state().state.embedding.clone().unwrap();
    let guard = window.state().source.look();
    let data = &guard.main.data;
    let contexts = &data.contexts[&found.asked.layer];
    let rows = crate::core::fit::rows(data, contexts, &found.basis, found.asked.fit);
    let of = |(sample, row): (u32, usize)| (data.samples.id(sample).to_owned(), usize::from(found.labels[row]));
    let basis = &found.basis;
    let clusters = rows.into_iter().map(of).collect();
    (found.asked.layer.1.clone(), basis.stage.clone(), basis.steps, basis.tracked, clusters)
}

#[test]
fn analyze_plot_and_the_window_begin_with_the_same() {
    let all: Vec<u64> = (0..10).collect();
    let cases: [(&str, bool, &[u64], (u64, u64), bool); 5] = [
        ("own samples alone", true, &[], (5, 9), false),
        ("own and tracked samples", true, &all, (9, 9), true),
        ("tracked samples alone", false, &all, (9, 9), true),
        ("tracked samples at some steps", true, &[0, 4], (4, 4), true),
        ("tracked samples at the last step", true, &[9], (9, 9), true),
    ];
    for (name, own, tracked, steps, is_tracked) in cases {
        let root = tempfile::tempdir().unwrap();
        let dir = run(root.path(), own, tracked);
        let analyzed = analyzed(&dir);
        assert_eq!((analyzed.0.as_str(), analyzed.2, analyzed.3), ("1", steps, is_tracked), "{name}");
        assert_eq!(plotted(&dir, &analyzed), analyzed, "{name}: plot");
        assert_eq!(shown(&dir), analyzed, "{name}: the window");
    }
}
