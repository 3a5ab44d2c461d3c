//! `drift`: how far each layer of the vision encoder went from the stage's start, over its steps; one panel a run.

use super::axes::{Axes, Grid, balanced, bottom_room, row_names};
use super::color::{INK, Scale};
use super::heat;
use super::page::{LeftOut, Page};
use super::scene::{Across, Along, Canvas, Point};
use super::source::{Inputs, Source};
use super::{Figure, FigureId, Measure, Options, Result, Table, cell};
use crate::labels;
use crate::stats::NotFinite;
use crate::store::{ALL, LayerRow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Columns that are drawn at most; longer stages show the last step of each.
const COLUMNS: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
struct Panel {
    label: String,
    stage: String,
    /// Deepest first.
    layers: Vec<String>,
    steps: Vec<u64>,
    /// `[layer][step]`
    moved: Vec<Vec<Option<f64>>>,
    #[serde(default)]
    not_finite: NotFinite,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Drift {
    panels: Vec<Panel>,
    #[serde(default)]
    measure: Measure,
    /// `all` in older sidecars.
    #[serde(default)]
    module: Option<String>,
}

/// What is stated of a layer at a step; `None` where it was not logged or is not defined.
fn measured(row: &LayerRow, measure: Measure) -> Option<f64> {
    match measure {
        Measure::Distance => Some(row.drift),
        Measure::Relative => row.drift_relative,
        Measure::PerElement => row.drift_per_element,
        Measure::Update => Some(row.update),
        Measure::GradientNorm => row.grad_norm,
        Measure::Momentum => row.momentum,
    }
}

/// Layers by their names in figures.
pub(super) fn layer_name(layer: &str) -> String {
    match layer {
        "embeddings" => "embed.".to_owned(),
        "final_norm" => "norm".to_owned(),
        number => number.to_owned(),
    }
}

fn panel(source: &Source, options: &Options) -> Result<Option<Panel>> {
    let wanted = source.stage(options.stage.as_deref());
    let module = options.module.as_deref().unwrap_or(ALL);
    let ours =
        |row: &LayerRow| row.module == module && row.layer != ALL && wanted.as_ref().is_none_or(|w| *w == row.stage);
    let mut stage: Option<String> = None;
    source.visit(|row: LayerRow| {
        // A stage that leaves the encoder alone does not take the place of one that trains it.
        let counts = ours(&row) && (row.elements > 0 || wanted.is_some());
        if counts && stage.as_ref() != Some(&row.stage) {
            stage = Some(row.stage);
        }
    })?;
    let Some(stage) = stage else { return Ok(None) };
    let mut by_layer: BTreeMap<(Option<i32>, String), BTreeMap<u64, Option<f64>>> = BTreeMap::new();
    let mut not_finite = NotFinite::default();
    source.visit(|row: LayerRow| {
        if ours(&row) && row.stage == stage && options.has_step(row.step) {
            let value = measured(&row, options.measure).and_then(|v| not_finite.take(v));
            by_layer.entry((row.depth, row.layer)).or_default().insert(row.step, value);
        }
    })?;
    let mut steps: Vec<u64> = by_layer.values().flat_map(|d| d.keys().copied()).collect();
    steps.sort_unstable();
    steps.dedup();
    let every = steps.len().div_ceil(COLUMNS).max(1);
    let steps: Vec<u64> = steps.chunks(every).filter_map(|c| c.last().copied()).collect();
    let deepest_first = || by_layer.iter().rev();
    let values = |d: &BTreeMap<u64, Option<f64>>| steps.iter().map(|s| d.get(s).copied().flatten()).collect();
    let layers = deepest_first().map(|((_, layer), _)| layer.clone()).collect();
    let moved = deepest_first().map(|(_, d)| values(d)).collect();
    let label = source.label.clone();
    Ok(if steps.is_empty() { None } else { Some(Panel { label, stage, layers, steps, moved, not_finite }) })
}

impl Drift {
    pub(super) fn load(inputs: &Inputs, options: &Options) -> Result<Self> {
        let mut panels = Vec::new();
        for source in &inputs.runs {
            panels.extend(panel(source, options)?);
        }
        if panels.is_empty() {
            let source = inputs.runs.first().ok_or_else(|| inputs.nothing(FigureId::Drift))?;
            let of = options.module.as_ref().map_or_else(String::new, |m| format!(" (module {m})"));
            let what = format!("`layers` of a stage that trains the vision encoder{of}");
            return Err(source.lacks(FigureId::Drift, &what, "`[probe] drift = true`"));
        }
        inputs.note_absent(FigureId::Drift, panels.iter().map(|panel| &panel.label));
        labels::with_stages(panels.iter_mut().map(|panel| (&mut panel.label, panel.stage.as_str())));
        let figure = Self { panels, measure: options.measure, module: options.module.clone() };
        if figure.values().next().is_none() {
            let source = inputs.runs.first().ok_or_else(|| inputs.nothing(FigureId::Drift))?;
            let bad = figure.left_out().join("; ");
            if bad.is_empty() {
                let what = format!("{} in `layers`", options.measure.title("drift"));
                return Err(source.lacks(FigureId::Drift, &what, "`--log-grads`"));
            }
            return Err(source.unfit(FigureId::Drift, bad));
        }
        Ok(figure)
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.panels.iter().flat_map(|p| p.moved.iter().flatten().flatten().copied())
    }

    fn scale(&self) -> Scale {
        if self.measure == Measure::Momentum {
            return Scale::diverging(self.values());
        }
        Scale::sequential(0.0, self.values().fold(0.0, f64::max))
    }

    /// What grey cells are, where some are not finite.
    fn key(&self) -> Option<String> {
        let mut all = NotFinite::default();
        self.panels.iter().for_each(|p| all.add(p.not_finite));
        (all.total() > 0).then(|| format!("grey: not finite ({})", all.kinds()))
    }

    /// Room for what grey cells are.
    fn below(&self, page: &Page) -> f64 {
        if self.key().is_some() { page.venue.small() * 1.4 } else { 0.0 }
    }

    fn columns(&self, width: f64) -> usize {
        balanced(self.panels.len(), (width / 115.0) as usize)
    }

    fn width(&self, page: &Page) -> f64 {
        72.0 * if self.panels.len() > 2 { page.venue.full() } else { page.venue.column() }
    }

    /// How many runs a page has room for, in lines of panels, and the height of a line.
    fn lines(&self, page: &Page) -> (usize, usize, f64) {
        let width = self.width(page);
        let columns = self.columns(width);
        let lines = self.panels.len().div_ceil(columns);
        let layers = self.panels.iter().map(|p| p.layers.len()).max().unwrap_or(1) as f64;
        let small = page.venue.small();
        let least = width / columns as f64 * 0.36;
        let rest = small * 3.2 + page.venue.font_size() * 1.4;
        let fitting = page.fit(lines, least + rest, self.below(page));
        let most = ((page.room() - self.below(page)) / fitting as f64 - rest).max(least);
        let body = (layers * small * 1.15).clamp(least, width * 0.9).min(most);
        (self.panels.len().min(fitting * columns), fitting, body + rest)
    }
}

impl Figure for Drift {
    fn size(&self, page: &Page) -> Point {
        let (_, lines, line) = self.lines(page);
        (self.width(page), (lines as f64).mul_add(line, self.below(page)))
    }

    fn draw(&self, canvas: &mut Canvas) {
        let scale = self.scale();
        let names: Vec<Vec<String>> =
            self.panels.iter().map(|p| p.layers.iter().map(|l| layer_name(l)).collect()).collect();
        let room = canvas.size.0 * 0.2;
        let names: Vec<Vec<String>> = names.iter().map(|n| canvas.short(n, canvas.small, room)).collect();
        let widest = names.iter().flatten().map(|n| canvas.width(n, canvas.small)).fold(0.0, f64::max);
        let columns = self.columns(canvas.size.0);
        let several = self.panels.len() > 1;
        let mut bottom = canvas.size.1;
        if let Some(key) = self.key() {
            bottom -= canvas.small * 1.4;
            canvas.text(&key, (4.0, bottom + canvas.small * 0.2), canvas.small, (Across::Left, Along::Top), INK);
        }
        let grid = Grid {
            columns,
            lines: self.lines(&canvas.page).1,
            from: (canvas.title * 1.4 + widest + 5.0, if several { 1.0 } else { 4.0 }),
            to: (canvas.size.0 - heat::bar_room(canvas, scale), bottom),
            head: if several { canvas.title * 1.4 } else { 0.0 },
            foot: bottom_room(canvas) + 1.0,
            gap: if several { widest + 12.0 } else { 0.0 },
        };
        let shown = self.lines(&canvas.page).0;
        let labels: Vec<String> = self.panels[..shown].iter().map(|p| p.label.clone()).collect();
        let titles =
            canvas.short(&labels, canvas.title, grid.frame(0).1.0 - grid.frame(0).0.0 + 12.0_f64.min(grid.gap));
        for (i, panel) in self.panels[..shown].iter().enumerate() {
            let (from, to) = grid.frame(i);
            heat::cells(canvas, from, to, &panel.moved, scale);
            let first = panel.steps.first().copied().unwrap_or(0) as f64;
            let last = panel.steps.last().copied().unwrap_or(0) as f64;
            // A column is centred on its step.
            let half = if panel.steps.len() > 1 { (last - first) / (panel.steps.len() - 1) as f64 / 2.0 } else { 0.5 };
            let axes = Axes { from, to, x: (first - half, last + half), y: (0.0, 1.0) };
            axes.x_axis(canvas, &if several { "step".to_owned() } else { format!("step of stage {}", panel.stage) });
            row_names(canvas, from.0, (from.1, to.1), &names[i]);
            if several {
                let middle = (f64::midpoint(from.0, to.0), from.1 - 2.0);
                canvas.text(&titles[i], middle, canvas.title, (Across::Center, Along::Bottom), INK);
            }
            if i % columns == 0 {
                let middle = (canvas.title * 0.7, f64::midpoint(from.1, to.1));
                canvas.upwards("layer", middle, canvas.title, INK);
            }
        }
        let (top, bottom) = (grid.frame(0).0.1, grid.frame(shown - 1).1.1);
        heat::bar(canvas, (grid.to.0, top), bottom, scale, &self.measure.title("drift"));
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for p in &self.panels {
            for (layer, drifts) in p.layers.iter().zip(&p.moved) {
                let line = |(step, drift): (&u64, &Option<f64>)| {
                    [p.label.clone(), p.stage.clone(), layer.clone(), step.to_string(), cell(*drift)]
                };
                rows.extend(p.steps.iter().zip(drifts).map(line));
            }
        }
        let mut table = Table::new(["run", "stage", "layer", "step", "drift"], rows);
        if self.measure != Measure::Distance {
            table.columns[4] = self.measure.to_string().replace('-', "_");
        }
        table
    }

    fn notes(&self) -> Value {
        json!({
            "stages": self.panels.iter().map(|p| &p.stage).collect::<Vec<_>>(),
            "measure": self.measure, "module": self.module.as_deref().unwrap_or(ALL),
            "drift": "L2 distance of all trained tensors of the layer from the stage's start",
        })
    }

    fn left_out(&self) -> Vec<String> {
        let of = |p: &Panel| Some(format!("{}: {}", p.label, p.not_finite.words("value", "values")?));
        self.panels.iter().filter_map(of).collect()
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let labels: Vec<String> = self.panels.iter().map(|p| p.label.clone()).collect();
        let shown: Vec<usize> = (0..self.lines(page).0).collect();
        LeftOut::of("runs", &labels, &shown, false).into_iter().collect()
    }
}
