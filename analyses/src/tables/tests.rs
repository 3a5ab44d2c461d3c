//! Tables of made studies whose numbers are known.

use super::*;
use crate::store::{
    ALL, DistanceRow, EvalRow, LayerRow, Manifest, ParameterEntry, RecordWriter, RunDir, STUDY_SCHEMA, StageEntry,
    Status, StepRow, Study, StudyKind, StudyRun, StudyStatus, WriterOptions,
};
use std::path::Path;

fn study(dir: &Path, kind: StudyKind, runs: &[(&str, &str, u64, &str)]) {
    let run = |(label, method, seed, task): &(&str, &str, u64, &str)| StudyRun {
        label: (*label).into(),
        method: (*method).into(),
        seed: *seed,
        tasks: vec![(*task).into()],
    };
    let runs = runs.iter().map(run).collect();
    let (command, stage) = (vec!["x".into()], "instruct".into());
    let study =
        Study { schema: STUDY_SCHEMA, kind, command, started: "now".into(), status: StudyStatus::Done, stage, runs };
    study.write(dir).unwrap();
}

fn run(dir: &Path, label: &str, done: bool) -> (RunDir, RecordWriter) {
    let run = RunDir::create(dir.join(label)).unwrap();
    let mut manifest = Manifest::start(vec![], 0, "cpu", "none");
    let parameter = |part: &str, trained, reached| ParameterEntry {
        name: part.into(),
        shape: vec![3, 5],
        part: part.into(),
        layer: None,
        module: "x".into(),
        trained,
        reached,
    };
    let parameters =
        vec![parameter("vision", true, true), parameter("language", true, true), parameter("vision", true, false)];
    manifest.stages.push(StageEntry { name: "instruct".into(), steps: 10, parameters });
    if done {
        manifest.finish(Status::Done);
    }
    manifest.write(&run).unwrap();
    let writer = RecordWriter::create(&run, WriterOptions::default()).unwrap();
    (run, writer)
}

fn layer_row(layer: &str, depth: Option<i32>, drift: f64) -> LayerRow {
    LayerRow {
        stage: "instruct".into(),
        step: 9,
        layer: layer.into(),
        depth,
        module: ALL.into(),
        elements: 100,
        drift,
        drift_relative: Some(drift / 2.0),
        drift_per_element: Some(drift / 10.0),
        update: 0.0,
        grad_norm: None,
        momentum: None,
    }
}

fn distance(layer: &str, depth: i32, pair: (&str, &str), distance: f64) -> DistanceRow {
    DistanceRow {
        stage: "instruct".into(),
        step: 9,
        layer: layer.into(),
        depth: Some(depth),
        module: ALL.into(),
        run_a: pair.0.into(),
        run_b: pair.1.into(),
        elements: 100,
        distance,
        distance_relative: Some(distance / 2.0),
        distance_per_element: Some(distance / 10.0),
    }
}

#[test]
fn a_conflict_is_held_to_what_another_order_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let runs = [("a", "full", 0, "g"), ("b", "full", 0, "c"), ("a1", "full", 1, "g"), ("b1", "full", 1, "c")];
    study(path, StudyKind::Conflict, &runs);
    assert_eq!(Conflict::read(path).unwrap(), None);
    for (label, scale) in [("a", 3.0), ("b", 4.0)] {
        let (_, mut writer) = run(path, label, true);
        let rows: Vec<LayerRow> = (0..4).map(|i| layer_row(&i.to_string(), Some(i), scale * f64::from(i))).collect();
        writer.push(&rows).unwrap();
        writer.finish().unwrap();
    }
    let mut writer = RecordWriter::create(&RunDir::of_study(path), WriterOptions::default()).unwrap();
    for i in 0..4 {
        let (layer, by) = (i.to_string(), f64::from(i));
        // a and b go at right angles from the start: 3, 4, 5.
        for (pair, d) in [
            (("a", "b"), 5.0),
            (("a", "a1"), 1.0),
            (("a", "b1"), 6.0),
            (("b", "a1"), 4.0),
            (("b", "b1"), 3.0),
            (("a1", "b1"), 9.0),
        ] {
            writer.push(&[distance(&layer, i, pair, d * by)]).unwrap();
        }
    }
    writer.finish().unwrap();
    let found = Conflict::read(path).unwrap().unwrap();
    assert_eq!((found.steps, found.layers.len()), (10, 4));
    let third = &found.layers[3];
    assert_eq!(
        (third.distance, third.drifts, third.null, third.crossed),
        (15.0, Some([9.0, 12.0]), Some(6.0), Some(15.0))
    );
    assert!(third.cosine.unwrap().abs() < 1e-12 && third.excess() == Some(2.5), "{third:?}");
    let growth = &found.growth[0];
    // Block 0 did not move: three blocks are left, in perfect order; 2 of 6 orders are as far from 0.
    assert_eq!((growth.of, growth.rank.n), ("distance", 3));
    assert!((growth.rank.rho - 1.0).abs() < 1e-12 && (growth.rank.p - 1.0 / 3.0).abs() < 1e-12);
    let text = found.table().text();
    assert!(text.contains("both / order") && text.contains("rho +1.00 over 3 blocks"), "{text}");
}

fn eval(task: &str, score: f64, split: &str) -> EvalRow {
    EvalRow {
        stage: "instruct".into(),
        step: 10,
        global_step: 10,
        split: split.into(),
        task: task.into(),
        loss: Some(1.0 - score),
        tokens: 5,
        samples: 4,
        score: Some(score),
        scorer: Some("exact".into()),
        scored: 4,
        chance: None,
    }
}

fn step(loss: f64, memory: u64) -> StepRow {
    StepRow {
        stage: "instruct".into(),
        step: 0,
        global_step: 0,
        loss,
        lr_vision: None,
        lr_projector: None,
        lr_language: None,
        lr_text: None,
        grad_norm: 1.0,
        clip_factor: 1.0,
        samples: 4,
        labelled_tokens: 5,
        sequence_tokens: 9,
        ms_data: 0.0,
        ms_forward: 0.0,
        ms_backward: 0.0,
        ms_optimizer: 0.0,
        ms_total: 250.0,
        ms_probe: 0.0,
        probe_bytes: 0,
        peak_memory: Some(memory),
    }
}

#[test]
fn methods_are_means_over_seeds_and_win_over_freeze_by_task() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let runs = [
        ("freeze-0", "freeze", 0, "x"),
        ("full-0", "full", 0, "x"),
        ("full-1", "full", 1, "x"),
        ("vpt-0", "vpt", 0, "x"),
    ];
    study(path, StudyKind::Methods, &runs);
    for (label, ocr, counting) in [("freeze-0", 0.5, 0.5), ("full-0", 0.75, 0.25), ("full-1", 0.5, 0.5)] {
        let (_, mut writer) = run(path, label, true);
        writer.push(&[step(2.0, 3 << 20), step(1.0, 5 << 20)]).unwrap();
        // The subset's evaluation at the same step comes before the whole set's.
        writer.push(&[eval("ocr", 0.0, "val-subset"), eval(ALL, 0.0, "val-subset")]).unwrap();
        writer.push(&[eval("ocr", ocr, "val"), eval("counting", counting, "val"), eval(ALL, 0.5, "val")]).unwrap();
        writer.push(&[layer_row(ALL, None, 4.0)]).unwrap();
        writer.finish().unwrap();
    }
    run(path, "vpt-0", false).1.finish().unwrap();
    let chance = |_: &RunDir, _: &RunNumbers| Chance::from([("ocr".to_owned(), 0.1)]);
    let found = Comparison::of_study(path, false, chance).unwrap();
    assert_eq!(found.unfinished, ["vpt-0"]);
    assert_eq!(
        found.groups.iter().map(|g| (g.name.as_str(), g.runs.len())).collect::<Vec<_>>(),
        [("freeze", 1), ("full", 2)]
    );
    let full = &found.groups[1].runs[0];
    assert_eq!((full.trained, full.trained_vision, full.peak_memory), (30, 15, Some(5 << 20)));
    assert_eq!((full.train_loss, full.step_seconds, full.split.as_deref()), (Some(1.0), Some(0.25), Some("val")));
    let text = found.learnt().text();
    for part in
        ["62.5 \u{b1} 17.7", "37.5 \u{b1} 17.7", "1 of 2", "10.0", "not finished, not counted: vpt-0", "4 held-out"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let csv = found.cost().csv();
    assert!(csv.lines().nth(2).unwrap().starts_with("full,"), "{csv}");
    let each = Comparison::of_study(path, true, chance).unwrap();
    assert_eq!(each.groups.len(), 3);
    // Runs of one name, and of other stages, are told apart.
    let here = RunDir::open(path.join("full-0")).unwrap();
    let mut manifest = Manifest::read(&here).unwrap();
    manifest.status = Status::Running;
    manifest.stages[0].name = "other".into();
    let there = RunDir::create(path.join("b").join("full-0")).unwrap();
    manifest.write(&there).unwrap();
    let two = Comparison::of_runs(&[here, there], chance).unwrap();
    let names: Vec<&str> = two.groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["full-0 (stage instruct)", "full-0 (2) (stage other)"]);
    assert_eq!(two.going, ["full-0 (2) (stage other)"]);
}
