//! `routing-by-task`: mean routing weight of each expert for each task, layer by layer.

use super::axes::{Grid, balanced, row_names};
use super::color::{INK, Scale, ink_on};
use super::contexts;
use super::heat;
use super::scene::{Across, Along, Canvas, Point};
use super::source::Source;
use super::{Figure, FigureId, Options, Result, Table, Venue, cell};
use crate::analysis::NO_TASK;
use crate::store::{Name, RoutingKey, RoutingWeights, option_that_logs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Number of samples of each task, and the sum of their weights.
type ByTask = BTreeMap<String, (u64, Vec<f64>)>;

#[derive(Debug, Serialize, Deserialize)]
struct Layer {
    name: String,
    /// `[task][expert]`; null for tasks without a sample.
    weights: Vec<Vec<Option<f64>>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RoutingByTask {
    stage: String,
    /// First step that counts: the later half of the stage.
    from_step: u64,
    tasks: Vec<String>,
    samples: Vec<u64>,
    layers: Vec<Layer>,
}

/// Room that the tasks' names may take, as a share of the width.
const NAMES: f64 = 0.22;

impl RoutingByTask {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let id = FigureId::RoutingByTask;
        let (stage, last) = contexts::last_step::<RoutingKey>(source, options, |r| (&r.stage, r.step))?
            .ok_or_else(|| source.lacks(id, "`routing`", option_that_logs("routing")))?;
        let tasks = contexts::tasks(source)?;
        let from_step = last.div_ceil(2);
        let mut sums: BTreeMap<(Option<i32>, String), ByTask> = BTreeMap::new();
        source.visit(|row: RoutingWeights| {
            if row.stage != stage || row.step < from_step {
                return;
            }
            let task = tasks.of(&row).map_or(NO_TASK, Name::as_str);
            let of_layer = sums.entry((row.depth, row.layer)).or_default();
            if !of_layer.contains_key(task) {
                of_layer.insert(task.to_owned(), (0, vec![0.0; row.weights.len()]));
            }
            let Some((count, sum)) = of_layer.get_mut(task) else { return };
            *count += 1;
            sum.iter_mut().zip(&row.weights).for_each(|(s, w)| *s += f64::from(*w));
        })?;
        let counts: BTreeMap<&String, u64> =
            sums.values().next().into_iter().flatten().map(|(task, (count, _))| (task, *count)).collect();
        let names: Vec<String> = counts.keys().map(|t| (*t).clone()).collect();
        let mean = |of: Option<&(u64, Vec<f64>)>, experts: usize| match of {
            Some((count, sum)) => sum.iter().map(|s| Some(s / *count as f64).filter(|m| m.is_finite())).collect(),
            None => vec![None; experts],
        };
        let layer = |((_, name), by_task): (&(Option<i32>, String), &ByTask)| {
            let experts = by_task.values().next().map_or(0, |(_, sum)| sum.len());
            Layer { name: name.clone(), weights: names.iter().map(|t| mean(by_task.get(t), experts)).collect() }
        };
        let layers = sums.iter().map(layer).collect();
        Ok(Self { stage, from_step, samples: counts.into_values().collect(), tasks: names, layers })
    }

    fn scale(&self) -> Scale {
        let all = self.layers.iter().flat_map(|l| l.weights.iter().flatten().flatten());
        Scale::sequential(0.0, all.fold(0.0_f64, |a, w| a.max(*w)))
    }

    fn experts(&self) -> usize {
        self.layers.iter().flat_map(|l| &l.weights).map(Vec::len).max().unwrap_or(1).max(1)
    }

    /// Panels side by side: each expert's cell needs room for two digits.
    fn columns(&self, width: f64, small: f64) -> usize {
        let panel = self.experts() as f64 * small * 2.5 + 8.0;
        balanced(self.layers.len(), ((width * (1.0 - NAMES) - 40.0) / panel) as usize)
    }

    fn panel(&self, canvas: &mut Canvas, layer: &Layer, from: Point, to: Point) {
        let scale = self.scale();
        heat::cells(canvas, from, to, &layer.weights, scale);
        let experts = layer.weights.first().map_or(0, Vec::len).max(1) as f64;
        let (width, height) = ((to.0 - from.0) / experts, (to.1 - from.1) / self.tasks.len().max(1) as f64);
        let fits = canvas.width("0.00", canvas.small) + 1.0 < width && canvas.small * 1.1 < height;
        for (r, row) in layer.weights.iter().enumerate() {
            for (c, weight) in row.iter().enumerate().filter(|_| fits) {
                let at = ((c as f64 + 0.5).mul_add(width, from.0), (r as f64 + 0.5).mul_add(height, from.1));
                let text = weight.map_or_else(|| "\u{2013}".to_owned(), |w| format!("{w:.2}"));
                let ink = ink_on(scale.color(*weight));
                canvas.text(&text, at, canvas.small, (Across::Center, Along::Middle), ink);
            }
        }
        for expert in 0..experts as usize {
            let at = ((expert as f64 + 0.5).mul_add(width, from.0), to.1 + 2.5);
            canvas.text(&expert.to_string(), at, canvas.small, (Across::Center, Along::Top), INK);
        }
        let middle = f64::midpoint(from.0, to.0);
        let name = format!("layer {}", layer.name);
        canvas.text(&name, (middle, from.1 - 2.0), canvas.title, (Across::Center, Along::Bottom), INK);
    }
}

impl Figure for RoutingByTask {
    fn size(&self, venue: Venue) -> Point {
        let width = if self.layers.len() > 1 { venue.full() } else { venue.column() } * 72.0;
        let lines = self.layers.len().div_ceil(self.columns(width, venue.small())) as f64;
        let line = self.tasks.len() as f64 * venue.small() * 1.6 + venue.small() * 1.4 + venue.font_size() * 1.6;
        (width, lines.mul_add(line, venue.font_size() * 1.3))
    }

    fn draw(&self, canvas: &mut Canvas) {
        let scale = self.scale();
        let names: Vec<String> =
            self.tasks.iter().map(|t| canvas.fit(&t.replace('_', " "), canvas.small, canvas.size.0 * NAMES)).collect();
        let widest = names.iter().map(|t| canvas.width(t, canvas.small)).fold(0.0, f64::max);
        let columns = self.columns(canvas.size.0, canvas.small);
        let grid = Grid {
            columns,
            lines: self.layers.len().div_ceil(columns),
            from: (widest + 7.0, 0.0),
            to: (canvas.size.0 - heat::bar_room(canvas, scale), canvas.size.1 - canvas.title * 1.3),
            head: canvas.title * 1.5,
            foot: canvas.small * 1.4,
            gap: 8.0,
        };
        for (i, layer) in self.layers.iter().enumerate() {
            let (from, to) = grid.frame(i);
            self.panel(canvas, layer, from, to);
            if i % columns == 0 {
                row_names(canvas, from.0, (from.1, to.1), &names);
            }
        }
        let at = (f64::midpoint(grid.from.0, grid.to.0), canvas.size.1 - canvas.title * 0.2);
        canvas.text("expert", at, canvas.title, (Across::Center, Along::Bottom), INK);
        let bottom = grid.frame(self.layers.len().max(1) - 1).1.1;
        heat::bar(canvas, (grid.to.0, grid.head), bottom, scale, "mean gate weight");
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for layer in &self.layers {
            for ((task, samples), weights) in self.tasks.iter().zip(&self.samples).zip(&layer.weights) {
                rows.extend(weights.iter().enumerate().map(|(expert, weight)| {
                    let expert = expert.to_string();
                    [layer.name.clone(), task.clone(), expert, cell(*weight), samples.to_string()]
                }));
            }
        }
        Table::new(["layer", "task", "expert", "mean_weight", "samples"], rows)
    }

    fn notes(&self) -> Value {
        json!({ "stage": self.stage, "first_step": self.from_step, "weights": "mean over the later half of the stage" })
    }
}
