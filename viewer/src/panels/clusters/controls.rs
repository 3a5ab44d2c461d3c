//! What is shown in the scatter, and how the pointer works there.

use crate::actions::{Action, Tool};
use crate::core::scatter::{ColorBy, Population};
use crate::panels::plots::choose;
use crate::panels::runs::button;
use crate::panels::{Cx, thousands};
use egui::{DragValue, ProgressBar, Ui};

pub(super) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    ui.horizontal_wrapped(|ui| {
        choices(ui, cx);
    });
    ui.horizontal_wrapped(|ui| {
        tools(ui, cx);
        let shown = &cx.state.shown;
        if cx.state.embedding.is_some() {
            let text = format!("Showing {} of {} rows", thousands(shown.rows.len()), thousands(shown.of));
            let fitted = cx.state.embedding.as_ref().map_or(0, |e| e.fitted());
            let hint = "Samples that components and clusters were found from: ";
            ui.label(text).on_hover_text(format!("{hint}{}", thousands(fitted)));
            if shown.not_finite > 0 {
                let left = format!("{} rows passed over: their vectors are not finite", thousands(shown.not_finite));
                ui.colored_label(ui.visuals().warn_fg_color, left);
            }
        }
    });
    for remark in cx.state.embedding.iter().flat_map(|found| &found.found.remarks) {
        ui.colored_label(ui.visuals().warn_fg_color, remark);
    }
    if let Some((share, doing)) = cx.state.work.progress() {
        ui.horizontal(|ui| {
            ui.add(ProgressBar::new(share).desired_width(220.0).text(doing));
            button(ui, cx.tools, Action::Cancel, "Cancel");
        });
        ui.ctx().request_repaint_after(std::time::Duration::from_millis(60));
    }
}

fn choices(ui: &mut Ui, cx: &mut Cx<'_>) {
    let layers = cx.data.context_layers();
    let Some(layer) = cx.state.layer(cx.data) else { return };
    let mut now = layer.1.clone();
    let all: Vec<(String, String)> =
        layers.iter().map(|((_, l), rows)| (l.clone(), format!("{l} ({} rows)", thousands(*rows)))).collect();
    if choose(ui, "Layer", &mut now, &all) {
        cx.state.notes.layer = Some(now);
    }
    let label = ui.label("k");
    let k = ui.add(DragValue::new(&mut cx.state.notes.k).range(1..=64).update_while_editing(false));
    k.labelled_by(label.id).on_hover_text("Number of clusters");
    let label = ui.label("seed");
    let seed = ui.add(DragValue::new(&mut cx.state.notes.seed).range(0..=9999).update_while_editing(false));
    seed.labelled_by(label.id);
    button(ui, cx.tools, Action::Again, "Again");
    let components = cx.state.embedding.as_ref().map_or(2, |e| e.coordinates.len());
    let all: Vec<(usize, String)> = (0..components).map(|c| (c, format!("{}", c + 1))).collect();
    choose(ui, "across", &mut cx.state.notes.axes[0], &all);
    choose(ui, "up", &mut cx.state.notes.axes[1], &all);
    let all = ColorBy::ALL.map(|(by, name)| (by, name.to_owned()));
    choose(ui, "Colour", &mut cx.state.notes.color, &all);
    let all = Population::ALL.map(|(p, name)| (p, name.to_owned()));
    choose(ui, "Points", &mut cx.state.notes.population, &all);
}

fn tools(ui: &mut Ui, cx: &mut Cx<'_>) {
    let now = cx.state.local.scatter.tool;
    for (tool, name) in [(Tool::Move, "Move"), (Tool::Rectangle, "Rectangle"), (Tool::Lasso, "Lasso")] {
        let action = Action::Use(tool);
        if ui.selectable_label(now == tool, name).on_hover_text(action.hint(ui.ctx())).clicked() {
            cx.tools.commands.push(action);
        }
    }
    ui.separator();
    let density = ui.selectable_label(cx.state.local.scatter.density, "Density");
    if density.on_hover_text(Action::Density.hint(ui.ctx())).clicked() {
        cx.tools.commands.push(Action::Density);
    }
    button(ui, cx.tools, Action::Fit, "Fit");
    button(ui, cx.tools, Action::Keep, "Save analysis");
    ui.separator();
}
