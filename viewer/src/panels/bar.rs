//! The top: shows and hides the sides, makes the interface larger, and says what happened last.

use super::runs::button;
use crate::actions::{Action, Side};
use crate::layout::Layout;
use crate::tools::Tools;
use egui::{Label, Ui};

pub(crate) fn show(ui: &mut Ui, layout: &Layout, tools: &mut Tools) {
    let window = ui.ctx().content_rect().size();
    ui.horizontal_wrapped(|ui| {
        for (side, name) in [(Side::Runs, "runs"), (Side::Selection, "selection"), (Side::Steps, "steps")] {
            let verb = if layout.shows(side, window) { "Hide" } else { "Show" };
            button(ui, tools, Action::Fold(side), &format!("{verb} {name}"));
        }
        ui.separator();
        button(ui, tools, Action::Smaller, "Smaller");
        button(ui, tools, Action::UsualSize, &format!("{:.0} %", layout.zoom * 100.0));
        button(ui, tools, Action::Larger, "Larger");
        // Where the runs are shown it is said there, whole.
        if let Some(status) = tools.status.as_ref().filter(|_| !layout.shows(Side::Runs, window)) {
            ui.separator();
            let line = status.replace('\n', "; ");
            ui.add(Label::new(line).truncate()).on_hover_text(status);
        }
    });
}
