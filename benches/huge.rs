//! Makes a run directory of a size that must not be held in memory, for `scripts/huge-run`:
//! `cargo run --release -p covft-analyses --example huge -- FOLDER [ROWS [WIDTH]]` (1,000,000 rows of 768 numbers).
//!
//! ROWS rows of `contexts` and as many of `routing` in twelve layers: the last at every step, all of them at every tenth, as
//! training logs them; and the other streams in the proportion that belongs to that.

use covft_analyses::store::{
    ALL, ContextRow, DatasetRow, EvalRow, GradientRow, LayerRow, Manifest, Name, NoiseRow, PairRow, PredictionRow,
    RecordWriter, RoutingRow, RunDir, SampleRow, StageEntry, Status, StepRow, WriterOptions, write_dataset,
};
use half::f16;
use std::error::Error;

type Done = Result<(), Box<dyn Error>>;

const LAYERS: u64 = 12;
const BATCH: u64 = 64;
const EVERY: u64 = 10;
const SAMPLES: u64 = 100_000;
const EXPERTS: u64 = 8;
const SKETCH: u64 = 4096;
const TASKS: [&str; 8] =
    ["attribute", "captioning", "counting", "existence", "grounding", "ocr", "region_captioning", "relation"];
const STAGE: &str = "instruct";

/// A hash of two numbers as a number in -1..1 (splitmix64).
fn noise(a: u64, b: u64) -> f32 {
    let mut z = a.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(b.wrapping_mul(0xBF58_476D_1CE4_E5B9));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

fn id(sample: u64) -> String {
    format!("sample_{sample:06}")
}

fn task(sample: u64) -> String {
    TASKS[(sample % 8) as usize].to_owned()
}

/// The samples of a step.
fn batch(step: u64) -> impl Iterator<Item = u64> + Clone {
    (0..BATCH).map(move |i| (step * BATCH + i) * 7919 % SAMPLES)
}

/// Contexts and routing of a layer at a step: ten blobs, one or two tasks each.
fn moe(step: u64, layer: u64, width: u64) -> (Vec<ContextRow>, Vec<RoutingRow>) {
    let one = |sample: u64| {
        let blob = sample % 10;
        let value = |j: u64| noise(blob * 31 + layer, j + 7_000_000) + noise(sample * 4096 + j, step * LAYERS + layer);
        let logits: Vec<f32> = (0..EXPERTS).map(|e| 2.0 * noise(blob, e) + noise(sample, e + 99)).collect();
        let sum: f32 = logits.iter().map(|l| l.exp()).sum();
        let weights: Vec<f32> = logits.iter().map(|l| l.exp() / sum).collect();
        let entropy = -weights.iter().map(|w| w * w.ln()).sum::<f32>();
        let (index, split) = (Some(sample), Some(Name::from("train")));
        let (stage, sample, layer, depth) = (STAGE.to_owned(), id(sample), layer.to_string(), Some(layer as i32));
        let vector = (0..width).map(|j| f16::from_f32(value(j))).collect();
        let context = ContextRow {
            index,
            split: split.clone(),
            stage: stage.clone(),
            step,
            sample: sample.clone(),
            layer: layer.clone(),
            depth,
            tracked: false,
            vector,
        };
        (
            context,
            RoutingRow { index, split, stage, step, sample, layer, depth, tracked: false, logits, weights, entropy },
        )
    };
    batch(step).map(one).unzip()
}

/// What is logged of the parameters' gradients at every tenth step.
fn gradients(writer: &mut RecordWriter, step: u64) -> Done {
    let (stage, space) = (STAGE.to_owned(), "trainable".to_owned());
    let layers = (0..LAYERS).map(|l| (l.to_string(), Some(l as i32)));
    let rows = layers.map(|(layer, depth)| GradientRow {
        index: None,
        split: None,
        stage: stage.clone(),
        step,
        sketch: (0..SKETCH).map(|j| f16::from_f32(noise(step, j) + 0.2 * noise(3, j))).collect(),
        layer,
        depth,
        kind: "batch".into(),
        space: space.clone(),
        sample: None,
        tracked: false,
        elements: 7_000_000,
        norm: 1.0,
        scale: 1.0,
        error: 0.016,
    });
    writer.push(&rows.collect::<Vec<_>>())?;
    let samples: Vec<u64> = batch(step).collect();
    let pairs = (0..samples.len()).flat_map(|a| (a + 1..samples.len()).map(move |b| (a, b)));
    let rows = pairs.map(|(a, b)| {
        let cosine = noise(samples[a] + step, samples[b]);
        PairRow {
            index_a: Some(samples[a]),
            index_b: Some(samples[b]),
            split: Some("train".into()),
            stage: stage.as_str().into(),
            step,
            layer: ALL.into(),
            depth: None,
            module: ALL.into(),
            space: space.as_str().into(),
            tracked: false,
            mode: "sketch".into(),
            sample_a: id(samples[a]).into(),
            sample_b: id(samples[b]).into(),
            task_a: Some(task(samples[a]).into()),
            task_b: Some(task(samples[b]).into()),
            dot: f64::from(cosine),
            cosine: Some(cosine),
            error: Some(0.2),
            low: Some(cosine - 0.4),
            high: Some(cosine + 0.4),
        }
    });
    writer.push(&rows.collect::<Vec<_>>())?;
    writer.push(&[NoiseRow {
        stage,
        step,
        layer: ALL.into(),
        depth: None,
        module: ALL.into(),
        space,
        mode: "sketch".into(),
        samples: BATCH,
        grad2: 1.0,
        trace: 9.0,
        scale: Some(9.0),
    }])?;
    Ok(())
}

/// Loss, times and drift.
fn progress(writer: &mut RecordWriter, step: u64) -> Done {
    writer.push(&[StepRow {
        stage: STAGE.into(),
        step,
        global_step: step,
        loss: 1.0 + 1.0 / (step + 1) as f64 + 0.05 * f64::from(noise(step, 1)),
        lr_vision: Some(1e-5),
        lr_projector: Some(1e-5),
        lr_language: Some(1e-5),
        lr_text: None,
        grad_norm: 1.0,
        clip_factor: 1.0,
        samples: BATCH,
        labelled_tokens: 900,
        sequence_tokens: 40_000,
        ms_data: 1.0,
        ms_forward: 300.0,
        ms_backward: 600.0,
        ms_optimizer: 50.0,
        ms_total: 960.0,
        ms_probe: 9.0,
        probe_bytes: 200_000,
        peak_memory: Some(1 << 34),
    }])?;
    let rows = batch(step).map(|sample| SampleRow {
        index: Some(sample),
        stage: STAGE.into(),
        step,
        sample: id(sample),
        micro: 0,
        task: Some(task(sample)),
        has_image: true,
        loss: Some(f64::from(noise(sample, step) + 1.0)),
        tokens: 14,
    });
    writer.push(&rows.collect::<Vec<_>>())?;
    let layers =
        (0..=LAYERS).map(|l| if l == LAYERS { (ALL.to_owned(), None) } else { (l.to_string(), Some(l as i32)) });
    let rows = layers.flat_map(|(layer, depth)| {
        ["attention", "ffn", ALL].map(|module| LayerRow {
            stage: STAGE.into(),
            step,
            layer: layer.clone(),
            depth,
            module: module.into(),
            elements: 7_000_000,
            drift: (step as f64).sqrt(),
            drift_relative: Some((step as f64).sqrt() / 900.0),
            drift_per_element: Some((step as f64).sqrt() / 2600.0),
            update: 0.1,
            grad_norm: Some(1.0),
            momentum: (step > 0).then(|| f64::from(noise(step, 5)) * 0.2),
        })
    });
    writer.push(&rows.collect::<Vec<_>>())?;
    Ok(())
}

fn evaluation(writer: &mut RecordWriter, step: u64) -> Done {
    let (stage, split) = (STAGE.to_owned(), "val".to_owned());
    let rows = TASKS.into_iter().chain([ALL]).map(|task| EvalRow {
        stage: stage.clone(),
        step,
        global_step: step,
        split: split.clone(),
        task: task.into(),
        loss: Some(1.0),
        tokens: 1400,
        samples: 100,
        score: Some(0.5),
        scorer: Some("exact".into()),
        scored: 100,
        chance: Some(0.2),
    });
    writer.push(&rows.collect::<Vec<_>>())?;
    let rows = (0..1000).map(|sample| PredictionRow {
        index: Some(sample),
        stage: stage.clone(),
        step,
        split: split.clone(),
        sample: id(sample),
        task: Some(task(sample)),
        text: "an answer of some words".into(),
        correct: Some(f64::from(u8::from(sample % 2 == 0))),
    });
    writer.push(&rows.collect::<Vec<_>>())?;
    Ok(())
}

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().ok_or("name the folder to make")?;
    let number = |i: usize, default: u64| arguments.get(i).map_or(Ok(default), |text| text.parse());
    let (rows, width) = (number(1, 1_000_000)?, number(2, 768)?);
    let dir = RunDir::create(folder)?;
    let mut manifest = Manifest::start(vec!["huge".into()], 0, "cpu", "none");
    manifest.stages.push(StageEntry { name: STAGE.into(), steps: 0, parameters: Vec::new() });
    manifest.write(&dir)?;
    let places = (0..SAMPLES).map(|s| (s, "train")).chain((0..1000).map(|s| (s, "val")));
    let data = places.map(|(s, split)| DatasetRow {
        index: Some(s),
        sample: id(s),
        split: split.into(),
        task: Some(task(s).into()),
        image: None,
        width: None,
        height: None,
        question: format!("Of all the things that are in picture {s}, which one is the {}?", TASKS[(s % 5) as usize]),
        answer: format!("the answer {}", s % 100),
    });
    write_dataset(&dir, &data.collect::<Vec<_>>())?;
    let mut writer = RecordWriter::create(&dir, WriterOptions::default())?;
    let (mut made, mut step) = (0, 0);
    while made < rows {
        progress(&mut writer, step)?;
        let layers = if step.is_multiple_of(EVERY) { 0..LAYERS } else { LAYERS - 1..LAYERS };
        for layer in layers {
            let (contexts, routing) = moe(step, layer, width);
            made += contexts.len() as u64;
            writer.push(&contexts)?;
            writer.push(&routing)?;
        }
        if step.is_multiple_of(EVERY) {
            gradients(&mut writer, step)?;
        }
        if step.is_multiple_of(1000) {
            evaluation(&mut writer, step)?;
        }
        step += 1;
    }
    evaluation(&mut writer, step)?;
    writer.finish()?;
    manifest.stages[0].steps = step;
    manifest.finish(Status::Done);
    manifest.write(&dir)?;
    Ok(())
}
