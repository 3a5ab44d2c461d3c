//! `expert-load`: gate mass (mean weight) and hard load (share of samples whose largest weight it has) of each expert over
//! the steps, layer by layer.

use super::axes::{Axes, Entry, Grid, Mark, balanced, bottom_room, left_room, legend};
use super::color::{GREY, INK, series};
use super::contexts;
use super::scene::{Across, Along, Canvas, Point};
use super::source::Source;
use super::{Figure, FigureId, Options, Result, Table, Venue};
use crate::store::{RoutingKey, RoutingWeights, option_that_logs};
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
    /// `[expert][stretch]`
    mass: Vec<Vec<f64>>,
    /// `[expert][stretch]`
    load: Vec<Vec<f64>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExpertLoad {
    stage: String,
    every: u64,
    layers: Vec<Layer>,
}

#[derive(Default)]
struct Sums {
    samples: u64,
    mass: Vec<f64>,
    load: Vec<u64>,
}

impl Sums {
    fn add(&mut self, weights: &[f32]) {
        if weights.is_empty() || weights.iter().any(|w| !w.is_finite()) {
            return;
        }
        self.mass.resize(weights.len().max(self.mass.len()), 0.0);
        self.load.resize(self.mass.len(), 0);
        self.samples += 1;
        let mut top = 0;
        for (i, weight) in weights.iter().enumerate() {
            self.mass[i] += f64::from(*weight);
            if *weight > weights[top] {
                top = i;
            }
        }
        self.load[top] += 1;
    }
}

impl ExpertLoad {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let lacks = || source.lacks(FigureId::ExpertLoad, "`routing`", option_that_logs("routing"));
        let (stage, last) =
            contexts::last_step::<RoutingKey>(source, options, |r| (&r.stage, r.step))?.ok_or_else(lacks)?;
        let every = (last + 1).div_ceil(STRETCHES).max(1);
        let mut sums: BTreeMap<(Option<i32>, String), BTreeMap<u64, Sums>> = BTreeMap::new();
        source.visit(|row: RoutingWeights| {
            if row.stage == stage {
                let of_layer = sums.entry((row.depth, row.layer)).or_default();
                of_layer.entry(row.step / every).or_default().add(&row.weights);
            }
        })?;
        let layer = |((_, name), by_stretch): ((Option<i32>, String), BTreeMap<u64, Sums>)| {
            let stretches: Vec<(u64, Sums)> = by_stretch.into_iter().filter(|s| s.1.samples > 0).collect();
            let experts = stretches.iter().map(|s| s.1.mass.len()).max().unwrap_or(0);
            let share = |sum: f64, s: &Sums| sum / s.samples as f64;
            let mass = |e: usize, s: &Sums| share(s.mass.get(e).copied().unwrap_or(0.0), s);
            let load = |e: usize, s: &Sums| share(s.load.get(e).copied().unwrap_or(0) as f64, s);
            Layer {
                name,
                steps: stretches.iter().map(|s| (s.0 * every) as f64 + (every - 1) as f64 / 2.0).collect(),
                samples: stretches.iter().map(|s| s.1.samples).collect(),
                mass: (0..experts).map(|e| stretches.iter().map(|s| mass(e, &s.1)).collect()).collect(),
                load: (0..experts).map(|e| stretches.iter().map(|s| load(e, &s.1)).collect()).collect(),
            }
        };
        Ok(Self { stage, every, layers: sums.into_iter().map(layer).collect() })
    }

    fn experts(&self) -> usize {
        self.layers.iter().map(|l| l.mass.len()).max().unwrap_or(0)
    }

    fn entries(&self) -> Vec<Entry> {
        (0..self.experts()).map(|e| (e.to_string(), series(e).color, Mark::Line(1.3, series(e).dash))).collect()
    }

    fn width(&self, venue: Venue) -> f64 {
        72.0 * if self.layers.len() > 2 { venue.full() } else { venue.column() }
    }

    fn columns(&self, width: f64) -> usize {
        balanced(self.layers.len(), ((width - 30.0) / 90.0) as usize)
    }

    fn high(&self) -> f64 {
        let all = self.layers.iter().flat_map(|l| l.mass.iter().chain(&l.load).flatten());
        all.fold(0.0_f64, |a, v| a.max(*v)).max(0.1) * 1.04
    }
}

impl Figure for ExpertLoad {
    fn size(&self, venue: Venue) -> Point {
        let width = self.width(venue);
        let lines = self.layers.len().div_ceil(self.columns(width)) as f64;
        let body = venue.small() * 7.5;
        (width, lines * (2.0 * body + venue.font_size() * 3.2 + venue.small() * 2.0) + venue.small() * 1.4)
    }

    fn draw(&self, canvas: &mut Canvas) {
        let (small, title) = (canvas.small, canvas.title);
        let y = (0.0, self.high().min(1.0));
        let left = left_room(canvas, y);
        canvas.text("expert", (left, small * 0.75), small, (Across::Left, Along::Middle), INK);
        let start = left + canvas.width("expert", small) + 6.0;
        let used = legend(canvas, &self.entries(), (start, small * 0.75), canvas.size.0 - 5.0);
        let columns = self.columns(canvas.size.0);
        let grid = Grid {
            columns,
            lines: self.layers.len().div_ceil(columns),
            from: (left, used),
            to: (canvas.size.0 - 5.0, canvas.size.1),
            head: title * 1.5,
            foot: bottom_room(canvas),
            gap: 9.0,
        };
        let steps = || self.layers.iter().flat_map(|l| &l.steps).copied();
        let x = (0.0, steps().fold(1.0, f64::max));
        for (i, layer) in self.layers.iter().enumerate() {
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
                for (e, of) in values.iter().enumerate() {
                    let points: Vec<Point> = layer.steps.iter().zip(of).map(|(s, v)| axes.at(*s, *v)).collect();
                    canvas.dashed(&points, series(e).color, 1.0, series(e).dash);
                }
            }
            let at = (f64::midpoint(from.0, to.0), from.1 - 2.0);
            canvas.text(&format!("layer {}", layer.name), at, title, (Across::Center, Along::Bottom), INK);
        }
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for layer in &self.layers {
            for (e, (mass, load)) in layer.mass.iter().zip(&layer.load).enumerate() {
                rows.extend(layer.steps.iter().enumerate().map(|(s, step)| {
                    let (name, expert) = (layer.name.clone(), e.to_string());
                    let samples = layer.samples[s].to_string();
                    [name, expert, step.to_string(), mass[s].to_string(), load[s].to_string(), samples]
                }));
            }
        }
        Table::new(["layer", "expert", "step", "gate_mass", "hard_load", "samples"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "stage": self.stage, "steps_a_point": self.every, "dotted": "even load",
            "gate_mass": "mean routing weight", "hard_load": "share of samples whose largest weight is the expert's",
        })
    }
}
