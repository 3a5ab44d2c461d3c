//! `gradient-cosine`: cosine of each step's gradient with AdamW's first moment, over the whole vision encoder.

use super::axes::{Axes, Mark, bottom_room, left_room, legend};
use super::canvas::{Canvas, Drawn, Point};
use super::save::{Figure, Table};
use super::theme::{BLUE, INK, PALE_BLUE, VERMILION, Venue};
use super::{FigureId, Result, lacks, needed};
use crate::stats::{Summary, smooth};
use crate::store::{ALL, LayerRow, RunDir};
use plotters::prelude::DrawingBackend;
use serde_json::json;

/// Bars of the histogram over -1..1.
const BINS: usize = 40;
const SMOOTHING: f64 = 0.9;

pub(super) struct GradientCosine {
    stage: String,
    cosines: Vec<(f64, f64)>,
    summary: Summary,
}

impl GradientCosine {
    pub(super) fn load(run: &RunDir) -> Result<Self> {
        let id = FigureId::GradientCosine;
        let rows: Vec<LayerRow> = needed(id, run)?;
        let whole = rows.into_iter().filter(|r| r.layer == ALL && r.module == ALL);
        let rows: Vec<(String, f64, f64)> =
            whole.filter_map(|r| Some((r.stage, r.step as f64, r.momentum.filter(|m| m.is_finite())?))).collect();
        let missing = || lacks(id, run, "layers.momentum", "`--log-grads` (`[probe] log_grads = true`)");
        let stage = rows.last().ok_or_else(missing)?.0.clone();
        let cosines: Vec<(f64, f64)> = rows.into_iter().filter(|r| r.0 == stage).map(|r| (r.1, r.2)).collect();
        let summary = Summary::of(cosines.iter().map(|c| c.1)).ok_or_else(missing)?;
        Ok(Self { stage, cosines, summary })
    }

    fn histogram(&self) -> [u64; BINS] {
        let mut counts = [0; BINS];
        for (_, cosine) in &self.cosines {
            let bin = ((cosine + 1.0) / 2.0 * BINS as f64).floor().clamp(0.0, BINS as f64 - 1.0) as usize;
            counts[bin] += 1;
        }
        counts
    }
}

impl Figure for GradientCosine {
    fn size(&self, venue: Venue) -> Point {
        (venue.column() * 72.0, venue.column() * 72.0 * 0.6)
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn {
        let y = (-1.0, 1.0);
        let left = left_room(canvas, y, canvas.size.1 * 0.6);
        let mean =
            format!("mean {:.2} \u{b1} {:.2}, T = {}", self.summary.mean, self.summary.deviation, self.summary.n);
        let entries = [
            ("by step".to_owned(), PALE_BLUE, Mark::Line(0.7)),
            ("smoothed".to_owned(), BLUE, Mark::Line(1.3)),
            (mean.replace('-', "\u{2212}"), VERMILION, Mark::Line(1.0)),
        ];
        let top = legend(canvas, &entries, (left, canvas.small * 0.9))? + 3.0;
        let bottom = canvas.size.1 - bottom_room(canvas);
        let middle = left + (canvas.size.0 - left) * 0.72;
        let (first, last) = (self.cosines[0].0, self.cosines[self.cosines.len() - 1].0);
        let x = (first, if last > first { last } else { first + 1.0 });
        let axes = Axes { from: (left, top), to: (middle, bottom), x, y };
        axes.frame(canvas, &format!("step of stage {}", self.stage), "cosine")?;
        let placed =
            |values: &mut dyn Iterator<Item = (f64, f64)>| values.map(|p| axes.at(p.0, p.1)).collect::<Vec<_>>();
        canvas.line(&placed(&mut self.cosines.iter().copied()), PALE_BLUE, 0.5)?;
        let cosines: Vec<f64> = self.cosines.iter().map(|c| c.1).collect();
        let smoothed = smooth(&cosines, SMOOTHING);
        canvas.line(&placed(&mut self.cosines.iter().zip(smoothed).map(|(c, s)| (c.0, s))), BLUE, 1.1)?;

        let counts = self.histogram();
        let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
        let side = Axes { from: (middle + 8.0, top), to: (canvas.size.0 - 8.0, bottom), x: (0.0, most * 1.05), y };
        for (bin, count) in counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            let low = -1.0 + 2.0 * bin as f64 / BINS as f64;
            canvas.fill(side.at(0.0, low + 2.0 / BINS as f64), side.at(*count as f64, low), BLUE)?;
        }
        canvas.line(&[side.from, (side.from.0, side.to.1)], INK, 0.6)?;
        side.x_axis(canvas, "steps")?;
        let at = self.summary.mean;
        canvas.line(&[axes.at(x.0, at), axes.at(x.1, at)], VERMILION, 0.8)?;
        canvas.line(&[side.at(0.0, at), side.at(side.x.1, at)], VERMILION, 0.8)
    }

    fn table(&self) -> Table {
        let line = |c: &(f64, f64)| vec![self.stage.clone(), c.0.to_string(), c.1.to_string()];
        let columns = ["stage", "step", "cosine"].map(str::to_owned).to_vec();
        Table { columns, rows: self.cosines.iter().map(line).collect() }
    }

    fn notes(&self) -> serde_json::Value {
        let below = self.cosines.iter().filter(|c| c.1 < 0.0).count() as f64 / self.cosines.len() as f64;
        json!({
            "stage": self.stage, "direction": "momentum: AdamW's first moment of the steps before",
            "steps": self.summary.n, "mean": self.summary.mean, "deviation": self.summary.deviation,
            "share_below_0": below, "smoothing": SMOOTHING,
        })
    }
}
