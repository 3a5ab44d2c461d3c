//! Measures the explorer: `cargo run --release -p covft-viewer --example measure -- [RUN | ROWS [WIDTH]]`.
//!
//! Given a number, it makes a run of so many context rows in a temporary folder and measures that.

use covft_analyses::store::{
    ContextRow, DatasetRow, Manifest, RecordWriter, RunDir, SampleRow, StageEntry, Status, StepRow, WriterOptions,
    write_dataset,
};
use half::f16;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Rows of one step.
const A_STEP: u64 = 2000;
/// Samples; they come again and again.
const SAMPLES: u64 = 100_000;
const TASKS: [&str; 8] =
    ["attribute", "captioning", "counting", "existence", "grounding", "ocr", "region_captioning", "relation"];

/// A hash of two numbers as a number in -1..1 (splitmix64).
fn noise(a: u64, b: u64) -> f32 {
    let mut z = a.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(b.wrapping_mul(0xBF58_476D_1CE4_E5B9));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

/// Contexts of `rows` rows of `width` numbers: ten blobs, one or two tasks each, that drift apart over the steps.
fn synthetic(at: &Path, rows: u64, width: u64) -> Result<PathBuf, Box<dyn Error>> {
    let dir = RunDir::create(at.join("synthetic"))?;
    let steps = rows.div_ceil(A_STEP);
    let mut manifest = Manifest::start(vec!["synthetic".into()], 0, "cpu", "none");
    manifest.stages.push(StageEntry { name: "instruct".into(), steps, parameters: Vec::new() });
    manifest.write(&dir)?;
    let task = |sample: u64| TASKS[(sample % 8) as usize].to_owned();
    let id = |sample: u64| format!("sample_{sample:06}");
    let samples = SAMPLES.min(rows);
    let data = (0..samples).map(|s| DatasetRow {
        index: Some(s),
        sample: id(s),
        split: "train".into(),
        task: Some(task(s).into()),
        image: None,
        width: None,
        height: None,
        question: format!("Question {s}?"),
        answer: format!("answer {}", s % 100),
    });
    write_dataset(&dir, &data.collect::<Vec<_>>())?;
    let mut writer = RecordWriter::create(&dir, WriterOptions::default())?;
    for step in 0..steps {
        let here = (step * A_STEP..((step + 1) * A_STEP).min(rows)).map(|row| row % samples);
        let apart = 1.0 + 2.0 * step as f32 / steps as f32;
        let contexts: Vec<ContextRow> = here
            .clone()
            .map(|sample| {
                let blob = sample % 10;
                let value = |j: u64| noise(blob, j + 7_000_000) * apart + noise(sample * 4096 + j, step) * 0.8;
                ContextRow {
                    index: Some(sample),
                    split: Some("train".into()),
                    stage: "instruct".into(),
                    step,
                    sample: id(sample),
                    layer: "22".into(),
                    depth: Some(22),
                    tracked: false,
                    vector: (0..width).map(|j| f16::from_f32(value(j))).collect(),
                }
            })
            .collect();
        writer.push(&contexts)?;
        let row = |sample| SampleRow {
            index: Some(sample),
            stage: "instruct".into(),
            step,
            sample: id(sample),
            micro: 0,
            task: Some(task(sample)),
            has_image: false,
            loss: Some(f64::from(noise(sample, step) + 1.0)),
            tokens: 9,
        };
        writer.push(&here.map(row).collect::<Vec<_>>())?;
        writer.push(&[a_step(step)])?;
    }
    writer.finish()?;
    manifest.finish(Status::Done);
    manifest.write(&dir)?;
    Ok(dir.path().to_owned())
}

fn a_step(step: u64) -> StepRow {
    StepRow {
        stage: "instruct".into(),
        step,
        global_step: step,
        loss: 1.0 + 1.0 / (step + 1) as f64,
        lr_vision: None,
        lr_projector: None,
        lr_language: None,
        lr_text: None,
        grad_norm: 1.0,
        clip_factor: 1.0,
        samples: A_STEP,
        labelled_tokens: 9,
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

fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let first = arguments.first().map_or("1000000", String::as_str);
    let width = arguments.get(1).and_then(|w| w.parse::<u64>().ok()).unwrap_or(64);
    let folder = tempfile::tempdir()?;
    if let ("make", Some(at), Some(rows)) = (first, arguments.get(1), arguments.get(2)) {
        synthetic(Path::new(at), rows.parse()?, arguments.get(3).map_or(Ok(64), |w| w.parse())?)?;
        return Ok(());
    }
    let run = match first.parse::<u64>() {
        Ok(rows) => {
            // In a process of its own, so that its memory does not count.
            let mut make = std::process::Command::new(std::env::current_exe()?);
            make.arg("make").arg(folder.path()).args([rows, width].map(|n| n.to_string()));
            if !make.status()?.success() {
                return Err("the run could not be made".into());
            }
            folder.path().join("synthetic")
        }
        Err(_no_number) => PathBuf::from(first),
    };
    let files = bytes_below(&run.join("records"))? + std::fs::metadata(run.join("dataset.parquet"))?.len();
    let found = covft_viewer::measure(run, 60)?;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let ratio = |ms: f64| ms / found.empty_ms;
    let mut out = std::io::stdout();
    writeln!(out, "points drawn         {} of {} rows", found.points, found.rows)?;
    writeln!(out, "records read         {:.2} s ({:.2} s CPU)", found.read_s, found.read_cpu_s)?;
    writeln!(out, "every point drawn    {:.2} s ({:.2} s CPU)", found.drawn_s, found.drawn_cpu_s)?;
    writeln!(out, "files                {:.1} MB", mb(files))?;
    writeln!(
        out,
        "memory when read     {:.1} MB, {:.2} x files",
        mb(found.memory_read),
        found.memory_read as f64 / files as f64
    )?;
    writeln!(
        out,
        "memory at most       {:.1} MB, {:.2} x files",
        mb(found.memory),
        found.memory as f64 / files as f64
    )?;
    writeln!(out, "frame without points {:.1} ms CPU, {:.1} ms wall", found.empty_ms, found.wall_ms[0])?;
    writeln!(
        out,
        "frame, still         {:.1} ms CPU ({:.2} x), {:.1} ms wall",
        found.still_ms,
        ratio(found.still_ms),
        found.wall_ms[1]
    )?;
    writeln!(
        out,
        "frame, moving        {:.1} ms CPU ({:.2} x), {:.1} ms wall",
        found.moving_ms,
        ratio(found.moving_ms),
        found.wall_ms[2]
    )?;
    writeln!(
        out,
        "lasso                {:.2} ms at least, {:.2} ms median, {} points",
        found.lasso_ms[0], found.lasso_ms[1], found.lassoed
    )?;
    Ok(())
}
