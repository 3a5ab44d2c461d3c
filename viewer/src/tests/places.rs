//! A run in which two entries have one id, and a held-out set whose entries have the numbers of trained ones.

use super::run::{SAMPLES, click, contains, explorer, says, whole, window};
use crate::core::export::Format;
use covft_analyses::analysis::{ContextData, Selection, Steps, ViewFile};
use covft_analyses::store::{
    ContextRow, Manifest, Name, PairRow, PredictionRow, Record, RecordWriter, RoutingRow, RunDir, SampleGradientRow,
    SampleRow, StepRow, WriterOptions, read_dataset, read_records, write_dataset,
};
use std::fs;
use std::path::Path;

fn number(id: &str) -> u64 {
    id[1..].parse().unwrap()
}

/// Entries 2 n and 2 n + 1 are both called so.
fn twin(id: &str) -> String {
    format!("t{:02}", number(id) / 2)
}

fn copy<R: Record>(from: &RunDir, writer: &mut RecordWriter, change: impl Fn(&mut R)) {
    let mut rows = read_records::<R>(from).unwrap().rows;
    for row in &mut rows {
        change(row);
        writer.push(std::slice::from_ref(row)).unwrap();
    }
}

/// The run of the other tests as its older records have it, and the same with places: its tracked samples and its predictions
/// are of held-out entries, which have numbers and ids of trained ones.
fn runs(root: &Path) -> [RunDir; 2] {
    let old = whole(root, "old", "2026-01-01");
    let dir = RunDir::create(root.join("twins")).unwrap();
    Manifest::read(&old).unwrap().write(&dir).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    let split = |held_out: bool| Some(Name::from(if held_out { "val" } else { "train" }));
    copy(&old, &mut writer, |_: &mut StepRow| {});
    copy(&old, &mut writer, |row: &mut SampleRow| {
        (row.index, row.sample) = (Some(number(&row.sample)), twin(&row.sample));
    });
    copy(&old, &mut writer, |row: &mut ContextRow| {
        row.split = split(row.tracked);
        (row.index, row.sample) = (Some(number(&row.sample)), twin(&row.sample));
    });
    copy(&old, &mut writer, |row: &mut RoutingRow| {
        row.split = split(false);
        (row.index, row.sample) = (Some(number(&row.sample)), twin(&row.sample));
    });
    copy(&old, &mut writer, |row: &mut PairRow| {
        row.split = split(false);
        (row.index_a, row.sample_a) = (Some(number(&row.sample_a)), twin(&row.sample_a).into());
        (row.index_b, row.sample_b) = (Some(number(&row.sample_b)), twin(&row.sample_b).into());
    });
    copy(&old, &mut writer, |row: &mut SampleGradientRow| {
        row.split = split(false);
        (row.index, row.sample) = (Some(number(&row.sample)), twin(&row.sample).into());
    });
    copy(&old, &mut writer, |row: &mut PredictionRow| {
        (row.index, row.sample) = (Some(number(&row.sample)), twin(&row.sample));
    });
    writer.finish().unwrap();
    let mut rows = read_dataset(&old).unwrap();
    for row in &mut rows {
        (row.index, row.sample) = (Some(number(&row.sample)), twin(&row.sample));
    }
    for n in 0..6 {
        let mut row = rows[n].clone();
        (row.split, row.question) = ("val".into(), format!("Held-out question {n}?"));
        rows.push(row);
    }
    write_dataset(&dir, &rows).unwrap();
    fs::create_dir_all(dir.images()).unwrap();
    fs::copy(old.images().join("a.png"), dir.images().join("a.png")).unwrap();
    crate::notes::Notes { k: 3, ..Default::default() }.write(dir.path(), None, None).unwrap();
    [old, dir]
}

#[test]
fn analyses_count_every_entry_and_find_its_own_words() {
    let root = tempfile::tempdir().unwrap();
    let [old, dir] = runs(root.path());
    let of = |run: &RunDir, tracked| {
        let steps = if tracked { Steps::Between(0, 9) } else { Steps::Late };
        ContextData::load(run, &Selection { tracked: Some(tracked), steps, ..Selection::default() }).unwrap()
    };
    let (by_id, by_place) = (of(&old, false), of(&dir, false));
    assert_eq!(by_place.samples.len(), 30, "two entries of one id are two samples");
    assert_eq!((by_id.vectors, by_id.weights), (by_place.vectors, by_place.weights));
    for (one, other) in by_id.samples.iter().zip(&by_place.samples) {
        assert_eq!((&one.question, twin(&one.sample)), (&other.question, other.sample.clone()));
        assert_eq!(other.place.map(|p| (p.split(), p.index())), Some(("train", number(&one.sample))));
        assert_eq!(one.place, None);
    }
    let held_out = of(&dir, true);
    assert_eq!(held_out.samples.len(), 6);
    for (n, sample) in held_out.samples.iter().enumerate() {
        assert_eq!(sample.question, format!("Held-out question {n}?"), "not the trained entry of this number");
    }
}

#[test]
fn the_window_goes_by_entries_and_shows_them() {
    let root = tempfile::tempdir().unwrap();
    let [_, dir] = runs(root.path());
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    let all = SAMPLES + 6;
    assert!(says(&window, &format!("0 of {all} samples selected")));
    let find = |window: &mut super::run::Window, text: &str, found: usize| {
        window.state_mut().state.search = text.into();
        window.run_steps(3);
        assert!(says(window, &format!("Showing {found} of {all} samples")), "{text}");
    };
    find(&mut window, "index:3", 2);
    find(&mut window, "id:t01 split:val", 2);
    find(&mut window, "id:t08", 2);
    find(&mut window, "index:17", 1);
    click(&mut window, "Row t08 \u{b7} entry 17");
    assert!(contains(&window, "Question 17 about") && !contains(&window, "Question 16 about"));
    assert!(says(&window, "Picture of t08 \u{b7} entry 17"));
    window.state_mut().state.local.selection = crate::panels::selection::Keep::named("one");
    window.run_steps(2);
    click(&mut window, "Keep");
    for (format, name) in Format::all(false) {
        click(&mut window, &format!("Export {name}"));
        assert!(dir.analysis().join(format!("selection-one.{}", format.extension())).exists(), "{name}");
    }
    assert_eq!(fs::read_to_string(dir.analysis().join("selection-one.txt")).unwrap(), "t08\ttrain\t17\n");
    let csv = fs::read_to_string(dir.analysis().join("selection-one.csv")).unwrap();
    assert!(csv.lines().nth(1).unwrap().starts_with("t08,17,train,"), "{csv}");
    find(&mut window, "index:1 split:val", 1);
    click(&mut window, "Row t00 \u{b7} val entry 1");
    assert!(contains(&window, "Held-out question 1?") && contains(&window, "(correct 0.50)"));
    click(&mut window, "one (1)");
    assert!(says(&window, "Picture of t08 \u{b7} entry 17"));
    drop(window);

    let view = ViewFile::read(&crate::notes::path(dir.path())).unwrap();
    assert_eq!(view.selections[0].places.iter().map(|p| (p.split(), p.index())).collect::<Vec<_>>(), [("train", 17)]);
    // Older notes have ids alone: every sample of them is meant.
    let text = fs::read_to_string(crate::notes::path(dir.path())).unwrap();
    let mut old: serde_json::Value = serde_json::from_str(&text).unwrap();
    old["selections"][0].as_object_mut().unwrap().remove("places");
    fs::write(crate::notes::path(dir.path()), old.to_string()).unwrap();
    let (explorer, mut reader) = explorer(vec![dir.path().to_owned()]);
    reader.tick();
    let guard = explorer.source.look();
    let kept = &crate::notes::Notes::read(dir.path()).unwrap().unwrap().0.selections["one"];
    let samples = &guard.main.data.samples;
    let places: Vec<_> = samples.of_selection(kept).into_iter().map(|s| samples.place(s).unwrap().index()).collect();
    assert_eq!(places, [16, 17]);
}
