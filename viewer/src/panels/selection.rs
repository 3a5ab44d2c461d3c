//! The right side: what is selected, kept selections, and the cards of its samples.

use super::runs::button;
use super::{Cx, card, thousands};
use crate::actions::Action;
use crate::core::bits::Bits;
use crate::core::export::{Format, Row};
use crate::core::scatter::cluster_name;
use crate::core::selection::Combine;
use covft_analyses::analysis::{NamedSelection, stratified};
use covft_analyses::store::Place;
use egui::{Grid, ScrollArea, TextEdit, Ui};
use std::collections::BTreeMap;

/// Cards that are shown at once.
const CARDS: usize = 24;

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    name: String,
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
            for (format, name) in Format::ALL {
                if ui.button(format!("Export {name}")).clicked() {
                    export(cx, format);
                }
            }
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
    Grid::new("selected tasks").num_columns(2).show(ui, |ui| {
        for (task, n) in counts {
            ui.label(task);
            ui.label(format!("{} ({:.0} %)", thousands(n), n as f64 * 100.0 / all as f64));
            ui.end_row();
        }
    });
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

/// The selected rows as they are exported.
pub(crate) fn rows(cx: &mut Cx<'_>) -> Vec<Row> {
    let clusters = cx.state.clusters(cx.data);
    let gradients = cx.state.gradients(cx.data);
    let row = |s: u32| {
        let (one, data) = (cx.data.samples.get(s), cx.data.samples.row(s));
        let (cluster, place) = (clusters.get(s as usize).copied().flatten(), cx.data.samples.place(s));
        let words = |of: fn(&covft_analyses::store::DatasetRow) -> &String| data.map(of).cloned().unwrap_or_default();
        Row {
            sample: cx.data.samples.id(s).to_owned(),
            index: place.map(Place::index),
            split: data.map_or_else(|| place.map_or("", Place::split), |r| r.split.as_str()).to_owned(),
            task: cx.data.samples.task(s).to_owned(),
            cluster: cluster.map(u64::from),
            cluster_name: cluster.map(|c| cluster_name(&cx.state.notes.names, c)).unwrap_or_default(),
            loss: one.loss.map(f64::from),
            seen: u64::from(one.seen),
            tokens: u64::from(one.tokens),
            question: words(|r| &r.question),
            answer: words(|r| &r.answer),
            correct: one.prediction.as_ref().and_then(|p| p.1),
            prediction: one.prediction.map(|p| p.0),
            image: data.and_then(|r| r.image.clone()),
            conflict: gradients.conflict(s),
            alignment: gradients.alignment(s),
        }
    };
    cx.state.selection.now().iter().map(row).collect()
}

/// Writes the selected rows beside the run.
pub(crate) fn export(cx: &mut Cx<'_>, format: Format) {
    let Some(run) = cx.state.run.clone() else { return };
    let rows = rows(cx);
    let path = run.join("analysis").join(format!("selection.{}", format.extension()));
    cx.tools.export.start(&cx.tools.spawner, move |_| {
        let done = format!("Wrote {} rows to {}", thousands(rows.len()), path.display());
        Some(crate::core::export::write(&rows, format, &path).map_or_else(|error| error, |()| done))
    });
}

#[cfg(test)]
impl Keep {
    /// With a name typed in.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}
