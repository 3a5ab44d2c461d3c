//! `conflict-over-steps`: distance of the two runs of a conflict study over the steps, one line a layer or a band of
//! layers, one panel a method.

use super::axes::{Axes, Entry, Grid, Mark, balanced, bottom_room, left_room, legend, legend_height, range};
use super::color::{INK, WHITE, ordered};
use super::distances::{self, Pair, methods, named, spread};
use super::drift::layer_name;
use super::page::{LeftOut, Page};
use super::scene::{Across, Along, Canvas, Dash, Point};
use super::source::Inputs;
use super::{Figure, FigureId, Measure, Options, Result, Table, cell};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Lines in a panel at most; more layers are drawn as bands.
const LINES: usize = 8;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConflictOverSteps {
    measure: Measure,
    pairs: Vec<Pair>,
}

/// A line of a panel: its name, and mean, smallest and largest value over the pairs by step; `None` where a pair has none.
struct Line {
    name: String,
    points: Vec<(f64, Option<(f64, f64, f64)>)>,
}

/// Lines tell apart by lightness, and by every other being dashed.
fn dash(i: usize) -> Dash {
    if i % 2 == 1 { &[3.0, 1.3] } else { &[] }
}

impl ConflictOverSteps {
    pub(super) fn load(inputs: &Inputs, options: &Options) -> Result<Self> {
        let pairs = distances::load(FigureId::ConflictOverSteps, inputs, options, false)?;
        Ok(Self { measure: options.measure, pairs })
    }

    /// Layers of all pairs by depth, in bands of equal size; those that never move are left out.
    fn bands(&self) -> Vec<Vec<String>> {
        let moves = |l: &&distances::Layer| l.values.values().flatten().any(|v| *v > 0.0);
        let layers: BTreeSet<(i32, String)> =
            self.pairs.iter().flat_map(|p| p.layers.iter().filter(moves).map(|l| (l.depth, l.name.clone()))).collect();
        let names: Vec<String> = layers.into_iter().map(|l| l.1).collect();
        let each = if names.len() <= LINES { 1 } else { names.len().div_ceil(6) };
        names.chunks(each).map(<[String]>::to_vec).collect()
    }

    fn lines(pairs: &[&Pair], bands: &[Vec<String>]) -> Vec<Line> {
        let line = |band: &Vec<String>| {
            let name = match (band.first(), band.last()) {
                (Some(a), Some(b)) if a != b => format!("{}\u{2013}{}", layer_name(a), layer_name(b)),
                (Some(a), _) => layer_name(a),
                _ => String::new(),
            };
            let steps: BTreeSet<u64> =
                pairs.iter().flat_map(|p| p.layers.iter().flat_map(|l| l.values.keys().copied())).collect();
            // A band shows the mean of its layers.
            let of = |pair: &&Pair, step: u64| {
                let inside = pair.layers.iter().filter(|l| band.contains(&l.name));
                spread(inside.filter_map(|l| l.values.get(&step).copied().flatten())).map(|s| s.0)
            };
            let at = |step: u64| {
                let values: Vec<f64> = pairs.iter().filter_map(|p| of(p, step)).collect();
                (step as f64, if values.len() == pairs.len() { spread(values.into_iter()) } else { None })
            };
            Line { name, points: steps.into_iter().map(at).collect() }
        };
        bands.iter().map(line).collect()
    }

    fn entries(lines: &[Line]) -> Vec<Entry> {
        let entry = |(i, l): (usize, &Line)| (l.name.clone(), ordered(i, lines.len()), Mark::Line(1.3, dash(i)));
        lines.iter().enumerate().map(entry).collect()
    }

    fn panels(&self) -> Vec<(String, Vec<Line>)> {
        let bands = self.bands();
        methods(&self.pairs).into_iter().map(|(m, of)| (named(&m, of.len()), Self::lines(&of, &bands))).collect()
    }

    /// How many panels a page has room for, in how many lines of which height.
    fn shown(&self, page: &Page) -> (usize, usize, f64) {
        let (width, columns) = self.width(page);
        let n = methods(&self.pairs).len();
        let body = (width / columns as f64 * if width > 330.0 && columns == 1 { 0.4 } else { 0.55 }).max(90.0);
        let line = body + page.venue.font_size() * 1.5;
        let lines = page.fit(n.div_ceil(columns), line, page.venue.small() * 6.0);
        (n.min(lines * columns), lines, line)
    }

    fn width(&self, page: &Page) -> (f64, usize) {
        let venue = page.venue;
        let n = methods(&self.pairs).len();
        let width = 72.0 * if n > 1 { venue.full() } else { venue.column() };
        (width, balanced(n, (width / 150.0) as usize))
    }
}

impl Figure for ConflictOverSteps {
    fn size(&self, page: &Page) -> Point {
        let (width, _) = self.width(page);
        let (_, lines, line) = self.shown(page);
        let canvas = page.canvas((width, 0.0));
        let entries = self.panels().first().map(|p| Self::entries(&p.1)).unwrap_or_default();
        let used = legend_height(&canvas, &entries, 60.0, width - 5.0);
        (width, lines as f64 * line + used)
    }

    fn draw(&self, canvas: &mut Canvas) {
        let mut panels = self.panels();
        let columns = balanced(panels.len(), (canvas.size.0 / 150.0) as usize);
        let several = panels.len() > 1;
        panels.truncate(self.shown(&canvas.page).0);
        let ends = panels.iter().flat_map(|p| &p.1).flat_map(|l| &l.points);
        let x = range(ends.clone().map(|p| p.0), 0.0).filter(|x| x.1 > x.0).unwrap_or((0.0, 1.0));
        let (_, high) = range(ends.filter_map(|p| p.1).map(|p| p.2), 0.04).unwrap_or((0.0, 1.0));
        let y = (0.0, if high > 0.0 { high } else { 1.0 });
        let left = left_room(canvas, y);
        let entries = Self::entries(&panels[0].1);
        let small = canvas.small;
        canvas.text("layer", (left, small * 0.75), small, (Across::Left, Along::Middle), INK);
        let start = left + canvas.width("layer", small) + 6.0;
        let right = canvas.size.0 - 5.0;
        let used = legend(canvas, &entries, (start, small * 0.75), right);
        let grid = Grid {
            columns,
            lines: panels.len().div_ceil(columns),
            from: (left, used),
            to: (right, canvas.size.1),
            head: if several { canvas.title * 1.5 } else { 4.0 },
            foot: bottom_room(canvas),
            gap: small * 1.6,
        };
        let names: Vec<String> = panels.iter().map(|p| p.0.clone()).collect();
        let names = canvas.short(&names, canvas.title, grid.frame(0).1.0 - grid.frame(0).0.0 + grid.gap * 0.8);
        for (i, (_, lines)) in panels.iter().enumerate() {
            let (from, to) = grid.frame(i);
            let axes = Axes { from, to, x, y };
            if i % columns == 0 {
                axes.frame(canvas, "step", &self.measure.title("distance"));
            } else {
                axes.y_axis(canvas, false);
                axes.x_axis(canvas, "step");
            }
            if several {
                let at = (f64::midpoint(from.0, to.0), from.1 - 2.0);
                canvas.text(&names[i], at, canvas.title, (Across::Center, Along::Bottom), INK);
            }
            for (i, line) in lines.iter().enumerate() {
                let color = ordered(i, lines.len());
                for part in line.points.split(|p| p.1.is_none()) {
                    let known: Vec<(f64, f64, f64)> =
                        part.iter().filter_map(|p| p.1.map(|s| (p.0, s.1, s.2))).collect();
                    let upper = known.iter().map(|p| axes.at(p.0, p.2));
                    let lower = known.iter().rev().map(|p| axes.at(p.0, p.1));
                    if known.iter().any(|p| p.2 > p.1) {
                        canvas.polygon(upper.chain(lower).collect(), color.mix(WHITE, 0.8));
                    }
                }
            }
            for (i, line) in lines.iter().enumerate() {
                let points: Vec<Point> =
                    line.points.iter().map(|p| axes.at(p.0, p.1.map_or(f64::NAN, |s| s.0))).collect();
                canvas.dashed(&points, ordered(i, lines.len()), 1.1, dash(i));
            }
        }
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for pair in &self.pairs {
            for layer in &pair.layers {
                rows.extend(layer.values.iter().map(|(step, value)| {
                    let seed = pair.seed.map_or_else(String::new, |s| s.to_string());
                    let (study, method, differ) = (pair.study.clone(), pair.method.clone(), pair.differ.clone());
                    [study, method, differ, seed, layer.name.clone(), step.to_string(), cell(*value)]
                }));
            }
        }
        Table::new(["study", "method", "runs_differ_in", "seed", "layer", "step", "distance"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "distance": self.measure.title("distance"), "bands": self.bands(), "band": "mean over its layers",
            "shading": "smallest to largest over pairs",
            "pairs": self.pairs.iter().map(|p| json!([p.study, p.run_a, p.run_b, p.stage])).collect::<Vec<_>>(),
        })
    }

    fn left_out(&self) -> Vec<String> {
        distances::left_out(&self.pairs)
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let names: Vec<String> = methods(&self.pairs).into_iter().map(|m| m.0).collect();
        let shown: Vec<usize> = (0..self.shown(page).0).collect();
        LeftOut::of("methods", &names, &shown, false).into_iter().collect()
    }
}
