//! Every figure from a synthetic run: files whole, text in sight, numbers in the CSV.

use super::*;
use crate::store::{ALL, EvalRow, LayerRow, Manifest, RecordWriter, RoutingRow, SampleRow, StepRow, WriterOptions};
use std::fs;

const TASKS: [&str; 5] = ["captioning", "counting", "grounding", "ocr", "region_captioning"];

/// Deterministic numbers in -1..1 that look like noise.
fn noise(i: u64) -> f64 {
    ((i as f64 * 12.9898).sin() * 43_758.545).fract()
}

fn step_row(stage: &str, step: u64, global_step: u64, loss: f64) -> StepRow {
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
        ms_data: 0.0,
        ms_forward: 1.0,
        ms_backward: 2.0,
        ms_optimizer: 1.0,
        ms_total: 4.0,
        ms_probe: 0.1,
        probe_bytes: 100,
        peak_memory: None,
    }
}

fn layer_row(step: u64, layer: &str, depth: Option<i32>, trained: bool) -> LayerRow {
    let far = f64::from(depth.unwrap_or(3) + 2) * (step as f64).sqrt() * 0.01;
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
        grad_norm: trained.then_some(1.0),
        momentum: (trained && step > 0).then(|| (0.25 + 0.4 * noise(step * 7)).clamp(-1.0, 1.0)),
    }
}

/// Three stages of a CoVFT recipe with a tower of six layers.
pub(crate) fn synthetic(dir: &RunDir, log_grads: bool) {
    Manifest::start(vec!["covft-probe".into(), "train".into()], 17, "cpu", "avx512").write(dir).unwrap();
    let mut writer = RecordWriter::create(dir, WriterOptions::default()).unwrap();
    let mut global = 0;
    for (stage, steps, from) in [("base", 120_u64, 6.0), ("projector", 40, 2.2), ("instruct", 160, 1.8)] {
        for step in 0..steps {
            let loss = from * (-(step as f64) / 60.0).exp() + 0.9 + 0.15 * noise(global);
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
                instruct_step(&mut writer, step, log_grads);
            }
            global += 1;
        }
    }
    writer.finish().unwrap();
}

fn instruct_step(writer: &mut RecordWriter, step: u64, log_grads: bool) {
    let layers = [
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
    let mut rows: Vec<LayerRow> =
        layers.iter().map(|(l, d)| layer_row(step, l, *d, !matches!(d, Some(-1 | 5 | 6)))).collect();
    if !log_grads {
        for row in &mut rows {
            (row.grad_norm, row.momentum) = (None, None);
        }
    }
    writer.push(&rows).unwrap();
    for (t, task) in TASKS.iter().enumerate() {
        let sample = format!("{task}-{}", step % 8);
        writer
            .push(&[SampleRow {
                stage: "instruct".into(),
                step,
                sample: sample.clone(),
                micro: 0,
                task: Some((*task).into()),
                has_image: true,
                loss: Some(1.0),
                tokens: 10,
            }])
            .unwrap();
        let routing: Vec<RoutingRow> = (2..5)
            .map(|layer: i32| {
                let logits: Vec<f32> =
                    (0..4).map(|e| if e == (t + layer as usize) % 4 { 1.5 } else { 0.2 * e as f32 }).collect();
                let sum: f32 = logits.iter().map(|l| l.exp()).sum();
                RoutingRow {
                    stage: "instruct".into(),
                    step,
                    sample: sample.clone(),
                    layer: layer.to_string(),
                    depth: Some(layer),
                    tracked: false,
                    weights: logits.iter().map(|l| l.exp() / sum).collect(),
                    logits,
                    entropy: 1.0,
                }
            })
            .collect();
        writer.push(&routing).unwrap();
    }
}

fn run(log_grads: bool) -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    synthetic(&dir, log_grads);
    (root, dir)
}

#[test]
fn every_figure_at_its_venue_width() {
    let (_root, dir) = run(true);
    for venue in [Venue::Cvpr, Venue::Neurips, Venue::Slides] {
        // COVFT_FIGURES=folder keeps the files, to look at them.
        let kept = std::env::var_os("COVFT_FIGURES").map(PathBuf::from);
        let out = kept.unwrap_or_else(|| dir.figures()).join(venue.to_string());
        for id in FigureId::ALL {
            let files = draw(id, &dir, venue, &out, &["plot".into()]).unwrap();
            assert_eq!(files.len(), 4);
            let svg = fs::read_to_string(&files[0]).unwrap();
            let inches = svg.split("width=\"").nth(1).unwrap().split("in\"").next().unwrap().parse::<f64>().unwrap();
            assert!(inches == venue.column() || inches == venue.full(), "{id} {venue} {inches}");
            let sizes = svg.split("font-size=\"").skip(1).map(|s| s.split('"').next().unwrap().parse::<f64>().unwrap());
            let smallest = sizes.fold(f64::INFINITY, f64::min) / 20.0;
            // The SVG writer divides sizes by 1.24, so that an em box is as high as the bitmap's.
            assert!(smallest * 1.24 >= 7.0 * 0.999 && smallest.is_finite(), "{id} {venue}: {smallest} pt");
            assert!(fs::metadata(&files[1]).unwrap().len() > 4000);
            assert!(fs::read_to_string(&files[2]).unwrap().lines().count() > 50);
            let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&files[3]).unwrap()).unwrap();
            assert_eq!((json["figure"].as_str(), json["runs"][0]["seed"].as_u64()), (Some(&*id.to_string()), Some(17)));
        }
    }
}

#[test]
fn same_run_same_bytes() {
    let (_root, dir) = run(true);
    let bytes = |folder: &str| {
        let files = draw(FigureId::Drift, &dir, Venue::Cvpr, &dir.figures().join(folder), &[]).unwrap();
        files.into_iter().map(|f| fs::read(f).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(bytes("a"), bytes("b"));
}

#[test]
fn a_run_that_lacks_it_says_which_option_logs_it() {
    let (_root, dir) = run(false);
    let message = draw(FigureId::GradientCosine, &dir, Venue::Cvpr, &dir.figures(), &[]).unwrap_err().to_string();
    assert!(message.contains("--log-grads") && message.contains("layers.momentum"), "{message}");
    fs::remove_dir_all(dir.stream("routing")).unwrap();
    let message = draw(FigureId::RoutingByTask, &dir, Venue::Cvpr, &dir.figures(), &[]).unwrap_err().to_string();
    assert!(message.contains("`[probe] routing = true`") && message.ends_with("run"), "{message}");
    assert!(!dir.figures().exists(), "nothing half-written");
    assert!("nonsense".parse::<FigureId>().unwrap_err().to_string().contains("loss, drift"));
}
