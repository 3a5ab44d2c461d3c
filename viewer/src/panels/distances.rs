//! How far the two runs of a study are apart, by layer and step.

use super::drift::Map;
use super::heat::Scale;
use super::plots::{Ink, choose, curve, line, over_steps};
use super::{Cx, missing};
use crate::data::{ByLayer, Far, PairOfRuns};
use crate::tokens;
use covft_analyses::store::ALL;
use egui::Ui;
use egui_plot::VLine;

/// What the section keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    pair: Option<PairOfRuns>,
    far: Far,
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    let distances = &cx.data.distances;
    let Some(own) = cx.state.run.as_ref().and_then(|r| r.file_name()).map(|n| n.to_string_lossy().into_owned()) else {
        return;
    };
    if distances.pairs.is_empty() {
        if distances.expected {
            missing(ui, cx.data, "distance to the other run of its study", "distances");
        }
        return;
    }
    // The pair of this run first.
    let usual = distances.pairs.keys().find(|(_, a, b)| *a == own || *b == own).or(distances.pairs.keys().next());
    let keep = &mut cx.state.local.distances;
    let Some(mut pair) = keep.pair.clone().filter(|p| distances.pairs.contains_key(p)).or(usual.cloned()) else {
        return;
    };
    ui.horizontal_wrapped(|ui| {
        let name = |(stage, a, b): &PairOfRuns| format!("{a} and {b}, stage {stage}");
        let all: Vec<(PairOfRuns, String)> = distances.pairs.keys().map(|p| (p.clone(), name(p))).collect();
        if choose(ui, "Distance of the runs", &mut pair, &all) {
            keep.pair = Some(pair.clone());
        }
        choose(ui, "measured as", &mut keep.far, &Far::ALL.map(|(f, name)| (f, name.to_owned())));
    });
    let far = keep.far;
    let start = cx.data.stages.find(&pair.0).map_or(0, |s| cx.data.stage_starts()[s as usize]);
    let until = cx.state.at.map_or(u32::MAX, |at| at.saturating_sub(start));
    let layers = &distances.pairs[&pair];
    let map = map(layers, far, until);
    let (_, a, b) = &pair;
    map.show(ui, &format!("Map of the distance of {a} and {b}"), Scale::From(0.0, map.extreme()));
    let whole = layers.iter().find(|((_, layer), _)| layer == ALL).map_or(&[][..], |(_, rows)| rows.as_slice());
    let rows = || whole.iter().filter(|(step, _)| *step <= until);
    let points = line(rows().map(|(s, _)| f64::from(*s)), rows().map(|(_, v)| f64::from(v[far as usize])));
    over_steps("distance", "distance", 150.0).include_y(0.0).show(ui, |plot| {
        curve(plot, "whole encoder", &points, Ink::full(tokens::DRIFT, 2.0));
        if cx.state.at.is_some() {
            plot.vline(VLine::new("step shown", f64::from(until)).color(tokens::NO_VALUE).width(2.0));
        }
    });
    ui.separator();
}

/// The map of the layers, deepest first.
fn map(layers: &ByLayer, far: Far, until: u32) -> Map {
    let series = layers.iter().filter(|((_, layer), _)| layer != ALL).map(|(layer, rows)| {
        let values = rows.iter().filter(|(s, _)| *s <= until).map(|(s, v)| (*s, v[far as usize])).collect();
        (layer.clone(), values)
    });
    Map::of(&series.collect::<Vec<_>>())
}
