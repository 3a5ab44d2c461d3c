//! `conflict-by-layer`: distance of the two runs of a conflict study at the end, by depth; one line a method.

use super::axes::{Axes, Entry, Mark, bottom_room, left_room, legend, legend_height, others, range};
use super::color::{INK, LINES, WHITE, style};
use super::distances::{self, Pair, methods, named, spread};
use super::drift::layer_name;
use super::looks::Looks;
use super::page::{LeftOut, Page};
use super::scene::{Canvas, Point, Shape};
use super::source::Inputs;
use super::{Figure, FigureId, Measure, Options, Result, Table, cell};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConflictByLayer {
    measure: Measure,
    /// Of their last step alone.
    pairs: Vec<Pair>,
}

impl ConflictByLayer {
    pub(super) fn load(inputs: &Inputs, options: &Options) -> Result<Self> {
        let pairs = distances::load(FigureId::ConflictByLayer, inputs, options, true)?;
        Ok(Self { measure: options.measure, pairs })
    }

    fn layers(&self) -> Vec<String> {
        let layers: BTreeSet<(i32, String)> =
            self.pairs.iter().flat_map(|p| p.layers.iter().map(|l| (l.depth, l.name.clone()))).collect();
        layers.into_iter().map(|l| l.1).collect()
    }

    fn at(pair: &Pair, layer: &str) -> Option<f64> {
        let layer = pair.layers.iter().find(|l| l.name == layer)?;
        layer.values.values().next_back().copied().flatten()
    }

    /// The first methods have lines of their own.
    fn looks(&self, page: &Page) -> Looks {
        Looks::largest(&vec![1; methods(&self.pairs).len()], page.most, LINES)
    }

    fn entries(&self, page: &Page) -> Vec<Entry> {
        let (methods, looks) = (methods(&self.pairs), self.looks(page));
        let style = |look: Option<usize>| (style(look).color, Mark::Marked(style(look).shape, style(look).dash));
        let entry = |i: &usize| {
            let (color, mark) = style(looks.of(*i));
            (named(&methods[*i].0, methods[*i].1.len()), color, mark)
        };
        let rest = others("methods", looks.others().len(), None, style(None).0, style(None).1);
        looks.own().iter().map(entry).chain(rest).collect()
    }
}

impl Figure for ConflictByLayer {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        let width = venue.column() * 72.0;
        let canvas = page.canvas((width, 0.0));
        let used = legend_height(&canvas, &self.entries(page), 30.0, width - 5.0);
        (width, (width * if venue.column() > 4.5 { 0.4 } else { 0.55 } + used).min(page.room()))
    }

    fn draw(&self, canvas: &mut Canvas) {
        let layers = self.layers();
        let values = self.pairs.iter().flat_map(|p| layers.iter().filter_map(|l| Self::at(p, l)));
        let (_, high) = range(values, 0.06).unwrap_or((0.0, 1.0));
        let y = (0.0, if high > 0.0 { high } else { 1.0 });
        let left = left_room(canvas, y);
        let right = canvas.size.0 - 5.0;
        let entries = self.entries(&canvas.page);
        let top = legend(canvas, &entries, (left, canvas.small * 0.75), right) + 3.0;
        let to = (right, canvas.size.1 - bottom_room(canvas));
        let axes = Axes { from: (left, top), to, x: (-0.5, layers.len() as f64 - 0.5), y };
        axes.y_axis(canvas, true);
        let names: Vec<(f64, String)> = layers.iter().enumerate().map(|(i, l)| (i as f64, layer_name(l))).collect();
        axes.names(canvas, &names, "layer");
        let middle = (canvas.title * 0.75, f64::midpoint(top, to.1));
        canvas.upwards(&self.measure.title("distance"), middle, canvas.title, INK);
        let (methods, looks) = (methods(&self.pairs), self.looks(&canvas.page));
        for i in looks.others().iter().chain(looks.own()) {
            let (of, style) = (&methods[*i].1, style(looks.of(*i)));
            let means: Vec<Option<(f64, f64, f64)>> =
                layers.iter().map(|l| spread(of.iter().filter_map(|p| Self::at(p, l)))).collect();
            let place = |(j, m): (usize, &Option<(f64, f64, f64)>)| axes.at(j as f64, m.map_or(f64::NAN, |m| m.0));
            let points: Vec<Point> = means.iter().enumerate().map(place).collect();
            canvas.dashed(&points, style.color, 1.0, style.dash);
            for (j, spread) in means.iter().enumerate() {
                let Some((_, low, high)) = spread else { continue };
                if of.len() > 1 {
                    let x = j as f64;
                    canvas.line(&[axes.at(x, *low), axes.at(x, *high)], style.color, 0.7);
                    for value in of.iter().filter_map(|p| Self::at(p, &layers[j])) {
                        canvas.mark(Shape::Disc, axes.at(x, value), 0.9, style.color.mix(WHITE, 0.3));
                    }
                }
            }
            for point in points.into_iter().filter(|p| p.1.is_finite()) {
                canvas.mark(style.shape, point, 2.7, WHITE);
                canvas.mark(style.shape, point, 2.1, style.color);
            }
        }
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for pair in &self.pairs {
            for layer in &pair.layers {
                let Some((step, value)) = layer.values.iter().next_back() else { continue };
                let seed = pair.seed.map_or_else(String::new, |s| s.to_string());
                let (study, method, differ) = (pair.study.clone(), pair.method.clone(), pair.differ.clone());
                rows.push([study, method, differ, seed, layer.name.clone(), step.to_string(), cell(*value)]);
            }
        }
        Table::new(["study", "method", "runs_differ_in", "seed", "layer", "step", "distance"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "distance": self.measure.title("distance"), "line": "mean over pairs", "bars": "smallest to largest over pairs",
            "pairs": self.pairs.iter().map(|p| json!([p.study, p.run_a, p.run_b, p.stage])).collect::<Vec<_>>(),
        })
    }

    fn left_out(&self) -> Vec<String> {
        distances::left_out(&self.pairs)
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let names: Vec<String> = methods(&self.pairs).into_iter().map(|m| m.0).collect();
        LeftOut::of("methods", &names, self.looks(page).own(), true).into_iter().collect()
    }
}
