//! `drift`: how far each layer of the vision encoder went from the stage's start, over its steps; one panel a run.

use super::axes::{Axes, Grid, balanced, bottom_room, row_names};
use super::color::{INK, Scale};
use super::heat;
use super::scene::{Across, Along, Canvas, Point};
use super::source::{Inputs, Source};
use super::{Figure, FigureId, Options, Result, Table, Venue, cell};
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
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Drift {
    panels: Vec<Panel>,
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
    let ours =
        |row: &LayerRow| row.module == ALL && row.layer != ALL && wanted.as_ref().is_none_or(|w| *w == row.stage);
    let mut stage: Option<String> = None;
    source.visit(|row: LayerRow| {
        // A stage that leaves the encoder alone does not take the place of one that trains it.
        let counts = ours(&row) && (row.elements > 0 || wanted.is_some());
        if counts && stage.as_ref() != Some(&row.stage) {
            stage = Some(row.stage);
        }
    })?;
    let Some(stage) = stage else { return Ok(None) };
    let mut by_layer: BTreeMap<(Option<i32>, String), BTreeMap<u64, f64>> = BTreeMap::new();
    source.visit(|row: LayerRow| {
        if ours(&row) && row.stage == stage {
            by_layer.entry((row.depth, row.layer)).or_default().insert(row.step, row.drift);
        }
    })?;
    let mut steps: Vec<u64> = by_layer.values().flat_map(|d| d.keys().copied()).collect();
    steps.sort_unstable();
    steps.dedup();
    let every = steps.len().div_ceil(COLUMNS).max(1);
    let steps: Vec<u64> = steps.chunks(every).filter_map(|c| c.last().copied()).collect();
    let deepest_first = || by_layer.iter().rev();
    let values = |d: &BTreeMap<u64, f64>| steps.iter().map(|s| d.get(s).copied().filter(|v| v.is_finite())).collect();
    Ok(Some(Panel {
        label: source.label.clone(),
        stage,
        layers: deepest_first().map(|((_, layer), _)| layer.clone()).collect(),
        moved: deepest_first().map(|(_, d)| values(d)).collect(),
        steps,
    }))
}

impl Drift {
    pub(super) fn load(inputs: &Inputs, options: &Options) -> Result<Self> {
        let mut panels = Vec::new();
        for source in &inputs.runs {
            panels.extend(panel(source, options)?);
        }
        if panels.is_empty() {
            let source = inputs.runs.first().ok_or_else(|| inputs.nothing(FigureId::Drift))?;
            let what = "`layers` of a stage that trains the vision encoder";
            return Err(source.lacks(FigureId::Drift, what, "`[probe] drift = true`"));
        }
        Ok(Self { panels })
    }

    fn scale(&self) -> Scale {
        let all = self.panels.iter().flat_map(|p| p.moved.iter().flatten().flatten());
        Scale::sequential(0.0, all.fold(0.0, |a, v| a.max(*v)))
    }

    fn columns(&self, width: f64) -> usize {
        balanced(self.panels.len(), (width / 115.0) as usize)
    }

    fn width(&self, venue: Venue) -> f64 {
        72.0 * if self.panels.len() > 2 { venue.full() } else { venue.column() }
    }
}

impl Figure for Drift {
    fn size(&self, venue: Venue) -> Point {
        let width = self.width(venue);
        let lines = self.panels.len().div_ceil(self.columns(width)) as f64;
        let layers = self.panels.iter().map(|p| p.layers.len()).max().unwrap_or(1) as f64;
        let body = (layers * venue.small() * 1.15).clamp(width / self.columns(width) as f64 * 0.36, width * 0.9);
        (width, lines * (body + venue.small() * 3.2 + venue.font_size() * 1.4))
    }

    fn draw(&self, canvas: &mut Canvas) {
        let scale = self.scale();
        let names: Vec<Vec<String>> =
            self.panels.iter().map(|p| p.layers.iter().map(|l| layer_name(l)).collect()).collect();
        let widest = names.iter().flatten().map(|n| canvas.width(n, canvas.small)).fold(0.0, f64::max);
        let columns = self.columns(canvas.size.0);
        let several = self.panels.len() > 1;
        let grid = Grid {
            columns,
            lines: self.panels.len().div_ceil(columns),
            from: (canvas.title * 1.4 + widest + 5.0, if several { 1.0 } else { 4.0 }),
            to: (canvas.size.0 - heat::bar_room(canvas, scale), canvas.size.1),
            head: if several { canvas.title * 1.4 } else { 0.0 },
            foot: bottom_room(canvas) + 1.0,
            gap: if several { widest + 12.0 } else { 0.0 },
        };
        for (i, panel) in self.panels.iter().enumerate() {
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
                let title = canvas.fit(&panel.label, canvas.title, to.0 - from.0 + grid.gap);
                canvas.text(&title, middle, canvas.title, (Across::Center, Along::Bottom), INK);
            }
            if i % columns == 0 {
                let middle = (canvas.title * 0.7, f64::midpoint(from.1, to.1));
                canvas.upwards("layer", middle, canvas.title, INK);
            }
        }
        let (top, bottom) = (grid.frame(0).0.1, grid.frame(self.panels.len() - 1).1.1);
        heat::bar(canvas, (grid.to.0, top), bottom, scale, "drift (L2 norm)");
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
        Table::new(["run", "stage", "layer", "step", "drift"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "stages": self.panels.iter().map(|p| &p.stage).collect::<Vec<_>>(),
            "drift": "L2 distance of all trained tensors of the layer from the stage's start",
        })
    }
}
