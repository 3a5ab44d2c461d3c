//! Every panel and what can be done in it.

use super::run::{SAMPLES, begin, click, contains, id, rest, says, step, whole, window};
use crate::actions::{ALL, Action, Tool, View};
use crate::core::export::Format;
use crate::core::scatter::{ColorBy, Population};
use covft_analyses::store::{Manifest, RunDir, Status};
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;
use std::fs;

#[test]
fn a_live_run_is_followed_through_every_view() {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("live")).unwrap();
    let mut writer = begin(&dir, "2026-01-02T00:00:00Z");
    let (mut window, mut reader) = window(vec![root.path().to_owned()]);
    assert!(says(&window, "running  2026-01-02T00:00:00Z"));
    for view in View::ALL {
        window.state_mut().act(Action::Show(view));
        window.run_steps(2);
    }
    assert!(says(&window, "No step was recorded yet.") && says(&window, "No sample was recorded yet."));
    (0..10).for_each(|n| step(&mut writer, n));
    rest(&dir, &mut writer);
    assert!(reader.tick());
    assert!(!reader.tick(), "nothing is new");
    window.run_steps(3);
    assert!(says(&window, "10 steps") && says(&window, "0.3000") && says(&window, "1.2500"), "losses");
    assert_eq!(window.state().state.notes.population, Population::Tracked, "there are some, and nothing was chosen");
    window.state_mut().state.notes.k = 3;
    window.state_mut().state.notes.population = Population::Latest;
    let views = [
        (View::Clusters, "Showing 60 of 60 rows"),
        (View::Mixture, "Share of each task in each cluster"),
        (View::Routing, "Routing of layer 1"),
        (View::Conflict, "Conflict of tasks"),
        (View::Conflict, "Gradient cosine by layer and module"),
        (View::Drift, "Map of drift by layer and step"),
        (View::Samples, "Showing 60 of 60 samples"),
    ];
    for (view, text) in views {
        window.state_mut().act(Action::Show(view));
        window.run_steps(4);
        assert!(says(&window, text), "{view:?}: {text}");
    }
    step(&mut writer, 10);
    assert!(reader.tick());
    window.state_mut().act(Action::Show(View::Clusters));
    window.run_steps(4);
    assert!(says(&window, "Showing 60 of 66 rows"), "the new step's rows are placed");
    assert!(says(&window, "latest of 10"));
}

#[test]
fn streams_that_are_missing_say_what_logs_them() {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("bare")).unwrap();
    drop(begin(&dir, "2026-01-02T00:00:00Z"));
    let (mut window, _reader) = window(vec![root.path().to_owned()]);
    for (view, option) in [
        (View::Clusters, "[probe] contexts = true"),
        (View::Routing, "[probe] routing = true"),
        (View::Conflict, "[probe] sample_sketches = true"),
        (View::Drift, "[probe] drift = true"),
    ] {
        window.state_mut().act(Action::Show(view));
        window.run_steps(3);
        assert!(contains(&window, option), "{view:?}");
    }
}

#[test]
fn runs_newest_first_and_another_can_be_chosen_or_set_beside() {
    let root = tempfile::tempdir().unwrap();
    let old = whole(root.path(), "old", "2025-01-01");
    whole(root.path(), "new", "2026-01-01");
    let mut manifest = Manifest::read(&old).unwrap();
    manifest.finish(Status::Failed { why: "disk full".into() });
    manifest.write(&old).unwrap();
    let (mut window, mut reader) = window(vec![root.path().to_owned()]);
    let names: Vec<String> = window.state().source.look().runs.iter().map(|r| r.name.clone()).collect();
    assert_eq!(names, ["new", "old"]);
    assert!(says(&window, "failed: disk full  2025-01-01"));
    window.state().source.compare(Some(old.path()));
    reader.tick();
    window.state_mut().act(Action::Show(View::Drift));
    window.run_steps(4);
    assert!(says(&window, "This run less old") && says(&window, "Map of drift, old"));
    click(&mut window, "old");
    reader.tick();
    window.run_steps(3);
    assert_eq!(window.state().state.run.as_deref(), Some(old.path()));
}

/// The reader looks after the window was drawn several times.
#[test]
fn nothing_of_the_run_before_is_shown_for_another_one() {
    let root = tempfile::tempdir().unwrap();
    let few = RunDir::create(root.path().join("few")).unwrap();
    let mut writer = begin(&few, "2025-01-01");
    (0..2).for_each(|n| step(&mut writer, n));
    writer.finish().unwrap();
    let many = whole(root.path(), "many", "2026-01-01");
    let (mut window, mut reader) = window(vec![root.path().to_owned()]);
    window.state_mut().act(Action::Show(View::Samples));
    window.run_steps(4);
    assert!(contains(&window, "Showing 60 of 60 samples") && says(&window, "latest of 9"));
    for (run, name, samples, step) in [(&few, "few", 12, 1), (&many, "many", 60, 9)] {
        click(&mut window, name);
        assert!(contains(&window, "Reading ") && !contains(&window, "Showing "));
        reader.tick();
        window.run_steps(4);
        assert_eq!(window.state().state.run.as_deref(), Some(run.path()));
        assert!(contains(&window, &format!("Showing {samples} of {samples} samples")), "{name}");
        assert!(says(&window, &format!("latest of {step}")), "{name}");
    }
    // There and back before the reader looks: what was read is still there.
    click(&mut window, "few");
    click(&mut window, "many");
    assert!(contains(&window, "Showing 60 of 60 samples"));
}

#[test]
fn bad_runs_are_told_and_the_rest_is_read() {
    let root = tempfile::tempdir().unwrap();
    let (mut empty, _reader) = window(vec![root.path().join("nothing")]);
    assert!(says(&empty, "No run here yet") && contains(&empty, "there is no such folder"));
    click(&mut empty, "Open a folder");
    assert!(says(&empty, "Open this"));

    let dir = whole(root.path(), "bad", "2026-01-01");
    let part = fs::read_dir(dir.stream("layers")).unwrap().flatten().next().unwrap().path();
    fs::write(&part, "not parquet").unwrap();
    fs::write(crate::notes::path(dir.path()), "{").unwrap();
    let (mut window, mut reader) = window(vec![dir.path().to_owned()]);
    assert!(contains(&window, "damaged, its rows are left out") && contains(&window, "the notes are not valid"));
    window.state_mut().act(Action::Show(View::Drift));
    window.run_steps(3);
    assert!(says(&window, "No drift of the vision encoder of this run can be read. What is damaged is said above."));
    window.state_mut().state.notes.k = 4;
    window.run_steps(3);
    assert_eq!(fs::read_to_string(crate::notes::path(dir.path())).unwrap(), "{", "bad notes are left alone");
    fs::write(dir.manifest(), r#"{"schema": 99}"#).unwrap();
    reader.tick();
    window.run_steps(3);
    assert!(contains(&window, "schema 99"));
}

#[test]
fn selections_are_linked_and_exported() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    assert!(says(&window, "0 of 60 samples selected"));
    click(&mut window, "Row s59");
    assert!(says(&window, "1 of 60 samples selected") && says(&window, "Picture of s59"));
    assert!(contains(&window, "Routing in layer 1: expert 0 0.25 expert 1 0.75"));
    window.state_mut().act(Action::Neighbors);
    window.run_steps(4);
    assert!(says(&window, "13 of 60 samples selected"));
    window.state_mut().act(Action::Undo);
    window.run_steps(2);
    assert!(says(&window, "1 of 60 samples selected"));
    click(&mut window, "Invert");
    assert!(says(&window, "59 of 60 samples selected"));
    click(&mut window, "Redo");
    click(&mut window, "Clear");
    window.state_mut().state.search = "task:ocr loss:>3".into();
    window.run_steps(3);
    assert!(says(&window, "Showing 10 of 60 samples"));
    click(&mut window, "Select found");
    assert!(says(&window, "10 of 60 samples selected") && says(&window, "10 (100 %)"));
    for (format, name) in Format::all(false) {
        click(&mut window, &format!("Export {name}"));
        let path = dir.analysis().join(format!("selection.{}", format.extension()));
        assert!(path.exists(), "{name}");
    }
    assert_eq!(fs::read_to_string(dir.analysis().join("selection.txt")).unwrap().lines().count(), 10);
    let csv = fs::read_to_string(dir.analysis().join("selection.csv")).unwrap();
    let titles = csv.lines().next().unwrap();
    for column in ["stage", "step", "layer", "cluster", "component_1", "expert", "weight_0", "entropy", "loss"] {
        assert!(titles.split(',').any(|title| title == column), "{column}: {titles}");
    }
    // Losses have the digits of the record, not those of a single.
    assert!(csv.contains(",3.2,") && csv.contains(",5.9,"), "{csv}");
    window.state_mut().state.search = "/(/".into();
    window.run_steps(3);
    assert!(contains(&window, "the regular expression is not valid"));
    click(&mut window, "Only the selection");
    assert!(says(&window, "Showing 10 of 60 samples"));
}

#[test]
fn clusters_are_named_kept_and_opened_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut first, _reader) = window(vec![dir.path().to_owned()]);
    assert!(contains(&first, "Clusters: 60 points in 3 clusters, 0 samples selected"));
    first.state_mut().act(Action::Show(View::Mixture));
    first.run_steps(3);
    assert!(contains(&first, "purity 0.90"), "six of sixty lie in another task's corner");
    click(&mut first, "Select 20");
    assert!(says(&first, "20 of 60 samples selected"));
    first.state_mut().state.notes.names.insert(0, "digits".into());
    first.state_mut().state.local.selection = crate::panels::selection::Keep::named("odd");
    first.run_steps(2);
    click(&mut first, "Keep");
    assert!(says(&first, "odd (20)"));
    drop(first);
    let (mut again, _reader) = window(vec![dir.path().to_owned()]);
    assert!(says(&again, "odd (20)") && contains(&again, "0: digits"));
    click(&mut again, "odd (20)");
    assert!(says(&again, "20 of 60 samples selected"));
    click(&mut again, "Forget");
    assert!(!says(&again, "odd (20)"));
}

#[test]
fn what_points_mean_can_be_chosen_and_steps_replayed() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    for (by, name) in ColorBy::ALL {
        window.state_mut().state.notes.color = by;
        window.run_steps(3);
        assert!(says(&window, name), "{name}");
        let colors = &window.state().state.colors;
        assert!(colors.index.len() == 60 && !colors.keys.is_empty(), "{name}");
    }
    window.state_mut().state.notes.color = ColorBy::Task;
    window.run_steps(3);
    click(&mut window, "ocr (20)");
    assert!(says(&window, "20 of 60 samples selected"));
    window.state_mut().state.notes.population = Population::Tracked;
    window.run_steps(3);
    assert!(says(&window, "Showing 6 of 60 rows"));
    window.state_mut().state.notes.population = Population::Latest;
    window.state_mut().act(Action::First);
    window.run_steps(3);
    assert!(says(&window, "Showing 6 of 60 rows") && window.state().state.at == Some(0));
    window.state_mut().act(Action::StepOn);
    window.run_steps(3);
    assert!(says(&window, "Showing 12 of 60 rows"));
    window.state_mut().act(Action::Play);
    for _ in 0..600 {
        window.step();
    }
    assert!(says(&window, "Showing 60 of 60 rows") && window.state().state.at.is_none(), "played to the end");
    window.state_mut().state.notes.layer = Some("0".into());
    window.run_steps(3);
    assert_eq!(window.state().state.embedding.as_ref().unwrap().asked.layer.1, "0");
}

#[test]
fn rectangle_and_lasso_with_the_pointer() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    let label = "Clusters: 60 points in 3 clusters, 0 samples selected";
    let area = window.get_by_label(label).rect();
    for tool in [Tool::Rectangle, Tool::Lasso] {
        window.state_mut().act(Action::Use(tool));
        window.run_steps(2);
        let corner = |x: f32, y: f32| area.min + area.size() * egui::vec2(x, y);
        window.drag_at(corner(0.01, 0.01));
        window.run_steps(1);
        for (x, y) in [(0.5, 0.01), (0.99, 0.01), (0.99, 0.5), (0.99, 0.99)] {
            window.hover_at(corner(x, y));
            window.run_steps(1);
        }
        window.drop_at(corner(0.99, 0.99));
        window.run_steps(3);
        let selected = window.state().state.selection.now().len();
        let all = if tool == Tool::Rectangle { 60..=60 } else { 1..=59 };
        assert!(all.contains(&selected), "{tool:?}: {selected}");
        window.key_press(Key::Escape);
        window.run_steps(3);
        assert!(window.state().state.selection.now().is_empty());
    }
    window.state_mut().act(Action::Density);
    window.state_mut().act(Action::ZoomIn);
    window.run_steps(3);
    assert!(contains(&window, "Density: lighter is denser"));
}

#[test]
fn everything_by_keyboard() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    window.key_press_modifiers(Modifiers::COMMAND, Key::A);
    window.run_steps(3);
    assert!(says(&window, &format!("{SAMPLES} of 60 samples selected")));
    window.key_press(Key::Escape);
    window.run_steps(3);
    window.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    window.run_steps(3);
    assert!(says(&window, "60 of 60 samples selected"));
    window.key_press_modifiers(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::Z);
    window.run_steps(3);
    assert!(says(&window, "0 of 60 samples selected"));
    window.key_press_modifiers(Modifiers::COMMAND, Key::Num4);
    window.run_steps(3);
    assert!(says(&window, "Conflict of tasks"));
    window.key_press(Key::F1);
    window.run_steps(4);
    assert!(ALL.iter().all(|(_, words, _)| says(&window, words)), "the list of keys has every action");
    window.key_press(Key::Escape);
    window.run_steps(3);
    window.key_press(Key::F8);
    window.run_steps(3);
    assert!(window.state().layout.contrast);
    window.key_press(Key::F9);
    window.run_steps(3);
    assert_eq!(window.state().layout.theme, egui::ThemePreference::Light);
    window.key_press_modifiers(Modifiers::COMMAND, Key::F);
    window.run_steps(3);
    window.event(egui::Event::Text("answer7".into()));
    window.run_steps(3);
    assert!(says(&window, "Showing 1 of 60 samples"), "typed letters go into the field");
    assert_eq!(window.state().state.local.scatter.tool, Tool::Move);
    assert!(says(&window, &format!("Row {}", id(7))));
}

#[test]
fn views_are_hidden_and_the_layout_reset() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    click(&mut window, "View Samples");
    assert!(!says(&window, "Row s59"));
    click(&mut window, "Reset");
    assert!(says(&window, "Row s59"));
    click(&mut window, "Commands");
    window.event(egui::Event::Text("figures".into()));
    window.run_steps(2);
    window.state_mut().act(Action::Show(View::Drift));
    window.run_steps(2);
    window.key_press(Key::Enter);
    window.run_steps(4);
    assert!(
        says(&window, "Figure drift") && !dir.figures().exists(),
        "what differs is said before anything is written"
    );
    window.key_press(Key::Enter);
    window.run_steps(4);
    assert!(dir.figures().join("drift.svg").exists(), "{:?}", window.state().tools.status);
}

#[test]
fn folders_are_dropped_or_typed() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, mut reader) = window(vec![root.path().join("empty")]);
    window.state_mut().dialogs.typed = Some(dir.manifest());
    window.run_steps(2);
    reader.tick();
    window.run_steps(3);
    assert!(says(&window, "Row s59"), "a file of a run stands for its run");
}
