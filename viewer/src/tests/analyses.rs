//! What the window shows is what the analyses without a window find.

use super::run::{SAMPLES, TASKS, click, contains, id, says, whole, window};
use crate::actions::{Action, View};
use crate::core::scatter::{ColorBy, Population};
use covft_analyses::analysis::{ContextAnalysis, ContextData, ViewFile};
use covft_analyses::store::{
    ALL, DistanceRow, RecordWriter, RunDir, Study, StudyKind, StudyRun, StudyStatus, WriterOptions,
};
use std::collections::BTreeMap;

/// Clusters by sample that `covft-probe analyze --from` finds.
fn repeated(run: &RunDir) -> BTreeMap<String, usize> {
    let file = ViewFile::read(&crate::notes::path(run.path())).unwrap();
    let mut selection = file.selection();
    selection.most = usize::MAX;
    let data = ContextData::load(run, &selection).unwrap();
    let found = ContextAnalysis::run(&file.params(), &data, &mut |_, _, _| true).unwrap();
    assert_eq!(found.fitted, file.fit.unwrap().min(data.samples.len()));
    data.samples.into_iter().map(|s| s.sample).zip(found.labels()).collect()
}

#[test]
fn a_saved_analysis_repeats_without_the_window() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    for (fit, layer, population) in
        [(5000, "1", Population::Latest), (12, "1", Population::All), (12, "0", Population::Tracked)]
    {
        let notes = crate::notes::Notes { k: 3, fit, layer: Some(layer.into()), population, ..Default::default() };
        notes.write(dir.path(), None, None).unwrap();
        let (mut window, _reader) = window(vec![dir.path().to_owned()]);
        window.state_mut().act(Action::Keep);
        window.run_steps(3);
        assert!(contains(&window, "covft-probe analyze --from"));
        let repeated = repeated(&dir);
        let state = &window.state().state;
        let found = state.embedding.as_ref().unwrap();
        assert_eq!(found.asked.layer.1, layer);
        let guard = window.state().source.look();
        let contexts = &guard.main.data.contexts[&found.asked.layer];
        let mut shown = 0;
        for (sample, cluster) in &repeated {
            let number = guard.main.data.samples.roll.find(None, sample).unwrap();
            let row = (0..contexts.rows.len())
                .rev()
                .find(|i| contexts.rows.sample[*i] == number && contexts.tracked[*i] == found.basis.tracked);
            assert_eq!(usize::from(found.labels[row.unwrap()]), *cluster, "{sample}");
            shown += 1;
        }
        let of = if population == Population::Tracked { 6 } else { 30 };
        assert_eq!(shown, of, "the samples of the later half of the stage, or those that are tracked");
        if of == 30 {
            assert_eq!(repeated.values().collect::<std::collections::BTreeSet<_>>().len(), 3);
        }
    }
}

#[test]
fn names_stay_with_their_clusters_when_these_are_found_anew() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    let of = |window: &super::run::Window, sample: u64| {
        let data = &window.state().source.look().main.data;
        let number = data.samples.roll.find(None, &id(sample)).unwrap();
        let state = &window.state().state;
        let at = state.shown.samples.iter().position(|s| *s == number).unwrap();
        state.embedding.as_ref().unwrap().labels[state.shown.rows[at] as usize]
    };
    let counting = of(&window, 0);
    window.state_mut().state.notes.names.insert(counting, "counting".into());
    window.run_steps(2);
    window.state_mut().state.notes.seed = 7;
    window.run_steps(4);
    let now = of(&window, 0);
    assert_eq!(window.state().state.notes.names.get(&now).map(String::as_str), Some("counting"));
    window.state_mut().act(Action::Again);
    window.run_steps(4);
    let now = of(&window, 0);
    assert_eq!(window.state().state.notes.names.get(&now).map(String::as_str), Some("counting"));
}

#[test]
fn conflict_of_samples_is_colour_column_card_and_search() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    window.state_mut().state.notes.color = ColorBy::Conflict;
    window.run_steps(3);
    // Of the five others of a step, two are of the task that a counting sample is in conflict with.
    let colors = window.state().state.colors.clone();
    assert!(!colors.index.contains(&256), "every sample has pairs");
    assert_eq!(colors.keys.first().map(|k| k.name.as_str()), Some("0.400"));
    window.state_mut().state.search = "task:counting conflict:>0.3 alignment:<0".into();
    window.run_steps(3);
    assert!(says(&window, "Showing 10 of 60 samples"));
    click(&mut window, &format!("Row {}", id(27)));
    assert!(contains(&window, "40 % of 5 pairs in conflict") && contains(&window, "alignment -0.05"));
    click(&mut window, "in conflict");
    assert!(says(&window, "in conflict (down)"));
    window.state_mut().state.notes.color = ColorBy::Alignment;
    window.run_steps(3);
    assert!(says(&window, "0.483"), "the largest alignment stands in the legend");
    window.state_mut().act(Action::ExportRows);
    window.run_steps(3);
    let text = std::fs::read_to_string(dir.analysis().join("selection.csv")).unwrap();
    // The record's digits: 27 / 60 - 0.5 as a single.
    assert!(
        text.lines().next().unwrap().ends_with("conflict_share,alignment") && text.contains(",0.4,-0.050000012\n"),
        "{text}"
    );
}

#[test]
fn directions_pairs_and_noise_are_shown() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    window.state_mut().act(Action::Show(View::Conflict));
    window.run_steps(4);
    assert!(contains(&window, "this run, stage instruct: 10 steps, mean"), "directions from sketches");
    assert!(contains(&window, "with random signs it would be"));
    assert!(contains(&window, "Over 10 steps together: 4.7 samples"));
    assert!(contains(&window, "1 steps have no estimate"));
    assert!(contains(&window, "Only whole layers have rows"), "modules are not taken for granted");
    window.state_mut().act(Action::First);
    window.run_steps(3);
    assert!(contains(&window, "Over 1 steps together: 4.0 samples"));
}

#[test]
fn the_distance_of_the_two_runs_of_a_study() {
    let root = tempfile::tempdir().unwrap();
    let study = root.path().join("study");
    let (a, _) = (whole(&study, "a", "2026-01-02"), whole(&study, "b", "2026-01-01"));
    let run = |label: &str, task: usize| StudyRun {
        label: label.into(),
        method: "full".into(),
        seed: 0,
        tasks: vec![TASKS[task].into()],
    };
    Study {
        schema: 1,
        kind: StudyKind::Conflict,
        command: Vec::new(),
        started: "2026-01-01".into(),
        status: StudyStatus::Running,
        stage: "instruct".into(),
        runs: vec![run("a", 0), run("b", 1)],
    }
    .write(&study)
    .unwrap();
    let (mut window, mut reader) = window(vec![a.path().to_owned()]);
    window.state_mut().act(Action::Show(View::Drift));
    window.run_steps(3);
    assert!(contains(&window, "has no distance to the other run of its study yet"));
    let folder = RunDir::of_study(&study);
    let mut writer = RecordWriter::create(&folder, WriterOptions::default()).unwrap();
    let row = |step: u64, layer: &str, depth: Option<i32>| DistanceRow {
        stage: "instruct".into(),
        step,
        layer: layer.into(),
        depth,
        module: ALL.into(),
        run_a: "a".into(),
        run_b: "b".into(),
        elements: 4,
        distance: step as f64,
        distance_relative: Some(0.5),
        distance_per_element: None,
    };
    let rows: Vec<DistanceRow> =
        (0..5).flat_map(|s| [row(s, "0", Some(0)), row(s, "1", Some(1)), row(s, ALL, None)]).collect();
    writer.push(&rows).unwrap();
    writer.finish().unwrap();
    assert!(reader.tick(), "followed while it grows");
    window.run_steps(3);
    assert!(contains(&window, "Map of the distance of a and b, steps 0 to 4"));
    assert!(says(&window, "Distance of the runs") && SAMPLES > 0);
}
