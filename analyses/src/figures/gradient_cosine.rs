//! `gradient-cosine`: cosine of each step's gradient with the dominant direction, over the whole vision encoder, with its
//! histogram; one colour a run, and more than a few of them one panel a method.

use super::axes::{Axes, Entry, Mark, bottom_room, left_room, legend, signed};
use super::color::{INK, Style, WHITE, series};
use super::directions::{self, Curve};
use super::page::{LeftOut, Page};
use super::points::{Points, TOGETHER, drawn, grouped, smoothed, thin};
use super::scene::{Across, Along, Canvas, Point};
use super::source::{Inputs, stage_steps};
use super::{Figure, FigureId, Options, Result, Table, cell};
use crate::labels;
use crate::stats::finite;
use crate::store::ALL;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Bars of the histogram over -1..1.
const BINS: usize = 40;
const SMOOTHING: f64 = 0.9;

#[derive(Debug, Serialize, Deserialize)]
struct Run {
    label: String,
    /// The method, where a study names it.
    #[serde(default)]
    group: String,
    stage: String,
    /// Thinned out where there are very many steps.
    cosines: Points,
    histogram: Vec<u64>,
    steps: usize,
    mean: f64,
    deviation: f64,
    below_zero: f64,
    /// Mean cosine of gradients of random sign, and its deviation over draws.
    null: Option<(f64, f64)>,
    /// Standard error of the mean from the sketches.
    mean_error: Option<f64>,
    /// Steps without a cosine.
    #[serde(default)]
    skipped: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GradientCosine {
    direction: String,
    space: String,
    /// `all` in older sidecars.
    #[serde(default)]
    layer: Option<String>,
    runs: Vec<Run>,
}

impl GradientCosine {
    pub(super) fn load(inputs: &Inputs, options: &Options) -> Result<Self> {
        let id = FigureId::GradientCosine;
        let (definition, curves) = directions::load(id, inputs, options)?;
        let mut runs = Vec::new();
        for Curve { label, group, series } in curves {
            let Some(summary) = series.summary() else { continue };
            let mut points: Points =
                series.steps.iter().zip(&series.cosines).map(|(s, c)| (*s as f64, finite(*c))).collect();
            if !series.skipped.is_empty() {
                points.extend(series.skipped.iter().map(|s| (*s as f64, None)));
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
            runs.push(Run {
                label,
                group,
                histogram: series.histogram(BINS),
                steps: series.t(),
                mean: summary.mean,
                deviation: summary.deviation,
                below_zero: series.below_zero().unwrap_or(0.0),
                cosines: thin(points),
                skipped: series.skipped.len(),
                null: series.null.map(|n| (n.mean, n.deviation)),
                mean_error: finite(series.mean_error),
                stage: series.stage,
            });
        }
        if runs.is_empty() {
            return Err(inputs.nothing(id));
        }
        labels::with_stages(runs.iter_mut().map(|run| (&mut run.label, run.stage.as_str())));
        let (layer, space) = (options.layer.clone(), options.space.clone());
        Ok(Self { direction: definition.to_string(), space, layer, runs })
    }

    /// The runs of each panel.
    fn panels(&self) -> Vec<Vec<&Run>> {
        if self.runs.len() <= TOGETHER {
            return vec![self.runs.iter().collect()];
        }
        grouped(&self.runs, |run| &run.group)
    }

    /// How many panels a page has room for, and the height of one.
    fn shown(&self, page: &Page) -> (usize, f64) {
        let venue = page.venue;
        let panel = venue.column() * 72.0 * if venue.column() > 4.5 { 0.13 } else { 0.19 } + venue.font_size() * 1.5;
        let most = page.most.unwrap_or(usize::MAX).min(self.panels().len());
        (page.fit(most, panel, bottom_room(&page.canvas((0.0, 0.0)))), panel)
    }

    /// The legend of a panel that stands alone.
    fn entries(&self, canvas: &Canvas) -> Vec<Entry> {
        if self.runs.len() > TOGETHER {
            return Vec::new();
        }
        let numbers = |run: &Run| format!("{} \u{b1} {:.2} (T = {})", signed(run.mean, 2), run.deviation, run.steps);
        let widest = self.runs.iter().map(|r| canvas.width(&numbers(r), canvas.small)).fold(0.0, f64::max);
        let labels: Vec<String> = self.runs.iter().map(|r| r.label.clone()).collect();
        let labels = canvas.short(&labels, canvas.small, canvas.size.0 * 0.75 - widest);
        let entry = |(i, run): (usize, &Run)| {
            let named = if self.runs.len() > 1 { format!("{}: ", labels[i]) } else { "mean ".to_owned() };
            let text = format!("{named}{}", numbers(run));
            (text, series(i).color, Mark::Line(1.3, series(i).dash))
        };
        self.runs.iter().enumerate().map(entry).collect()
    }

    /// Means over the whole y range that the data fill, rounded outwards to halves.
    fn y(&self) -> (f64, f64) {
        let all = || self.runs.iter().flat_map(|r| &r.cosines).filter_map(|p| p.1);
        let low = all().fold(0.0, f64::min);
        let high = all().fold(0.0, f64::max);
        if low > -0.5 && high < 0.5 { (-0.5, 0.5) } else { (low.min(-1.0), high.max(1.0)) }
    }

    fn bars(canvas: &mut Canvas, side: &Axes, runs: &[&Run]) {
        for (i, run) in runs.iter().enumerate() {
            let Style { color, dash, .. } = series(i);
            let share = |n: u64| n as f64 / run.steps.max(1) as f64 * 100.0;
            let edge = |bin: usize| -1.0 + 2.0 * bin as f64 / BINS as f64;
            let inside = |v: f64| v.clamp(side.y.0, side.y.1);
            if runs.len() == 1 {
                for (bin, n) in run.histogram.iter().enumerate().filter(|(_, n)| **n > 0) {
                    let (from, to) = (side.at(0.0, inside(edge(bin + 1))), side.at(share(*n), inside(edge(bin))));
                    canvas.rect(from, to, color.mix(WHITE, 0.35));
                }
            }
            let first = run.histogram.iter().position(|n| *n > 0).unwrap_or(0);
            let last = run.histogram.iter().rposition(|n| *n > 0).unwrap_or(0);
            let ends = |bin: usize, at: usize| (0.0, edge(bin + at));
            let steps = (first..=last)
                .flat_map(|b| [(share(run.histogram[b]), edge(b)), (share(run.histogram[b]), edge(b + 1))]);
            let outline: Vec<(f64, f64)> = [ends(first, 0)]
                .into_iter()
                .chain(steps)
                .chain([ends(last, 1)])
                .filter(|p| (side.y.0 - 1e-9..=side.y.1 + 1e-9).contains(&p.1))
                .collect();
            canvas.dashed(&side.place(&outline), color, 0.8, dash);
        }
    }
}

/// A panel's name, and mean and deviation over all steps of its runs.
fn title<'a>(runs: &[&'a Run]) -> (&'a str, String) {
    let all: f64 = runs.iter().map(|r| r.steps as f64).sum();
    let pooled = |of: &dyn Fn(&Run) -> f64| runs.iter().map(|r| r.steps as f64 * of(r)).sum::<f64>() / all;
    let mean = pooled(&|r| r.mean);
    let deviation = pooled(&|r| r.deviation.powi(2) + (r.mean - mean).powi(2)).sqrt();
    let steps = runs.iter().map(|r| r.steps).max().unwrap_or(0);
    let name = if runs.len() > 1 { &runs[0].group } else { &runs[0].label };
    let count = if runs.len() > 1 { format!("{} runs, ", runs.len()) } else { String::new() };
    (name, format!(": {} \u{b1} {deviation:.2} ({count}T = {steps})", signed(mean, 2)))
}

impl GradientCosine {
    /// Curves and histogram of `runs` between `top` and `bottom`.
    fn panel(canvas: &mut Canvas, runs: &[&Run], (top, bottom): (f64, f64), ranges: [(f64, f64); 3]) -> [Axes; 2] {
        let [x, y, shares] = ranges;
        let (left, right) = (left_room(canvas, y), canvas.size.0 - 5.0);
        let middle = (right - left).mul_add(0.74, left);
        let axes = Axes { from: (left, top), to: (middle, bottom), x, y };
        let mut side = Axes { from: (middle + 8.0, top), to: (right, bottom), x: shares, y };
        side.from.0 = middle + axes.gap_to(&side, canvas).max(8.0);
        axes.y_axis(canvas, true);
        canvas.line(&[axes.at(x.0, 0.0), axes.at(x.1, 0.0)], INK, 0.5);
        let pale = if runs.len() > 2 { 0.85 } else { 0.7 };
        for (i, run) in runs.iter().enumerate() {
            canvas.line(&axes.place(&drawn(&run.cosines)), series(i).color.mix(WHITE, pale), 0.4);
        }
        for (i, run) in runs.iter().enumerate() {
            let Style { color, dash, .. } = series(i);
            canvas.dashed(&axes.place(&drawn(&smoothed(&run.cosines, SMOOTHING))), color, 1.1, dash);
        }
        side.y_axis(canvas, false);
        canvas.line(&[side.at(0.0, 0.0), side.at(side.x.1, 0.0)], INK, 0.5);
        Self::bars(canvas, &side, runs);
        [axes, side]
    }

    fn x(&self) -> (f64, f64) {
        let x = super::axes::range(self.runs.iter().flat_map(|r| &r.cosines).map(|p| p.0), 0.0);
        x.filter(|x| x.1 > x.0).unwrap_or((0.0, 1.0))
    }
}

impl Figure for GradientCosine {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        let width = venue.column() * 72.0;
        let canvas = page.canvas((width, 0.0));
        let used = super::axes::legend_height(&canvas, &self.entries(&canvas), 30.0, width - 5.0);
        if self.panels().len() > 1 {
            let (shown, panel) = self.shown(page);
            return (width, panel * shown as f64 + bottom_room(&canvas));
        }
        (width, width * if venue.column() > 4.5 { 0.4 } else { 0.55 } + used)
    }

    fn draw(&self, canvas: &mut Canvas) {
        let (x, y) = (self.x(), self.y());
        let share = |r: &Run| r.histogram.iter().max().copied().unwrap_or(0) as f64 / r.steps.max(1) as f64 * 100.0;
        let most = self.runs.iter().map(share).fold(1.0, f64::max);
        let ranges = [x, y, (0.0, most * 1.08)];
        let left = left_room(canvas, y);
        let entries = self.entries(canvas);
        let top = legend(canvas, &entries, (left, canvas.small * 0.75), canvas.size.0 - 5.0) + 2.0;
        let bottom = canvas.size.1 - bottom_room(canvas);
        let panels: Vec<Vec<&Run>> = self.panels().into_iter().take(self.shown(&canvas.page).0).collect();
        let titles: Vec<(&str, String)> = panels.iter().map(|runs| title(runs)).collect();
        let numbers = titles.iter().map(|t| canvas.width(&t.1, canvas.title)).fold(0.0, f64::max);
        let names: Vec<String> = titles.iter().map(|t| t.0.to_owned()).collect();
        let names = canvas.short(&names, canvas.title, canvas.size.0 - 5.0 - left - numbers);
        let head = if panels.len() > 1 { canvas.title * 1.5 } else { 0.0 };
        let from = if panels.len() > 1 { 0.0 } else { top };
        let height = (bottom - from) / panels.len() as f64;
        for (i, runs) in panels.iter().enumerate() {
            let above = height.mul_add(i as f64, from);
            if head > 0.0 {
                let text = canvas.fit(&(names[i].clone() + &titles[i].1), canvas.title, canvas.size.0 - 5.0 - left);
                canvas.text(&text, (left, above + head * 0.55), canvas.title, (Across::Left, Along::Middle), INK);
            }
            let [axes, side] = Self::panel(canvas, runs, (above + head, above + height - head * 0.15), ranges);
            if i + 1 == panels.len() {
                axes.x_axis(canvas, &stage_steps(self.runs.iter().map(|run| run.stage.as_str())));
                side.x_axis(canvas, "% of steps");
            }
        }
        let middle = (canvas.title * 0.7, f64::midpoint(from, bottom));
        let layer = self.layer.as_ref().filter(|l| *l != ALL).map_or_else(String::new, |l| format!(", layer {l}"));
        let title = format!("cosine to {}{layer}", directions::short(&self.direction));
        canvas.upwards(&title, middle, canvas.title, INK);
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for run in &self.runs {
            let line = |(step, cosine): &(f64, Option<f64>)| {
                [run.label.clone(), run.stage.clone(), "cosine".to_owned(), step.to_string(), cell(*cosine)]
            };
            rows.extend(run.cosines.iter().map(line));
            rows.extend(run.histogram.iter().enumerate().map(|(bin, n)| {
                let low = -1.0 + 2.0 * bin as f64 / BINS as f64;
                let low = format!("{low:.2}");
                [run.label.clone(), run.stage.clone(), "histogram".to_owned(), low, n.to_string()]
            }));
        }
        Table::new(["run", "stage", "series", "step_or_low_edge", "cosine_or_steps"], rows)
    }

    fn notes(&self) -> Value {
        let run = |r: &Run| {
            json!({
                "run": r.label, "stage": r.stage, "T": r.steps, "mean": r.mean, "deviation": r.deviation,
                "share_below_0": r.below_zero, "null_mean_and_deviation": r.null, "mean_error_from_sketches": r.mean_error,
            })
        };
        json!({
            "titles_of_panels": "mean and standard deviation over all steps of a panel's runs",
            "direction": directions::explain(&self.direction), "space": self.space,
            "layer": self.layer.as_deref().unwrap_or(ALL), "smoothing": SMOOTHING,
            "runs": self.runs.iter().map(run).collect::<Vec<_>>(),
        })
    }

    fn left_out(&self) -> Vec<String> {
        let words =
            |r: &Run| format!("{}: {} steps whose gradient is zero or not finite: left out", r.label, r.skipped);
        self.runs.iter().filter(|r| r.skipped > 0).map(words).collect()
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let panels = self.panels();
        let names: Vec<String> = panels.iter().map(|runs| title(runs).0.to_owned()).collect();
        let shown: Vec<usize> = (0..self.shown(page).0).collect();
        LeftOut::of("panels", &names, &shown, false).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Venue;
    use super::*;

    fn figure(runs: &[(&str, &str, f64, f64)]) -> GradientCosine {
        let run = |(label, group, mean, deviation): &(&str, &str, f64, f64)| Run {
            label: (*label).into(),
            group: (*group).into(),
            stage: "instruct".into(),
            cosines: vec![(0.0, Some(*mean))],
            histogram: vec![0; BINS],
            steps: 10,
            mean: *mean,
            deviation: *deviation,
            below_zero: 0.0,
            null: None,
            mean_error: None,
            skipped: 0,
        };
        GradientCosine {
            direction: "mean".into(),
            space: "shared".into(),
            layer: None,
            runs: runs.iter().map(run).collect(),
        }
    }

    #[test]
    fn many_runs_get_a_panel_a_method_with_the_numbers_of_all_their_steps() {
        let few = figure(&[("a", "full", 0.0, 0.1), ("b", "full", 0.2, 0.1)]);
        let page = Page::new(Venue::Cvpr);
        let canvas = page.canvas((234.0, 200.0));
        assert_eq!((few.panels().len(), few.entries(&canvas).len()), (1, 2));
        let many = figure(&[
            ("full-0", "full", 0.0, 0.1),
            ("lora-0", "lora", 0.0, 0.1),
            ("full-1", "full", 0.2, 0.1),
            // As older sidecars have them.
            ("x", "", 0.0, 0.1),
            ("y", "", -0.5, 0.3),
        ]);
        let titles: Vec<_> =
            many.panels().iter().map(|runs| title(runs)).map(|(name, numbers)| name.to_owned() + &numbers).collect();
        assert_eq!(titles[0], "full: 0.10 \u{b1} 0.14 (2 runs, T = 10)");
        assert_eq!(titles[1], "lora-0: 0.00 \u{b1} 0.10 (T = 10)");
        assert_eq!(titles[3], "y: \u{2212}0.50 \u{b1} 0.30 (T = 10)");
        assert!(many.entries(&canvas).is_empty() && many.size(&page).1 > few.size(&page).1);
    }
}
