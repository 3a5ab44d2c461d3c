//! `loss`: training and held-out loss over the run, stages divided by thin lines.

use super::axes::{Axes, Mark, bottom_room, left_room, legend, range};
use super::canvas::{Canvas, Drawn, Point};
use super::save::{Figure, Table};
use super::theme::{BLUE, GREY, INK, PALE_BLUE, VERMILION, Venue};
use super::{FigureId, Result, needed};
use crate::stats::smooth;
use crate::store::{ALL, EvalRow, RunDir, StepRow, read_records};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};
use serde_json::json;

/// Weight of the past in the smoothed line.
const SMOOTHING: f64 = 0.9;

/// One stage's curves over the run's steps.
struct Stage {
    name: String,
    train: Vec<(f64, f64)>,
    smooth: Vec<(f64, f64)>,
    /// Over a fixed subset while training.
    subset: Vec<(f64, f64)>,
    /// Over everything that is held out.
    whole: Vec<(f64, f64)>,
}

pub(super) struct Loss {
    stages: Vec<Stage>,
}

impl Loss {
    pub(super) fn load(run: &RunDir) -> Result<Self> {
        let steps: Vec<StepRow> = needed(FigureId::Loss, run)?;
        let evals = read_records::<EvalRow>(run)?.rows;
        let mut stages: Vec<Stage> = Vec::new();
        for step in &steps {
            if stages.last().is_none_or(|s| s.name != step.stage) {
                let none = Vec::new;
                stages.push(Stage {
                    name: step.stage.clone(),
                    train: none(),
                    smooth: none(),
                    subset: none(),
                    whole: none(),
                });
            }
            if let Some(stage) = stages.last_mut() {
                stage.train.push((step.global_step as f64, step.loss));
            }
        }
        for stage in &mut stages {
            let losses: Vec<f64> = stage.train.iter().map(|p| p.1).collect();
            stage.smooth = stage.train.iter().zip(smooth(&losses, SMOOTHING)).map(|(p, l)| (p.0, l)).collect();
            for eval in evals.iter().filter(|e| e.stage == stage.name && e.task == ALL) {
                let Some(loss) = eval.loss else { continue };
                let to = if eval.split == "val" { &mut stage.whole } else { &mut stage.subset };
                to.push((eval.global_step as f64, loss));
            }
        }
        Ok(Self { stages })
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.stages.iter().flat_map(|s| s.smooth.iter().chain(&s.train).chain(&s.subset).chain(&s.whole)).copied()
    }

    /// Names the stage above its part of the plot, where there is room.
    fn divide<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, axes: &Axes) -> Drawn {
        let starts: Vec<f64> = self.stages.iter().map(|s| s.train[0].0).collect();
        for (i, stage) in self.stages.iter().enumerate() {
            let left = if i == 0 { axes.from.0 } else { axes.at(starts[i], 0.0).0 };
            let right = starts.get(i + 1).map_or(axes.to.0, |next| axes.at(*next, 0.0).0);
            if i > 0 {
                canvas.line(&[(left, axes.from.1), (left, axes.to.1)], GREY, 0.6)?;
            }
            if canvas.width(&stage.name, canvas.small) + 4.0 < right - left {
                let at = (f64::midpoint(left, right), axes.from.1 - 2.0);
                canvas.text(&stage.name, at, canvas.small, (HPos::Center, VPos::Bottom), INK)?;
            }
        }
        Ok(())
    }
}

impl Figure for Loss {
    fn size(&self, venue: Venue) -> Point {
        (venue.column() * 72.0, venue.column() * 72.0 * 0.62)
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn {
        let x = range(self.points().map(|p| p.0), 0.0).unwrap_or((0.0, 1.0));
        let (low, high) = range(self.points().map(|p| p.1), 0.04).unwrap_or((0.0, 1.0));
        let y = (if low > 0.0 && low < 0.5 * high { 0.0 } else { low }, high);
        let has = |of: fn(&Stage) -> bool| self.stages.iter().any(of);
        let mut entries = vec![
            ("train, by step".to_owned(), PALE_BLUE, Mark::Line(0.7)),
            ("train, smoothed".to_owned(), BLUE, Mark::Line(1.3)),
        ];
        if has(|s| !s.subset.is_empty()) {
            entries.push(("held-out, subset".to_owned(), VERMILION, Mark::Disc));
        }
        if has(|s| !s.whole.is_empty()) {
            entries.push(("held-out, all".to_owned(), INK, Mark::Diamond));
        }
        let height = canvas.size.1;
        let left = left_room(canvas, y, height * 0.6);
        let used = legend(canvas, &entries, (left, canvas.small * 0.9))?;
        let top = used + canvas.small * 1.6;
        let axes = Axes { from: (left, top), to: (canvas.size.0 - 8.0, height - bottom_room(canvas)), x, y };
        axes.frame(canvas, "step", "loss")?;
        self.divide(canvas, &axes)?;
        let placed = |points: &[(f64, f64)]| {
            points.iter().filter(|p| p.1.is_finite()).map(|p| axes.at(p.0, p.1)).collect::<Vec<_>>()
        };
        for stage in &self.stages {
            canvas.line(&placed(&stage.train), PALE_BLUE, 0.5)?;
            canvas.line(&placed(&stage.smooth), BLUE, 1.1)?;
        }
        for stage in &self.stages {
            canvas.line(&placed(&stage.subset), VERMILION, 0.9)?;
            placed(&stage.subset).into_iter().try_for_each(|p| canvas.disc(p, 1.6, VERMILION))?;
            placed(&stage.whole).into_iter().try_for_each(|p| canvas.diamond(p, 2.6, INK))?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for stage in &self.stages {
            let series = [
                ("train", &stage.train),
                ("train_smoothed", &stage.smooth),
                ("val-subset", &stage.subset),
                ("val", &stage.whole),
            ];
            for (name, points) in series {
                let line = |p: &(f64, f64)| vec![stage.name.clone(), name.into(), p.0.to_string(), p.1.to_string()];
                rows.extend(points.iter().map(line));
            }
        }
        Table { columns: ["stage", "series", "global_step", "loss"].map(str::to_owned).to_vec(), rows }
    }

    fn notes(&self) -> serde_json::Value {
        json!({ "smoothing": SMOOTHING, "stages": self.stages.iter().map(|s| &s.name).collect::<Vec<_>>() })
    }
}
