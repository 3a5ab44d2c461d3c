//! The gradient noise scale over steps and by layer.

use super::super::plots::{Ink, choose, curve, line, over_steps};
use super::super::{Cx, missing};
use crate::data::NoisePlace;
use crate::tokens;
use covft_analyses::conflict::{NoisePoint, pooled_scale};
use covft_analyses::store::ALL;
use egui::{Grid, Ui};
use egui_plot::{Points, VLine};

/// What the section keeps.
#[derive(Debug, Default)]
pub(super) struct Keep {
    place: Option<NoisePlace>,
}

fn words(((_, layer), module, space, mode): &NoisePlace) -> String {
    let module = if module == ALL { String::new() } else { format!(" {module}") };
    format!("layer {layer}{module}, {space}, {mode}")
}

fn scale(points: &[NoisePoint]) -> String {
    pooled_scale(points).map_or_else(|| "not defined".to_owned(), |s| format!("{s:.1} samples"))
}

pub(super) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    let Some((stage, all)) = cx.data.gradients.noise.last_key_value() else {
        missing(ui, cx.data, "gradient noise scale", "noise");
        return;
    };
    let usual = |(((_, layer), module, _, mode), _): &(&NoisePlace, &Vec<NoisePoint>)| {
        (layer != ALL, module != ALL, mode != "sketch")
    };
    let Some((first, _)) = all.iter().min_by_key(usual) else { return };
    let chosen = cx.state.local.conflict.noise.place.clone().filter(|p| all.contains_key(p));
    let mut place = chosen.unwrap_or_else(|| first.clone());
    let names: Vec<(NoisePlace, String)> = all.keys().map(|p| (p.clone(), words(p))).collect();
    ui.horizontal(|ui| {
        if choose(ui, "Noise of", &mut place, &names) {
            cx.state.local.conflict.noise.place = Some(place.clone());
        }
    });
    let start = cx.data.stage_starts()[usize::from(*stage)];
    let until = cx.state.until();
    let early = |p: &&NoisePoint| start.saturating_add(p.step as u32) <= until;
    let points: Vec<NoisePoint> = all[&place].iter().filter(early).cloned().collect();
    let without = points.iter().filter(|p| p.scale.is_none()).count();
    ui.label(format!(
        "Gradient noise scale, stage {}: trace of the samples' covariance over the squared norm of the mean gradient. Over {} \
         steps together: {}. {without} steps have no estimate of their own (the squared norm comes out at or below 0).",
        cx.data.stages.name(u32::from(*stage)),
        points.len(),
        scale(&points)
    ));
    let at = cx.state.at;
    let steps = || points.iter().map(|p| f64::from(start) + p.step as f64);
    let values = line(steps(), points.iter().map(|p| p.scale.unwrap_or(f64::NAN)));
    over_steps("noise scale", "samples", 170.0).include_y(0.0).show(ui, |plot| {
        curve(plot, "noise scale of the step", &values, Ink::full(tokens::SMOOTH, 1.0));
        let known: Vec<[f64; 2]> = values.iter().copied().filter(|p| p[1].is_finite()).collect();
        plot.points(Points::new("noise scale of the step", known).color(tokens::SMOOTH).radius(2.5));
        if let Some(at) = at {
            plot.vline(VLine::new("step shown", f64::from(at)).color(tokens::NO_VALUE).width(2.0));
        }
    });
    let ((_, _), module, space, mode) = &place;
    let same = all.iter().filter(|((_, m, s, o), _)| m == module && s == space && o == mode);
    ui.collapsing("Noise scale by layer, over all steps together", |ui| {
        Grid::new("noise by layer").num_columns(2).striped(true).show(ui, |ui| {
            for (((_, layer), ..), points) in same {
                ui.label(format!("layer {layer}"));
                ui.label(scale(points));
                ui.end_row();
            }
        });
    });
}
