//! Mean routing weights by task and expert, layer by layer.

use super::heat::Heat;
use crate::data::RunData;
use egui::Ui;

/// Width of an expert's column.
const CELL: f32 = 64.0;

pub(crate) fn show(ui: &mut Ui, data: &RunData) {
    ui.heading("Routing");
    let layers = data.routing_layers();
    if layers.is_empty() {
        ui.label(
            "This run has no routing: no stage trains the vision encoder with `covft`, or `[probe] routing` is off.",
        );
        return;
    }
    ui.label("Mean weight of each expert (columns, from 0) for the samples of each task, over the whole run.");
    for layer in &layers {
        let by_task = data.routing_by_task(layer);
        let names: Vec<String> = by_task.keys().cloned().collect();
        let values: Vec<Vec<Option<f64>>> = by_task.values().map(|w| w.iter().copied().map(Some).collect()).collect();
        let experts = values.iter().map(Vec::len).max().unwrap_or(0);
        let high = values.iter().flatten().flatten().copied().fold(0.0, f64::max);
        ui.add_space(6.0);
        ui.strong(format!("Layer {}", layer.1));
        let label = format!("Routing of layer {}", layer.1);
        let width = CELL * experts as f32;
        Heat { label: &label, rows: &names, values: &values, range: (0.0, high), numbers: true, width }.show(ui);
    }
}
