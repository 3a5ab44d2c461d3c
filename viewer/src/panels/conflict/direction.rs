//! Cosine of every step's gradient with a dominant direction, computed behind the window from the records.

use super::super::figures::Request;
use super::super::heat::{Heat, Scale};
use super::super::plots::{Ink, across, choose, curve, line, named, over_steps, up};
use super::super::{Cx, missing, thousands};
use crate::data::Measure;
use crate::jobs::Work;
use crate::tokens;
use covft_analyses::direction::{Definition, Series, directions};
use covft_analyses::figures::FigureId;
use covft_analyses::store::{ALL, GradientRow, Record, RunDir};
use egui::{Spinner, Ui};
use egui_plot::{Bar, BarChart, HLine, Line, LineStyle, Points, VLine};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bars of the histogram over -1..1.
const BARS: usize = 40;
/// Names of what gradients are over.
const SPACES: [&str; 2] = ["trainable", "shared"];
/// A live run is computed again after this many times what it took, and no sooner than [`SOONEST`].
const PATIENCE: u32 = 10;
const SOONEST: Duration = Duration::from_secs(2);

/// What is computed: the runs by name, the definition, the space.
type Asked = (Vec<(String, PathBuf)>, Definition, &'static str);

/// Name of a run and its series, or why there are none.
type Named = (String, Result<Vec<Series>, String>);

#[derive(Debug)]
struct Found {
    asked: Asked,
    runs: Vec<Named>,
    took: Duration,
    done: Instant,
}

/// What the section keeps.
#[derive(Debug, Default)]
pub(super) struct Keep {
    /// The mean where the steps' gradients were sketched, else the first moment, unless one is chosen.
    definition: Option<Definition>,
    space: usize,
    layer: Option<String>,
    work: Work<Found>,
    found: Option<Found>,
    /// Records when the last computation began.
    version: u64,
}

/// The figure of what is shown.
pub(super) fn paper(cx: &Cx<'_>) -> Option<Request> {
    let keep = &cx.state.local.conflict.direction;
    let mut figure = Request::new(cx, FigureId::GradientCosine)?;
    figure.options.direction = Some(keep.definition(cx).name().to_owned());
    if keep.definition(cx) != Definition::Momentum {
        SPACES[keep.space].clone_into(&mut figure.options.space);
    }
    figure.options.layer = keep.layer.clone().filter(|layer| layer != ALL);
    figure.but("The figure has no mean cosines by layer and module.");
    Some(figure)
}

impl Keep {
    /// The definition that is chosen, or the usual one.
    fn definition(&self, cx: &Cx<'_>) -> Definition {
        let sketched = |run: &PathBuf| run.join("records").join(GradientRow::STREAM).is_dir();
        let usual = || {
            if cx.state.run.as_ref().is_some_and(sketched) { Definition::Mean } else { Definition::Momentum }
        };
        self.definition.unwrap_or_else(usual)
    }
}

/// What a definition is called.
fn words(definition: Definition) -> &'static str {
    match definition {
        Definition::Mean => "mean of the other steps' unit gradients",
        Definition::MeanRaw => "sum of all gradients",
        Definition::Svd => "top right singular vector",
        Definition::Momentum => "AdamW's first moment of the steps before",
    }
}

fn compute(asked: Asked) -> Found {
    let begun = Instant::now();
    let one = |(name, path): &(String, PathBuf)| {
        let run = RunDir::open(path.clone()).map_err(|e| e.to_string());
        (name.clone(), run.and_then(|run| directions(&run, asked.1, None, asked.2).map_err(|e| e.to_string())))
    };
    let runs = asked.0.iter().map(one).collect();
    Found { runs, asked, took: begun.elapsed(), done: Instant::now() }
}

/// Begins what is out of date and takes in what is ready.
fn refresh(ui: &Ui, cx: &mut Cx<'_>, definition: Definition) {
    let Some(run) = cx.state.run.clone() else { return };
    let beside = cx.beside.as_ref().map(|(name, path, _)| ((*name).to_owned(), path.to_path_buf()));
    let runs = std::iter::once(("this run".to_owned(), run)).chain(beside).collect();
    let version = cx.data.version;
    let keep = &mut cx.state.local.conflict.direction;
    if let Some(found) = keep.work.poll() {
        keep.found = Some(found);
    }
    let asked: Asked = (runs, definition, SPACES[keep.space]);
    let known = keep.found.as_ref().filter(|f| f.asked == asked);
    let due = match known {
        None => true,
        Some(_) if keep.version == version => false,
        Some(found) => {
            let wait = (found.took * PATIENCE).max(SOONEST).saturating_sub(found.done.elapsed());
            ui.ctx().request_repaint_after(wait);
            wait.is_zero()
        }
    };
    if due && (!keep.work.busy() || known.is_none() && keep.version != version) {
        keep.version = version;
        keep.work.start(&cx.tools.spawner, move |_| Some(compute(asked)));
        if let Some(found) = keep.work.poll() {
            keep.found = Some(found);
        }
    }
}

pub(super) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    directions_of(ui, cx);
    by_module(ui, cx);
}

fn directions_of(ui: &mut Ui, cx: &mut Cx<'_>) {
    let mut definition = cx.state.local.conflict.direction.definition(cx);
    ui.horizontal_wrapped(|ui| {
        let all = Definition::ALL.map(|d| (d, words(d).to_owned()));
        if choose(ui, "Cosine of each step's gradient with the", &mut definition, &all) {
            cx.state.local.conflict.direction.definition = Some(definition);
        }
        if definition != Definition::Momentum {
            let all = [0, 1].map(|i| (i, SPACES[i].to_owned()));
            choose(ui, "over parameters that are", &mut cx.state.local.conflict.direction.space, &all);
        }
    });
    refresh(ui, cx, definition);
    let keep = &mut cx.state.local.conflict.direction;
    let Some(found) = keep.found.as_ref().filter(|f| f.asked.1 == definition && f.asked.2 == SPACES[keep.space]) else {
        ui.horizontal(|ui| {
            ui.add(Spinner::new());
            ui.label("Computing the directions");
        });
        return;
    };
    for (name, runs) in &found.runs {
        if let Err(error) = runs {
            ui.colored_label(ui.visuals().error_fg_color, format!("{name}: {error}"));
        }
    }
    let all: Vec<(&str, &[Series])> =
        found.runs.iter().map(|(name, s)| (name.as_str(), s.as_deref().unwrap_or_default())).collect();
    if all.first().is_none_or(|(_, series)| series.is_empty()) {
        if definition == Definition::Momentum {
            missing(ui, cx.data, "cosine of the gradient to those before", "layers");
        } else {
            missing(
                ui,
                cx.data,
                &format!("sketches of the steps' gradients over {} parameters", SPACES[keep.space]),
                "gradients",
            );
        }
        return;
    }
    let layers: Vec<String> = all[0].1.iter().map(|s| s.layer.clone()).collect();
    let mut layer = keep.layer.clone().filter(|l| layers.contains(l)).unwrap_or_else(|| ALL.to_owned());
    ui.horizontal(|ui| {
        if choose(ui, "Layer", &mut layer, &layers.iter().map(|l| (l.clone(), l.clone())).collect::<Vec<_>>()) {
            keep.layer = Some(layer.clone());
        }
    });
    let chosen: Vec<(&str, &Series)> =
        all.iter().filter_map(|(name, s)| Some((*name, s.iter().find(|s| s.layer == layer)?))).collect();
    chosen.iter().for_each(|(name, series)| {
        ui.label(summary(name, series));
    });
    let starts: BTreeMap<String, f64> = {
        let stages = cx.data.stages.list().into_iter();
        stages.zip(cx.data.stage_starts().into_iter().map(f64::from)).collect()
    };
    over_time(ui, &chosen, &starts, cx.state.at);
    by_depth(ui, &all);
}

fn summary(name: &str, series: &Series) -> String {
    let Some(s) = series.summary() else { return format!("{name}: no step has a cosine") };
    let below = series.below_zero().unwrap_or(0.0) * 100.0;
    let sketches = if series.mean_error > 0.0 {
        format!(" (standard error of the sketches {:.4})", series.mean_error)
    } else {
        String::new()
    };
    let null = series.null.map_or_else(String::new, |n| {
        format!("; with random signs it would be {:.3} \u{b1} {:.3}", n.mean, n.deviation)
    });
    let skipped = match series.skipped.len() {
        0 => String::new(),
        n => format!("; {n} steps without a gradient left out"),
    };
    format!(
        "{name}, stage {}: {} steps, mean {:.3} \u{b1} {:.3} over steps{sketches}, {below:.0} % below 0{null}{skipped}",
        series.stage,
        thousands(series.t()),
        s.mean,
        s.deviation
    )
}

fn over_time(ui: &mut Ui, chosen: &[(&str, &Series)], starts: &BTreeMap<String, f64>, at: Option<u32>) {
    ui.horizontal_top(|ui| {
        let wide = ui.available_width() * 0.66;
        ui.vertical(|ui| {
            ui.set_width(wide);
            over_steps("cosine", "cosine", 190.0).include_y(0.0).show(ui, |plot| {
                for (i, (name, series)) in chosen.iter().enumerate() {
                    let start = starts.get(&series.stage).copied().unwrap_or(0.0);
                    let points = line(series.steps.iter().map(|s| start + *s as f64), series.cosines.iter().copied());
                    let color = if i == 0 { tokens::COSINE } else { tokens::NO_VALUE };
                    curve(plot, name, &points, Ink::full(color, 1.5));
                }
                plot.hline(HLine::new("", 0.0).color(tokens::NO_VALUE));
                if let Some(at) = at {
                    plot.vline(VLine::new("step shown", f64::from(at)).color(tokens::NO_VALUE).width(2.0));
                }
            });
        });
        ui.vertical(|ui| {
            let width = 2.0 / BARS as f64;
            let plot = named("histogram of cosines").height(190.0).allow_scroll(false);
            plot.custom_x_axes(vec![across("cosine")]).custom_y_axes(vec![up("steps")]).include_x(-0.2).show(
                ui,
                |plot| {
                    if let Some((_, series)) = chosen.first() {
                        let bars = series.histogram(BARS).into_iter().enumerate();
                        let bar = |(i, n): (usize, u64)| {
                            Bar::new((i as f64 + 0.5) * width - 1.0, n as f64).width(width * 0.9)
                        };
                        plot.bar_chart(BarChart::new("steps", bars.map(bar).collect()).color(tokens::COSINE));
                    }
                    plot.vline(VLine::new("", 0.0).color(tokens::NO_VALUE));
                },
            );
        });
    });
}

/// Mean cosine by depth, and what random signs would give.
fn by_depth(ui: &mut Ui, all: &[(&str, &[Series])]) {
    let has_depth = all.iter().any(|(_, series)| series.iter().filter(|s| s.depth.is_some()).count() > 1);
    if !has_depth {
        return;
    }
    ui.label("Mean cosine by layer (-1: the embeddings; the last: the final norm); dashed: with random signs");
    let plot = named("cosine by layer").height(160.0).allow_scroll(false);
    plot.custom_x_axes(vec![across("layer")])
        .custom_y_axes(vec![up("cosine")])
        .legend(egui_plot::Legend::default())
        .include_y(0.0)
        .show(ui, |plot| {
            for (i, (name, series)) in all.iter().enumerate() {
                let color = if i == 0 { tokens::COSINE } else { tokens::NO_VALUE };
                let at = |of: &dyn Fn(&Series) -> Option<f64>| -> Vec<[f64; 2]> {
                    series.iter().filter_map(|s| Some([f64::from(s.depth?), of(s)?])).collect()
                };
                let means = at(&|s| s.summary().map(|s| s.mean));
                plot.line(Line::new(*name, means.clone()).color(color).width(1.5));
                plot.points(Points::new(*name, means).color(color).radius(3.0));
                let null = Line::new(format!("{name}, random signs"), at(&|s| s.null.map(|n| n.mean)));
                plot.line(null.color(color).width(1.0).style(LineStyle::dashed_dense()));
            }
        });
}

/// Mean cosine by layer and module, over the stage that is shown.
fn by_module(ui: &mut Ui, cx: &mut Cx<'_>) {
    let Some(stage) = cx.data.layers.last_trained() else { return };
    let start = cx.data.stage_starts()[stage as usize];
    let until = cx.state.until();
    let mut modules: Vec<String> = Vec::new();
    let mut rows: BTreeMap<crate::data::LayerKey, BTreeMap<String, f64>> = BTreeMap::new();
    for ((layer, module), series) in &cx.data.layers.stages[&stage] {
        let values = series.values(Measure::Momentum).iter().zip(&series.steps);
        let values = values.filter(|(_, s)| start + **s <= until).filter_map(|(v, _)| v.map(f64::from));
        let values = values.filter(|v| v.is_finite());
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
    if rows.is_empty() {
        return;
    }
    let values: Vec<Vec<Option<f64>>> =
        rows.values().rev().map(|r| modules.iter().map(|m| r.get(m).copied()).collect()).collect();
    let far = values.iter().flatten().flatten().fold(0.0_f64, |a, v| a.max(v.abs()));
    ui.label(format!(
        "Mean cosine with AdamW's first moment by layer (deepest at the top) and module, stage {}",
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
