//! Panels by accessibility label, over a run that is written while it is looked at.

use crate::app::Explorer;
use crate::data::thin;
use crate::source::{Reader, Source};
use covft_analyses::store::{
    ALL, EvalRow, LayerRow, Manifest, RecordWriter, RoutingRow, RunDir, SampleRow, Status, StepRow, WriterOptions,
};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use std::fs;

fn begin(dir: &RunDir, started: &str) -> RecordWriter {
    let mut manifest = Manifest::start(vec!["train".into()], 1, "cpu", "plain");
    manifest.started = started.into();
    manifest.write(dir).unwrap();
    RecordWriter::create(dir, WriterOptions::default()).unwrap()
}

fn step(writer: &mut RecordWriter, step: u64) {
    let stage = || "instruct".to_owned();
    writer
        .push(&[StepRow {
            stage: stage(),
            step,
            global_step: step,
            loss: 3.0 / (step + 1) as f64,
            lr_vision: None,
            lr_projector: None,
            lr_language: None,
            lr_text: None,
            grad_norm: 1.0,
            clip_factor: 1.0,
            samples: 2,
            labelled_tokens: 4,
            sequence_tokens: 9,
            ms_data: 0.0,
            ms_forward: 0.0,
            ms_backward: 0.0,
            ms_optimizer: 0.0,
            ms_total: 0.0,
            ms_probe: 0.0,
            probe_bytes: 0,
            peak_memory: None,
        }])
        .unwrap();
    for (layer, depth, elements) in [("embeddings", -1, 0), ("0", 0, 5), ("1", 1, 5)] {
        writer
            .push(&[LayerRow {
                stage: stage(),
                step,
                layer: layer.into(),
                depth: Some(depth),
                module: ALL.into(),
                elements,
                drift: step as f64 * f64::from(depth.max(0) + 1),
                drift_relative: None,
                drift_per_element: None,
                update: 0.0,
                grad_norm: None,
                momentum: None,
            }])
            .unwrap();
    }
    for (sample, task) in [("a", "counting"), ("b", "ocr")] {
        writer
            .push(&[SampleRow {
                stage: stage(),
                step,
                sample: sample.into(),
                micro: 0,
                task: Some(task.into()),
                has_image: true,
                loss: Some(if sample == "a" { 0.5 } else { 2.5 }),
                tokens: 7,
            }])
            .unwrap();
        let first = if sample == "a" { 0.75 } else { 0.25 };
        writer
            .push(&[RoutingRow {
                stage: stage(),
                step,
                sample: sample.into(),
                layer: "1".into(),
                depth: Some(1),
                tracked: false,
                logits: vec![0.0, 0.0],
                weights: vec![first, 1.0 - first],
                entropy: 0.5,
            }])
            .unwrap();
    }
    writer.flush().unwrap();
}

fn harness(source: Source) -> Harness<'static, Explorer> {
    let builder = Harness::builder().with_size(egui::vec2(1200.0, 800.0)).with_theme(egui::Theme::Light);
    builder.build_ui_state(|ui, explorer: &mut Explorer| explorer.show(ui), Explorer::new(source))
}

fn says(harness: &Harness<'_, Explorer>, text: &str) -> bool {
    harness.query_by_label(text).is_some()
}

fn look(reader: &mut Reader, harness: &mut Harness<'_, Explorer>) {
    reader.tick();
    harness.run();
}

#[test]
fn a_live_run_is_followed_through_every_view() {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("live")).unwrap();
    let mut writer = begin(&dir, "2026-01-02T00:00:00Z");
    let (source, mut reader) = Source::new(vec![root.path().to_owned()]);
    let mut window = harness(source);
    look(&mut reader, &mut window);
    assert!(says(&window, "No step was recorded yet.") && says(&window, "running  2026-01-02T00:00:00Z"));
    for n in 0..3 {
        step(&mut writer, n);
    }
    writer
        .push(&[EvalRow {
            stage: "instruct".into(),
            step: 2,
            global_step: 2,
            split: "val".into(),
            task: ALL.into(),
            loss: Some(1.25),
            tokens: 4,
            samples: 2,
            score: None,
            scorer: None,
            scored: 0,
        }])
        .unwrap();
    writer.flush().unwrap();
    look(&mut reader, &mut window);
    assert!(says(&window, "3 steps") && says(&window, "1.0000") && says(&window, "1.2500"));
    assert!(!reader.tick(), "nothing is new");

    window.get_by_label("Drift").click();
    window.run();
    assert!(says(&window, "Drift by layer and step") && says(&window, "steps 0 to 2, left to right"));
    window.get_by_label("Routing").click();
    window.run();
    assert!(says(&window, "Routing of layer 1"));
    let layer = (Some(1), "1".to_owned());
    let by_task = window.state().source.look().data.routing_by_task(&layer);
    assert_eq!((by_task["counting"][0], by_task["ocr"][0]), (0.75, 0.25));

    window.get_by_label("Samples").click();
    window.run();
    assert!(says(&window, "Showing 2 of 2") && says(&window, "2.5000"));
    let order = &mut window.state_mut().choices.samples;
    order.search = "OCR".into();
    window.run();
    assert!(says(&window, "Showing 1 of 2") && !says(&window, "0.5000"));
    window.get_by_label("Dark").click();
    window.run();
    assert_eq!(window.ctx.theme(), egui::Theme::Dark);
}

#[test]
fn newest_first_and_another_can_be_chosen() {
    let root = tempfile::tempdir().unwrap();
    let run = |name: &str, day: &str, steps: u64| {
        let dir = RunDir::create(root.path().join(name)).unwrap();
        let mut writer = begin(&dir, day);
        (0..steps).for_each(|n| step(&mut writer, n));
        writer.finish().unwrap();
        let mut manifest = Manifest::read(&dir).unwrap();
        manifest.finish(Status::Failed { why: "disk full".into() });
        manifest.write(&dir).unwrap();
    };
    run("old", "2025-01-01", 1);
    run("new", "2026-01-01", 2);
    let (source, mut reader) = Source::new(vec![root.path().to_owned()]);
    let mut window = harness(source);
    look(&mut reader, &mut window);
    assert_eq!(window.state().source.look().runs.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["new", "old"]);
    assert!(says(&window, "2 steps") && says(&window, "failed: disk full  2026-01-01"));
    window.get_by_label("old").click();
    window.run();
    look(&mut reader, &mut window);
    assert!(says(&window, "1 steps"));
}

#[test]
fn bad_runs_are_told() {
    let root = tempfile::tempdir().unwrap();
    let (source, mut reader) = Source::new(vec![root.path().join("nothing")]);
    let mut window = harness(source);
    look(&mut reader, &mut window);
    assert!(says(&window, "No run here yet. Start one with `covft-probe train`; it appears by itself."));

    let dir = RunDir::create(root.path().join("bad")).unwrap();
    let mut writer = begin(&dir, "2026-01-01");
    step(&mut writer, 0);
    drop(writer);
    let part = dir.stream("layers").join("part-000000.parquet");
    fs::write(&part, "not parquet").unwrap();
    let (source, mut reader) = Source::new(vec![dir.path().to_owned()]);
    let mut window = harness(source);
    look(&mut reader, &mut window);
    let problems = window.state().source.look().data.problems.clone();
    assert!(problems.len() == 1 && problems[0].ends_with("part-000000.parquet"), "{problems:?}");
    assert!(says(&window, &problems[0]) && says(&window, "1 steps"));
    fs::write(dir.manifest(), r#"{"schema": 99}"#).unwrap();
    look(&mut reader, &mut window);
    let error = window.state().source.look().error.clone().unwrap();
    assert!(error.contains("schema 99") && says(&window, &error), "{error}");
}

#[test]
fn thinning_keeps_the_mean() {
    let points: Vec<[f64; 2]> = (0..10).map(|i| [f64::from(i), f64::from(i * 2)]).collect();
    assert_eq!(thin(&points, 5), [[0.5, 1.0], [2.5, 5.0], [4.5, 9.0], [6.5, 13.0], [8.5, 17.0]]);
    assert_eq!(thin(&points, 50).len(), 10);
}
