//! Conflict: cosines of the gradient over steps, by layer and module, and between tasks.

use super::heat::{Heat, Scale};
use super::plots::{choose, line, over_steps};
use super::{Cx, missing, thousands};
use crate::core::bits::Bits;
use crate::core::memo::Memo;
use crate::core::selection::Combine;
use crate::data::{Measure, Place, RunData};
use crate::tokens;
use covft_analyses::store::ALL;
use egui::{ScrollArea, Ui};
use egui_plot::{Bar, BarChart, Line, Plot, VLine};
use std::collections::BTreeMap;

/// Bars of the histogram over -1..1.
const BARS: usize = 40;

/// Pairs, mean cosine, share in conflict of one cell.
type Cells = BTreeMap<(u32, u32), crate::data::PairCell>;

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    place: Option<Place>,
    cells: Memo<(u64, u32, Place), Cells>,
    by_place: Memo<(u64, u32, String), Vec<(Place, u64, f64, f64)>>,
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    ScrollArea::vertical().id_salt("conflict").auto_shrink(false).show(ui, |ui| {
        cosines(ui, cx);
        ui.separator();
        pairs(ui, cx);
    });
}

/// Steps of the run and the cosine with the mean of past gradients, for the whole encoder.
fn whole(data: &RunData) -> Vec<[f64; 2]> {
    let starts = data.stage_starts();
    let mut points = Vec::new();
    for (stage, layers) in &data.layers.stages {
        for ((layer, module), series) in layers {
            if layer.1 == ALL && module == ALL {
                let steps = series.steps.iter().map(|s| f64::from(starts[*stage as usize] + s));
                let values = series.values(Measure::Momentum).iter().map(|v| f64::from(*v));
                points.extend(steps.zip(values).filter(|(_, v)| v.is_finite()).map(|(s, v)| [s, v]));
            }
        }
    }
    points
}

fn cosines(ui: &mut Ui, cx: &mut Cx<'_>) {
    let points = whole(cx.data);
    if points.is_empty() {
        missing(ui, "cosine of the gradient to those before", "layers");
        return;
    }
    ui.label("Cosine of each step's gradient with the mean of the gradients before it (AdamW's first moment), whole encoder.");
    let below = points.iter().filter(|p| p[1] < 0.0).count();
    let share = below as f64 * 100.0 / points.len() as f64;
    ui.label(format!("{} steps, {} ({share:.0} %) below 0", thousands(points.len()), thousands(below)));
    let at = cx.state.at;
    ui.horizontal_top(|ui| {
        let wide = ui.available_width() * 0.66;
        ui.vertical(|ui| {
            ui.set_width(wide);
            over_steps("cosine", "cosine", 190.0).include_y(0.0).show(ui, |plot| {
                let of = |ps: &[[f64; 2]]| line(ps.iter().map(|p| p[0]), ps.iter().map(|p| p[1]));
                plot.line(Line::new("gradient cosine", of(&points)).color(tokens::COSINE).width(1.5));
                if let Some((name, other)) = cx.beside {
                    plot.line(Line::new(name, of(&whole(other))).color(tokens::NO_VALUE).width(1.5));
                }
                plot.hline(egui_plot::HLine::new("", 0.0).color(tokens::NO_VALUE));
                if let Some(at) = at {
                    plot.vline(VLine::new("step shown", f64::from(at)).color(tokens::NO_VALUE).width(2.0));
                }
            });
        });
        ui.vertical(|ui| {
            let mut counts = [0.0; BARS];
            points
                .iter()
                .for_each(|p| counts[((f64::midpoint(p[1], 1.0) * BARS as f64) as usize).min(BARS - 1)] += 1.0);
            let width = 2.0 / BARS as f64;
            let bars = counts.iter().enumerate();
            let bars = bars.map(|(i, n)| Bar::new((i as f64 + 0.5) * width - 1.0, *n).width(width * 0.9)).collect();
            let plot = Plot::new("histogram of cosines").height(190.0).allow_scroll(false).x_axis_label("cosine");
            plot.y_axis_label("steps").include_x(-0.2).show(ui, |plot| {
                plot.bar_chart(BarChart::new("steps", bars).color(tokens::COSINE));
                plot.vline(VLine::new("", 0.0).color(tokens::NO_VALUE));
            });
        });
    });
    by_layer(ui, cx);
}

/// Mean cosine by layer and module, over the stage that is shown.
fn by_layer(ui: &mut Ui, cx: &mut Cx<'_>) {
    let Some(stage) = cx.data.layers.last_trained() else { return };
    let start = cx.data.stage_starts()[stage as usize];
    let until = cx.state.until();
    let mut modules: Vec<String> = Vec::new();
    let mut rows: BTreeMap<crate::data::LayerKey, BTreeMap<String, f64>> = BTreeMap::new();
    for ((layer, module), series) in &cx.data.layers.stages[&stage] {
        let values = series.values(Measure::Momentum).iter().zip(&series.steps);
        let values = values.filter(|(v, s)| v.is_finite() && start + **s <= until).map(|(v, _)| f64::from(*v));
        let (n, sum) = values.fold((0, 0.0), |(n, sum), v| (n + 1, sum + v));
        if n > 0 && layer.1 != ALL {
            if !modules.contains(module) {
                modules.push(module.clone());
            }
            rows.entry(layer.clone()).or_default().insert(module.clone(), sum / f64::from(n));
        }
    }
    modules.sort();
    let names: Vec<String> = rows.keys().rev().map(|(_, l)| l.clone()).collect();
    let values: Vec<Vec<Option<f64>>> =
        rows.values().rev().map(|r| modules.iter().map(|m| r.get(m).copied()).collect()).collect();
    let far = values.iter().flatten().flatten().fold(0.0_f64, |a, v| a.max(v.abs()));
    ui.label(format!(
        "Mean cosine by layer (deepest at the top) and module, stage {}",
        cx.data.stages.name(u32::from(stage))
    ));
    let width = Heat::room(ui).min(90.0 * modules.len() as f32);
    let map = Heat {
        label: "Gradient cosine by layer and module",
        rows: &names,
        columns: &modules,
        values: &values,
        scale: Scale::Around(far),
        numbers: true,
        width,
    };
    map.show(ui);
}

/// The matrix of tasks.
fn pairs(ui: &mut Ui, cx: &mut Cx<'_>) {
    let places: Vec<Place> = cx.data.pairs.places().cloned().collect();
    let Some(first) = places.iter().find(|p| p.0.1 == ALL && p.1 == ALL).or(places.first()).cloned() else {
        missing(ui, "pair of samples (for the matrix of tasks)", "pairs");
        return;
    };
    let mut place = cx.state.local.conflict.place.clone().filter(|p| places.contains(p)).unwrap_or(first);
    let all: Vec<(Place, String)> =
        places.iter().map(|p| (p.clone(), format!("layer {}, {}, {}", p.0.1, p.1, p.2))).collect();
    if choose(ui, "Pairs of", &mut place, &all) {
        cx.state.local.conflict.place = Some(place.clone());
    }
    let (data, until) = (cx.data, cx.state.until().min(cx.data.last_step()));
    let starts = data.stage_starts();
    let wanted = |stage: u16, step: u32| starts[stage as usize] + step <= until;
    let key = (data.version, until, place.clone());
    let cells = cx.state.local.conflict.cells.get(key, || data.pairs.matrix(&place, wanted));
    let mut tasks: Vec<u32> = cells.keys().flat_map(|(a, b)| [*a, *b]).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let cell = |a: u32, b: u32| cells.get(&(a.min(b), a.max(b)));
    let names: Vec<String> = tasks.iter().map(|t| data.samples.tasks.name(*t).to_owned()).collect();
    let values: Vec<Vec<Option<f64>>> =
        tasks.iter().map(|a| tasks.iter().map(|b| cell(*a, *b)?.mean()).collect()).collect();
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
            let share = cell.conflicts as f64 * 100.0 / cell.pairs as f64;
            let mean = cell.mean().unwrap_or(f64::NAN);
            ui.label(format!(
                "{} and {}: {} pairs, mean {mean:.3}, {share:.0} % in conflict (95 % interval below 0)",
                names[row],
                names[column],
                thousands(cell.pairs as usize)
            ));
            if clicked {
                chosen = Some(Bits::of(cell.samples.iter().copied()));
            }
        }
        None => {
            ui.label("Point at a cell to read it.");
        }
    }
    if let Some(samples) = chosen {
        cx.state.selection.apply(&samples, Combine::of(ui.input(|i| i.modifiers)));
    }
    shares(ui, cx, &place.2, until);
}

/// Share of pairs in conflict by layer and module.
fn shares(ui: &mut Ui, cx: &mut Cx<'_>, space: &str, until: u32) {
    let data = cx.data;
    let starts = data.stage_starts();
    let wanted = |stage: u16, step: u32| starts[stage as usize] + step <= until;
    let key = (data.version, until, space.to_owned());
    let all = cx.state.local.conflict.by_place.get(key, || data.pairs.by_place(space, wanted));
    let mut modules: Vec<String> = all.iter().map(|(p, ..)| p.1.clone()).collect();
    modules.sort();
    modules.dedup();
    let mut layers: Vec<crate::data::LayerKey> = all.iter().map(|(p, ..)| p.0.clone()).collect();
    layers.dedup();
    layers.reverse();
    let share = |layer: &crate::data::LayerKey, module: &String| {
        all.iter().find(|(p, ..)| p.0 == *layer && p.1 == *module).map(|(_, _, share, _)| *share)
    };
    let values: Vec<Vec<Option<f64>>> = layers.iter().map(|l| modules.iter().map(|m| share(l, m)).collect()).collect();
    let names: Vec<String> = layers.iter().map(|(_, l)| l.clone()).collect();
    ui.label(format!("Share of pairs in conflict by layer and module ({space})"));
    Heat {
        label: "Conflicting pairs by layer and module",
        rows: &names,
        columns: &modules,
        values: &values,
        scale: Scale::From(0.0, values.iter().flatten().flatten().copied().fold(0.0, f64::max)),
        numbers: true,
        width: Heat::room(ui).min(90.0 * modules.len() as f32),
    }
    .show(ui);
}
