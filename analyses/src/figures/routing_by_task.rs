//! `routing-by-task`: mean routing weight of each expert for each task, layer by layer.

use super::axes::{Grid, balanced, row_names};
use super::color::{INK, Scale, ink_on};
use super::contexts;
use super::heat;
use super::looks::Looks;
use super::page::{LeftOut, Page, spread};
use super::scene::{Across, Along, Canvas, Point};
use super::source::Source;
use super::{Figure, FigureId, Options, Result, Table, cell};
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

/// Tasks with a row of their own at most.
const ROWS: usize = 24;

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

    /// The tasks with most samples.
    fn looks(&self, page: &Page) -> Looks {
        let samples: Vec<usize> = self.samples.iter().map(|n| *n as usize).collect();
        let (small, title) = (page.venue.small(), page.venue.font_size());
        Looks::largest(&samples, page.most, page.fit(ROWS, small * 1.6, small * 3.0 + title * 2.9))
    }

    /// Names of the rows: the largest tasks, and the rest together.
    fn rows(&self, canvas: &Canvas, looks: &Looks) -> Vec<String> {
        let own: Vec<String> = looks.own().iter().map(|i| self.tasks[*i].clone()).collect();
        let mut names = canvas.readable(&own);
        if !looks.others().is_empty() {
            names.push(format!("others ({} tasks)", looks.others().len()));
        }
        canvas.short(&names, canvas.small, canvas.size.0 * NAMES)
    }

    /// Weights by row and expert.
    fn weights(&self, layer: &Layer, looks: &Looks) -> Vec<Vec<Option<f64>>> {
        let mut rows: Vec<_> = looks.own().iter().map(|i| layer.weights[*i].clone()).collect();
        let rest = looks.others();
        let mean = |expert: usize| {
            let known =
                rest.iter().filter_map(|t| Some((layer.weights[*t].get(expert).copied()??, self.samples[*t] as f64)));
            let (sum, n) = known.fold((0.0, 0.0), |(sum, n), (w, samples)| (sum + w * samples, n + samples));
            (n > 0.0).then(|| sum / n)
        };
        if let Some(first) = rest.first() {
            rows.push((0..layer.weights[*first].len()).map(mean).collect());
        }
        rows
    }

    /// Height of a line of panels.
    fn line(&self, page: &Page) -> f64 {
        let looks = self.looks(page);
        let rows = looks.own().len() + usize::from(!looks.others().is_empty());
        let (small, title) = (page.venue.small(), page.venue.font_size());
        rows as f64 * small * 1.6 + small * 1.4 + title * 1.6
    }

    /// The layers that a page has room for.
    fn shown(&self, page: &Page, width: f64) -> Vec<usize> {
        let columns = self.columns(width, page.venue.small());
        let lines = page.fit(self.layers.len().div_ceil(columns), self.line(page), page.venue.font_size() * 1.3);
        spread(self.layers.len(), lines * columns)
    }

    fn width(&self, page: &Page) -> f64 {
        72.0 * if self.layers.len() > 1 { page.venue.full() } else { page.venue.column() }
    }

    fn experts(&self) -> usize {
        self.layers.iter().flat_map(|l| &l.weights).map(Vec::len).max().unwrap_or(1).max(1)
    }

    /// Panels side by side: each expert's cell needs room for two digits.
    fn columns(&self, width: f64, small: f64) -> usize {
        let panel = self.experts() as f64 * small * 2.5 + 8.0;
        balanced(self.layers.len(), ((width * (1.0 - NAMES) - 40.0) / panel) as usize)
    }

    fn panel(&self, canvas: &mut Canvas, layer: &Layer, title: &str, (from, to): (Point, Point)) {
        let scale = self.scale();
        let weights = self.weights(layer, &self.looks(&canvas.page));
        heat::cells(canvas, from, to, &weights, scale);
        let experts = weights.first().map_or(0, Vec::len).max(1);
        let (width, height) = ((to.0 - from.0) / experts as f64, (to.1 - from.1) / weights.len().max(1) as f64);
        let fits = canvas.width("0.00", canvas.small) + 1.0 < width && canvas.small * 1.1 < height;
        for (r, row) in weights.iter().enumerate() {
            for (c, weight) in row.iter().enumerate().filter(|_| fits) {
                let at = ((c as f64 + 0.5).mul_add(width, from.0), (r as f64 + 0.5).mul_add(height, from.1));
                let text = weight.map_or_else(|| "\u{2013}".to_owned(), |w| format!("{w:.2}"));
                let ink = ink_on(scale.color(*weight));
                canvas.text(&text, at, canvas.small, (Across::Center, Along::Middle), ink);
            }
        }
        heat::column_numbers(canvas, (from.0, to), experts);
        let middle = f64::midpoint(from.0, to.0);
        canvas.text(title, (middle, from.1 - 2.0), canvas.title, (Across::Center, Along::Bottom), INK);
    }
}

impl Figure for RoutingByTask {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        let width = self.width(page);
        let lines = self.shown(page, width).len().div_ceil(self.columns(width, venue.small())) as f64;
        (width, lines.mul_add(self.line(page), venue.font_size() * 1.3))
    }

    fn draw(&self, canvas: &mut Canvas) {
        let scale = self.scale();
        let names = self.rows(canvas, &self.looks(&canvas.page));
        let shown = self.shown(&canvas.page, canvas.size.0);
        let widest = names.iter().map(|t| canvas.width(t, canvas.small)).fold(0.0, f64::max);
        let columns = self.columns(canvas.size.0, canvas.small);
        let grid = Grid {
            columns,
            lines: shown.len().div_ceil(columns),
            from: (widest + 7.0, 0.0),
            to: (canvas.size.0 - heat::bar_room(canvas, scale), canvas.size.1 - canvas.title * 1.3),
            head: canvas.title * 1.5,
            foot: canvas.small * 1.4,
            gap: 8.0,
        };
        let titles: Vec<String> = shown.iter().map(|l| format!("layer {}", self.layers[*l].name)).collect();
        let titles = canvas.short(&titles, canvas.title, grid.frame(0).1.0 - grid.frame(0).0.0 + grid.gap * 0.8);
        for (i, layer) in shown.iter().map(|l| &self.layers[*l]).enumerate() {
            let (from, to) = grid.frame(i);
            self.panel(canvas, layer, &titles[i], (from, to));
            if i % columns == 0 {
                row_names(canvas, from.0, (from.1, to.1), &names);
            }
        }
        let at = (f64::midpoint(grid.from.0, grid.to.0), canvas.size.1 - canvas.title * 0.2);
        canvas.text("expert", at, canvas.title, (Across::Center, Along::Bottom), INK);
        let bottom = grid.frame(shown.len().max(1) - 1).1.1;
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

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let layers: Vec<String> = self.layers.iter().map(|l| l.name.clone()).collect();
        let layers = LeftOut::of("layers", &layers, &self.shown(page, self.width(page)), false);
        layers.into_iter().chain(LeftOut::of("tasks", &self.tasks, self.looks(page).own(), true)).collect()
    }
}
