//! Small windows and large interfaces: every view has room, and every control can be reached.

use super::run::{Window, click, contains, explorer, says, whole};
use crate::actions::{Action, Side, View};
use crate::app::Explorer;
use crate::tokens;
use egui::{Key, Modifiers, Rect, Role, Vec2};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use egui_kittest::{Harness, Node};
use std::path::PathBuf;

/// Size in points and pixels a point: a small screen, and 1400 x 900 pixels at twice the usual size.
const SIZES: [(Vec2, f32); 3] =
    [(Vec2::new(800.0, 600.0), 1.0), (Vec2::new(700.0, 450.0), 2.0), (tokens::LEAST_WINDOW, 1.0)];

fn sized(paths: Vec<PathBuf>, (size, dots): (Vec2, f32)) -> Window {
    let (explorer, mut reader) = explorer(paths);
    reader.tick();
    let builder = Harness::builder().with_size(size).with_pixels_per_point(dots).with_theme(egui::Theme::Light);
    let mut window = builder.build_ui_state(|ui, explorer: &mut Explorer| explorer.show(ui), explorer);
    window.run_steps(6);
    window
}

/// What is called so, or else what has it in its name.
fn node<'a>(window: &'a Window, label: &'a str) -> Node<'a> {
    let named = window.query_all_by_label(label).next().or_else(|| window.query_all_by_label_contains(label).next());
    named.unwrap_or_else(|| panic!("nothing is called {label}"))
}

fn rect_of(window: &Window, label: &str) -> Rect {
    node(window, label).rect()
}

/// What of a thing lies in the window.
fn seen(window: &Window, label: &str) -> Vec2 {
    let whole = window.ctx.content_rect();
    rect_of(window, label).intersect(whole).size().max(Vec2::ZERO)
}

/// Scrolls to a thing and says what of it lies in the window then.
fn scrolled_to(window: &mut Window, label: &str) -> Vec2 {
    node(window, label).scroll_to_me();
    window.run_steps(12);
    // That moves the innermost list alone; where a view scrolls around it, the wheel goes on.
    let (middle, unit) = (window.ctx.content_rect().center(), egui::MouseWheelUnit::Point);
    for _ in 0..4 {
        let rect = rect_of(window, label);
        if seen(window, label).min_elem() >= 4.0 || rect.min.y < middle.y {
            break;
        }
        let (delta, phase, modifiers) = (Vec2::new(0.0, -60.0), egui::TouchPhase::Move, Modifiers::NONE);
        let source = egui::MouseWheelSource::Wheel;
        window.hover_at(middle);
        window.event(egui::Event::MouseWheel { unit, delta, phase, source, modifiers });
        window.run_steps(6);
    }
    seen(window, label)
}

/// The names of everything that can be pressed, chosen or typed into.
fn controls(window: &Window) -> Vec<String> {
    let roles = [Role::Button, Role::CheckBox, Role::ComboBox, Role::TextInput, Role::SpinButton, Role::Slider];
    let all = roles.into_iter().flat_map(|role| window.query_all_by_role(role));
    all.filter_map(|node| node.accesskit_node().label()).filter(|label| !label.is_empty()).collect()
}

#[test]
fn every_view_has_room_and_every_control_can_be_reached() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let main = [
        (View::Clusters, "Clusters: 60 points"),
        (View::Mixture, "Share of each task in each cluster"),
        (View::Routing, "Routing of layer 1"),
        (View::Conflict, "Conflict of tasks"),
        (View::Drift, "Map of drift by layer and step"),
        (View::Loss, "Losses over the steps"),
        (View::Samples, "Row s59"),
    ];
    for size in SIZES {
        let mut window = sized(vec![dir.path().to_owned()], size);
        for (view, label) in main {
            window.state_mut().act(Action::Show(view));
            window.run_steps(6);
            let room = scrolled_to(&mut window, label);
            let least = if view == View::Samples { Vec2::new(300.0, 15.0) } else { Vec2::new(230.0, 60.0) };
            assert!(room.x >= least.x && room.y >= least.y, "{size:?} {view:?}: {room:?}");
            for control in controls(&window) {
                if seen(&window, &control).min_elem() < 4.0 {
                    let room = scrolled_to(&mut window, &control);
                    assert!(room.min_elem() >= 4.0, "{size:?} {view:?}: {control} cannot be reached: {room:?}");
                }
            }
        }
        let clusters = {
            window.state_mut().act(Action::Show(View::Clusters));
            window.run_steps(6);
            rect_of(&window, "Clusters: 60 points").size()
        };
        assert!(clusters.x >= 200.0 && clusters.y >= 110.0, "{size:?}: {clusters:?}");
    }
}

#[test]
fn sides_are_folded_by_button_and_key_and_dialogs_fit() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    for size in SIZES {
        let mut window = sized(vec![dir.path().to_owned()], size);
        assert!(!says(&window, "View Samples") && !says(&window, "Invert"), "both sides are folded");
        click(&mut window, "Show runs");
        assert!(says(&window, "View Samples") && seen(&window, "High contrast").x >= 0.0);
        for control in ["View Samples", "High contrast", "Commands"] {
            assert!(scrolled_to(&mut window, control).min_elem() >= 4.0, "{size:?}: {control}");
        }
        window.key_press_modifiers(Modifiers::COMMAND, Key::J);
        window.run_steps(4);
        assert!(says(&window, "Invert"), "the selection comes");
        for control in ["Invert", "Export parquet", "Keep"] {
            assert!(scrolled_to(&mut window, control).min_elem() >= 4.0, "{size:?}: {control}");
        }
        window.key_press_modifiers(Modifiers::COMMAND, Key::J);
        window.key_press_modifiers(Modifiers::COMMAND, Key::T);
        window.run_steps(4);
        assert!(!says(&window, "Invert") && !says(&window, "Latest"));
        window.state_mut().layout.reset();
        for (action, within) in [
            (Action::Keys, "Show or hide the selection"),
            (Action::Commands, "Find a command"),
            (Action::Open, "Open this"),
            (Action::ExportFigure, "Draw the figures"),
        ] {
            window.state_mut().act(action);
            window.run_steps(12);
            assert!(scrolled_to(&mut window, within).min_elem() >= 10.0, "{size:?}: {within}");
            window.state_mut().act(Action::Clear);
            window.run_steps(4);
        }
    }
}

/// The range of the scatter.
fn range(window: &Window) -> [[f64; 2]; 2] {
    let kept = egui_plot::PlotMemory::load(&window.ctx, crate::panels::plots::plot_id("clusters"));
    let bounds = *kept.expect("the scatter was shown").transform().bounds();
    [bounds.min(), bounds.max()]
}

#[test]
fn the_range_of_the_scatter_survives_every_change_of_the_layout() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let large = Vec2::new(1400.0, 900.0);
    for zoomed in [false, true] {
        let mut window = sized(vec![dir.path().to_owned()], (large, 1.0));
        if zoomed {
            window.state_mut().act(Action::ZoomIn);
            window.run_steps(4);
        }
        let before = range(&window);
        assert!(before[1][0] - before[0][0] > 2.5, "all points, or most: {before:?}");
        let size = |window: &mut Window, size: Vec2| {
            window.set_size(size);
        };
        let key = |window: &mut Window, key: Key| window.key_press_modifiers(Modifiers::COMMAND, key);
        let changes: [(&str, &dyn Fn(&mut Window)); 7] = [
            ("narrow", &|w| size(w, Vec2::new(800.0, 600.0))),
            ("runs", &|w| key(w, Key::B)),
            ("selection", &|w| key(w, Key::J)),
            ("hidden", &|w| w.state_mut().act(Action::Show(View::Loss))),
            ("shown", &|w| w.state_mut().act(Action::Show(View::Clusters))),
            ("wide", &|w| size(w, large)),
            ("large", &|w| (0..4).for_each(|_| key(w, Key::Plus))),
        ];
        for (what, change) in changes {
            change(&mut window);
            window.run_steps(6);
            assert_eq!(range(&window), before, "{what}, zoomed: {zoomed}");
        }
    }
}

#[test]
fn the_interface_is_made_larger_and_remembered() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-01");
    let mut window = sized(vec![dir.path().to_owned()], (Vec2::new(1400.0, 900.0), 1.0));
    window.key_press_modifiers(Modifiers::COMMAND, Key::Plus);
    window.key_press_modifiers(Modifiers::COMMAND, Key::Equals);
    window.run_steps(4);
    assert!((window.ctx.zoom_factor() - 1.25).abs() < 1e-6 && contains(&window, "125 %"));
    window.key_press_modifiers(Modifiers::COMMAND, Key::Minus);
    window.run_steps(4);
    assert!((window.ctx.zoom_factor() - 1.1).abs() < 1e-6);
    window.key_press_modifiers(Modifiers::COMMAND, Key::Num0);
    window.run_steps(4);
    assert!(window.ctx.zoom_factor() == 1.0 && window.state().layout.shows(Side::Runs, Vec2::new(1400.0, 900.0)));
}
