//! The store as a whole: what was written is what is read, through merges, kills, damage and resumes.

use super::*;
use half::f16;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LAZY: WriterOptions = WriterOptions { interval: Duration::from_hours(1), merge: 4 };

fn run() -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    Manifest::start(vec!["train".into()], 1, "cpu", "plain").write(&dir).unwrap();
    (root, dir)
}

fn sample(step: u64) -> SampleRow {
    SampleRow {
        index: None,
        stage: "instruct".into(),
        step,
        sample: format!("s{step}"),
        micro: step % 2,
        task: (!step.is_multiple_of(3)).then(|| "counting".into()),
        has_image: step.is_multiple_of(2),
        loss: (!step.is_multiple_of(5)).then_some(step as f64 / 7.0),
        tokens: step,
    }
}

fn routing(step: u64, experts: usize) -> RoutingRow {
    RoutingRow {
        index: None,
        split: None,
        stage: "instruct".into(),
        step,
        sample: format!("s{step}"),
        layer: "4".into(),
        depth: Some(4),
        tracked: false,
        logits: vec![step as f32; experts],
        weights: vec![1.0 / experts as f32; experts],
        entropy: (experts as f32).ln(),
    }
}

fn steps_of<R: Record>(dir: &RunDir, step: impl Fn(&R) -> u64) -> Vec<u64> {
    let read = read_records::<R>(dir).unwrap();
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    read.rows.iter().map(step).collect()
}

fn parts(dir: &RunDir, stream: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.stream(stream))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// One part a step.
fn write_steps(writer: &mut RecordWriter, steps: std::ops::Range<u64>) {
    for step in steps {
        writer.push(&[sample(step)]).unwrap();
        writer.flush().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_come_back_bit_for_bit(
        values in prop::collection::vec((any::<f64>(), any::<Option<f64>>(), any::<f32>(), "\\PC{0,8}", any::<bool>()), 1..60),
        width in 0_usize..5,
    ) {
        let (_root, dir) = run();
        let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
        let mut layers = Vec::new();
        let mut contexts = Vec::new();
        for (i, (number, maybe, single, text, close)) in values.iter().enumerate() {
            layers.push(LayerRow {
                stage: text.clone(), step: i as u64, layer: ALL.into(), depth: None, module: "mlp".into(), elements: 3,
                drift: *number, drift_relative: *maybe, drift_per_element: Some(f64::NAN), update: f64::INFINITY,
                grad_norm: None, momentum: *maybe,
            });
            contexts.push(ContextRow { index: None, split: None,
                stage: "s".into(), step: i as u64, sample: text.clone(), layer: "3".into(), depth: Some(-1),
                tracked: *close, vector: vec![f16::from_f32(*single); width],
            });
            writer.push(&layers[i..]).unwrap();
            writer.push(&contexts[i..]).unwrap();
            if *close {
                writer.flush().unwrap();
            }
        }
        writer.finish().unwrap();
        let read = read_records::<LayerRow>(&dir).unwrap();
        prop_assert!(read.problems.is_empty());
        // NaN differs from itself; its debug text does not, and floats print exactly.
        prop_assert_eq!(format!("{:?}", read.rows), format!("{layers:?}"));
        prop_assert_eq!(format!("{:?}", read_records::<ContextRow>(&dir).unwrap().rows), format!("{contexts:?}"));
    }

    #[test]
    fn a_resumed_run_has_what_an_unbroken_one_has(before in 0_u64..14, lost in 0_u64..14, after in 0_u64..10) {
        let (_root, dir) = run();
        let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
        write_steps(&mut writer, 0..before);
        writer.cut(before).unwrap();
        write_steps(&mut writer, before..before + lost);
        drop(writer);
        let mut writer = RecordWriter::resume(&dir, before, LAZY).unwrap();
        let steps = |dir: &RunDir| steps_of(dir, |r: &SampleRow| r.step);
        prop_assert_eq!(steps(&dir), (0..before).collect::<Vec<_>>());
        write_steps(&mut writer, before..before + after);
        writer.finish().unwrap();
        prop_assert_eq!(steps(&dir), (0..before + after).collect::<Vec<_>>());
    }
}

#[test]
fn parts_are_merged_as_the_run_goes() {
    let (_root, dir) = run();
    let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
    write_steps(&mut writer, 0..9);
    assert_eq!(
        parts(&dir, "samples"),
        ["part-000000-000003.parquet", "part-000004-000007.parquet", "part-000008.parquet"]
    );
    assert_eq!(steps_of(&dir, |r: &SampleRow| r.step), (0..9).collect::<Vec<_>>());
    writer.finish().unwrap();
}

#[test]
fn parts_close_by_themselves_after_the_interval() {
    let (_root, dir) = run();
    let options = WriterOptions { interval: Duration::from_millis(20), merge: 64 };
    let mut writer = RecordWriter::create(&dir, options).unwrap();
    writer.push(&[sample(0)]).unwrap();
    let begun = std::time::Instant::now();
    while read_records::<SampleRow>(&dir).unwrap().rows.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    // No second row, no flush: it was the clock that closed the part.
    assert_eq!(parts(&dir, "samples"), ["part-000000.parquet"]);
}

#[test]
fn a_resume_between_resumes_keeps_streams_that_were_not_written() {
    let (_root, dir) = run();
    let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
    writer.push(&[routing(0, 2)]).unwrap();
    writer.push(&[sample(0)]).unwrap();
    writer.cut(1).unwrap();
    drop(writer);
    let mut writer = RecordWriter::resume(&dir, 1, LAZY).unwrap();
    writer.push(&[sample(1)]).unwrap();
    let cut = writer.cut(2).unwrap();
    assert_eq!(cut.next_part["routing"], 1);
    drop(writer);
    drop(RecordWriter::resume(&dir, 2, LAZY).unwrap());
    assert_eq!(steps_of(&dir, |r: &RoutingRow| r.step), [0]);
    assert_eq!(steps_of(&dir, |r: &SampleRow| r.step), [0, 1]);
    let message = RecordWriter::resume(&dir, 7, LAZY).unwrap_err().to_string();
    assert!(message.contains("step 7") && message.contains("[1, 2]") && message.ends_with("cuts.json"), "{message}");
}

#[test]
fn a_kill_leaves_nothing_that_counts_twice() {
    let (_root, dir) = run();
    let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
    write_steps(&mut writer, 0..3);
    writer.cut(3).unwrap();
    let saved = copy_parts(&dir, "samples");
    write_steps(&mut writer, 3..5);
    drop(writer);
    // Killed after the merged part was renamed and before the merged ones were removed, with a half-written file.
    for (path, bytes) in &saved {
        fs::write(path, bytes).unwrap();
    }
    let torn = dir.stream("samples").join(".part-000005.parquet.tmp");
    fs::write(&torn, &saved[0].1[..40]).unwrap();
    assert_eq!(steps_of(&dir, |r: &SampleRow| r.step), [0, 1, 2, 3, 4]);
    drop(RecordWriter::resume(&dir, 3, LAZY).unwrap());
    assert_eq!(parts(&dir, "samples"), ["part-000000-000002.parquet"]);
    assert_eq!(steps_of(&dir, |r: &SampleRow| r.step), [0, 1, 2]);
}

fn copy_parts(dir: &RunDir, stream: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = parts(dir, stream).into_iter().map(|name| dir.stream(stream).join(name));
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn damage(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_part_is_told_and_the_rest_is_read() {
    let (_root, dir) = run();
    let mut writer = RecordWriter::create(&dir, WriterOptions { merge: 64, ..LAZY }).unwrap();
    write_steps(&mut writer, 0..6);
    writer.cut(6).unwrap();
    drop(writer);
    damage(&dir.stream("samples").join("part-000001.parquet"), |b| b.truncate(b.len() / 2));
    damage(&dir.stream("samples").join("part-000003.parquet"), Vec::clear);
    let read = read_records::<SampleRow>(&dir).unwrap();
    assert_eq!(read.rows.iter().map(|r| r.step).collect::<Vec<_>>(), [0, 2, 4, 5]);
    let messages: Vec<String> = read.problems.iter().map(ToString::to_string).collect();
    assert!(messages[0].starts_with("damaged") && messages[0].ends_with("part-000001.parquet"), "{messages:?}");
    assert!(messages[1].ends_with("part-000003.parquet"), "{messages:?}");
    // Merging goes around them.
    RecordWriter::resume(&dir, 6, LAZY).unwrap().finish().unwrap();
    assert!(dir.stream("samples").join("part-000004-000005.parquet").is_file());
    let read = read_batches(&dir, "samples").unwrap();
    assert_eq!((read.rows.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), read.problems.len()), (4, 2));
    assert!(read_batches(&dir, "nothing").unwrap().rows.is_empty());
}

#[test]
fn vectors_of_another_width_begin_another_part() {
    let (_root, dir) = run();
    let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
    for step in 0..6 {
        writer.push(&[routing(step, if step < 3 { 2 } else { 3 })]).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(parts(&dir, "routing"), ["part-000000.parquet", "part-000001.parquet"]);
    let read = read_records::<RoutingRow>(&dir).unwrap();
    assert_eq!(read.rows.iter().map(|r| r.weights.len()).collect::<Vec<_>>(), [2, 2, 2, 3, 3, 3]);
}

#[test]
fn same_records_same_bytes() {
    let bytes = || {
        let (_root, dir) = run();
        let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
        write_steps(&mut writer, 0..6);
        writer.finish().unwrap();
        copy_parts(&dir, "samples").into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn an_error_of_the_disk_reaches_the_trainer() {
    let (_root, dir) = run();
    let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
    fs::write(dir.stream("samples"), "in the way").unwrap();
    writer.push(&[sample(0)]).unwrap();
    let message = writer.flush().unwrap_err().to_string();
    assert!(message.starts_with("cannot make the folder") && message.ends_with("records/samples"), "{message}");
    assert!(matches!(writer.push(&[sample(1)]), Err(StoreError::WriterGone { .. })));
}

#[test]
fn a_follower_sees_every_row_once() {
    let (_root, dir) = run();
    let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
    let mut follower = RunFollower::new(dir.clone());
    let mut seen = Vec::new();
    let look = |follower: &mut RunFollower, seen: &mut Vec<u64>| {
        let poll = follower.poll().unwrap();
        if poll.reset {
            seen.clear();
        }
        for (_, path, batch) in &poll.batches {
            seen.extend(SampleRow::rows(batch, path).unwrap().iter().map(|r| r.step));
        }
        poll
    };
    assert!(look(&mut follower, &mut seen).manifest.is_some());
    for until in [2_u64, 3, 7, 11] {
        write_steps(&mut writer, seen.len() as u64..until);
        let poll = look(&mut follower, &mut seen);
        assert!(poll.manifest.is_none() && !poll.reset);
        assert_eq!(seen, (0..until).collect::<Vec<_>>());
    }
    writer.cut(11).unwrap();
    write_steps(&mut writer, 11..13);
    look(&mut follower, &mut seen);
    assert_eq!(seen.len(), 13);
    drop(writer);
    let mut writer = RecordWriter::resume(&dir, 11, LAZY).unwrap();
    write_steps(&mut writer, 11..14);
    assert!(look(&mut follower, &mut seen).reset);
    assert_eq!(seen, (0..14).collect::<Vec<_>>());
}

#[test]
fn a_missing_column_is_null_or_told() {
    let batch = SampleRow::batch(&[sample(1)]).unwrap();
    let keep = |out: &str| {
        let columns: Vec<usize> = (0..batch.num_columns()).filter(|&i| batch.schema().field(i).name() != out).collect();
        batch.project(&columns).unwrap()
    };
    let rows = SampleRow::rows(&keep("loss"), Path::new("p")).unwrap();
    assert_eq!(rows[0].loss, None);
    let message = SampleRow::rows(&keep("tokens"), Path::new("p.parquet")).unwrap_err().to_string();
    assert!(message.contains("`tokens` is missing") && message.ends_with("p.parquet"), "{message}");
}

#[test]
fn the_dataset_comes_back() {
    let (_root, dir) = run();
    assert!(read_dataset(&dir).unwrap().is_empty());
    let row = DatasetRow {
        index: None,
        sample: "7".into(),
        split: "val".into(),
        task: None,
        image: Some("images/7.png".into()),
        width: Some(64),
        height: None,
        question: "How many?".into(),
        answer: "drei \u{e4}".into(),
    };
    write_dataset(&dir, std::slice::from_ref(&row)).unwrap();
    assert_eq!(read_dataset(&dir).unwrap(), [row]);
}

#[test]
fn a_run_that_began_without_places_goes_on_without_them() {
    for old in [false, true] {
        let (_root, dir) = run();
        let mut writer = RecordWriter::create(&dir, LAZY).unwrap();
        let row = |step| SampleRow { index: Some(step), ..sample(step) };
        writer.push(&[row(0)]).unwrap();
        writer.cut(1).unwrap();
        drop(writer);
        let data = DatasetRow {
            sample: "s0".into(),
            index: Some(7),
            split: "val".into(),
            task: None,
            image: None,
            width: None,
            height: None,
            question: String::new(),
            answer: String::new(),
        };
        let table = DatasetRow::batch(std::slice::from_ref(&data)).unwrap();
        // As an older program wrote it.
        let table = if old { table.project(&[0, 2, 3, 4, 5, 6, 7, 8]).unwrap() } else { table };
        fs::write(dir.dataset(), encode(&[table], &[], &dir.dataset()).unwrap()).unwrap();
        let key = read_dataset(&dir).unwrap()[0].key();
        let place = SampleKey::Place(Place::new(Some("val"), 7));
        assert_eq!(key, if old { SampleKey::Id("s0".into()) } else { place });

        let mut writer = RecordWriter::resume(&dir, 1, LAZY).unwrap();
        writer.push(&[row(1)]).unwrap();
        writer.push(&[RoutingRow { index: Some(1), split: Some("val".into()), ..routing(1, 2) }]).unwrap();
        let (stage, split, sample) = ("instruct".into(), "val".to_owned(), "s0".to_owned());
        let text = "yes".to_owned();
        writer
            .push(&[PredictionRow { stage, step: 1, split, sample, index: Some(7), task: None, text, correct: None }])
            .unwrap();
        writer.finish().unwrap();
        let rows = read_records::<SampleRow>(&dir).unwrap().rows;
        assert_eq!(rows[1].index, (!old).then_some(1));
        let row = &read_records::<RoutingRow>(&dir).unwrap().rows[0];
        assert_eq!((row.index, row.split.is_some()), ((!old).then_some(1), !old));
        let row = &read_records::<PredictionRow>(&dir).unwrap().rows[0];
        assert_eq!((row.index, row.split.as_str()), ((!old).then_some(7), "val"));
    }
}
