//! The right side: what is selected, kept selections, and the cards of its samples.

use super::runs::button;
use super::{Cx, card, thousands};
use crate::actions::Action;
use crate::core;
use crate::core::bits::Bits;
use crate::core::export::Format;
use crate::core::names::short_names;
use crate::core::selection::Combine;
use covft_analyses::analysis::{NamedSelection, stratified};
use egui::{Grid, ScrollArea, TextEdit, Ui};
use std::collections::BTreeMap;

/// Cards that are shown at once.
const CARDS: usize = 24;

/// Tasks that are listed at once.
const TASKS: usize = 12;

/// Letters of a task's name.
const TASK: usize = 22;

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    name: String,
    /// Whether formulas in CSV are made inert.
    pub spreadsheet: bool,
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    if let Some(near) = cx.state.local.scatter.neighbors.poll() {
        cx.state.selection.apply(&Bits::of(near), Combine::Replace);
    }
    ui.heading("Selection");
    let selected = cx.state.selection.now().len();
    let all = cx.data.samples.len();
    ui.label(format!("{} of {} samples selected", thousands(selected), thousands(all)));
    ui.horizontal_wrapped(|ui| {
        ui.add_enabled_ui(cx.state.selection.can_undo(), |ui| button(ui, cx.tools, Action::Undo, "Undo"));
        ui.add_enabled_ui(cx.state.selection.can_redo(), |ui| button(ui, cx.tools, Action::Redo, "Redo"));
        button(ui, cx.tools, Action::Invert, "Invert");
        button(ui, cx.tools, Action::Clear, "Clear");
    });
    ui.horizontal_wrapped(|ui| {
        ui.add_enabled_ui(selected > 0, |ui| {
            for (format, name) in Format::all(cx.state.local.selection.spreadsheet) {
                if ui.button(format!("Export {name}")).clicked() {
                    export(cx, format);
                }
            }
            ui.checkbox(&mut cx.state.local.selection.spreadsheet, "for a spreadsheet")
                .on_hover_text("In CSV, an apostrophe before words that a spreadsheet would take for a formula");
        });
    });
    kept(ui, cx);
    ui.separator();
    ScrollArea::vertical().id_salt("cards").auto_shrink(false).show(ui, |ui| {
        if selected == 0 {
            if let Some(sample) = cx.state.focus {
                card::full(ui, cx, sample);
            } else {
                ui.weak("Click a point, draw a lasso (L) or a rectangle (R), click a cell, a row or a legend.");
                ui.weak("Shift adds, control takes away.");
            }
            return;
        }
        tasks(ui, cx);
        cards(ui, cx);
    });
}

/// Selections with a name, in the notes of the run.
fn kept(ui: &mut Ui, cx: &mut Cx<'_>) {
    ui.horizontal(|ui| {
        let label = ui.label("Keep as");
        let name = &mut cx.state.local.selection.name;
        ui.add(TextEdit::singleline(name).desired_width(110.0)).labelled_by(label.id);
        let can = !cx.state.selection.now().is_empty() && !name.trim().is_empty();
        if ui.add_enabled(can, egui::Button::new("Keep")).clicked() {
            let samples = &cx.data.samples;
            let chosen = cx.state.selection.now().iter().map(|s| (samples.place(s), samples.id(s)));
            let kept = NamedSelection::new(name.trim(), chosen);
            cx.state.notes.selections.insert(kept.name.clone(), kept);
            name.clear();
        }
    });
    let names: Vec<String> = cx.state.notes.selections.keys().cloned().collect();
    for name in names {
        ui.horizontal(|ui| {
            let Some(kept) = cx.state.notes.selections.get(&name) else { return };
            let text = format!("{name} ({})", thousands(kept.samples.len()));
            if ui.button(text).on_hover_text("Select these again").clicked() {
                let samples = Bits::of(cx.data.samples.of_selection(kept));
                cx.state.selection.apply(&samples, Combine::of(ui.input(|i| i.modifiers)));
            }
            if ui.small_button("Forget").clicked() {
                cx.state.notes.selections.remove(&name);
            }
        });
    }
}

/// How many samples of each task.
fn tasks(ui: &mut Ui, cx: &mut Cx<'_>) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    cx.state.selection.now().iter().for_each(|s| *counts.entry(cx.data.samples.task(s)).or_default() += 1);
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let all = cx.state.selection.now().len();
    let grid = |ui: &mut Ui, id: &str, counts: &[(&str, usize)]| {
        Grid::new(id).num_columns(2).show(ui, |ui| {
            let names: Vec<String> = counts.iter().map(|(task, _)| (*task).to_owned()).collect();
            for ((task, n), short) in counts.iter().zip(short_names(ui.ctx(), &names, TASK).iter()) {
                ui.add(egui::Label::new(short).truncate()).on_hover_text(*task);
                ui.label(format!("{} ({:.0} %)", thousands(*n), *n as f64 * 100.0 / all as f64));
                ui.end_row();
            }
        });
    };
    let (first, others) = counts.split_at(counts.len().min(TASKS));
    grid(ui, "selected tasks", first);
    if !others.is_empty() {
        let n: usize = others.iter().map(|(_, n)| n).sum();
        let title = format!("{} other tasks: {} samples", thousands(others.len()), thousands(n));
        ui.collapsing(title, |ui| grid(ui, "other tasks", others));
    }
    ui.separator();
}

fn cards(ui: &mut Ui, cx: &mut Cx<'_>) {
    let samples: Vec<u32> = cx.state.selection.now().iter().collect();
    let tasks: Vec<u32> = samples.iter().map(|s| cx.data.samples.task_number(*s)).collect();
    let mut chosen = stratified(&tasks, CARDS);
    chosen.truncate(CARDS * 2);
    if chosen.len() < samples.len() {
        ui.weak(format!("Showing {} of {}, even over tasks", chosen.len(), thousands(samples.len())));
    }
    for i in chosen {
        if card::full(ui, cx, samples[i]) {
            cx.state.focus = Some(samples[i]);
        }
    }
}

/// Writes the selected rows beside the run, under the name of the selection, over no file that is there.
pub(crate) fn export(cx: &mut Cx<'_>, format: Format) {
    let Some(run) = cx.state.run.clone() else { return };
    let table = core::rows::table(cx.data, cx.state);
    let now = cx.state.selection.now();
    let named = cx.state.notes.selections.iter().find(|(_, kept)| Bits::of(cx.data.samples.of_selection(kept)) == *now);
    let name = named.map_or_else(|| "selection".to_owned(), |(name, _)| format!("selection-{name}"));
    cx.tools.export.start(&cx.tools.spawner, move |_| {
        let path = core::export::free(&run.join("analysis"), &name, format);
        let done = format!("Wrote {} rows to {}", thousands(table.rows()), path.display());
        Some(core::export::write(&table, format, &path).map_or_else(|error| error, |()| done))
    });
}

#[cfg(test)]
impl Keep {
    /// With a name typed in.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}
