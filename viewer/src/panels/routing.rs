//! Routing: tasks by experts, load and entropy over steps, one sample's way through the layers, likeness of contexts.

use super::figures::Request;
use super::filter::Filter;
use super::heat::{Heat, Scale};
use super::plots::{Ink, across, choose, curve, line, named, over_steps, up};
use super::{Cx, card, thousands};
use crate::core::bits::Bits;
use crate::core::classes::Look;
use crate::core::memo::Memo;
use crate::core::routes::{Range, by_step, by_task, similarity};
use crate::core::selection::Combine;
use crate::data::LayerKey;
use crate::tokens;
use covft_analyses::analysis::{NamedSelection, RoutingContext, RoutingSums};
use covft_analyses::figures::FigureId;
use covft_analyses::stats::{Interval, NotFinite, Undefined};
use egui::{Color32, ScrollArea, Ui};
use egui_plot::{LineStyle, Points};
use std::collections::{BTreeMap, BTreeSet};

/// Width of an expert's column.
const CELL: f32 = 72.0;
/// Pairs of samples whose likeness is shown.
const PAIRS: usize = 2000;

/// Records, steps, selection if only that counts.
type MapKey = (u64, Option<Range>, Option<u64>);

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    layer: Option<String>,
    only_selected: bool,
    /// Whether the maps are over the whole stage in place of its later half.
    whole: bool,
    filter: Filter,
    range: Memo<(u64, u32, bool), Option<Range>>,
    maps: Memo<MapKey, Vec<(LayerKey, BTreeMap<String, RoutingSums>)>>,
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
    let Some(layer) = layer(cx) else { return };
    ui.horizontal_wrapped(|ui| {
        let mut now = layer.1.clone();
        let all: Vec<(String, String)> = layers.iter().map(|l| (l.1.clone(), l.1.clone())).collect();
        if choose(ui, "Layer of the lines", &mut now, &all) {
            cx.state.local.routing.layer = Some(now);
        }
        ui.checkbox(&mut cx.state.local.routing.only_selected, "Only selected samples");
        let all = [(false, "later half of the stage"), (true, "whole stage")].map(|(w, name)| (w, name.to_owned()));
        choose(ui, "Steps of the maps", &mut cx.state.local.routing.whole, &all);
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

/// The figures of what is shown.
pub(crate) fn paper(cx: &Cx<'_>) -> Vec<Request> {
    let of = |id: FigureId| {
        let mut figure = Request::new(cx, id)?;
        let range = cx.state.local.routing.range.held().and_then(Option::as_ref)?;
        figure.options.stage = Some(cx.data.stages.name(u32::from(range.stage)).to_owned());
        if id != FigureId::ExpertLoad {
            figure.options.steps = Some(range.steps);
        }
        match id {
            FigureId::RoutingByTask => {
                let samples = &cx.data.samples;
                let chosen = cx.state.selection.now().iter().map(|s| (samples.place(s), samples.id(s)));
                let only = cx.state.local.routing.only_selected;
                figure.options.samples = only.then(|| NamedSelection::new("selection", chosen));
            }
            FigureId::RoutingContext => {
                figure.options.layer = layer(cx).map(|l| l.1);
                figure.but("The figure draws more pairs than the view.");
            }
            _ => {
                figure.options.layer = layer(cx).map(|l| l.1);
                figure.but("The view shows the lines over all stages; the figure over one, in stretches of steps.");
                figure.but("The figure has the colours and dashes of lines; the view those that the experts have in its other views.");
            }
        }
        Some(figure)
    };
    let ids = [FigureId::RoutingByTask, FigureId::RoutingContext, FigureId::ExpertLoad];
    ids.into_iter().filter_map(of).collect()
}

/// The layer of the lines: the one that is chosen, or the deepest.
fn layer(cx: &Cx<'_>) -> Option<LayerKey> {
    let named = |l: &&LayerKey| Some(&l.1) == cx.state.local.routing.layer.as_ref();
    cx.data.routing.keys().find(named).or(cx.data.routing.keys().next_back()).cloned()
}

/// Mean weight by task and expert, one map a layer.
fn maps(ui: &mut Ui, cx: &mut Cx<'_>) {
    let data = cx.data;
    let Some(range) = range(cx) else {
        ui.label("Nothing was routed up to this step.");
        return;
    };
    let only = cx.state.local.routing.only_selected.then(|| cx.state.selection.now().clone());
    let key = (data.version, Some(range.clone()), only.as_ref().map(|_| cx.state.selection.changes()));
    let mut filter = cx.state.local.routing.filter.clone();
    let make = || data.routing.iter().map(|(l, r)| (l.clone(), by_task(data, r, &range, only.as_ref()))).collect();
    let all: &Vec<(LayerKey, BTreeMap<String, RoutingSums>)> = cx.state.local.routing.maps.get(key, make);
    ui.label(format!(
        "Mean weight of each expert (columns) for the samples of each task, stage {}, steps {} to {}. Click a cell to select \
         the samples of the task that go to the expert.",
        data.stages.name(u32::from(range.stage)),
        range.steps.0,
        range.steps.1
    ));
    left_out(ui, all);
    let names: BTreeSet<&String> = all.iter().flat_map(|(_, tasks)| tasks.keys()).collect();
    let left = names.iter().filter(|name| filter.has(name)).count();
    filter.show(ui, "tasks", left, names.len());
    let mut chosen = None;
    for (layer, tasks) in all {
        let experts = data.routing[layer].experts;
        let tasks: Vec<(&String, &RoutingSums)> = tasks.iter().filter(|(task, _)| filter.has(task)).collect();
        let names: Vec<String> = tasks.iter().map(|(task, _)| (*task).clone()).collect();
        let values: Vec<Vec<Option<f64>>> = tasks.iter().map(|(_, sums)| masses(sums, experts)).collect();
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
    cx.state.local.routing.filter = filter;
    if let Some((layer, task, expert)) = chosen {
        let routing = &data.routing[&layer];
        // The latest row of each sample decides.
        let mut last: BTreeMap<u32, usize> = BTreeMap::new();
        let rows = &routing.rows;
        for i in (0..rows.len()).filter(|i| range.has(rows.stage[*i], rows.step[*i])) {
            last.insert(rows.sample[i], i);
        }
        let goes =
            |(s, i): &(&u32, &usize)| routing.expert(**i) == Some(expert as u16) && data.samples.task(**s) == task;
        let samples = Bits::of(last.iter().filter(goes).map(|(s, _)| *s));
        cx.tools.say(format!("{} samples of {task} go to expert {expert} in layer {}", samples.len(), layer.1));
        cx.state.selection.apply(&samples, Combine::of(ui.input(|i| i.modifiers)));
    }
}

/// The steps that the maps are over.
fn range(cx: &mut Cx<'_>) -> Option<Range> {
    let (data, until) = (cx.data, cx.state.until().min(cx.data.last_step()));
    let whole = cx.state.local.routing.whole;
    cx.state.local.routing.range.get((data.version, until, whole), || Range::new(data, until, whole)).clone()
}

/// Mean weight of each expert; nothing where all rows are left out.
fn masses(sums: &RoutingSums, experts: usize) -> Vec<Option<f64>> {
    if sums.rows == 0 { vec![None; experts] } else { sums.gate_mass().into_iter().map(Some).collect() }
}

/// Rows that are in no mean, counted.
fn left_out(ui: &mut Ui, all: &[(LayerKey, BTreeMap<String, RoutingSums>)]) {
    let mut left = NotFinite::default();
    all.iter().flat_map(|(_, tasks)| tasks.values()).for_each(|sums| left.add(sums.not_finite));
    if let Some(words) = left.words("routing row", "routing rows") {
        ui.colored_label(ui.visuals().warn_fg_color, words);
    }
}

/// Gate mass, load and entropy over steps.
fn lines(ui: &mut Ui, cx: &mut Cx<'_>, layer: &LayerKey) {
    let Some(routing) = cx.data.routing.get(layer) else { return };
    let data = cx.data;
    let looks = cx.state.expert_looks(data);
    let steps = cx.state.local.routing.steps.get((data.version, layer.clone()), || by_step(data, routing));
    let at = cx.state.at;
    let over = |of: &dyn Fn(&RoutingSums) -> f64| line(steps.keys().map(|s| f64::from(*s)), steps.values().map(of));
    // A step whose rows are all not finite has no experts.
    let of =
        |all: &[f64], experts: &[usize]| experts.iter().map(|e| all.get(*e).copied().unwrap_or(f64::NAN)).sum::<f64>();
    // Those without a look of their own are one line.
    let look = |e: &usize| looks.get(&layer.1).and_then(|l| l.get(*e)).copied().unwrap_or(Look::Others);
    let (others, own): (Vec<usize>, Vec<usize>) = (0..routing.experts).partition(|e| look(e) == Look::Others);
    let mut drawn: Vec<(String, Vec<usize>, Color32)> =
        own.iter().map(|e| (format!("expert {e}"), vec![*e], look(e).color(ui))).collect();
    if !others.is_empty() {
        drawn.push((format!("others ({} experts)", others.len()), others, Look::Others.color(ui)));
    }
    ui.label(format!("Layer {}: gate mass (full lines) and share of samples (dashed) by expert", layer.1));
    over_steps("gate mass and load", "share", 190.0).show(ui, |plot| {
        for (name, experts, color) in &drawn {
            curve(plot, name, &over(&|s| of(&s.gate_mass(), experts)), Ink::full(*color, 2.0));
            let ink = Ink { color: *color, width: 1.0, style: LineStyle::dashed_dense() };
            curve(plot, &format!("{name}, load"), &over(&|s| of(&s.hard_load(), experts)), ink);
        }
        mark(plot, at);
    });
    let most = (routing.experts as f64).ln();
    ui.label(format!("Layer {}: mean entropy of the routing weights; even routing has {most:.3} nats", layer.1));
    over_steps("entropy", "nats", 130.0).show(ui, |plot| {
        curve(plot, "entropy", &over(&RoutingSums::entropy), Ink::full(tokens::SMOOTH, 2.0));
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
    if let Some(words) = like.as_ref().and_then(|like| like.left_out.words()) {
        ui.colored_label(ui.visuals().warn_fg_color, words);
    }
    let Some(like) = like.as_ref().filter(|like| !like.pairs.is_empty()) else {
        ui.label("No pair of samples has both a context and routing weights that can be compared.");
        return;
    };
    let words = |name: &str, r: Result<Interval, Undefined>| match r {
        Ok(Interval { estimate, ends: Ok((low, high)) }) => {
            format!("{name} r = {estimate:.2} (95 % interval {low:.2} to {high:.2})")
        }
        Ok(Interval { estimate, ends: Err(why) }) => format!("{name} r = {estimate:.2} (no interval: {why})"),
        Err(why) => format!("{name} r is not defined: {why}"),
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
    let plot = named("likeness").height(220.0).allow_scroll(false);
    plot.custom_x_axes(vec![across("cosine of contexts")]).custom_y_axes(vec![up("cosine of routing")]).show(
        ui,
        |plot| {
            let points: Vec<[f64; 2]> = like.pairs.iter().map(|p| [p.context, p.routing]).collect();
            plot.points(Points::new("pairs", points).radius(1.5).color(tokens::SMOOTH).allow_hover(false));
        },
    );
}
