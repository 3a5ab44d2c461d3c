//! `routing-context`: similarity of the routing of two samples against similarity of their contexts: density of pairs,
//! Pearson's r and its interval.

use super::axes::{Axes, bottom_room, left_room, signed};
use super::color::{INK, Scale};
use super::contexts::Contexts;
use super::heat;
use super::page::Page;
use super::scene::{Across, Along, Canvas, Point};
use super::source::Source;
use super::{Figure, FigureId, Options, Result, Table};
use crate::analysis::routing_context;
use crate::stats::{Interval, Undefined};
use crate::store::option_that_logs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Cells along each side.
const CELLS: usize = 44;
/// Random pairs, and resamples: those of `covft-probe analyze`.
const PAIRS: usize = 20_000;
const RESAMPLES: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RoutingContext {
    stage: String,
    layer: String,
    from_step: u64,
    samples: usize,
    pairs: usize,
    r: f64,
    /// Null where there is no interval.
    low: Option<f64>,
    high: Option<f64>,
    /// Why there is none, and what was left out.
    #[serde(default)]
    left_out: Vec<String>,
    /// Range of the contexts' similarity.
    x: (f64, f64),
    /// Range of the routings' similarity.
    y: (f64, f64),
    /// Pairs by cell, rows from below.
    counts: Vec<Vec<u64>>,
}

fn bounds(values: &[f64]) -> (f64, f64) {
    let (low, high) = super::axes::range(values.iter().copied(), 0.0).unwrap_or((0.0, 1.0));
    if high > low { (low, high) } else { (low - 0.5, high + 0.5) }
}

impl RoutingContext {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let id = FigureId::RoutingContext;
        let contexts = Contexts::load(id, source, options)?.of_selection(options)?;
        let data = &contexts.data;
        let routing = || source.lacks(id, "`routing` at the steps of `contexts`", option_that_logs("routing"));
        let found = routing_context(data, PAIRS, RESAMPLES, options.seed).ok_or_else(routing)?;
        let left = found.left_out.words();
        let undefined = |why: Undefined| {
            source.unfit(id, left.clone().into_iter().fold(why.to_string(), |why, left| format!("{why}; {left}")))
        };
        let Interval { estimate: r, ends } = found.r.map_err(undefined)?;
        let unsure = ends.err().map(|why| format!("no interval of r: {why}"));
        let left_out = contexts.left_out(None).into_iter().chain(left.clone()).chain(unsure).collect();
        let xs: Vec<f64> = found.pairs.iter().map(|p| p.context).collect();
        let ys: Vec<f64> = found.pairs.iter().map(|p| p.routing).collect();
        let (x, y) = (bounds(&xs), bounds(&ys));
        let mut counts = vec![vec![0; CELLS]; CELLS];
        let place = |v: f64, (low, high): (f64, f64)| {
            (((v - low) / (high - low) * CELLS as f64).floor().max(0.0) as usize).min(CELLS - 1)
        };
        xs.iter().zip(&ys).for_each(|(a, b)| counts[place(*b, y)][place(*a, x)] += 1);
        let (stage, layer, samples) = (data.stage.clone(), data.layer.clone(), found.samples);
        let (low, high) = (ends.ok().map(|e| e.0), ends.ok().map(|e| e.1));
        Ok(Self {
            stage,
            layer,
            from_step: data.steps.0,
            samples,
            pairs: xs.len(),
            r,
            low,
            high,
            left_out,
            x,
            y,
            counts,
        })
    }

    /// Densities span orders of magnitude: the scale is that of logarithms.
    fn scale(&self) -> Scale {
        let most = self.counts.iter().flatten().copied().max().unwrap_or(1).max(10);
        Scale::sequential(0.0, (most as f64).log10())
    }
}

impl Figure for RoutingContext {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        (venue.column() * 72.0, venue.column() * 72.0 * if venue.column() > 4.5 { 0.55 } else { 0.72 })
    }

    fn draw(&self, canvas: &mut Canvas) {
        let scale = self.scale();
        let left = left_room(canvas, self.y);
        let top = canvas.small * 1.6;
        let to = (canvas.size.0 - heat::bar_room(canvas, scale), canvas.size.1 - bottom_room(canvas));
        let axes = Axes { from: (left, top), to, x: self.x, y: self.y };
        axes.frame(canvas, "context similarity (cosine)", "routing similarity (cosine)");
        let step = |(low, high): (f64, f64)| (high - low) / CELLS as f64;
        for (r, row) in self.counts.iter().enumerate() {
            for (c, count) in row.iter().enumerate().filter(|(_, n)| **n > 0) {
                let corner = |c: usize, r: usize| {
                    axes.at((c as f64).mul_add(step(self.x), self.x.0), (r as f64).mul_add(step(self.y), self.y.0))
                };
                let color = scale.color(Some((*count as f64).log10()));
                canvas.rect(corner(c, r + 1), corner(c + 1, r), color);
            }
        }
        let ends = self.low.zip(self.high);
        let ends = ends.map_or_else(String::new, |(low, high)| format!(" [{}, {}]", signed(low, 2), signed(high, 2)));
        let text = format!("r = {}{ends}, {} pairs", signed(self.r, 2), self.pairs);
        canvas.text(&text, (left, canvas.small * 0.75), canvas.small, (Across::Left, Along::Middle), INK);
        canvas.line(&[axes.from, (axes.from.0, to.1), to], INK, 0.6);
        heat::bar(canvas, (to.0, top), to.1, scale, "pairs (log10)");
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        let middle = |i: usize, (low, high): (f64, f64)| low + (high - low) * (i as f64 + 0.5) / CELLS as f64;
        for (r, row) in self.counts.iter().enumerate() {
            rows.extend(
                row.iter()
                    .enumerate()
                    .filter(|(_, n)| **n > 0)
                    .map(|(c, n)| [middle(c, self.x).to_string(), middle(r, self.y).to_string(), n.to_string()]),
            );
        }
        Table::new(["context_similarity", "routing_similarity", "pairs"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "stage": self.stage, "layer": self.layer, "first_step": self.from_step, "samples": self.samples,
            "pairs": self.pairs, "pearson_r": self.r, "interval_95": [self.low, self.high], "interval": "bootstrap over samples",
            "similarity": "cosine of context vectors, cosine of routing weights",
        })
    }

    fn left_out(&self) -> Vec<String> {
        self.left_out.clone()
    }
}
