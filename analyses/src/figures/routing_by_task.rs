//! `routing-by-task`: mean routing weight of each expert for each task, layer by layer.

use super::canvas::{Canvas, Drawn, Point};
use super::save::{Figure, Table};
use super::theme::{INK, Venue};
use super::{FigureId, Result, heat, needed};
use crate::store::{RoutingRow, RunDir, SampleRow, read_records};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

/// Depth and name of a layer.
type LayerKey = (Option<i32>, String);
/// Number of samples of each task, and the sum of their weights.
type ByTask = BTreeMap<String, (u64, Vec<f64>)>;

struct Layer {
    name: String,
    /// `[task][expert]`; null for tasks without a sample.
    weights: Vec<Vec<Option<f64>>>,
}

pub(super) struct RoutingByTask {
    stage: String,
    /// First step that counts: the later half of the stage.
    from_step: u64,
    tasks: Vec<String>,
    samples: Vec<u64>,
    layers: Vec<Layer>,
}

impl RoutingByTask {
    pub(super) fn load(run: &RunDir) -> Result<Self> {
        let rows: Vec<RoutingRow> = needed(FigureId::RoutingByTask, run)?;
        let tasks = read_records::<SampleRow>(run)?.rows.into_iter().map(|s| (s.sample, s.task));
        let tasks: HashMap<String, Option<String>> = tasks.collect();
        let stage = rows[rows.len() - 1].stage.clone();
        let rows: Vec<RoutingRow> = rows.into_iter().filter(|r| r.stage == stage).collect();
        let last = rows.iter().map(|r| r.step).max().unwrap_or(0);
        let from_step = last.div_ceil(2);
        let mut sums: BTreeMap<LayerKey, ByTask> = BTreeMap::new();
        for row in rows.iter().filter(|r| r.step >= from_step) {
            let task = tasks.get(&row.sample).cloned().flatten().unwrap_or_else(|| "(no task)".to_owned());
            let of_layer = sums.entry((row.depth, row.layer.clone())).or_default();
            let (count, sum) = of_layer.entry(task).or_insert_with(|| (0, vec![0.0; row.weights.len()]));
            *count += 1;
            sum.iter_mut().zip(&row.weights).for_each(|(s, w)| *s += f64::from(*w));
        }
        let counts: BTreeMap<&String, u64> =
            sums.values().next().into_iter().flatten().map(|(task, (count, _))| (task, *count)).collect();
        let names: Vec<String> = counts.keys().map(|t| (*t).clone()).collect();
        let mean = |of: Option<&(u64, Vec<f64>)>, experts: usize| match of {
            Some((count, sum)) => sum.iter().map(|s| Some(s / *count as f64)).collect(),
            None => vec![None; experts],
        };
        let layer = |((_, name), by_task): (&LayerKey, &ByTask)| {
            let experts = by_task.values().next().map_or(0, |(_, sum)| sum.len());
            Layer { name: name.clone(), weights: names.iter().map(|t| mean(by_task.get(t), experts)).collect() }
        };
        let layers = sums.iter().map(layer).collect();
        Ok(Self { stage, from_step, samples: counts.into_values().collect(), tasks: names, layers })
    }

    fn range(&self) -> (f64, f64) {
        let all = self.layers.iter().flat_map(|l| l.weights.iter().flatten().flatten());
        let high = all.fold(0.0_f64, |a, w| a.max(*w));
        (0.0, if high > 0.0 { high } else { 1.0 })
    }

    fn columns(&self, venue_width: f64) -> usize {
        // Five experts' cells with two digits each need about 70 pt.
        ((venue_width - 120.0) / 70.0).floor().clamp(1.0, self.layers.len().max(1) as f64) as usize
    }

    fn panel<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, layer: &Layer, from: Point, to: Point) -> Drawn {
        let scale = self.range();
        heat::cells(canvas, from, to, &layer.weights, scale)?;
        let experts = layer.weights.first().map_or(0, Vec::len).max(1) as f64;
        let (width, height) = ((to.0 - from.0) / experts, (to.1 - from.1) / self.tasks.len().max(1) as f64);
        let fits = canvas.width("0.00", canvas.small) + 2.0 < width && canvas.small * 1.1 < height;
        for (r, row) in layer.weights.iter().enumerate() {
            for (c, weight) in row.iter().enumerate().filter(|_| fits) {
                let at = (from.0 + (c as f64 + 0.5) * width, from.1 + (r as f64 + 0.5) * height);
                let text = weight.map_or_else(|| "\u{2013}".to_owned(), |w| format!("{w:.2}"));
                let ink = heat::ink_on(heat::color(*weight, scale));
                canvas.text(&text, at, canvas.small, (HPos::Center, VPos::Center), ink)?;
            }
        }
        for expert in 0..experts as usize {
            let at = (from.0 + (expert as f64 + 0.5) * width, to.1 + 2.5);
            canvas.text(&expert.to_string(), at, canvas.small, (HPos::Center, VPos::Top), INK)?;
        }
        let middle = f64::midpoint(from.0, to.0);
        let bottom = (HPos::Center, VPos::Bottom);
        canvas.text(&format!("layer {}", layer.name), (middle, from.1 - 2.5), canvas.title, bottom, INK)
    }
}

impl Figure for RoutingByTask {
    fn size(&self, venue: Venue) -> Point {
        let width = if self.layers.len() > 1 { venue.full() } else { venue.column() } * 72.0;
        let lines = self.layers.len().div_ceil(self.columns(width)) as f64;
        let line = self.tasks.len() as f64 * venue.small() * 1.6 + venue.small() * 1.4 + venue.font_size() * 1.6;
        (width, (lines * line + venue.font_size() * 2.0).max(width * 0.2))
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn {
        let scale = self.range();
        let names = self.tasks.iter().map(|t| canvas.width(t, canvas.small)).fold(0.0, f64::max);
        let (left, right) = (names + 7.0, canvas.size.0 - heat::bar_room(canvas, scale));
        let columns = self.columns(canvas.size.0);
        let lines = self.layers.len().div_ceil(columns);
        let gap = 8.0;
        let width = (right - left - gap * (columns as f64 - 1.0)) / columns as f64;
        let bottom = canvas.size.1 - canvas.title * 1.6;
        let line = bottom / lines as f64;
        let (head, foot) = (canvas.title * 1.5, canvas.small * 1.4);
        for (i, layer) in self.layers.iter().enumerate() {
            let from = (left + (i % columns) as f64 * (width + gap), (i / columns) as f64 * line + head);
            let to = (from.0 + width, (i / columns + 1) as f64 * line - foot);
            self.panel(canvas, layer, from, to)?;
            let row = (to.1 - from.1) / self.tasks.len().max(1) as f64;
            for (t, task) in self.tasks.iter().enumerate().filter(|_| i % columns == 0) {
                let at = (left - 4.0, from.1 + (t as f64 + 0.5) * row);
                canvas.text(task, at, canvas.small, (HPos::Right, VPos::Center), INK)?;
            }
        }
        let at = (f64::midpoint(left, right), canvas.size.1 - canvas.title * 0.3);
        canvas.text("expert", at, canvas.title, (HPos::Center, VPos::Bottom), INK)?;
        heat::bar(canvas, (right, head), bottom - foot, scale, "mean weight")
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for layer in &self.layers {
            for ((task, samples), weights) in self.tasks.iter().zip(&self.samples).zip(&layer.weights) {
                rows.extend(weights.iter().enumerate().map(|(expert, weight)| {
                    let weight = super::save::cell(*weight);
                    vec![layer.name.clone(), task.clone(), expert.to_string(), weight, samples.to_string()]
                }));
            }
        }
        let columns = ["layer", "task", "expert", "mean_weight", "samples"].map(str::to_owned).to_vec();
        Table { columns, rows }
    }

    fn notes(&self) -> serde_json::Value {
        json!({ "stage": self.stage, "first_step": self.from_step, "weights": "mean over the later half of the stage" })
    }
}
