//! The left side: runs, newest first, and which views are shown.

use crate::actions::{Action, View};
use crate::layout::Layout;
use crate::source::Shared;
use crate::tools::Tools;
use egui::{ScrollArea, ThemePreference, Ui};
use std::path::PathBuf;

/// Draws it; returns the run that was chosen.
pub(crate) fn show(ui: &mut Ui, shared: &Shared, layout: &mut Layout, tools: &mut Tools) -> Option<PathBuf> {
    let whole = ScrollArea::vertical().id_salt("left").auto_shrink(false);
    whole.show(ui, |ui| parts(ui, shared, layout, tools)).inner
}

fn parts(ui: &mut Ui, shared: &Shared, layout: &mut Layout, tools: &mut Tools) -> Option<PathBuf> {
    let mut chosen = None;
    ui.horizontal(|ui| {
        ui.heading("Runs");
        button(ui, tools, Action::Open, "Open");
    });
    ScrollArea::vertical().id_salt("runs").max_height(ui.available_height() * 0.5).auto_shrink([false, true]).show(
        ui,
        |ui| {
            if shared.runs.is_empty() {
                ui.weak(if shared.listed { "none found" } else { "looking" });
            }
            for run in &shared.runs {
                let selected = shared.main.path.as_ref() == Some(&run.path);
                let label = ui.selectable_label(selected, &run.name);
                if label.on_hover_text(run.path.display().to_string()).clicked() && !selected {
                    chosen = Some(run.path.clone());
                }
                ui.weak(format!("{}  {}", run.state, run.started));
                ui.add_space(2.0);
            }
        },
    );
    ui.separator();
    ui.horizontal(|ui| {
        ui.heading("Views");
        button(ui, tools, Action::ResetLayout, "Reset");
    });
    for view in View::ALL {
        let mut shown = layout.has(view);
        let hint = Action::Show(view).hint(ui.ctx());
        if ui.checkbox(&mut shown, format!("View {}", view.name())).on_hover_text(hint).changed() {
            layout.set(view, shown);
        }
    }
    ui.separator();
    ui.label("Theme");
    ui.horizontal_wrapped(|ui| {
        // Words, since the font brings no pictograms.
        for (theme, name) in
            [(ThemePreference::System, "System"), (ThemePreference::Light, "Light"), (ThemePreference::Dark, "Dark")]
        {
            ui.selectable_value(&mut layout.theme, theme, name);
        }
    });
    ui.checkbox(&mut layout.contrast, "High contrast").on_hover_text(Action::Contrast.hint(ui.ctx()));
    ui.horizontal_wrapped(|ui| {
        button(ui, tools, Action::Keys, "Keys");
        button(ui, tools, Action::Commands, "Commands");
    });
    if let Some(status) = &tools.status {
        ui.separator();
        ui.add(egui::Label::new(status).wrap());
    }
    chosen
}

/// A button that does an action, with its key in the hint.
pub(crate) fn button(ui: &mut Ui, tools: &mut Tools, action: Action, name: &str) {
    if ui.button(name).on_hover_text(action.hint(ui.ctx())).clicked() {
        tools.commands.push(action);
    }
}
