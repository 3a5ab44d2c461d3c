//! The figures that are exported show what the views show.

use super::run::{Window, click, contains, says, whole, window};
use crate::actions::{Action, View};
use crate::core::scatter::ColorBy;
use crate::data::Measure;
use crate::panels::drift::Map;
use covft_analyses::figures::{Format, Options, Plot, Venue};
use covft_analyses::store::RunDir;
use egui::Key;
use serde_json::Value;
use std::collections::BTreeMap;

/// Brings a view to the front and asks for its figures.
fn ask(window: &mut Window, view: View) {
    window.state_mut().act(Action::Show(view));
    window.run_steps(4);
    window.state_mut().act(Action::ExportFigure);
    window.run_steps(4);
}

fn draw(window: &mut Window) {
    click(window, "Draw the figures");
    window.run_steps(2);
}

fn sidecar(dir: &RunDir, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(dir.figures().join(format!("{name}.json"))).unwrap()).unwrap()
}

fn options(dir: &RunDir, name: &str) -> Options {
    serde_json::from_value(sidecar(dir, name)["options"].clone()).unwrap()
}

/// Rows of a figure's numbers, by title of the column.
fn numbers(dir: &RunDir, name: &str) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(dir.figures().join(format!("{name}.csv"))).unwrap();
    let mut lines = text.lines().map(|l| l.split(',').map(str::to_owned).collect::<Vec<_>>());
    let titles = lines.next().unwrap();
    lines.map(|cells| titles.iter().cloned().zip(cells).collect()).collect()
}

#[test]
fn relative_drift_up_to_a_step_is_exported_as_such_and_drawn_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    window.state_mut().state.local.drift = crate::panels::drift::Keep::measuring(Measure::RelativeDrift);
    window.state_mut().state.at = Some(6);
    ask(&mut window, View::Drift);
    assert!(says(&window, "Figure drift") && contains(&window, "modules are not in the figure"));
    draw(&mut window);
    let shown = Map::new(&window.state().source.look().main.data, "instruct", Measure::RelativeDrift, 6);
    let rows = numbers(&dir, "drift");
    assert_eq!(rows.len(), shown.layers.len() * shown.steps.len());
    for row in &rows {
        let layer = shown.layers.iter().position(|(_, l)| *l == row["layer"]).unwrap();
        let step = shown.steps.iter().position(|s| s.to_string() == row["step"]).unwrap();
        let (figure, view): (f64, f64) = (row["relative"].parse().unwrap(), shown.values[layer][step].unwrap());
        assert!((figure - view).abs() < 1e-6, "{row:?}: {view}");
    }
    let asked = options(&dir, "drift");
    assert_eq!((asked.measure.to_string().as_str(), asked.steps), ("relative", Some((0, 6))));
    let (again, _) = Plot::from_sidecar(&dir.figures().join("drift.json")).unwrap();
    assert_eq!(again.draw(Venue::Cvpr, Format::Svg).unwrap(), std::fs::read(dir.figures().join("drift.svg")).unwrap());
    // Nothing is overwritten unless that is asked for.
    ask(&mut window, View::Drift);
    draw(&mut window);
    assert!(dir.figures().join("drift-2.svg").exists());
    ask(&mut window, View::Drift);
    click(&mut window, "Replace figures that are there (else new ones are numbered)");
    draw(&mut window);
    assert!(!dir.figures().join("drift-3.svg").exists());
}

#[test]
fn a_run_beside_is_in_the_figures_that_show_it() {
    let root = tempfile::tempdir().unwrap();
    let old = whole(root.path(), "old", "2025-01-01");
    let new = whole(root.path(), "new", "2026-01-01");
    let (mut window, mut reader) = window(vec![root.path().to_owned()]);
    window.state().source.compare(Some(old.path()));
    reader.tick();
    window.run_steps(4);
    ask(&mut window, View::Loss);
    assert!(contains(&window, "the last stage alone"), "what differs is said before anything is written");
    draw(&mut window);
    let runs = |name: &str| -> Vec<String> {
        let mut runs: Vec<String> = numbers(&new, name).iter().map(|row| row["run"].clone()).collect();
        runs.dedup();
        runs
    };
    assert_eq!(runs("loss"), ["new", "old"]);
    ask(&mut window, View::Drift);
    draw(&mut window);
    assert_eq!(runs("drift"), ["new", "old"]);
    ask(&mut window, View::Conflict);
    draw(&mut window);
    assert_eq!(runs("gradient-cosine"), ["new", "old"]);
    assert_eq!(options(&new, "gradient-cosine").direction.as_deref(), Some("mean"));
    assert_eq!(options(&new, "task-conflict").layer.as_deref(), Some("all"));
}

#[test]
fn routing_is_exported_over_the_steps_and_samples_that_are_shown() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    ask(&mut window, View::Routing);
    draw(&mut window);
    let asked = options(&dir, "routing-by-task");
    assert_eq!((asked.stage.as_deref(), asked.steps), (Some("instruct"), Some((5, 9))));
    assert!(contains(&window, "steps 5 to 9"), "the view begins with the same");
    let counting = |rows: &[BTreeMap<String, String>]| {
        let of = |row: &&BTreeMap<String, String>| row["task"] == "counting" && row["expert"] == "0";
        rows.iter().find(of).map(|row| (row["mean_weight"].clone(), row["samples"].clone()))
    };
    assert_eq!(counting(&numbers(&dir, "routing-by-task")), Some(("0.75".into(), "10".into())));
    window.state_mut().state.search = "id:s30".into();
    window.run_steps(3);
    window.state_mut().act(Action::SelectFound);
    window.run_steps(3);
    click(&mut window, "Only selected samples");
    ask(&mut window, View::Routing);
    click(&mut window, "Replace figures that are there (else new ones are numbered)");
    draw(&mut window);
    assert_eq!(options(&dir, "routing-by-task").samples.unwrap().samples, ["s30"]);
    assert_eq!(counting(&numbers(&dir, "routing-by-task")), Some(("0.75".into(), "1".into())));
}

#[test]
fn clusters_are_exported_with_their_colours_axes_and_steps() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    let notes = &mut window.state_mut().state.notes;
    (notes.color, notes.axes, notes.layer) = (ColorBy::Task, [1, 2], Some("1".into()));
    window.run_steps(4);
    ask(&mut window, View::Clusters);
    draw(&mut window);
    let asked = options(&dir, "context-clusters");
    assert_eq!((asked.color_by.to_string().as_str(), asked.axes, asked.clusters), ("task", (2, 3), 3));
    assert_eq!(asked.layer.as_deref(), Some("1"));
    let basis = window.state().state.embedding.as_ref().unwrap().basis.clone();
    assert_eq!((asked.stage.as_deref(), asked.steps), (Some(basis.stage.as_str()), Some(basis.steps)));
    window.state_mut().state.notes.color = ColorBy::Conflict;
    window.run_steps(4);
    ask(&mut window, View::Clusters);
    assert!(contains(&window, "The view colours by share of pairs in conflict"));
    window.key_press(Key::Escape);
    window.run_steps(3);
    assert!(!says(&window, "Draw the figures"));
}
