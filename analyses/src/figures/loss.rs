//! `loss`: training and held-out loss. One run: all stages, divided by thin lines; several: one stage, one line a run, and
//! more than a few of a study one line a method, the mean over its runs.

mod series;

use super::axes::{Axes, Entry, Mark, bottom_room, left_room, legend, legend_height, others, range};
use super::color::{BLUE, GREY, INK, LINES, VERMILION, WHITE, style};
use super::looks::Looks;
use super::page::{LeftOut, Page};
use super::points::{Points, TOGETHER, drawn, smoothed};
use super::scene::{Across, Along, Canvas, Point, Rgb, Shape};
use super::source::{Inputs, stage_steps};
use super::{Figure, FigureId, Options, Result, Table, cell};
use crate::labels;
use crate::stats::NotFinite;
use crate::store::option_that_logs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use series::{Broken, Run, Stage, by_group, stages};

/// Weight of the past in the smoothed line.
const SMOOTHING: f64 = 0.9;
/// Colour of what says that losses are not finite.
const BROKEN: Rgb = Rgb(0xCC, 0x00, 0x33);

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Loss {
    runs: Vec<Run>,
}

impl Loss {
    pub(super) fn load(inputs: &Inputs, options: &Options) -> Result<Self> {
        let mut runs = Vec::new();
        let several = inputs.runs.len() > 1;
        for source in &inputs.runs {
            let wanted = if several { source.stage(options.stage.as_deref()) } else { options.stage.clone() };
            let mut stages = stages(source, wanted.as_deref(), options)?;
            if several {
                // One stage of each: the last.
                stages = stages.pop().into_iter().collect();
            }
            if !stages.is_empty() {
                runs.push((source.group().to_owned(), Run { label: source.label.clone(), runs: 1, stages }));
            }
        }
        if runs.is_empty() {
            let source = inputs.runs.first().ok_or_else(|| inputs.nothing(FigureId::Loss))?;
            return Err(source.lacks(FigureId::Loss, "`steps`", option_that_logs("steps")));
        }
        inputs.note_absent(FigureId::Loss, runs.iter().map(|(_, run)| &run.label));
        if let [_, _, ..] = runs.as_mut_slice() {
            runs.iter_mut().flat_map(|(_, run)| &mut run.stages).for_each(Stage::count_from_its_beginning);
        }
        let together = runs.len() <= TOGETHER;
        let mut runs = if together { runs.into_iter().map(|(_, run)| run).collect() } else { by_group(runs) };
        let stages = runs.iter_mut().filter_map(|run| Some((&mut run.label, run.stages.first()?.name.as_str())));
        labels::with_stages(stages);
        Ok(Self { runs })
    }

    fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.runs.iter().flat_map(|r| &r.stages)
    }

    fn alone(&self) -> bool {
        self.runs.len() == 1
    }

    fn ranges(&self) -> ((f64, f64), (f64, f64)) {
        let all = || self.stages().flat_map(|s| s.train.iter().chain(&s.subset).chain(&s.whole));
        let x = range(all().map(|p| p.0), 0.0).unwrap_or((0.0, 1.0));
        let smooth: Vec<Points> = self.stages().map(|s| smoothed(&s.train, SMOOTHING)).collect();
        let held = || self.stages().flat_map(|s| s.subset.iter().chain(&s.whole));
        let shown = smooth.iter().flatten().chain(held());
        let (low, high) =
            if self.alone() { range(all().filter_map(|p| p.1), 0.04) } else { range(shown.filter_map(|p| p.1), 0.04) }
                .unwrap_or((0.0, 1.0));
        (x, (if low > 0.0 && low < 0.5 * high { 0.0 } else { low }, high))
    }

    /// The first runs have lines of their own.
    fn looks(&self, page: &Page) -> Looks {
        Looks::largest(&vec![1; self.runs.len()], page.most, LINES)
    }

    fn entries(&self, page: &Page) -> Vec<Entry> {
        let looks = self.looks(page);
        let has = |of: fn(&Stage) -> bool| self.stages().any(of);
        let mut entries: Vec<Entry> = if self.alone() {
            vec![
                ("train, by step".to_owned(), BLUE.mix(WHITE, 0.65), Mark::Line(0.8, &[])),
                ("train, smoothed".to_owned(), BLUE, Mark::Line(1.3, &[])),
            ]
        } else {
            let style = |look: Option<usize>| (style(look).color, Mark::Line(1.3, style(look).dash));
            let entry = |i: &usize| (self.runs[*i].label.clone(), style(looks.of(*i)).0, style(looks.of(*i)).1);
            let rest = others("runs", looks.others().len(), None, style(None).0, style(None).1);
            let smooth = ("train, smoothed".to_owned(), GREY, Mark::Line(1.3, &[]));
            looks.own().iter().map(entry).chain(rest).chain([smooth]).collect()
        };
        let (mark, last) = if self.alone() { (VERMILION, INK) } else { (GREY, GREY) };
        if has(|s| !s.subset.is_empty()) {
            entries.push(("held-out subset".to_owned(), mark, Mark::Alone(Shape::Disc)));
        }
        if has(|s| !s.whole.is_empty()) {
            entries.push(("held-out, all".to_owned(), last, Mark::Alone(Shape::Diamond)));
        }
        for kind in Broken::ALL {
            let words = self.broken_words(kind);
            entries.extend(words.map(|words| (words, BROKEN, Mark::Alone(kind.shape()))));
        }
        entries
    }

    /// Where losses are not finite in one way, in few words; nothing where none is.
    fn broken_words(&self, kind: Broken) -> Option<String> {
        let of =
            |s: &Stage| s.broken.iter().filter(|b| b.kind() == kind).map(|b| b.words(s.last())).collect::<Vec<_>>();
        match self.stages().flat_map(of).collect::<Vec<_>>().as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            [first, rest @ ..] => Some(format!("{first}, and {} more", rest.len())),
        }
    }

    /// A mark at the upper edge where losses cease to be finite, and a line along the edge as far as they are not.
    fn broken(&self, canvas: &mut Canvas, axes: &Axes) {
        let looks = self.looks(&canvas.page);
        for (i, run) in self.runs.iter().enumerate() {
            let color = if self.alone() { BROKEN } else { style(looks.of(i)).color };
            for stretch in run.stages.iter().flat_map(|s| &s.broken) {
                let (from, to) = (axes.at(stretch.from, axes.y.1), axes.at(stretch.to, axes.y.1));
                if to.0 > from.0 {
                    canvas.line(&[from, to], color, 1.6);
                }
                canvas.dashed(&[from, (from.0, axes.to.1)], color.mix(WHITE, 0.4), 0.5, &[2.0, 2.0]);
                let shape = stretch.kind().shape();
                canvas.mark(shape, from, 3.0, WHITE);
                canvas.mark(shape, from, 2.3, color);
            }
        }
    }

    /// Names the stages of one run above their parts of the plot, where there is room.
    fn divide(&self, canvas: &mut Canvas, axes: &Axes) {
        let stages = &self.runs[0].stages;
        let starts: Vec<f64> = stages.iter().map(|s| s.train.first().map_or(s.from, |p| p.0)).collect();
        for (i, stage) in stages.iter().enumerate() {
            let left = if i == 0 { axes.from.0 } else { axes.at(starts[i], 0.0).0 };
            let right = starts.get(i + 1).map_or(axes.to.0, |next| axes.at(*next, 0.0).0);
            if i > 0 {
                canvas.line(&[(left, axes.from.1), (left, axes.to.1)], GREY, 0.6);
            }
            if canvas.width(&stage.name, canvas.small) + 4.0 < right - left {
                let at = (f64::midpoint(left, right), axes.from.1 - 1.5);
                canvas.text(&stage.name, at, canvas.small, (Across::Center, Along::Bottom), INK);
            }
        }
    }

    fn curves(&self, canvas: &mut Canvas, axes: &Axes) {
        let marks = |canvas: &mut Canvas, points: &Points, shape, radius, color| {
            for (x, y) in drawn(points).into_iter().filter(|p| p.1.is_finite()) {
                canvas.mark(shape, axes.at(x, y), radius + 0.6, WHITE);
                canvas.mark(shape, axes.at(x, y), radius, color);
            }
        };
        let looks = self.looks(&canvas.page);
        let order = || looks.others().iter().chain(looks.own()).map(|i| (looks.of(*i), &self.runs[*i]));
        for (look, run) in order() {
            for stage in &run.stages {
                if self.alone() {
                    canvas.line(&axes.place(&drawn(&stage.train)), BLUE.mix(WHITE, 0.65), 0.5);
                }
                let smooth = axes.place(&drawn(&smoothed(&stage.train, SMOOTHING)));
                canvas.dashed(&smooth, style(look).color, if look.is_some() { 1.1 } else { 0.6 }, style(look).dash);
            }
        }
        for (look, run) in order() {
            let color = if self.alone() { VERMILION } else { style(look).color };
            for stage in &run.stages {
                if self.alone() {
                    canvas.line(&axes.place(&drawn(&stage.subset)), color, 0.9);
                }
                marks(canvas, &stage.subset, Shape::Disc, 1.6, color);
                marks(canvas, &stage.whole, Shape::Diamond, 2.2, if self.alone() { INK } else { color });
            }
        }
    }
}

impl Figure for Loss {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        let width = venue.column() * 72.0;
        let height = width * if venue.column() > 4.5 { 0.5 } else { 0.66 };
        // A long legend takes nothing from the curves.
        let canvas = page.canvas((width, height));
        let left = left_room(&canvas, self.ranges().1);
        let used = legend_height(&canvas, &self.entries(page), left, width - 5.0);
        (width, (height + (used - height * 0.3).max(0.0)).min(page.room()))
    }

    fn draw(&self, canvas: &mut Canvas) {
        let (x, y) = self.ranges();
        let height = canvas.size.1;
        let left = left_room(canvas, y);
        let right = canvas.size.0 - 5.0;
        let entries = self.entries(&canvas.page);
        let used = legend(canvas, &entries, (left, canvas.small * 0.75), right);
        let names = if self.alone() { canvas.small * 1.1 } else { 0.0 };
        let axes = Axes { from: (left, used + names + 2.0), to: (right, height - bottom_room(canvas)), x, y };
        let title = if self.alone() { "step".to_owned() } else { stage_steps(self.stages().map(|s| s.name.as_str())) };
        axes.frame(canvas, &title, "loss");
        if self.alone() {
            self.divide(canvas, &axes);
        }
        self.curves(canvas, &axes);
        self.broken(canvas, &axes);
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for run in &self.runs {
            for stage in &run.stages {
                let smooth = smoothed(&stage.train, SMOOTHING);
                let series = [
                    ("train", &stage.train),
                    ("train_smoothed", &smooth),
                    ("val-subset", &stage.subset),
                    ("val", &stage.whole),
                ];
                for (name, points) in series {
                    rows.extend(points.iter().map(|(step, loss)| {
                        [run.label.clone(), stage.name.clone(), name.to_owned(), step.to_string(), cell(*loss)]
                    }));
                }
            }
        }
        Table::new(["run", "stage", "series", "step", "loss"], rows)
    }

    fn notes(&self) -> Value {
        let stages = |r: &Run| json!({ "run": r.label, "mean_of_runs": r.runs, "stages": r.stages.iter().map(|s| &s.name).collect::<Vec<_>>() });
        json!({
            "crosses": "where the training loss becomes NaN; the line beside one: as long as it is",
            "triangles": "where the training loss becomes infinite; the line beside one: as long as it is",
            "smoothing": SMOOTHING, "step": if self.alone() { "of the run" } else { "of the stage" },
            "runs": self.runs.iter().map(stages).collect::<Vec<_>>(),
        })
    }

    fn left_out(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for run in &self.runs {
            for stage in &run.stages {
                let mut losses = NotFinite::default();
                stage.broken.iter().for_each(|b| losses.add(b.losses));
                let mut places: Vec<String> = stage.broken.iter().map(|b| b.words(stage.last())).collect();
                let more = if places.len() > 5 { ", and more" } else { "" };
                places.truncate(5);
                let of = format!("{}, stage {}", run.label, stage.name);
                lines.extend(
                    losses.words("loss", "losses").map(|words| format!("{of}: {words} ({}{more})", places.join(", "))),
                );
                let held = stage.held_broken.words("held-out loss", "held-out losses");
                lines.extend(held.map(|words| format!("{of}: {words}")));
            }
        }
        lines
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let labels: Vec<String> = self.runs.iter().map(|r| r.label.clone()).collect();
        LeftOut::of("runs", &labels, self.looks(page).own(), true).into_iter().collect()
    }
}
