//! `drift`: how far each layer of the vision encoder went from the stage's start, over its steps.

use super::axes::{Axes, bottom_room, range};
use super::canvas::{Canvas, Drawn, Point};
use super::save::{Figure, Table, cell};
use super::theme::{INK, Venue};
use super::{FigureId, Result, heat, lacks, needed};
use crate::store::{ALL, LayerRow, RunDir};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};
use serde_json::json;
use std::collections::BTreeMap;

/// Columns that are drawn at most; longer stages show the last step of each.
const COLUMNS: usize = 240;

pub(super) struct Drift {
    stage: String,
    /// Deepest first.
    layers: Vec<String>,
    steps: Vec<u64>,
    /// `[layer][step]`
    moved: Vec<Vec<Option<f64>>>,
}

impl Drift {
    pub(super) fn load(run: &RunDir) -> Result<Self> {
        let rows: Vec<LayerRow> = needed(FigureId::Drift, run)?;
        let moved = rows.iter().rev().find(|r| r.elements > 0).map(|r| r.stage.clone());
        let what = "layers` of a stage that trains the vision encoder, `drift";
        let stage = moved.ok_or_else(|| lacks(FigureId::Drift, run, what, "`[probe] drift = true`"))?;
        let mut by_layer: BTreeMap<(Option<i32>, String), BTreeMap<u64, f64>> = BTreeMap::new();
        for row in rows.into_iter().filter(|r| r.stage == stage && r.module == ALL && r.layer != ALL) {
            by_layer.entry((row.depth, row.layer)).or_default().insert(row.step, row.drift);
        }
        let mut steps: Vec<u64> = by_layer.values().flat_map(|d| d.keys().copied()).collect();
        steps.sort_unstable();
        steps.dedup();
        let every = steps.len().div_ceil(COLUMNS).max(1);
        let steps: Vec<u64> = steps.chunks(every).filter_map(|c| c.last().copied()).collect();
        let deepest_first = || by_layer.iter().rev();
        Ok(Self {
            stage,
            layers: deepest_first().map(|((_, layer), _)| layer.clone()).collect(),
            moved: deepest_first().map(|(_, d)| steps.iter().map(|s| d.get(s).copied()).collect()).collect(),
            steps,
        })
    }

    fn range(&self) -> (f64, f64) {
        let (_, high) = range(self.moved.iter().flatten().flatten().copied(), 0.0).unwrap_or((0.0, 1.0));
        (0.0, if high > 0.0 { high } else { 1.0 })
    }
}

/// Layers by their names in figures.
pub(super) fn layer_name(layer: &str) -> &str {
    match layer {
        "embeddings" => "embed.",
        "final_norm" => "norm",
        number => number,
    }
}

impl Figure for Drift {
    fn size(&self, venue: Venue) -> Point {
        let width = venue.column() * 72.0;
        let rows = self.layers.len() as f64 * venue.small() * 1.05;
        (width, (rows + 40.0).clamp(width * 0.5, width * 1.1))
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn {
        let scale = self.range();
        let widest = self.layers.iter().map(|l| canvas.width(layer_name(l), canvas.small)).fold(0.0, f64::max);
        let from = (canvas.title * 1.4 + widest + 6.0, 6.0);
        let to = (canvas.size.0 - heat::bar_room(canvas, scale), canvas.size.1 - bottom_room(canvas));
        heat::cells(canvas, from, to, &self.moved, scale)?;
        let first = self.steps.first().copied().unwrap_or(0) as f64;
        let last = self.steps.last().copied().unwrap_or(0) as f64;
        // A column is centred on its step.
        let half = if self.steps.len() > 1 { (last - first) / (self.steps.len() - 1) as f64 / 2.0 } else { 0.5 };
        let axes = Axes { from, to, x: (first - half, last + half), y: (0.0, 1.0) };
        axes.x_axis(canvas, &format!("step of stage {}", self.stage))?;
        let row = (to.1 - from.1) / self.layers.len() as f64;
        // Names that would touch are thinned out, never shrunk.
        let every = (canvas.small * 1.05 / row).ceil().max(1.0) as usize;
        for (i, layer) in self.layers.iter().enumerate().filter(|(i, _)| i % every == 0) {
            let at = (from.0 - 4.0, from.1 + (i as f64 + 0.5) * row);
            canvas.text(layer_name(layer), at, canvas.small, (HPos::Right, VPos::Center), INK)?;
        }
        canvas.upwards("layer", (canvas.title * 0.7, f64::midpoint(from.1, to.1)), canvas.title)?;
        heat::bar(canvas, (to.0, from.1), to.1, scale, "drift (L2 norm)")
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for (layer, drifts) in self.layers.iter().zip(&self.moved) {
            rows.extend(
                self.steps
                    .iter()
                    .zip(drifts)
                    .map(|(s, d)| vec![self.stage.clone(), layer.clone(), s.to_string(), cell(*d)]),
            );
        }
        Table { columns: ["stage", "layer", "step", "drift"].map(str::to_owned).to_vec(), rows }
    }

    fn notes(&self) -> serde_json::Value {
        json!({ "stage": self.stage, "drift": "L2 distance of all trained tensors of the layer from the stage's start" })
    }
}
