//! `context-clusters`: context vectors on their first two principal components; colour = cluster (numbered), mark =
//! task.

use super::axes::{Axes, Entry, Mark, bottom_room, left_room, legend, legend_height, range};
use super::color::{INK, WHITE, cluster};
use super::contexts::Contexts;
use super::raster;
use super::scene::{Across, Along, Canvas, Point, Shape};
use super::source::Source;
use super::{Figure, FigureId, Options, Result, Table, Venue, place_cells};
use crate::analysis::ContextSample;
use crate::store::Place;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// More marks than this are drawn as a picture inside the axes.
const VECTOR_MARKS: usize = 20_000;

/// One sample: id, task (index), cluster, coordinates.
type Dot = (String, usize, usize, f64, f64);

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ContextClusters {
    stage: String,
    layer: String,
    from_step: u64,
    /// Samples that there are; more than dots where some were drawn.
    of: usize,
    clusters: usize,
    seed: u64,
    inertia: f64,
    /// Shares of the variance.
    share: [f64; 2],
    tasks: Vec<String>,
    dots: Vec<Dot>,
    /// Where the samples of the dots stand in the data; null in older runs, none in older files.
    #[serde(default)]
    places: Vec<Option<Place>>,
}

impl ContextClusters {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let id = FigureId::ContextClusters;
        let contexts = Contexts::load(id, source, options)?;
        let clusters = contexts.clusters(options)?;
        let (plane, share) = contexts.plane()?;
        let data = contexts.data;
        let (tasks, task_of) = data.tasks();
        let dot = |(i, s): (usize, &ContextSample)| {
            (s.sample.clone(), task_of[i], clusters.labels()[i], plane[[i, 0]], plane[[i, 1]])
        };
        Ok(Self {
            dots: data.samples.iter().enumerate().map(dot).collect(),
            places: data.samples.iter().map(|s| s.place).collect(),
            clusters: clusters.centroids().nrows(),
            inertia: clusters.inertia(),
            seed: options.seed,
            of: data.of,
            stage: data.stage,
            layer: data.layer,
            from_step: data.steps.0,
            share,
            tasks,
        })
    }

    fn entries(&self) -> Vec<Entry> {
        let task = |(i, t): (usize, &String)| (t.replace('_', " "), INK, Mark::Alone(Shape::ALL[i % Shape::ALL.len()]));
        self.tasks.iter().enumerate().map(task).collect()
    }

    fn key(&self) -> Vec<Entry> {
        (0..self.clusters).map(|i| (i.to_string(), cluster(i), Mark::Alone(Shape::Disc))).collect()
    }

    fn marks(&self, canvas: &mut Canvas, axes: &Axes, radius: f64) {
        for (_, task, of, x, y) in &self.dots {
            canvas.mark(Shape::ALL[task % Shape::ALL.len()], axes.at(*x, *y), radius, cluster(*of));
        }
    }

    /// The number of each cluster at the middle of its marks, or beside it with a line to it where numbers would cover each
    /// other: what tells clusters apart besides colour.
    fn numbers(&self, canvas: &mut Canvas, axes: &Axes) {
        let middle = |i: usize| {
            let own = || self.dots.iter().filter(|d| d.2 == i);
            let mean = |of: fn(&Dot) -> f64| own().map(of).sum::<f64>() / own().count() as f64;
            (own().count() > 0).then(|| (i, axes.at(mean(|d| d.3), mean(|d| d.4))))
        };
        let middles: Vec<(usize, Point)> = (0..self.clusters).filter_map(middle).collect();
        let radius = canvas.small * 0.62;
        let mut places: Vec<Point> = middles.iter().map(|m| m.1).collect();
        apart(&mut places, 2.0 * (radius + 0.8) + 0.6, axes, radius + 0.8);
        for ((_, middle), place) in middles.iter().zip(&places) {
            canvas.line(&[*middle, *place], INK, 0.6);
        }
        for ((i, _), at) in middles.iter().zip(places) {
            canvas.mark(Shape::Disc, at, radius + 0.8, INK);
            canvas.mark(Shape::Disc, at, radius + 0.2, WHITE);
            canvas.text(&i.to_string(), at, canvas.small, (Across::Center, Along::Middle), INK);
        }
    }

    fn legends(&self, canvas: &mut Canvas, left: f64, right: f64) -> f64 {
        let small = canvas.small;
        let mut y = small * 0.75;
        for (name, entries) in [("cluster", self.key()), ("task", self.entries())] {
            canvas.text(name, (left, y), small, (Across::Left, Along::Middle), INK);
            let start = left + canvas.width("cluster", small) + 6.0;
            y += legend(canvas, &entries, (start, y), right) + 1.0;
        }
        y
    }
}

/// Moves places that are nearer to each other than `least`, all of them `margin` inside the axes.
fn apart(places: &mut [Point], least: f64, axes: &Axes, margin: f64) {
    for _ in 0..200 {
        let mut moved = false;
        for i in 0..places.len() {
            for j in 0..i {
                let (x, y) = (places[i].0 - places[j].0, places[i].1 - places[j].1);
                let distance = (x * x + y * y).sqrt();
                if distance >= least {
                    continue;
                }
                // Places that coincide go apart along the axis.
                let (x, y) = if distance > 1e-6 { (x / distance, y / distance) } else { (1.0, 0.0) };
                let step = (least - distance) / 2.0 + 0.01;
                (places[i].0, places[i].1) = (places[i].0 + x * step, places[i].1 + y * step);
                (places[j].0, places[j].1) = (places[j].0 - x * step, places[j].1 - y * step);
                moved = true;
            }
        }
        for place in places.iter_mut() {
            place.0 = place.0.max(axes.from.0 + margin).min(axes.to.0 - margin);
            place.1 = place.1.max(axes.from.1 + margin).min(axes.to.1 - margin);
        }
        if !moved {
            break;
        }
    }
}

impl Figure for ContextClusters {
    fn size(&self, venue: Venue) -> Point {
        let width = venue.column() * 72.0;
        let canvas = Canvas::new(venue.small(), venue.font_size(), (width, 0.0));
        let start = 12.0 + canvas.width("cluster", venue.small());
        let used: f64 =
            [self.key(), self.entries()].iter().map(|e| legend_height(&canvas, e, start, width - 5.0)).sum();
        (width, width * if venue.column() > 4.5 { 0.55 } else { 0.75 } + used)
    }

    fn draw(&self, canvas: &mut Canvas) {
        let x = range(self.dots.iter().map(|d| d.3), 0.04).unwrap_or((0.0, 1.0));
        let y = range(self.dots.iter().map(|d| d.4), 0.04).unwrap_or((0.0, 1.0));
        let right = canvas.size.0 - 5.0;
        let top = self.legends(canvas, 5.0, right) - canvas.small * 0.4;
        let left = left_room(canvas, y);
        let axes = Axes { from: (left, top), to: (right, canvas.size.1 - bottom_room(canvas)), x, y };
        let title = |i: usize| format!("PC {} ({:.1} % of variance)", i + 1, self.share[i] * 100.0);
        axes.frame(canvas, &title(0), &title(1));
        // Fewer marks may be larger.
        let radius = (60.0 / (self.dots.len() as f64).sqrt()).clamp(0.9, 2.2);
        if self.dots.len() > VECTOR_MARKS {
            let size = (axes.to.0 - axes.from.0, axes.to.1 - axes.from.1);
            let mut inner = Canvas::new(canvas.small, canvas.title, size);
            let within = Axes { from: (0.0, 0.0), to: size, ..axes };
            self.marks(&mut inner, &within, radius);
            let pixels = raster::marks(size, &inner.finish().items);
            canvas.image(axes.from, axes.to, Arc::new(pixels), false);
        } else {
            self.marks(canvas, &axes, radius);
        }
        self.numbers(canvas, &axes);
    }

    fn table(&self) -> Table {
        let line = |(i, (sample, task, cluster, x, y)): (usize, &Dot)| {
            let [index, split] = place_cells(self.places.get(i).copied().flatten());
            let task = self.tasks[*task].clone();
            [sample.clone(), task, cluster.to_string(), x.to_string(), y.to_string(), index, split]
        };
        let rows = self.dots.iter().enumerate().map(line).collect();
        Table::new(["sample", "task", "cluster", "pc1", "pc2", "index", "split"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "stage": self.stage, "layer": self.layer, "first_step": self.from_step,
            "samples": format!("showing {} of {}", self.dots.len(), self.of),
            "clusters": "k-means in the original space", "k": self.clusters, "seed": self.seed, "inertia": self.inertia,
            "variance_ratio": self.share,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_cover_each_other() {
        let axes = Axes { from: (0.0, 0.0), to: (100.0, 60.0), x: (0.0, 1.0), y: (0.0, 1.0) };
        let mut places = vec![(50.0, 30.0), (50.0, 30.0), (51.0, 31.0), (1.0, 1.0), (2.0, 1.0), (80.0, 20.0)];
        apart(&mut places, 10.0, &axes, 5.0);
        for (i, a) in places.iter().enumerate() {
            assert!(a.0 >= 5.0 && a.0 <= 95.0 && a.1 >= 5.0 && a.1 <= 55.0, "{a:?}");
            assert!(places[..i].iter().all(|b| (a.0 - b.0).powi(2) + (a.1 - b.1).powi(2) > 99.0), "{places:?}");
        }
        assert_eq!(places[5], (80.0, 20.0));
    }
}
