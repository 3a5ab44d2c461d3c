//! A whole analysis and every export of a small run whose answer is known.

use super::*;
use crate::export::{ExportOptions, Format, export, records};
use crate::store::{
    ContextRow, DatasetRow, Manifest, PredictionRow, RecordWriter, RoutingRow, RunDir, WriterOptions, write_dataset,
};
use half::f16;
use std::fs;

const TASKS: [&str; 3] = ["counting", "grounding", "ocr"];
const QUESTIONS: [&str; 3] = ["How many cats are there?", "Where is the tree, please?", "Read the, \"sign\"!"];

fn noise(i: usize) -> f32 {
    ((i as f64 * 12.9898).sin() * 43_758.545).fract() as f32
}

/// 90 samples of three tasks at steps 0 to 9, whose contexts lie in three clusters and whose routing follows them.
fn small() -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    Manifest::start(vec!["train".into()], 1, "cpu", "plain").write(&dir).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    let id = |i: usize| format!("s{i:03}");
    for i in 0..90 {
        let (task, step) = (i % 3, i as u64 / 9);
        let vector =
            (0..8).map(|j| f16::from_f32(if j == task { 5.0 } else { 0.0 } + 0.3 * noise(i * 8 + j))).collect();
        let raw: Vec<f32> = (0..3).map(|e| if e == task { 4.0 } else { 1.0 } + 0.2 * noise(i + 31 * e)).collect();
        let weights: Vec<f32> = raw.iter().map(|w| w / raw.iter().sum::<f32>()).collect();
        let (stage, layer) = ("instruct".to_owned(), "4".to_owned());
        let context = ContextRow {
            index: None,
            split: None,
            stage,
            step,
            sample: id(i),
            layer,
            depth: Some(4),
            tracked: false,
            vector,
        };
        let (stage, layer) = (context.stage.clone(), context.layer.clone());
        let routing = RoutingRow {
            index: None,
            split: None,
            stage,
            step,
            sample: id(i),
            layer,
            depth: Some(4),
            tracked: false,
            logits: raw,
            weights,
            entropy: 1.0,
        };
        writer.push(&[context]).unwrap();
        writer.push(&[routing]).unwrap();
    }
    let text = "secret words".to_owned();
    let (stage, split, sample) = ("instruct".to_owned(), "val".to_owned(), id(0));
    writer
        .push(&[PredictionRow { index: None, stage, step: 9, split, sample, task: None, text, correct: None }])
        .unwrap();
    writer.finish().unwrap();
    let rows: Vec<DatasetRow> = (0..90)
        .map(|i| DatasetRow {
            index: None,
            sample: id(i),
            split: "train".into(),
            task: Some(TASKS[i % 3].into()),
            image: None,
            width: None,
            height: None,
            question: QUESTIONS[i % 3].into(),
            answer: "secret words".into(),
        })
        .collect();
    write_dataset(&dir, &rows).unwrap();
    (root, dir)
}

#[test]
fn clusters_of_known_contexts() {
    let (_root, dir) = small();
    let selection = Selection::default();
    let data = ContextData::load(&dir, &selection).unwrap();
    // The later half of steps 0 to 9.
    assert_eq!((data.steps, data.samples.len(), data.layer.as_str()), ((5, 9), 45, "4"));
    let params = ContextParams { sweep: Some((2, 6)), seeds: 2, resamples: 100, ..ContextParams::default() };
    let found = ContextAnalysis::run(&params, &data, &mut |_, _, _| true).unwrap();
    assert_eq!(found.clusters.sizes(), [15, 15, 15], "three clusters have the best silhouette: {:?}", found.sweep);
    assert_eq!(found.agreement, Ok(Agreement { purity: 1.0, nmi: 1.0, ari: 1.0 }));
    let counting = found.summaries.iter().find(|c| c.task == "counting").unwrap();
    assert!(counting.label.contains("cats") && counting.label.contains("counting 100 %"), "{}", counting.label);
    assert_eq!(counting.nearest.len(), 4);
    assert!(counting.nearest.windows(2).all(|w| w[0].1 <= w[1].1));
    let r = found.routing.as_ref().unwrap().r.unwrap();
    let (low, high) = r.ends.unwrap();
    assert!(r.estimate > 0.95 && low < r.estimate && r.estimate <= high, "{r:?}");
    assert!(found.stability.as_ref().unwrap().as_ref().unwrap().ari.iter().all(|a| *a == 1.0));
    let stopped = ContextAnalysis::run(&params, &data, &mut |_, _, _| false).unwrap_err();
    assert!(matches!(stopped, AnalysisError::Stopped));

    let routing = routing_stats(&dir).unwrap();
    assert_eq!((routing.steps.len(), routing.tasks.len()), (10, 3));
    assert!((routing.steps[0].gate_mass.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    assert!(routing.steps[0].hard_load.iter().all(|h| (h - 1.0 / 3.0).abs() < 1e-12));
    let out = dir.analysis();
    let history = cluster_history(&dir, &data, 3, 1, 0, &mut |_, _, _| true).unwrap();
    let layers = [("4".to_owned(), found.routing.clone().unwrap())];
    let view = ViewFile::new("runs/small");
    let written = Written {
        run: &dir,
        command: &["analyze".to_owned()],
        selection: &selection,
        data: &data,
        analysis: &found,
        layers: &layers,
        history: &history,
        routing: Some(&routing),
        view: Some(&view),
    };
    let files = write(&out, &written, false).unwrap();
    assert_eq!(files.len(), 11, "{files:?}");
    let sidecar: serde_json::Value = serde_json::from_slice(&fs::read(out.join("analysis.json")).unwrap()).unwrap();
    assert_eq!(sidecar["params"]["clusters"], 3);
    assert_eq!(sidecar["results"]["ari"], 1.0);
}

#[test]
fn what_is_missing_or_broken_is_told() {
    let (_root, dir) = small();
    let load = |selection: &Selection| ContextData::load(&dir, selection).unwrap_err().to_string();
    let wrong = load(&Selection { layer: Some("9".into()), ..Selection::default() });
    assert!(wrong.contains("layer 9; there are 4"), "{wrong}");
    let wrong = load(&Selection { stage: Some("look".into()), ..Selection::default() });
    assert!(wrong.contains("stage look; there are instruct"), "{wrong}");
    let wrong = load(&Selection { steps: Steps::Between(50, 60), ..Selection::default() });
    assert!(wrong.contains("there are 0 to 9"), "{wrong}");

    let part = fs::read_dir(dir.stream("contexts")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    let error = ContextData::load(&dir, &Selection::default()).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.ends_with("part-000000.parquet"), "{error}");
    // A stream of which nothing can be read is told, whatever else is exported, and alone it is the error.
    let out = tempfile::tempdir().unwrap();
    let made = export(&dir, Format::Csv, &ExportOptions::default(), out.path(), &mut |_, _, _| {}).unwrap();
    assert!(made.files.len() > 1 && made.problems.iter().any(|p| p.contains("part-000000.parquet")), "{made:?}");
    let only = ExportOptions { streams: vec!["contexts".into()], ..ExportOptions::default() };
    let error = export(&dir, Format::Csv, &only, out.path(), &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.ends_with("part-000000.parquet"), "{error}");

    let root = tempfile::tempdir().unwrap();
    let empty = RunDir::create(root.path().join("empty")).unwrap();
    let none = ContextData::load(&empty, &Selection::default()).unwrap_err().to_string();
    assert!(none.contains("`[probe] contexts = true`"), "{none}");
    for format in Format::ALL {
        let error = export(&empty, format.0, &ExportOptions::default(), root.path(), &mut |_, _, _| {}).unwrap_err();
        assert!(error.to_string().contains("no records yet"), "{error}");
    }
}

#[test]
fn every_format_holds_the_rows() {
    let (root, dir) = small();
    let out = root.path().join("out");
    let options = ExportOptions { no_text: true, ..ExportOptions::default() };
    for (format, name) in Format::ALL {
        let to = out.join(name);
        let made = export(&dir, format, &options, &to, &mut |_, _, _| {}).unwrap();
        assert!(made.problems.is_empty(), "{name}: {:?}", made.problems);
        for file in &made.files {
            let bytes = fs::read(&file.path).unwrap();
            let holds = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
            assert!(!holds("secret") && !holds("cats"), "{} holds text", file.path.display());
        }
        let rows: Vec<u64> = made.files.iter().map(|f| f.entries).collect();
        match format {
            Format::Parquet | Format::Csv | Format::Npz => assert_eq!(rows, [90, 90, 1, 90], "{name}"),
            Format::SafeTensors => assert_eq!(rows, [90, 90, 90, 90], "two streams with their keys"),
            // The version, and 3 numbers and 2 x 3 experts of 10 steps.
            Format::TensorBoard => {
                assert_eq!(rows, [1 + 10 * 9]);
                let events = records(&fs::read(&made.files[0].path).unwrap());
                assert_eq!(events.len(), 91);
                // wall_time (field 1), step (field 2), file_version (field 3).
                assert_eq!((events[0][0], &events[0][9..13]), (0x09, &[0x10, 0, 0x1A, 13][..]));
                assert!(events[0].ends_with(b"brain.Event:2"));
                assert!(events.iter().any(|e| e.windows(17).any(|w| w == b"routing/entropy/4")));
            }
        }
    }
    let csv = fs::read_to_string(out.join("csv/routing.csv")).unwrap();
    let first = csv.lines().nth(1).unwrap();
    assert!(first.starts_with("instruct,0,s000,,,4,4,false,\"[") && csv.lines().count() == 91, "{first}");
    let tensors = fs::read(out.join("safetensors/contexts.safetensors")).unwrap();
    let length = u64::from_le_bytes(tensors[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&tensors[8..8 + length]).unwrap();
    assert_eq!(header["vector"]["shape"], serde_json::json!([90, 8]));
    assert_eq!(header["vector"]["data_offsets"][1].as_u64().unwrap() as usize, tensors.len() - 8 - length);
    let text = ExportOptions { streams: vec!["dataset".into()], ..ExportOptions::default() };
    export(&dir, Format::Csv, &text, &out, &mut |_, _, _| {}).unwrap();
    let csv = fs::read_to_string(out.join("dataset.csv")).unwrap();
    assert!(csv.contains(r#""Read the, ""sign""!""#), "{csv}");
    let missing = ExportOptions { streams: vec!["steps".into()], ..ExportOptions::default() };
    let error = export(&dir, Format::Csv, &missing, &out, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("no stream `steps`; it has dataset, contexts"), "{error}");
}
