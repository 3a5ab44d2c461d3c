//! `expert-load`: gate mass (mean weight) and hard load (share of samples whose largest weight it has) of each expert over
//! the steps, layer by layer.

use super::axes::{Axes, Entry, Grid, Mark, balanced, bottom_room, left_room, legend, legend_height, others};
use super::color::{GREY, INK, LINES, style};
use super::contexts;
use super::looks::Looks;
use super::page::{LeftOut, Page, spread};
use super::scene::{Across, Along, Canvas, Point};
use super::source::Source;
use super::{Figure, FigureId, Options, Result, Table, cell};
use crate::analysis::RoutingSums;
use crate::stats::NotFinite;
use crate::store::RoutingWeights;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Stretches of steps that are drawn at most.
const STRETCHES: u64 = 60;

#[derive(Debug, Serialize, Deserialize)]
struct Layer {
    name: String,
    /// Middle of each stretch of steps.
    steps: Vec<f64>,
    samples: Vec<u64>,
    /// `[expert][stretch]`; null where no row of the stretch is finite.
    mass: Vec<Vec<Option<f64>>>,
    /// `[expert][stretch]`
    load: Vec<Vec<Option<f64>>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExpertLoad {
    stage: String,
    every: u64,
    layers: Vec<Layer>,
    /// Name of the selection that alone is shown.
    #[serde(default)]
    only: Option<String>,
    #[serde(default)]
    not_finite: NotFinite,
}

impl ExpertLoad {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let id = FigureId::ExpertLoad;
        let (stage, (_, last)) = contexts::routed(id, source, options)?;
        let (from, to) = options.steps.unwrap_or((0, last));
        let every = (to.min(last).saturating_sub(from) + 1).div_ceil(STRETCHES).max(1);
        let only = options.shown();
        let mut sums: BTreeMap<(Option<i32>, String), BTreeMap<u64, RoutingSums>> = BTreeMap::new();
        source.visit(|row: RoutingWeights| {
            let counts = row.stage == stage
                && (from..=to).contains(&row.step)
                && options.layer.as_ref().is_none_or(|l| *l == row.layer)
                && only.as_ref().is_none_or(|only| only.of(&row).is_some());
            if counts {
                let of_layer = sums.entry((row.depth, row.layer)).or_default();
                of_layer.entry((row.step - from) / every).or_default().add(&row.weights);
            }
        })?;
        let mut not_finite = NotFinite::default();
        sums.values().flat_map(BTreeMap::values).for_each(|s| not_finite.add(s.not_finite));
        if sums.values().flat_map(BTreeMap::values).all(|s| s.rows == 0) {
            return Err(contexts::nothing_routed(id, source, not_finite));
        }
        let layer = |((_, name), stretches): ((Option<i32>, String), BTreeMap<u64, RoutingSums>)| {
            let (mass, load): (Vec<_>, Vec<_>) = stretches.values().map(|s| (s.gate_mass(), s.hard_load())).unzip();
            let experts = mass.iter().map(Vec::len).max().unwrap_or(0);
            let of = |all: &[Vec<f64>], e: usize| all.iter().map(|s| s.get(e).copied()).collect();
            Layer {
                name,
                steps: stretches.keys().map(|s| (from + s * every) as f64 + (every - 1) as f64 / 2.0).collect(),
                samples: stretches.values().map(|s| s.rows).collect(),
                mass: (0..experts).map(|e| of(&mass, e)).collect(),
                load: (0..experts).map(|e| of(&load, e)).collect(),
            }
        };
        let only = options.samples.as_ref().map(|s| s.name.clone());
        Ok(Self { stage, every, layers: sums.into_iter().map(layer).collect(), only, not_finite })
    }

    fn experts(&self) -> usize {
        self.layers.iter().map(|l| l.mass.len()).max().unwrap_or(0)
    }

    /// The experts with most of the gates' mass over all layers and steps.
    fn looks(&self, page: &Page) -> Looks {
        let mass = |e: usize| self.layers.iter().filter_map(|l| l.mass.get(e)).flatten().flatten().sum::<f64>();
        let parts: Vec<usize> = (0..self.experts()).map(|e| (mass(e) * 1e6) as usize).collect();
        Looks::largest(&parts, page.most, LINES)
    }

    fn entries(&self, page: &Page) -> Vec<Entry> {
        let looks = self.looks(page);
        let entry = |look: Option<usize>| (style(look).color, Mark::Line(1.3, style(look).dash));
        let own = looks.own().iter().map(|e| (e.to_string(), entry(looks.of(*e)).0, entry(looks.of(*e)).1));
        own.chain(others("experts", looks.others().len(), None, entry(None).0, entry(None).1)).collect()
    }

    /// Height of a line of panels.
    fn line(page: &Page) -> f64 {
        let (small, title) = (page.venue.small(), page.venue.font_size());
        2.0 * (small * 7.5) + title * 3.2 + small * 2.0
    }

    /// The layers that a page has room for.
    fn shown(&self, page: &Page) -> Vec<usize> {
        let columns = self.columns(self.width(page));
        let lines = page.fit(self.layers.len().div_ceil(columns), Self::line(page), page.venue.small() * 6.0);
        spread(self.layers.len(), lines * columns)
    }

    fn width(&self, page: &Page) -> f64 {
        72.0 * if self.layers.len() > 2 { page.venue.full() } else { page.venue.column() }
    }

    fn columns(&self, width: f64) -> usize {
        balanced(self.layers.len(), ((width - 30.0) / 90.0) as usize)
    }

    fn y(&self) -> (f64, f64) {
        (0.0, self.high().min(1.0))
    }

    /// Room of the word before the legend.
    #[expect(clippy::unused_self, reason = "asked like the rest of the frame")]
    fn word(&self, canvas: &Canvas) -> f64 {
        canvas.width("expert", canvas.small) + 6.0
    }

    fn high(&self) -> f64 {
        let all = self.layers.iter().flat_map(|l| l.mass.iter().chain(&l.load).flatten().flatten());
        all.fold(0.0_f64, |a, v| a.max(*v)).max(0.1) * 1.04
    }
}

impl Figure for ExpertLoad {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        let width = self.width(page);
        let lines = self.shown(page).len().div_ceil(self.columns(width)) as f64;
        let canvas = page.canvas((width, 0.0));
        let used =
            legend_height(&canvas, &self.entries(page), left_room(&canvas, self.y()) + self.word(&canvas), width - 5.0);
        let more = (used - venue.small() * 1.35 * 2.0).max(0.0);
        (width, lines * Self::line(page) + venue.small() * 1.4 + more)
    }

    fn draw(&self, canvas: &mut Canvas) {
        let (small, title) = (canvas.small, canvas.title);
        let y = self.y();
        let left = left_room(canvas, y);
        canvas.text("expert", (left, small * 0.75), small, (Across::Left, Along::Middle), INK);
        let start = left + self.word(canvas);
        let entries = self.entries(&canvas.page);
        let used = legend(canvas, &entries, (start, small * 0.75), canvas.size.0 - 5.0);
        let columns = self.columns(canvas.size.0);
        let (shown, looks) = (self.shown(&canvas.page), self.looks(&canvas.page));
        let mut grid = Grid {
            columns,
            lines: shown.len().div_ceil(columns),
            from: (left, used),
            to: (canvas.size.0 - 5.0, canvas.size.1),
            head: title * 1.5,
            foot: bottom_room(canvas),
            gap: 9.0,
        };
        let steps = || self.layers.iter().flat_map(|l| &l.steps).copied();
        let last = steps().fold(f64::NEG_INFINITY, f64::max);
        // A stage is shown from its beginning, later steps alone as they are.
        let x = match steps().fold(f64::INFINITY, f64::min) {
            first if first > 0.5 * last && last > first => (first, last),
            _ => (0.0, last.max(1.0)),
        };
        let frame = |i: usize| Axes { from: grid.frame(i).0, to: grid.frame(i).1, x, y };
        grid.gap = frame(0).gap_to(&frame(1), canvas).max(grid.gap);
        let titles: Vec<String> = shown.iter().map(|l| format!("layer {}", self.layers[*l].name)).collect();
        let titles = canvas.short(&titles, title, grid.frame(0).1.0 - grid.frame(0).0.0 + grid.gap * 0.8);
        for (i, layer) in shown.iter().map(|l| &self.layers[*l]).enumerate() {
            let (from, to) = grid.frame(i);
            let gap = small * 0.9;
            let half = (to.1 - from.1 - gap) / 2.0;
            let parts = [
                ("gate mass", &layer.mass, from.1, from.1 + half),
                ("hard load", &layer.load, from.1 + half + gap, to.1),
            ];
            for (name, values, top, bottom) in parts {
                let axes = Axes { from: (from.0, top), to: (to.0, bottom), x, y };
                axes.y_axis(canvas, i % columns == 0);
                if i % columns == 0 {
                    canvas.upwards(name, (title * 0.75, f64::midpoint(top, bottom)), title, INK);
                }
                if bottom < to.1 {
                    canvas.line(&[(from.0, bottom), (to.0, bottom)], INK, 0.6);
                } else {
                    axes.x_axis(canvas, "step");
                }
                let even = 1.0 / values.len().max(1) as f64;
                canvas.dashed(&[axes.at(x.0, even), axes.at(x.1, even)], GREY, 0.6, &[1.5, 1.5]);
                for e in looks.others().iter().chain(looks.own()).filter(|e| **e < values.len()) {
                    let at = |(s, v): (&f64, &Option<f64>)| axes.at(*s, v.unwrap_or(f64::NAN));
                    let points: Vec<Point> = layer.steps.iter().zip(&values[*e]).map(at).collect();
                    let (style, thick) = (style(looks.of(*e)), if looks.of(*e).is_some() { 1.0 } else { 0.5 });
                    canvas.dashed(&points, style.color, thick, style.dash);
                }
            }
            let at = (f64::midpoint(from.0, to.0), from.1 - 2.0);
            canvas.text(&titles[i], at, title, (Across::Center, Along::Bottom), INK);
        }
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for layer in &self.layers {
            for (e, (mass, load)) in layer.mass.iter().zip(&layer.load).enumerate() {
                rows.extend(layer.steps.iter().enumerate().map(|(s, step)| {
                    let (name, expert) = (layer.name.clone(), e.to_string());
                    let samples = layer.samples[s].to_string();
                    [name, expert, step.to_string(), cell(mass[s]), cell(load[s]), samples]
                }));
            }
        }
        Table::new(["layer", "expert", "step", "gate_mass", "hard_load", "samples"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "stage": self.stage, "steps_a_point": self.every, "dotted": "even load", "only": self.only,
            "gate_mass": "mean routing weight", "hard_load": "share of samples whose largest weight is the expert's",
        })
    }

    fn left_out(&self) -> Vec<String> {
        self.not_finite.words("routing row", "routing rows").into_iter().collect()
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let layers: Vec<String> = self.layers.iter().map(|l| l.name.clone()).collect();
        let experts: Vec<String> = (0..self.experts()).map(|e| e.to_string()).collect();
        let layers = LeftOut::of("layers", &layers, &self.shown(page), false);
        layers.into_iter().chain(LeftOut::of("experts", &experts, self.looks(page).own(), true)).collect()
    }
}
