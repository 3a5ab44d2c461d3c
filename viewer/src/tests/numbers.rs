//! Numbers that are not finite, letters of other scripts: shown as what they are, or counted.

use super::run::{Window, begin, click, contains, explorer, id, rest, says, step, step_row, whole, window};
use crate::actions::{Action, View};
use crate::app::Explorer;
use crate::core::scatter::{ColorBy, Population};
use crate::fonts::Fonts;
use covft_analyses::store::{ContextRow, LayerRow, RecordWriter, RoutingRow, RunDir};
use egui::FontId;
use egui_kittest::Harness;
use half::f16;
use std::path::{Path, PathBuf};

/// A run of eight sound steps, then one with an infinite loss and one without a number.
fn diverged(root: &Path) -> RunDir {
    let dir = RunDir::create(root.join("diverged")).unwrap();
    let mut writer = begin(&dir, "2026-01-01");
    (0..8).for_each(|n| step(&mut writer, n));
    writer.push(&[step_row(8, f64::INFINITY), step_row(9, f64::NAN)]).unwrap();
    last_rows(&mut writer);
    rest(&dir, &mut writer);
    writer.finish().unwrap();
    let notes = crate::notes::Notes { k: 3, ..Default::default() };
    notes.write(dir.path(), None, None).unwrap();
    dir
}

/// Rows of the first sample at the last step, none of them finite.
fn last_rows(writer: &mut RecordWriter) {
    let (stage, sample) = ("instruct".to_owned(), id(0));
    for (layer, depth) in [("0", 0), ("1", 1)] {
        let (layer, depth) = (layer.to_owned(), Some(depth));
        let row = ContextRow {
            index: None,
            split: None,
            stage: stage.clone(),
            step: 9,
            sample: sample.clone(),
            layer: layer.clone(),
            depth,
            tracked: false,
            vector: vec![f16::NAN; 8],
        };
        writer.push(&[row]).unwrap();
        let row = RoutingRow {
            index: None,
            split: None,
            stage: stage.clone(),
            step: 9,
            sample: sample.clone(),
            layer: layer.clone(),
            depth,
            tracked: false,
            logits: vec![f32::NAN; 2],
            weights: vec![f32::NAN; 2],
            entropy: f32::NAN,
        };
        writer.push(&[row]).unwrap();
        let row = LayerRow {
            stage: stage.clone(),
            step: 9,
            layer,
            depth,
            module: "all".to_owned(),
            elements: 5,
            drift: f64::INFINITY,
            drift_relative: Some(f64::NAN),
            drift_per_element: None,
            update: f64::NAN,
            grad_norm: None,
            momentum: Some(f64::NAN),
        };
        writer.push(&[row]).unwrap();
    }
    writer.flush().unwrap();
}

fn show(window: &mut Window, view: View) {
    window.state_mut().act(Action::Show(view));
    window.run_steps(4);
}

#[test]
fn a_diverged_run_says_where_and_keeps_its_scales() {
    let root = tempfile::tempdir().unwrap();
    let dir = diverged(root.path());
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    show(&mut window, View::Loss);
    let told = "the training loss became infinite at step 8; 2 of 10 are not finite (1 NaN, 1 infinite)";
    assert!(contains(&window, told));
    show(&mut window, View::Drift);
    assert!(contains(&window, "2 of the values are not finite (2 infinite): hatched"));
    show(&mut window, View::Routing);
    assert!(contains(&window, "2 routing rows are not finite (2 NaN): left out"), "one in each of two layers");
    show(&mut window, View::Clusters);
    assert!(contains(&window, "1 rows passed over: their vectors are not finite"));
    let shown = window.state().state.shown.clone();
    assert!(shown.samples.contains(&0), "the sample is where its last finite vector is");
    assert!(shown.xs.iter().chain(&shown.ys).all(|v| v.is_finite()));
    window.state_mut().state.notes.population = Population::All;
    window.run_steps(4);
    assert_eq!(window.state().state.shown.rows.len() + 1, window.state().state.shown.of);
    for (by, _) in ColorBy::ALL {
        window.state_mut().state.notes.color = by;
        window.run_steps(3);
    }
    assert!(says(&window, "latest of 9"));
}

fn lettered(paths: Vec<PathBuf>, fonts: Fonts) -> Window {
    let (mut explorer, mut reader) = explorer(paths);
    explorer.tools.fonts = fonts;
    reader.tick();
    let builder = Harness::builder().with_size(egui::vec2(1400.0, 900.0)).allow_missing_glyphs();
    let mut window = builder.build_ui_state(|ui, explorer: &mut Explorer| explorer.show(ui), explorer);
    window.run_steps(4);
    window
}

fn has(window: &Window, letter: char) -> bool {
    window.ctx.fonts_mut(|fonts| fonts.has_glyph(&FontId::proportional(13.0), letter))
}

#[test]
fn letters_are_drawn_with_fonts_of_the_system_and_missing_scripts_are_said_once() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../analyses/assets");
    let mut window = lettered(vec![dir.path().to_owned()], Fonts::of_folders(vec![folder]));
    window.state_mut().state.search = "\u{05D0}\u{05D1}".into();
    window.run_steps(6);
    assert!(has(&window, '\u{05D0}') && !contains(&window, "No font on this system"), "Hebrew is in the folder");
    window.state_mut().state.search = "\u{05D0} 检测 检".into();
    window.run_steps(6);
    let told = "No font on this system has 2 letters of Han that are here (U+68C0, U+6D4B)";
    assert!(contains(&window, told) && contains(&window, "install e.g. Noto Sans CJK"));
    click(&mut window, "I have read this");
    window.state_mut().state.search = "数 عربي".into();
    window.run_steps(6);
    assert!(!contains(&window, "of Han") && contains(&window, "4 letters of Arabic"), "each script once");
}

/// Where the system has such a font, as `fonts-noto-cjk` of Debian.
#[test]
fn chinese_is_drawn_where_the_system_has_a_font() {
    let folder = PathBuf::from("/usr/share/fonts/opentype/noto");
    if !folder.join("NotoSansCJK-Regular.ttc").exists() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let mut window = lettered(vec![dir.path().to_owned()], Fonts::of_folders(vec![folder]));
    window.state_mut().state.search = "图中有几只猫 猫は何匹 문자인식".into();
    window.run_steps(6);
    assert!("图猫は문".chars().all(|c| has(&window, c)) && !contains(&window, "No font on this system"));
}
