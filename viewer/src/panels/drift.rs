//! How far each layer of the vision encoder went, alone or beside another run.

use super::figures::Request;
use super::heat::{Heat, Scale};
use super::plots::{Ink, choose, curve, line, over_steps};
use super::{Beside, Cx, distances, missing};
use crate::core::classes::Look;
use crate::data::{LayerKey, Measure, RunData};
use crate::tokens;
use covft_analyses::figures::looks::Looks;
use covft_analyses::figures::{self, FigureId};
use covft_analyses::stats::NotFinite;
use covft_analyses::store::ALL;
use egui::{Color32, ScrollArea, Ui};
use egui_plot::{LineStyle, VLine};
use std::collections::{BTreeMap, BTreeSet};

/// Columns drawn at most; each shows its last step.
const COLUMNS: usize = 240;

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    stage: Option<u16>,
    measure: Measure,
    layer: Option<String>,
}

#[cfg(test)]
impl Keep {
    /// With a measure chosen.
    pub(crate) fn measuring(measure: Measure) -> Self {
        Self { measure, ..Self::default() }
    }
}

/// A map of layers (deepest first) by steps of the stage.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Map {
    pub layers: Vec<LayerKey>,
    pub steps: Vec<u32>,
    pub values: Vec<Vec<Option<f64>>>,
}

impl Map {
    /// `stage` by name, up to `until` steps of the stage.
    pub(crate) fn new(data: &RunData, stage: &str, measure: Measure, until: u32) -> Self {
        let number = data.stages.find(stage).map(|s| s as u16);
        let Some(layers) = number.and_then(|s| data.layers.stages.get(&s)) else { return Self::default() };
        let wanted = layers.iter().filter(|((layer, module), _)| layer.1 != ALL && module == ALL);
        let row = |series: &crate::data::Series| {
            let values = series.steps.iter().copied().zip(series.values(measure)).filter(|(s, _)| *s <= until);
            values.filter_map(|(s, v)| Some((s, (*v)?))).collect()
        };
        let layers: Vec<_> = wanted.map(|((layer, _), series)| (layer.clone(), row(series))).collect();
        Self::of(&layers)
    }

    /// Of each layer's numbers by step; many steps are thinned to [`COLUMNS`].
    pub(crate) fn of(layers: &[(LayerKey, BTreeMap<u32, f32>)]) -> Self {
        let steps: BTreeSet<u32> = layers.iter().flat_map(|(_, row)| row.keys().copied()).collect();
        let steps: Vec<u32> = steps.into_iter().collect();
        let every = steps.len().div_ceil(COLUMNS).max(1);
        let steps: Vec<u32> = steps.chunks(every).filter_map(|c| c.last().copied()).collect();
        let row = |at: &BTreeMap<u32, f32>| steps.iter().map(|s| at.get(s).map(|v| f64::from(*v))).collect();
        let mut rows: Vec<(LayerKey, Vec<Option<f64>>)> = layers.iter().map(|(l, at)| (l.clone(), row(at))).collect();
        rows.sort_by(|a, b| b.0.cmp(&a.0));
        let (layers, values) = rows.into_iter().unzip();
        Self { layers, steps, values }
    }

    /// This less `other`, where both have the layer and the step.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let value = |layer: &LayerKey, step: u32| {
            let row = other.layers.iter().position(|l| l == layer)?;
            other.values[row][other.steps.iter().position(|s| *s == step)?]
        };
        let row = |(layer, row): (&LayerKey, &Vec<Option<f64>>)| {
            row.iter().zip(&self.steps).map(|(v, s)| Some((*v)? - value(layer, *s)?)).collect()
        };
        Self {
            layers: self.layers.clone(),
            steps: self.steps.clone(),
            values: self.layers.iter().zip(&self.values).map(row).collect(),
        }
    }

    pub(crate) fn extreme(&self) -> f64 {
        let finite = self.values.iter().flatten().flatten().filter(|v| v.is_finite());
        finite.fold(0.0, |a: f64, v| a.max(v.abs()))
    }

    pub(crate) fn show(&self, ui: &mut Ui, label: &str, scale: Scale) {
        if self.steps.is_empty() {
            ui.label(format!("{label}: nothing was recorded in this stage."));
            return;
        }
        let names: Vec<String> = self.layers.iter().map(|(_, l)| l.clone()).collect();
        ui.label(format!("{label}, steps {} to {}, left to right", self.steps[0], self.steps[self.steps.len() - 1]));
        let (_, left) = NotFinite::split(self.values.iter().flatten().flatten().copied());
        if left.total() > 0 {
            let words = format!("{} of the values are not finite ({}): hatched", left.total(), left.kinds());
            ui.colored_label(ui.visuals().warn_fg_color, words);
        }
        let map = Heat {
            label,
            rows: &names,
            columns: &[],
            values: &self.values,
            scale,
            numbers: false,
            width: Heat::room(ui),
        };
        let text = map.show(ui).and_then(|(row, column, _)| {
            let value = self.values[row][column]?;
            Some(format!("layer {} at step {}: {value:.5}", names[row], self.steps[column]))
        });
        ui.label(text.unwrap_or_else(|| "Point at the map to read a value.".to_owned()));
    }
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    let Some(last) = cx.data.layers.last_trained() else {
        missing(ui, cx.data, "drift of the vision encoder", "layers");
        return;
    };
    let mut stage = cx.state.local.drift.stage.filter(|s| cx.data.layers.stages.contains_key(s)).unwrap_or(last);
    ui.horizontal_wrapped(|ui| {
        let all: Vec<(u16, String)> =
            cx.data.layers.stages.keys().map(|s| (*s, cx.data.stages.name(u32::from(*s)).to_owned())).collect();
        if choose(ui, "Stage", &mut stage, &all) {
            cx.state.local.drift.stage = Some(stage);
        }
        let all = Measure::ALL.map(|(m, name)| (m, name.to_owned()));
        choose(ui, "Measure", &mut cx.state.local.drift.measure, &all);
        beside(ui, cx);
    });
    let measure = cx.state.local.drift.measure;
    let name = cx.data.stages.name(u32::from(stage)).to_owned();
    let start = cx.data.stage_starts()[stage as usize];
    let until = cx.state.at.map_or(u32::MAX, |at| at.saturating_sub(start));
    let map = Map::new(cx.data, &name, measure, until);
    let other = cx.beside.map(|(n, _, data)| (n, Map::new(data, &name, measure, until)));
    let words = measure.words();
    // Both runs have one scale, so that they can be compared by eye.
    let far = other.as_ref().map_or(0.0, |(_, o)| o.extreme()).max(map.extreme());
    let scale = if measure == Measure::Momentum { Scale::Around(far) } else { Scale::From(0.0, far) };
    ScrollArea::vertical().id_salt("drift").auto_shrink(false).show(ui, |ui| {
        distances::show(ui, cx);
        match &other {
            None => map.show(ui, &format!("Map of {words} by layer and step"), scale),
            Some((other_name, other)) => {
                map.show(ui, &format!("Map of {words}, this run"), scale);
                other.show(ui, &format!("Map of {words}, {other_name}"), scale);
                let less = map.minus(other);
                less.show(ui, &format!("This run less {other_name}"), Scale::Around(less.extreme()));
            }
        }
        ui.separator();
        modules(ui, cx, stage, measure, words);
    });
}

/// The figure of what is shown.
pub(crate) fn paper(cx: &Cx<'_>) -> Option<Request> {
    let keep = &cx.state.local.drift;
    let stage = keep.stage.filter(|s| cx.data.layers.stages.contains_key(s)).or(cx.data.layers.last_trained())?;
    let mut figure = Request::new(cx, FigureId::Drift)?;
    figure.options.stage = Some(cx.data.stages.name(u32::from(stage)).to_owned());
    figure.options.measure = match keep.measure {
        Measure::Drift => figures::Measure::Distance,
        Measure::RelativeDrift => figures::Measure::Relative,
        Measure::Update => figures::Measure::Update,
        Measure::GradNorm => figures::Measure::GradientNorm,
        Measure::Momentum => figures::Measure::Momentum,
    };
    figure.until(cx, stage);
    if cx.beside.is_some() {
        figure.but("The view also shows the difference of the runs; the figure shows each.");
    }
    figure.but("The lines of a layer's modules are not in the figure.");
    Some(figure)
}

/// The choice of the run beside this one.
fn beside(ui: &mut Ui, cx: &mut Cx<'_>) {
    let now = cx.beside.map_or("none", |(name, ..)| name).to_owned();
    let named = ui.label("Beside");
    let combo = egui::ComboBox::from_id_salt("Beside").selected_text(&now);
    let combo = combo.show_ui(ui, |ui| {
        if ui.selectable_label(cx.beside.is_none(), "none").clicked() {
            cx.turned_to = Some(Beside::Nothing);
        }
        for run in cx.runs.iter().filter(|r| Some(&r.path) != cx.state.run.as_ref()) {
            if ui.selectable_label(now == run.name, &run.name).clicked() {
                cx.turned_to = Some(Beside::Run(run.path.clone()));
            }
        }
    });
    combo.response.labelled_by(named.id);
}

/// One line a module of a layer.
fn modules(ui: &mut Ui, cx: &mut Cx<'_>, stage: u16, measure: Measure, words: &str) {
    let Some(layers) = cx.data.layers.stages.get(&stage) else { return };
    let mut names: Vec<LayerKey> = layers.keys().map(|(l, _)| l.clone()).collect();
    names.dedup();
    // Unless one is chosen: the layer with most to tell, which is one with several modules that train.
    let told = |name: &LayerKey| layers.iter().filter(|((l, _), s)| l == name && s.trained).count();
    let usual = names.iter().max_by_key(|n| told(n)).map_or(ALL, |n| n.1.as_str()).to_owned();
    let keep = &mut cx.state.local.drift;
    let mut layer = keep.layer.clone().filter(|l| names.iter().any(|n| n.1 == *l)).unwrap_or(usual);
    if choose(
        ui,
        "Layer of the lines",
        &mut layer,
        &names.iter().map(|(_, l)| (l.clone(), l.clone())).collect::<Vec<_>>(),
    ) {
        keep.layer = Some(layer.clone());
    }
    let at = cx.state.at;
    let start = cx.data.stage_starts()[stage as usize];
    let name = cx.data.stages.name(u32::from(stage));
    let of = |data: &RunData| -> Vec<String> {
        let layers = data.stages.find(name).and_then(|s| data.layers.stages.get(&(s as u16)));
        let all = layers.into_iter().flatten().filter(|((l, _), s)| l.1 == layer && s.trained);
        all.map(|((_, module), _)| module.clone()).collect()
    };
    // The same look in both runs. All modules together come first; of very many the rest have one look.
    let mut known: Vec<String> = of(cx.data);
    known.extend(cx.beside.iter().flat_map(|(_, _, data)| of(data)));
    known.sort_by_key(|module| (module != ALL, module.clone()));
    known.dedup();
    let looks = Looks::assign(&vec![0; known.len()], None);
    let look = |module: &String| known.binary_search_by_key(&(module != ALL, module), |m| (m != ALL, m));
    let look = |module: &String| look(module).map_or(Look::Others, |i| Look::of(&looks, i)).color(ui);
    let colors: BTreeMap<&String, Color32> = known.iter().map(|module| (module, look(module))).collect();
    let others: BTreeSet<&String> = looks.others().iter().map(|i| &known[*i]).collect();
    over_steps("modules", words, 220.0).show(ui, |plot| {
        let draw = |plot: &mut egui_plot::PlotUi<'_>, data: &RunData, of: &str, prefix: &str, style: LineStyle| {
            let stage = data.stages.find(of).map(|s| s as u16);
            let Some(layers) = stage.and_then(|s| data.layers.stages.get(&s)) else { return };
            let series = layers.iter().filter(|((l, _), s)| l.1 == layer && s.trained);
            for ((_, module), series) in series {
                let points = line(series.steps.iter().map(|s| f64::from(*s)), series.line(measure));
                let width = if module == ALL { 2.5 } else { 1.5 };
                let ink = Ink { color: colors.get(module).copied().unwrap_or(tokens::NO_VALUE), width, style };
                // What has one look is one line of the legend.
                let together = format!("others ({} modules)", others.len());
                let called = if others.contains(module) { &together } else { module };
                curve(plot, &format!("{prefix}{called}"), &points, ink);
            }
        };
        draw(plot, cx.data, name, "", LineStyle::Solid);
        if let Some((other, _, data)) = cx.beside {
            draw(plot, data, name, &format!("{other}: "), LineStyle::dashed_dense());
        }
        if let Some(at) = at.and_then(|at| at.checked_sub(start)) {
            plot.vline(VLine::new("step shown", f64::from(at)).color(tokens::NO_VALUE).width(2.0));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_where_both_have_a_number() {
        let layer = |n: i32| (Some(n), n.to_string());
        let a = Map {
            layers: vec![layer(1), layer(0)],
            steps: vec![0, 5],
            values: vec![vec![Some(3.0), None], vec![Some(1.0), Some(2.0)]],
        };
        let b = Map { layers: vec![layer(0)], steps: vec![5], values: vec![vec![Some(0.5)]] };
        assert_eq!(a.minus(&b).values, [[None, None], [None, Some(1.5)]]);
        assert_eq!(a.minus(&a).extreme(), 0.0);
    }
}
