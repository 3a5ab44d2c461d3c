//! Made runs and a made study with every stream, from formulas.

use crate::store::{
    ALL, ConflictRow, ContextRow, DatasetRow, DistanceRow, EvalRow, LayerRow, Manifest, PairRow, RecordWriter,
    RoutingRow, RunDir, STUDY_SCHEMA, SampleRow, StepRow, Study, StudyKind, StudyRun, StudyStatus, WriterOptions,
    write_dataset,
};
use half::f16;
use std::fs;
use std::path::Path;

pub(super) const TASKS: [&str; 5] = ["captioning", "counting", "grounding", "ocr", "region_captioning"];
const LAYERS: [(&str, Option<i32>); 9] = [
    ("embeddings", Some(-1)),
    ("0", Some(0)),
    ("1", Some(1)),
    ("2", Some(2)),
    ("3", Some(3)),
    ("4", Some(4)),
    ("5", Some(5)),
    ("final_norm", Some(6)),
    (ALL, None),
];

/// Which streams a made run has.
#[derive(Clone, Copy)]
pub(super) struct Made {
    pub log_grads: bool,
    pub contexts: bool,
    pub pairs: bool,
    pub steps: u64,
    pub seed: u64,
}

pub(super) const WHOLE: Made = Made { log_grads: true, contexts: true, pairs: true, steps: 160, seed: 17 };

/// Deterministic numbers in -1..1 that look like noise.
pub(super) fn noise(i: u64) -> f64 {
    ((i as f64 * 12.9898).sin() * 43_758.545).fract()
}

pub(super) fn step_row(stage: &str, step: u64, global_step: u64, loss: f64) -> StepRow {
    StepRow {
        stage: stage.into(),
        step,
        global_step,
        loss,
        lr_vision: Some(1e-4),
        lr_projector: None,
        lr_language: None,
        lr_text: None,
        grad_norm: 1.0,
        clip_factor: 1.0,
        samples: 5,
        labelled_tokens: 50,
        sequence_tokens: 500,
        ms_data: 3.0,
        ms_forward: 110.0,
        ms_backward: 190.0,
        ms_optimizer: 24.0,
        ms_total: 345.0 + noise(global_step),
        ms_probe: 12.0,
        probe_bytes: 41_000,
        peak_memory: Some(1_234_567_890),
    }
}

pub(super) fn layer_row(made: Made, step: u64, layer: &str, depth: Option<i32>) -> LayerRow {
    let trained = !matches!(depth, Some(-1 | 5 | 6));
    let far = f64::from(depth.unwrap_or(3) + 2) * (step as f64).sqrt() * 0.01;
    let cosine = 0.25 + 0.1 * (made.seed % 5) as f64 - 0.2 + 0.4 * noise(step * 7 + made.seed);
    LayerRow {
        stage: "instruct".into(),
        step,
        layer: layer.into(),
        depth,
        module: ALL.into(),
        elements: if trained { 100 } else { 0 },
        drift: if trained { far } else { 0.0 },
        drift_relative: None,
        drift_per_element: None,
        update: 0.01,
        grad_norm: (made.log_grads && trained).then_some(1.0),
        momentum: (made.log_grads && trained && step > 0).then(|| cosine.clamp(-1.0, 1.0)),
    }
}

/// Three stages of a CoVFT recipe with a tower of six layers.
pub(super) fn run(dir: &RunDir, made: Made) {
    let mut manifest = Manifest::start(vec!["covft-probe".into(), "train".into()], made.seed, "cpu", "avx512");
    manifest.started = "2026-01-01T00:00:00Z".into();
    manifest.write(dir).unwrap();
    let mut writer = RecordWriter::create(dir, WriterOptions::default()).unwrap();
    let mut global = 0;
    for (stage, steps, from) in [("base", 120_u64, 6.0), ("projector", 40, 2.2), ("instruct", made.steps, 1.8)] {
        for step in 0..steps {
            let loss = from * (-(step as f64) / 60.0).exp() + 0.9 + 0.15 * noise(global + made.seed);
            writer.push(&[step_row(stage, step, global, loss)]).unwrap();
            if step % 20 == 19 {
                let split = if step + 1 == steps { "val" } else { "val-subset" };
                writer
                    .push(&[EvalRow {
                        stage: stage.into(),
                        step,
                        global_step: global,
                        split: split.into(),
                        task: ALL.into(),
                        loss: Some(loss + 0.1),
                        tokens: 10,
                        samples: 2,
                        score: Some(0.5),
                        scorer: None,
                        scored: 2,
                        chance: Some(0.25),
                    }])
                    .unwrap();
            }
            if stage == "instruct" {
                instruct_step(&mut writer, step, made);
            }
            global += 1;
        }
    }
    writer.finish().unwrap();
    dataset(dir);
}

/// A picture for every second sample, of the task's own grey.
fn dataset(dir: &RunDir) {
    fs::create_dir_all(dir.images()).unwrap();
    let mut rows = Vec::new();
    for (t, task) in TASKS.iter().enumerate() {
        for i in 0..8 {
            let image = (t != 1).then(|| format!("images/{task}-{i}.png"));
            if let Some(image) = &image {
                let shade = |x: u32, y: u32| image::Rgb([(40 * t) as u8 + (x * 3) as u8, (y * 4) as u8, 25 * i as u8]);
                image::RgbImage::from_fn(48, 32, shade).save(dir.path().join(image)).unwrap();
            }
            rows.push(DatasetRow {
                index: None,
                sample: format!("{task}-{i}"),
                split: "train".into(),
                task: Some((*task).into()),
                image,
                width: Some(48),
                height: Some(32),
                question: format!("What is the {i}th thing that one sees to the left of the {task} of this picture?"),
                answer: format!("A thing, and {i} more of them"),
            });
        }
    }
    write_dataset(dir, &rows).unwrap();
}

fn instruct_step(writer: &mut RecordWriter, step: u64, made: Made) {
    let rows: Vec<LayerRow> = LAYERS.iter().map(|(l, d)| layer_row(made, step, l, *d)).collect();
    writer.push(&rows).unwrap();
    for (t, task) in TASKS.iter().enumerate() {
        let sample = format!("{task}-{}", step % 8);
        writer
            .push(&[SampleRow {
                index: None,
                stage: "instruct".into(),
                step,
                sample: sample.clone(),
                micro: 0,
                task: Some((*task).into()),
                has_image: t != 1,
                loss: Some(1.0),
                tokens: 10,
            }])
            .unwrap();
        if made.contexts {
            context_rows(writer, step, t, &sample, made);
        }
    }
    if made.pairs && step.is_multiple_of(8) {
        pair_rows(writer, step);
    }
}

fn context_rows(writer: &mut RecordWriter, step: u64, t: usize, sample: &str, made: Made) {
    let wobble = |i: u64| 0.3 * noise(step % 8 * 31 + t as u64 * 7 + i + made.seed);
    for layer in 2..5_i32 {
        let tilt = |e: usize| if e == (t + layer as usize) % 4 { 1.5 } else { 0.2 * e as f64 } + wobble(e as u64);
        let logits: Vec<f32> = (0..4).map(|e| tilt(e) as f32).collect();
        let sum: f32 = logits.iter().map(|l| l.exp()).sum();
        let key = ("instruct".to_owned(), sample.to_owned(), layer.to_string(), Some(layer));
        writer
            .push(&[RoutingRow {
                index: None,
                split: None,
                stage: key.0.clone(),
                step,
                sample: key.1.clone(),
                layer: key.2.clone(),
                depth: key.3,
                tracked: false,
                weights: logits.iter().map(|l| l.exp() / sum).collect(),
                logits,
                entropy: 1.0,
            }])
            .unwrap();
        let angle = (t + layer as usize) as f64;
        let vector = (0..12).map(|i| f16::from_f64((angle + f64::from(i)).sin() + wobble(10 + i as u64))).collect();
        let (stage, sample, layer, depth) = key;
        writer
            .push(&[ContextRow { index: None, split: None, stage, step, sample, layer, depth, tracked: false, vector }])
            .unwrap();
    }
}

fn pair_rows(writer: &mut RecordWriter, step: u64) {
    for (layer, depth) in LAYERS {
        for (m, module) in [ALL, "attention", "layer_norm", "mlp"].into_iter().enumerate() {
            if module == "mlp" && depth == Some(-1) {
                continue;
            }
            let mut rows = Vec::new();
            for (a, b) in (0..5_usize).flat_map(|a| (0..=a).map(move |b| (a, b))) {
                let (error, about) = if module == ALL { (0.06, 0.3) } else { (0.2, 0.2) };
                let seen = noise(step + (a * 5 + b) as u64 * 13 + m as u64 + depth.unwrap_or(9).unsigned_abs() as u64);
                let cosine = (if a == b { 0.4 } else { -0.05 * a as f64 } + about * seen) as f32;
                rows.push(PairRow {
                    index_a: None,
                    index_b: None,
                    split: None,
                    stage: "instruct".into(),
                    step,
                    layer: layer.into(),
                    depth,
                    module: module.into(),
                    space: "trainable".into(),
                    tracked: false,
                    mode: "sketch".into(),
                    sample_a: format!("{}-{}", TASKS[a], step % 8).into(),
                    sample_b: format!("{}-{}", TASKS[b], (step + u64::from(a == b)) % 8).into(),
                    task_a: Some(TASKS[a].into()),
                    task_b: Some(TASKS[b].into()),
                    dot: f64::from(cosine),
                    cosine: (step != 8).then_some(cosine),
                    error: Some(error),
                    low: Some(cosine - 2.0 * error),
                    high: Some(cosine + 2.0 * error),
                });
            }
            for within in [true, false] {
                let of: Vec<&PairRow> = rows.iter().filter(|r| (r.task_a == r.task_b) == within).collect();
                let mut counts = ConflictRow::like(of[0]);
                of.into_iter().for_each(|row| counts.count(row));
                writer.push(&[counts]).unwrap();
            }
            writer.push(&rows).unwrap();
        }
    }
}

/// A conflict study of two methods with two seeds each, its runs without records.
pub(super) fn conflict_study(path: &Path) {
    let mut runs = Vec::new();
    for method in ["full", "covft"] {
        for (seed, task) in [(0, "a"), (0, "b"), (1, "a"), (1, "b")] {
            let label = format!("{method}-{seed}-{task}");
            let dir = RunDir::create(path.join(&label)).unwrap();
            Manifest::start(vec![], seed, "cpu", "avx512").write(&dir).unwrap();
            runs.push(StudyRun { label, method: method.into(), seed, tasks: vec![format!("grounding {task}")] });
        }
    }
    let study = Study {
        schema: STUDY_SCHEMA,
        kind: StudyKind::Conflict,
        command: vec!["covft-probe".into()],
        started: "2026-01-01T00:00:00Z".into(),
        status: StudyStatus::Done,
        stage: "instruct".into(),
        runs,
    };
    study.write(path).unwrap();
    let folder = RunDir::of_study(path);
    let mut writer = RecordWriter::create(&folder, WriterOptions::default()).unwrap();
    for step in 0..120_u64 {
        for (m, method) in ["full", "covft"].into_iter().enumerate() {
            for seed in 0..2 {
                let rows: Vec<DistanceRow> = LAYERS
                    .iter()
                    .map(|(layer, depth)| {
                        let pull = f64::from(depth.unwrap_or(14) + 3) / (1.0 + 0.8 * m as f64 + 0.15 * seed as f64);
                        let distance = pull * 0.01 * (step as f64 + 1.0).sqrt();
                        DistanceRow {
                            stage: "instruct".into(),
                            step,
                            layer: (*layer).into(),
                            depth: *depth,
                            module: ALL.into(),
                            run_a: format!("{method}-{seed}-a"),
                            run_b: format!("{method}-{seed}-b"),
                            elements: 100,
                            distance,
                            distance_relative: (*layer != "final_norm").then_some(distance / 10.0),
                            distance_per_element: Some(distance / 10.0),
                        }
                    })
                    .collect();
                writer.push(&rows).unwrap();
            }
        }
    }
    writer.finish().unwrap();
}
