//! `routing-by-task`: mean routing weight of each expert for each task, layer by layer.

use super::axes::{Grid, balanced, row_names};
use super::color::{INK, Scale, ink_on};
use super::contexts;
use super::heat;
use super::scene::{Across, Along, Canvas, Point};
use super::source::Source;
use super::{Figure, FigureId, Options, Result, Table, Venue, cell};
use crate::analysis::{NO_TASK, RoutingSums, default_steps};
use crate::stats::NotFinite;
use crate::store::{Name, RoutingWeights};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Serialize, Deserialize)]
struct Layer {
    name: String,
    /// `[task][expert]`; null for tasks without a sample.
    weights: Vec<Vec<Option<f64>>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RoutingByTask {
    stage: String,
    /// First step that counts.
    from_step: u64,
    /// Last step; the stage's in older sidecars.
    #[serde(default)]
    to_step: Option<u64>,
    tasks: Vec<String>,
    /// Rows of each task in the layer with most.
    samples: Vec<u64>,
    layers: Vec<Layer>,
    /// Name of the selection that alone is shown.
    #[serde(default)]
    only: Option<String>,
    #[serde(default)]
    not_finite: NotFinite,
}

/// Room that the tasks' names may take, as a share of the width.
const NAMES: f64 = 0.22;

impl RoutingByTask {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let id = FigureId::RoutingByTask;
        let (stage, (first, last)) = contexts::routed(id, source, options)?;
        let tasks = contexts::tasks(source)?;
        let (from, to) = options.steps.unwrap_or_else(|| default_steps(first, last, false));
        let only = options.shown();
        let mut sums: BTreeMap<(Option<i32>, String), BTreeMap<String, RoutingSums>> = BTreeMap::new();
        source.visit(|row: RoutingWeights| {
            let counts = row.stage == stage
                && (from..=to).contains(&row.step)
                && options.layer.as_ref().is_none_or(|l| *l == row.layer)
                && only.as_ref().is_none_or(|only| only.of(&row).is_some());
            if counts {
                let task = tasks.of(&row).map_or(NO_TASK, Name::as_str);
                let of_layer = sums.entry((row.depth, row.layer)).or_default();
                if !of_layer.contains_key(task) {
                    of_layer.insert(task.to_owned(), RoutingSums::default());
                }
                if let Some(sums) = of_layer.get_mut(task) {
                    sums.add(&row.weights);
                }
            }
        })?;
        let all = || sums.values().flat_map(BTreeMap::values);
        let mut not_finite = NotFinite::default();
        all().for_each(|s| not_finite.add(s.not_finite));
        let experts = all().map(|s| s.gate_mass().len()).max().unwrap_or(0);
        if experts == 0 {
            return Err(contexts::nothing_routed(id, source, not_finite));
        }
        // A task may have rows in some layers alone.
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (task, of) in sums.values().flatten() {
            let most = counts.entry(task.clone()).or_default();
            *most = of.rows.max(*most);
        }
        let names: Vec<String> = counts.keys().cloned().collect();
        let mean = |of: Option<&RoutingSums>| {
            let mass = of.map(RoutingSums::gate_mass).unwrap_or_default();
            (0..experts).map(|e| mass.get(e).copied()).collect()
        };
        let layer = |((_, name), by_task): (&(Option<i32>, String), &BTreeMap<String, RoutingSums>)| Layer {
            name: name.clone(),
            weights: names.iter().map(|t| mean(by_task.get(t))).collect(),
        };
        let layers = sums.iter().map(layer).collect();
        let (only, samples) = (options.samples.as_ref().map(|s| s.name.clone()), counts.into_values().collect());
        Ok(Self {
            stage,
            from_step: from,
            to_step: Some(to.min(last)),
            samples,
            tasks: names,
            layers,
            only,
            not_finite,
        })
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
        json!({
            "stage": self.stage, "first_step": self.from_step, "last_step": self.to_step, "only": self.only,
            "weights": "mean over the rows of these steps",
        })
    }

    fn left_out(&self) -> Vec<String> {
        self.not_finite.words("routing row", "routing rows").into_iter().collect()
    }
}
