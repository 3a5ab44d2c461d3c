//! A run with everything in it, and a window over it.

use crate::app::Explorer;
use crate::jobs::Spawner;
use crate::layout::Layout;
use crate::source::{Reader, Source};
use crate::tools::Tools;
use covft_analyses::store::{
    ALL, ContextRow, DatasetRow, EvalRow, GradientRow, LayerRow, Manifest, NoiseRow, PairRow, PredictionRow,
    RecordWriter, RoutingRow, RunDir, SampleGradientRow, SampleRow, StageEntry, StepRow, WriterOptions, write_dataset,
};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use half::f16;
use std::path::PathBuf;

/// Tasks of the samples in turn.
pub(super) const TASKS: [&str; 3] = ["counting", "grounding", "ocr"];
/// Samples of a run.
pub(super) const SAMPLES: u64 = 60;

pub(super) fn id(sample: u64) -> String {
    format!("s{sample:02}")
}

fn stage() -> String {
    "instruct".to_owned()
}

pub(super) fn begin(dir: &RunDir, started: &str) -> RecordWriter {
    let mut manifest = Manifest::start(vec!["train".into()], 1, "cpu", "plain");
    manifest.started = started.into();
    manifest.stages.push(StageEntry { name: stage(), steps: 12, parameters: Vec::new() });
    manifest.write(dir).unwrap();
    RecordWriter::create(dir, WriterOptions::default()).unwrap()
}

pub(super) fn step_row(step: u64, loss: f64) -> StepRow {
    StepRow {
        stage: stage(),
        step,
        global_step: step,
        loss,
        lr_vision: None,
        lr_projector: None,
        lr_language: None,
        lr_text: None,
        grad_norm: 1.0,
        clip_factor: 1.0,
        samples: 6,
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
    }
}

/// One step: six samples, in each of two layers.
pub(super) fn step(writer: &mut RecordWriter, step: u64) {
    let wave = |k: u64| ((step * 13 + k * 7) as f64).sin();
    writer.push(&[step_row(step, 3.0 / (step + 1) as f64)]).unwrap();
    let layers = [("embeddings", Some(-1), 0), ("0", Some(0), 5), ("1", Some(1), 5), (ALL, None, 10)];
    for (at, (layer, depth, elements)) in layers.into_iter().enumerate() {
        for module in ["attention", ALL] {
            writer
                .push(&[LayerRow {
                    stage: stage(),
                    step,
                    layer: layer.into(),
                    depth,
                    module: module.into(),
                    elements,
                    drift: step as f64 * (at + 1) as f64,
                    drift_relative: Some(0.125 * step as f64 * (at + 1) as f64),
                    drift_per_element: None,
                    update: 0.5,
                    grad_norm: Some(1.0),
                    momentum: (step > 0 && elements > 0).then(|| wave(at as u64)),
                }])
                .unwrap();
        }
    }
    for k in 0..6 {
        sample(writer, step, (step * 6 + k) % SAMPLES);
    }
    gradients(writer, step);
    writer.flush().unwrap();
}

/// What gradients of the six samples of a step say: counting and grounding pull apart.
fn gradients(writer: &mut RecordWriter, step: u64) {
    let number = |k: u64| (step * 6 + k) % SAMPLES;
    let task = |k: u64| Some(TASKS[(number(k) % 3) as usize].to_owned());
    for (layer, depth) in [("0", Some(0)), ("1", Some(1)), (ALL, None)] {
        let pair = |(a, b): (u64, u64)| {
            let cosine = match (number(a) % 3, number(b) % 3) {
                (a, b) if a == b => 0.4,
                (0, 1) | (1, 0) => -0.5,
                _ => 0.05,
            };
            PairRow {
                index_a: None,
                index_b: None,
                split: None,
                stage: stage().into(),
                step,
                layer: layer.into(),
                depth,
                module: ALL.into(),
                space: "trainable".into(),
                tracked: false,
                mode: "sketch".into(),
                sample_a: id(number(a)).into(),
                sample_b: id(number(b)).into(),
                task_a: task(a).map(Into::into),
                task_b: task(b).map(Into::into),
                dot: f64::from(cosine),
                cosine: Some(cosine),
                error: Some(0.05),
                low: Some(cosine - 0.1),
                high: Some(cosine + 0.1),
            }
        };
        let pairs: Vec<PairRow> = (0..6).flat_map(|a| (a + 1..6).map(move |b| (a, b))).map(pair).collect();
        writer.push(&pairs).unwrap();
        let noise = NoiseRow {
            stage: stage(),
            step,
            layer: layer.into(),
            depth,
            module: ALL.into(),
            space: "trainable".into(),
            mode: "sketch".into(),
            samples: 6,
            grad2: if step == 3 { -1.0 } else { 2.0 },
            trace: 8.0,
            scale: (step != 3).then_some(4.0),
        };
        writer.push(&[noise]).unwrap();
        if let Some(depth) = depth {
            let row = GradientRow {
                index: None,
                split: None,
                stage: stage(),
                step,
                layer: layer.into(),
                depth: Some(depth),
                kind: "batch".into(),
                space: "trainable".into(),
                sample: None,
                tracked: false,
                elements: 5,
                norm: 5.0,
                scale: 1.0,
                sketch: (0..64).map(|j| f16::from_f32(((step * 31 + j * 7) as f32).sin() * 0.4 + 0.6)).collect(),
                error: 0.125,
            };
            writer.push(&[row]).unwrap();
        }
    }
    alignments(writer, step);
}

/// How the gradients of the six samples of a step are aligned with it.
fn alignments(writer: &mut RecordWriter, step: u64) {
    let number = |k: u64| (step * 6 + k) % SAMPLES;
    let task = |k: u64| Some(TASKS[(number(k) % 3) as usize].to_owned());
    let alignment = |k: u64| SampleGradientRow {
        index: None,
        split: None,
        stage: stage().into(),
        step,
        sample: id(number(k)).into(),
        layer: ALL.into(),
        depth: None,
        module: ALL.into(),
        space: "trainable".into(),
        tracked: false,
        mode: "sketch".into(),
        task: task(k).map(Into::into),
        norm: Some(1.0),
        alignment: Some(number(k) as f32 / 60.0 - 0.5),
        error: Some(0.05),
    };
    writer.push(&(0..6).map(alignment).collect::<Vec<_>>()).unwrap();
}

fn sample(writer: &mut RecordWriter, step: u64, number: u64) {
    let task = (number % 3) as usize;
    writer
        .push(&[SampleRow {
            index: None,
            stage: stage(),
            step,
            sample: id(number),
            micro: 0,
            task: Some(TASKS[task].into()),
            has_image: true,
            loss: Some(number as f64 / 10.0),
            tokens: 7,
        }])
        .unwrap();
    for (layer, depth) in [("0", 0), ("1", 1)] {
        // Each task has its corner, but every tenth sample lies in the next one's.
        let corner = (task + usize::from(number % 10 == 9)) % 3;
        let noise = |j: u64| ((number * 31 + j * 17) as f32).sin() * 0.3;
        let vector = (0..8).map(|j| f16::from_f32(noise(j) + if j == corner as u64 { 4.0 } else { 0.0 })).collect();
        writer
            .push(&[ContextRow {
                index: None,
                split: None,
                stage: stage(),
                step,
                sample: id(number),
                layer: layer.into(),
                depth: Some(depth),
                tracked: number < 6,
                vector,
            }])
            .unwrap();
        let first = if task == 0 { 0.75 } else { 0.25 };
        writer
            .push(&[RoutingRow {
                index: None,
                split: None,
                stage: stage(),
                step,
                sample: id(number),
                layer: layer.into(),
                depth: Some(depth),
                tracked: false,
                logits: vec![0.0, 0.0],
                weights: vec![first, 1.0 - first],
                entropy: 0.56,
            }])
            .unwrap();
    }
}

/// Data set, pictures, evaluation and predictions.
pub(super) fn rest(dir: &RunDir, writer: &mut RecordWriter) {
    std::fs::create_dir_all(dir.images()).unwrap();
    image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([(x * 8) as u8, (y * 8) as u8, 90]))
        .save(dir.images().join("a.png"))
        .unwrap();
    let row = |n: u64| DatasetRow {
        index: None,
        sample: id(n),
        split: "train".into(),
        task: Some(TASKS[(n % 3) as usize].into()),
        image: Some("images/a.png".into()),
        width: Some(32),
        height: Some(32),
        question: format!("Question {n} about [0.25, 0.25, 0.75, 0.75]?"),
        answer: format!("answer{n}"),
    };
    write_dataset(dir, &(0..SAMPLES).map(row).collect::<Vec<_>>()).unwrap();
    let eval = EvalRow {
        stage: stage(),
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
        chance: None,
    };
    writer.push(&[eval]).unwrap();
    let prediction = PredictionRow {
        index: None,
        stage: stage(),
        step: 2,
        split: "val".into(),
        sample: id(1),
        task: None,
        text: "[0.1, 0.1, 0.5, 0.5]".into(),
        correct: Some(0.5),
    };
    writer.push(&[prediction]).unwrap();
    writer.flush().unwrap();
}

/// A whole run of ten steps called `name`.
pub(super) fn whole(root: &std::path::Path, name: &str, started: &str) -> RunDir {
    let dir = RunDir::create(root.join(name)).unwrap();
    let mut writer = begin(&dir, started);
    (0..10).for_each(|n| step(&mut writer, n));
    rest(&dir, &mut writer);
    writer.finish().unwrap();
    // Three clusters, as the data have.
    let notes = crate::notes::Notes { k: 3, ..Default::default() };
    notes.write(dir.path(), None, None).unwrap();
    dir
}

pub(super) type Window = Harness<'static, Explorer>;

pub(super) fn explorer(paths: Vec<PathBuf>) -> (Explorer, Reader) {
    let (source, reader) = Source::new(paths);
    (Explorer::new(source, Layout::open(None), Tools::new(Spawner::AtOnce, crate::read_plainly)), reader)
}

/// A window that was drawn once, over what the reader found at its first look.
pub(super) fn window(paths: Vec<PathBuf>) -> (Window, Reader) {
    let (explorer, mut reader) = explorer(paths);
    reader.tick();
    let builder = Harness::builder().with_size(egui::vec2(1400.0, 900.0)).with_theme(egui::Theme::Light);
    let mut window = builder.build_ui_state(|ui, explorer: &mut Explorer| explorer.show(ui), explorer);
    window.run_steps(4);
    (window, reader)
}

pub(super) fn says(window: &Window, text: &str) -> bool {
    window.query_all_by_label(text).next().is_some()
}

pub(super) fn contains(window: &Window, text: &str) -> bool {
    window.query_all_by_label_contains(text).next().is_some()
}

pub(super) fn click(window: &mut Window, label: &str) {
    window.query_all_by_label(label).next().unwrap_or_else(|| panic!("nothing is called {label}")).click();
    window.run_steps(4);
}
