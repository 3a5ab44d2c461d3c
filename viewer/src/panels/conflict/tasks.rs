//! Gradients of pairs of samples: by their tasks, by layer and module.

use super::super::figures::Request;
use super::super::filter::Filter;
use super::super::heat::{Heat, Scale};
use super::super::plots::choose;
use super::super::{Cx, missing, thousands};
use crate::core::bits::Bits;
use crate::core::memo::Memo;
use crate::core::selection::Combine;
use crate::data::{LayerKey, PairCell, Place};
use covft_analyses::conflict::Tally;
use covft_analyses::figures::FigureId;
use egui::Ui;
use std::collections::BTreeMap;

/// Records, step, place.
type Key = (u64, u32, Place);

/// What the section keeps.
#[derive(Debug, Default)]
pub(super) struct Keep {
    pub place: Option<Place>,
    filter: Filter,
    cells: Memo<Key, BTreeMap<(u32, u32), PairCell>>,
    by_layer: Memo<Key, Vec<(Place, Tally)>>,
}

pub(super) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    let Some(mut place) = cx.state.pairs_of(cx.data) else {
        missing(ui, cx.data, "pair of samples (for the matrix of tasks)", "pairs");
        return;
    };
    let all: Vec<(Place, String)> = cx.data.pairs.places().map(|p| (p.clone(), p.words())).collect();
    ui.horizontal_wrapped(|ui| {
        if choose(ui, "Pairs of", &mut place, &all) {
            cx.state.local.conflict.tasks.place = Some(place.clone());
        }
        ui.weak("also what \"share of pairs in conflict\" means as a colour, a column and in the search");
    });
    matrix(ui, cx, &place);
    by_layer(ui, cx, &place);
}

/// The figures of what is shown.
pub(super) fn paper(cx: &Cx<'_>) -> Vec<Request> {
    let Some(place) = cx.state.pairs_of(cx.data) else { return Vec::new() };
    let of = |id: FigureId| {
        let mut figure = Request::new(cx, id)?;
        figure.options.space.clone_from(&place.space);
        (figure.options.mode, figure.options.tracked) = (Some(place.mode.clone()), Some(place.tracked));
        if id == FigureId::TaskConflict {
            figure.options.layer = Some(place.layer.1.clone());
            figure.options.module = Some(place.module.clone());
        }
        figure.until(cx, cx.data.pairs.stage(&place, cx.data.reached(cx.state.until()))?);
        Some(figure)
    };
    [FigureId::TaskConflict, FigureId::LayerConflict].into_iter().filter_map(of).collect()
}

/// A tally in words.
fn words(tally: &Tally) -> String {
    let Some(mean) = tally.mean() else { return "no pair with a cosine that is finite".to_owned() };
    let share = |s: Option<f64>| s.unwrap_or(0.0) * 100.0;
    let error = tally.error().map_or_else(String::new, |e| format!(" \u{b1} {e:.3}"));
    format!(
        "{} pairs, mean {:.3}{error}, {:.0} % in conflict (95 % interval below 0), {:.0} % undecided (it holds 0)",
        thousands(tally.pairs as usize),
        mean,
        share(tally.conflict_share()),
        share(tally.undecided_share())
    )
}

/// The matrix of tasks.
fn matrix(ui: &mut Ui, cx: &mut Cx<'_>, place: &Place) {
    let (data, until) = (cx.data, cx.state.until().min(cx.data.last_step()));
    let starts = data.stage_starts();
    let wanted = |stage: u16, step: u32| starts[stage as usize] + step <= until;
    let key = (data.version, until, place.clone());
    let mut filter = cx.state.local.conflict.tasks.filter.clone();
    let cells = cx.state.local.conflict.tasks.cells.get(key, || data.pairs.matrix(place, wanted));
    let mut tasks: Vec<u32> = cells.keys().flat_map(|(a, b)| [*a, *b]).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let cell = |a: u32, b: u32| cells.get(&(a.min(b), a.max(b)));
    let all = tasks.len();
    tasks.retain(|t| filter.has(data.samples.tasks.name(*t)));
    filter.show(ui, "tasks", tasks.len(), all);
    let names: Vec<String> = tasks.iter().map(|t| data.samples.tasks.name(*t).to_owned()).collect();
    let values: Vec<Vec<Option<f64>>> =
        tasks.iter().map(|a| tasks.iter().map(|b| cell(*a, *b)?.tally.mean()).collect()).collect();
    let far = values.iter().flatten().flatten().fold(0.0_f64, |a, v| a.max(v.abs()));
    ui.label("Mean cosine of the gradients of two samples, by their tasks. Click a cell to select its samples.");
    let map = Heat {
        label: "Conflict of tasks",
        rows: &names,
        columns: &names,
        values: &values,
        scale: Scale::Around(far),
        numbers: true,
        width: Heat::room(ui).min(70.0 * names.len() as f32),
    };
    let mut chosen = None;
    match map.show(ui).and_then(|(r, c, clicked)| Some((r, c, clicked, cell(tasks[r], tasks[c])?))) {
        Some((row, column, clicked, cell)) => {
            ui.label(format!("{} and {}: {}", names[row], names[column], words(&cell.tally)));
            if clicked {
                chosen = Some(Bits::of(cell.samples.iter().copied()));
            }
        }
        None => {
            ui.label("Point at a cell to read it.");
        }
    }
    cx.state.local.conflict.tasks.filter = filter;
    if let Some(samples) = chosen {
        cx.state.selection.apply(&samples, Combine::of(ui.input(|i| i.modifiers)));
    }
}

/// Share of pairs in conflict by layer and module.
fn by_layer(ui: &mut Ui, cx: &mut Cx<'_>, place: &Place) {
    let (data, until) = (cx.data, cx.state.until().min(cx.data.last_step()));
    let starts = data.stage_starts();
    let wanted = |stage: u16, step: u32| starts[stage as usize] + step <= until;
    let key = (data.version, until, place.clone());
    let all = cx.state.local.conflict.tasks.by_layer.get(key, || data.pairs.by_layer(place, wanted));
    let mut modules: Vec<String> = all.iter().map(|(p, _)| p.module.clone()).collect();
    modules.sort();
    modules.dedup();
    let mut layers: Vec<LayerKey> = all.iter().map(|(p, _)| p.layer.clone()).collect();
    layers.sort();
    layers.dedup();
    layers.reverse();
    let at = |layer: &LayerKey, module: &String| {
        all.iter().find(|(p, _)| p.layer == *layer && p.module == *module).map(|(_, tally)| tally)
    };
    let share = |layer: &LayerKey, module: &String| at(layer, module)?.conflict_share();
    let values: Vec<Vec<Option<f64>>> = layers.iter().map(|l| modules.iter().map(|m| share(l, m)).collect()).collect();
    let names: Vec<String> = layers.iter().map(|(_, l)| l.clone()).collect();
    ui.label(format!(
        "Share of pairs in conflict by layer (deepest at the top) and module ({}, {})",
        place.space, place.mode
    ));
    let map = Heat {
        label: "Conflicting pairs by layer and module",
        rows: &names,
        columns: &modules,
        values: &values,
        scale: Scale::From(0.0, values.iter().flatten().flatten().copied().fold(0.0, f64::max)),
        numbers: true,
        width: Heat::room(ui).min(90.0 * modules.len() as f32),
    };
    let under = map.show(ui).and_then(|(r, c, _)| Some((r, c, at(&layers[r], &modules[c])?)));
    ui.label(match under {
        Some((r, c, tally)) => format!("layer {}, {}: {}", names[r], modules[c], words(tally)),
        None => "Point at a cell to read it.".to_owned(),
    });
    if modules.len() < 2 {
        ui.weak(
            "Only whole layers have rows. `[probe] sample_rows = \"modules\"` writes them for every module of every layer.",
        );
    }
}
