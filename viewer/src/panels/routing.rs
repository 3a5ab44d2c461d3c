//! Routing: tasks by experts, load and entropy over steps, one sample's way through the layers, likeness of contexts.

use super::heat::{Heat, Scale};
use super::plots::{across, choose, line, over_steps, up};
use super::{Cx, card, thousands};
use crate::core::bits::Bits;
use crate::core::memo::Memo;
use crate::core::routes::{by_step, by_task, late, similarity};
use crate::core::scatter::category;
use crate::core::selection::Combine;
use crate::data::LayerKey;
use crate::tokens;
use covft_analyses::analysis::{RoutingContext, RoutingSums};
use covft_analyses::stats::{Interval, Undefined};
use egui::{ScrollArea, Ui};
use egui_plot::{Line, LineStyle, Plot, Points};
use std::collections::BTreeMap;

/// Width of an expert's column.
const CELL: f32 = 72.0;
/// Pairs of samples whose likeness is shown.
const PAIRS: usize = 2000;

/// Records, step, selection if only that counts.
type MapKey = (u64, u32, Option<u64>);

/// The stage and steps that the maps are over, and the sums by layer and task.
type Maps = (Option<(u16, (u64, u64))>, Vec<(LayerKey, BTreeMap<String, RoutingSums>)>);

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    layer: Option<String>,
    only_selected: bool,
    maps: Memo<MapKey, Maps>,
    steps: Memo<(u64, LayerKey), BTreeMap<u32, RoutingSums>>,
    like: Memo<(u64, u32, LayerKey), Option<RoutingContext>>,
    way: Memo<(u64, u32, u32), Vec<(String, Vec<f32>)>>,
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    if cx.data.routing.is_empty() {
        super::missing(ui, cx.data, "routing", "routing");
        return;
    }
    let layers: Vec<LayerKey> = cx.data.routing.keys().cloned().collect();
    let named = |l: &&LayerKey| Some(&l.1) == cx.state.local.routing.layer.as_ref();
    let Some(layer) = layers.iter().find(named).or(layers.last()).cloned() else { return };
    ui.horizontal_wrapped(|ui| {
        let mut now = layer.1.clone();
        let all: Vec<(String, String)> = layers.iter().map(|l| (l.1.clone(), l.1.clone())).collect();
        if choose(ui, "Layer of the lines", &mut now, &all) {
            cx.state.local.routing.layer = Some(now);
        }
        ui.checkbox(&mut cx.state.local.routing.only_selected, "Only selected samples");
        if let Some(at) = cx.state.at {
            ui.label(format!("up to step {at}"));
        }
    });
    ScrollArea::vertical().id_salt("routing").auto_shrink(false).show(ui, |ui| {
        maps(ui, cx);
        ui.separator();
        lines(ui, cx, &layer);
        ui.separator();
        way(ui, cx);
        ui.separator();
        alike(ui, cx, &layer);
    });
}

/// Mean weight by task and expert, one map a layer.
fn maps(ui: &mut Ui, cx: &mut Cx<'_>) {
    let until = cx.state.until();
    let only = cx.state.local.routing.only_selected.then(|| cx.state.selection.now().clone());
    let key = (cx.data.version, until.min(cx.data.last_step()), only.as_ref().map(|_| cx.state.selection.changes()));
    let data = cx.data;
    let make = || {
        let sums = data.routing.iter().map(|(l, r)| (l.clone(), by_task(data, r, until, only.as_ref())));
        (data.routing.values().find_map(|r| late(data, r, until)), sums.collect())
    };
    let (steps, all): &Maps = cx.state.local.routing.maps.get(key, make);
    let over = steps.map_or_else(String::new, |(stage, (from, to))| {
        format!(" over steps {from} to {to} of stage {}", data.stages.name(u32::from(stage)))
    });
    ui.label(format!(
        "Mean weight of each expert (columns) for the samples of each task{over}. Click a cell to select the samples of the \
         task that go to the expert."
    ));
    let mut chosen = None;
    for (layer, tasks) in all {
        let experts = data.routing[layer].experts;
        let names: Vec<String> = tasks.keys().cloned().collect();
        let values: Vec<Vec<Option<f64>>> =
            tasks.values().map(|t| (0..experts).map(|e| t.gate_mass().get(e).copied()).collect()).collect();
        let high = values.iter().flatten().flatten().copied().fold(0.0, f64::max);
        let columns: Vec<String> = (0..experts).map(|e| format!("expert {e}")).collect();
        ui.strong(format!("Layer {}", layer.1));
        let label = format!("Routing of layer {}", layer.1);
        let width = (CELL * experts as f32).min(Heat::room(ui));
        let map = Heat {
            label: &label,
            rows: &names,
            columns: &columns,
            values: &values,
            scale: Scale::From(0.0, high),
            numbers: true,
            width,
        };
        if let Some((row, expert, true)) = map.show(ui) {
            chosen = Some((layer.clone(), names[row].clone(), expert));
        }
    }
    if let Some((layer, task, expert)) = chosen {
        let routing = &data.routing[&layer];
        let starts = data.stage_starts();
        // The latest row of each sample decides.
        let mut last: BTreeMap<u32, usize> = BTreeMap::new();
        let rows = &routing.rows;
        for i in (0..rows.len()).filter(|i| starts[rows.stage[*i] as usize] + rows.step[*i] <= until) {
            last.insert(rows.sample[i], i);
        }
        let goes = |(s, i): &(&u32, &usize)| routing.expert(**i) == expert && data.samples.task(**s) == task;
        let samples = Bits::of(last.iter().filter(goes).map(|(s, _)| *s));
        cx.tools.say(format!("{} samples of {task} go to expert {expert} in layer {}", samples.len(), layer.1));
        cx.state.selection.apply(&samples, Combine::of(ui.input(|i| i.modifiers)));
    }
}

/// Gate mass, load and entropy over steps.
fn lines(ui: &mut Ui, cx: &mut Cx<'_>, layer: &LayerKey) {
    let Some(routing) = cx.data.routing.get(layer) else { return };
    let data = cx.data;
    let steps = cx.state.local.routing.steps.get((data.version, layer.clone()), || by_step(data, routing));
    let at = cx.state.at;
    let over = |of: &dyn Fn(&RoutingSums) -> f64| line(steps.keys().map(|s| f64::from(*s)), steps.values().map(of));
    // A step whose rows are all not finite has no experts.
    let of = |all: &[f64], expert: usize| all.get(expert).copied().unwrap_or(f64::NAN);
    ui.label(format!("Layer {}: gate mass (full lines) and share of samples (dashed) by expert", layer.1));
    over_steps("gate mass and load", "share", 190.0).show(ui, |plot| {
        for expert in 0..routing.experts {
            let color = tokens::rgb(category(expert));
            plot.line(
                Line::new(format!("expert {expert}"), over(&|s| of(&s.gate_mass(), expert))).color(color).width(2.0),
            );
            let load = Line::new(format!("expert {expert}, load"), over(&|s| of(&s.hard_load(), expert)));
            plot.line(load.color(color).style(LineStyle::dashed_dense()).width(1.0));
        }
        mark(plot, at);
    });
    let most = (routing.experts as f64).ln();
    ui.label(format!("Layer {}: mean entropy of the routing weights; even routing has {most:.3} nats", layer.1));
    over_steps("entropy", "nats", 130.0).show(ui, |plot| {
        plot.line(Line::new("entropy", over(&RoutingSums::entropy)).color(tokens::SMOOTH).width(2.0));
        mark(plot, at);
    });
}

fn mark(plot: &mut egui_plot::PlotUi<'_>, at: Option<u32>) {
    if let Some(at) = at {
        plot.vline(egui_plot::VLine::new("step shown", f64::from(at)).color(tokens::NO_VALUE).width(2.0));
    }
}

/// One sample's way through the layers.
fn way(ui: &mut Ui, cx: &mut Cx<'_>) {
    let Some(sample) = cx.state.focus.or_else(|| cx.state.selection.now().iter().next()) else {
        ui.label("Click a sample to see its way through the layers.");
        return;
    };
    let (data, until) = (cx.data, cx.state.until());
    let way = cx.state.local.routing.way.get((data.version, until, sample), || card::path(data, sample, until));
    ui.label(format!("The way of {} through the layers", data.samples.title(sample)));
    if way.is_empty() {
        ui.label("It was not routed up to this step.");
        return;
    }
    let names: Vec<String> = way.iter().map(|(l, _)| format!("layer {l}")).collect();
    let values: Vec<Vec<Option<f64>>> =
        way.iter().map(|(_, w)| w.iter().map(|v| Some(f64::from(*v))).collect()).collect();
    let experts = values.iter().map(Vec::len).max().unwrap_or(0);
    let columns: Vec<String> = (0..experts).map(|e| format!("expert {e}")).collect();
    Heat {
        label: "Routing of the sample by layer",
        rows: &names,
        columns: &columns,
        values: &values,
        scale: Scale::From(0.0, 1.0),
        numbers: true,
        width: (CELL * experts as f32).min(Heat::room(ui)),
    }
    .show(ui);
}

/// Routing similarity against context similarity.
fn alike(ui: &mut Ui, cx: &mut Cx<'_>, layer: &LayerKey) {
    if !cx.data.contexts.contains_key(layer) {
        super::missing(ui, cx.data, "contexts in this layer", "contexts");
        return;
    }
    let data = cx.data;
    let until = cx.state.until().min(data.last_step());
    let key = (data.version, until, layer.clone());
    let like = cx.state.local.routing.like.get(key, || similarity(data, layer, until, PAIRS));
    let Some(like) = like else {
        ui.label("No pair of samples was recorded with both context and routing yet.");
        return;
    };
    let words = |name: &str, r: Result<Interval, Undefined>| match r.map(|r| (r.estimate, r.ends)) {
        Ok((r, Ok((low, high)))) => format!("{name} r = {r:.2} (95 % interval {low:.2} to {high:.2})"),
        Ok((r, Err(why))) => format!("{name} r = {r:.2} (no interval: {why})"),
        Err(why) => format!("{name} r is not defined ({why})"),
    };
    ui.label(format!(
        "Layer {}: likeness of routing against likeness of contexts, {} pairs of {} samples; {}; {}; {}",
        layer.1,
        thousands(like.pairs.len()),
        thousands(like.samples),
        words("all pairs", like.r),
        words("within a task", like.within_tasks),
        words("between tasks", like.between_tasks)
    ));
    let plot = Plot::new("likeness").height(220.0).allow_scroll(false);
    plot.custom_x_axes(vec![across("cosine of contexts")]).custom_y_axes(vec![up("cosine of routing")]).show(
        ui,
        |plot| {
            let points: Vec<[f64; 2]> = like.pairs.iter().map(|p| [p.context, p.routing]).collect();
            plot.points(Points::new("pairs", points).radius(1.5).color(tokens::SMOOTH).allow_hover(false));
        },
    );
}
