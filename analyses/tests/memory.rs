//! Long runs pass through little memory. A test binary of its own: it measures its process.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test, helpers included, should end it")]

use covft_analyses::analysis::{ContextData, Selection, cluster_history, routing_stats};
use covft_analyses::export::{ExportOptions, Format, export};
use covft_analyses::figures::{FigureId, Format as Picture, Inputs, Options, Plot, Venue};
use covft_analyses::store::{
    ContextRow, DatasetRow, Manifest, PairRow, RecordWriter, RoutingRow, RunDir, SampleRow, WriterOptions,
    write_dataset,
};
use half::f16;
use std::fs;
use std::path::Path;

const STEPS: u64 = 1600;
const BATCH: u64 = 128;
const WIDTH: u64 = 128;
const SAMPLES: u64 = 20_000;
/// What the vectors alone would take if they were held as they are read: 52 MB, and 23 MB of routing.
const MOST: u64 = 48 << 20;

fn id(sample: u64) -> String {
    format!("sample_{:06}", sample % SAMPLES)
}

fn value(a: u64, b: u64) -> f32 {
    ((a * 7919 + b * 104_729) as f64 * 12.9898).sin() as f32
}

fn pair(step: u64, sample_a: String, sample_b: String, i: u64) -> PairRow {
    PairRow {
        index_a: None,
        index_b: None,
        split: None,
        stage: "instruct".into(),
        step,
        layer: "all".into(),
        depth: None,
        module: "all".into(),
        space: "trainable".into(),
        tracked: false,
        mode: "sketch".into(),
        sample_a: sample_a.into(),
        sample_b: sample_b.into(),
        task_a: Some(format!("task {}", i % 5).into()),
        task_b: Some(format!("task {}", (i + 1) % 5).into()),
        dot: 0.0,
        cosine: Some(value(i, step)),
        error: Some(0.1),
        low: Some(value(i, step) - 0.2),
        high: Some(value(i, step) + 0.2),
    }
}

/// 204,800 context rows in many parts, as many routing rows, and what belongs to them.
fn make(at: &Path, tracked: bool) -> RunDir {
    let dir = RunDir::create(at).unwrap();
    Manifest::start(vec!["train".into()], 1, "cpu", "plain").write(&dir).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions { merge: 4, ..WriterOptions::default() }).unwrap();
    for step in 0..STEPS {
        let (stage, layer, depth) = (|| "instruct".to_owned(), || "4".to_owned(), Some(4));
        let sample = |i: u64| id(if tracked { i } else { step * BATCH + i });
        let context = |i: u64| ContextRow {
            index: None,
            split: None,
            stage: stage(),
            step,
            sample: sample(i),
            layer: layer(),
            depth,
            tracked,
            vector: (0..WIDTH).map(|j| f16::from_f32(value(i % 7, j) + 0.1 * value(step, i * WIDTH + j))).collect(),
        };
        writer.push(&(0..BATCH).map(context).collect::<Vec<_>>()).unwrap();
        let routing = |i: u64| {
            let first = 0.5 + 0.4 * value(i % 7, step);
            let weights = vec![first, 1.0 - first];
            let logits = vec![0.0; 2];
            RoutingRow {
                index: None,
                split: None,
                stage: stage(),
                step,
                sample: sample(i),
                layer: layer(),
                depth,
                tracked,
                logits,
                weights,
                entropy: 0.5,
            }
        };
        writer.push(&(0..BATCH).map(routing).collect::<Vec<_>>()).unwrap();
        let row = |i: u64| {
            let (task, loss) = (Some(format!("task {}", i % 5)), Some(f64::from(value(i, step)) + 1.0));
            SampleRow {
                index: None,
                stage: stage(),
                step,
                sample: sample(i),
                micro: 0,
                task,
                has_image: false,
                loss,
                tokens: 3,
            }
        };
        writer.push(&(0..BATCH).map(row).collect::<Vec<_>>()).unwrap();
        writer.push(&(0..BATCH).map(|i| pair(step, sample(i), sample(i + 1), i)).collect::<Vec<_>>()).unwrap();
        if step % 100 == 99 {
            writer.flush().unwrap();
        }
    }
    writer.finish().unwrap();
    let row = |n: u64| DatasetRow {
        index: None,
        sample: id(n),
        split: "train".into(),
        task: Some(format!("task {}", n % 5).into()),
        image: None,
        width: None,
        height: None,
        question: format!("Question {n}?"),
        answer: "answer".into(),
    };
    write_dataset(&dir, &(0..SAMPLES).map(row).collect::<Vec<_>>()).unwrap();
    dir
}

fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// By how much `work` raised the resident memory at most.
fn rise<T>(work: impl FnOnce() -> T) -> (u64, T) {
    // 5: forget the peak so far.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let done = work();
    (status("VmHWM").saturating_sub(before), done)
}

#[test]
fn long_runs_pass_through_little_memory() {
    let root = tempfile::tempdir().unwrap();
    let dir = make(&root.path().join("long"), false);
    let parts = fs::read_dir(dir.stream("contexts")).unwrap().count();
    assert!(parts > 1, "{parts}");
    let mut found = Vec::new();
    let selection = Selection { most: 1000, ..Selection::default() };
    let (bytes, data) = rise(|| ContextData::load(&dir, &selection).unwrap());
    // The later half of the steps sees every sample.
    assert_eq!((data.samples.len(), data.of, data.problems.len()), (1000, SAMPLES as usize, 0));
    found.push(("contexts".to_owned(), bytes));
    found.push(("routing".to_owned(), rise(|| assert_eq!(routing_stats(&dir).unwrap().steps.len(), STEPS as usize)).0));
    let inputs = Inputs::of_run(&dir).unwrap();
    for id in [FigureId::RoutingByTask, FigureId::ExpertLoad, FigureId::TaskConflict, FigureId::ContextClusters] {
        let draw = || Plot::load(id, &inputs, &Options::default()).unwrap()[0].draw(Venue::Cvpr, Picture::Pdf).unwrap();
        found.push((id.to_string(), rise(draw).0));
    }
    for (format, name) in Format::ALL {
        let out = root.path().join(name);
        let (bytes, made) = rise(|| export(&dir, format, &ExportOptions::default(), &out, &mut |_, _, _| {}).unwrap());
        assert!(made.problems.is_empty(), "{:?}", made.problems);
        found.push((name.to_owned(), bytes));
    }
    fs::remove_dir_all(root.path().join("long")).unwrap();

    let dir = make(&root.path().join("tracked"), true);
    let data = ContextData::load(&dir, &Selection::default()).unwrap();
    assert_eq!((data.tracked, data.samples.len(), data.steps), (true, BATCH as usize, (STEPS - 1, STEPS - 1)));
    let (bytes, history) = rise(|| cluster_history(&dir, &data, 3, 1, 0, &mut |_, _, _| true).unwrap());
    assert_eq!((history.steps.len(), history.samples.len()), (STEPS as usize, BATCH as usize));
    found.push(("history".to_owned(), bytes));
    assert!(found.iter().all(|f| f.1 < MOST), "{found:?}");
    // The measure measures (last, since memory that was freed may be used again).
    let (held, kept) = rise(|| covft_analyses::store::read_records::<ContextRow>(&dir).unwrap());
    assert!(kept.rows.len() == (STEPS * BATCH) as usize && held > MOST, "{held} bytes hold every row");
}
