//! The list of runs, newest first.

use crate::source::Source;
use egui::{ScrollArea, Ui};

pub(crate) fn show(ui: &mut Ui, source: &Source) {
    ui.heading("Runs");
    let (runs, selected) = {
        let shared = source.look();
        (shared.runs.clone(), shared.selected.clone())
    };
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        for run in runs {
            let chosen = selected.as_ref() == Some(&run.path);
            if ui.selectable_label(chosen, &run.name).on_hover_text(run.path.display().to_string()).clicked() {
                source.select(&run.path);
            }
            ui.weak(format!("{}  {}", run.state, run.started));
            ui.add_space(4.0);
        }
    });
}
