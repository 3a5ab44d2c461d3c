//! How far each layer of the vision encoder went, over the steps of a stage.

use super::heat::Heat;
use crate::data::RunData;
use crate::tokens;
use egui::{ComboBox, Ui};
use std::collections::BTreeMap;

/// Columns drawn at most; each shows its last step.
const COLUMNS: usize = 300;

pub(crate) fn show(ui: &mut Ui, data: &RunData, chosen: &mut Option<String>) {
    ui.heading("Drift");
    let last = data.stages.iter().rev().map(|(name, _)| name).find(|name| data.moving.contains(*name));
    let stage = chosen.clone().filter(|s| data.drift.contains_key(s)).or_else(|| last.cloned());
    let Some((stage, layers)) = stage.and_then(|s| Some((s.clone(), data.drift.get(&s)?))) else {
        ui.label("No stage of this run trains the vision encoder, or drift was not logged (`[probe] drift = true`).");
        return;
    };
    let mut now = stage.clone();
    ComboBox::from_label("Stage").selected_text(&now).show_ui(ui, |ui| {
        for name in data.drift.keys() {
            ui.selectable_value(&mut now, name.clone(), name);
        }
    });
    if now != stage {
        *chosen = Some(now);
    }
    let steps: Vec<u64> = layers.values().next().into_iter().flatten().map(|(step, _)| *step).collect();
    let every = steps.len().div_ceil(COLUMNS).max(1);
    let steps: Vec<u64> = steps.chunks(every).filter_map(|c| c.last().copied()).collect();
    let names: Vec<String> = layers.keys().rev().map(|(_, name)| name.clone()).collect();
    let values: Vec<Vec<Option<f64>>> = layers
        .values()
        .rev()
        .map(|points| {
            let at: BTreeMap<u64, f64> = points.iter().copied().collect();
            steps.iter().map(|s| at.get(s).copied()).collect()
        })
        .collect();
    let high = values.iter().flatten().flatten().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    ui.label("L2 distance of each layer's trained tensors from the stage's start; deepest layer at the top.");
    let map = Heat {
        label: "Drift by layer and step",
        rows: &names,
        values: &values,
        range: (0.0, high),
        numbers: false,
        width: (ui.available_width() - tokens::MAP_LEFT - 100.0).clamp(200.0, tokens::MAP_WIDTH),
    };
    let under = map.show(ui);
    let (first, last) = (steps.first().copied().unwrap_or(0), steps.last().copied().unwrap_or(0));
    ui.label(format!("steps {first} to {last}, left to right"));
    let text = under.and_then(|(row, column)| {
        let drift = values[row][column]?;
        Some(format!("layer {} at step {}: {drift:.5}", names[row], steps[column]))
    });
    ui.label(text.unwrap_or_else(|| "Point at the map to read a value.".to_owned()));
}
