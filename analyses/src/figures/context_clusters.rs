//! `context-clusters`: context vectors on their first two principal components; colour = cluster (numbered), mark =
//! task.

use super::axes::{Axes, Entry, Mark, bottom_room, left_room, legend, legend_height, others, range};
use super::color::{INK, WHITE};
use super::contexts::{Contexts, has};
use super::heat;
use super::looks::{self, Looks};
use super::page::{LeftOut, Page};
use super::paint::Paint;
use super::places::label_places;
use super::raster;
use super::scene::{Across, Along, Canvas, Point, Shape};
use super::source::Source;
use super::{Figure, FigureId, Options, Result, Table, place_cells};
use crate::store::Place;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
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
    /// What colours mean where it is not the cluster.
    #[serde(default)]
    paint: Option<Paint>,
    /// Components across and up, from 1.
    #[serde(default = "first_two")]
    axes: (usize, usize),
    /// Name of the selection that alone is shown.
    #[serde(default)]
    only: Option<String>,
    /// Numbers of the clusters with a sample; all in older sidecars.
    #[serde(default)]
    shown: Option<Vec<usize>>,
    #[serde(default)]
    left_out: Vec<String>,
}

fn first_two() -> (usize, usize) {
    (1, 2)
}

impl ContextClusters {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let id = FigureId::ContextClusters;
        let contexts = Contexts::load(id, source, options)?;
        let fitted = contexts.fitted(options);
        let (clusters, fewer) = contexts.clusters(&fitted, options)?;
        let (plane, share) = contexts.plane(&fitted, options.axes)?;
        let mut left_out = contexts.left_out(fewer);
        let data = &contexts.data;
        let (tasks, task_of) = data.tasks();
        let only = options.shown();
        let shown = |i: &usize| has(only.as_ref(), &data.samples[*i]);
        // Of very many, those that the clusters were found from stand for all.
        let rows: Vec<usize> =
            if only.is_some() { (0..data.samples.len()).filter(shown).collect() } else { fitted.rows() };
        if rows.is_empty() {
            return Err(source.unfit(id, "none of the samples asked for has a context vector here".to_owned()));
        }
        let dot = |i: &usize| {
            (data.samples[*i].sample.clone(), task_of[*i], clusters.labels()[*i], plane[[*i, 0]], plane[[*i, 1]])
        };
        let dots: Vec<Dot> = rows.iter().map(dot).collect();
        let paint = Paint::load(source, options.color_by, data, &rows)?;
        left_out.extend(paint.as_ref().and_then(Paint::left_out));
        let clusters_shown: BTreeSet<usize> = dots.iter().map(|d| d.2).collect();
        Ok(Self {
            dots,
            places: rows.iter().map(|i| data.samples[*i].place).collect(),
            paint,
            axes: options.axes,
            only: options.samples.as_ref().map(|s| s.name.clone()),
            shown: Some(clusters_shown.into_iter().collect()),
            left_out,
            clusters: clusters.centroids().nrows(),
            inertia: clusters.inertia(),
            seed: options.seed,
            of: data.of,
            stage: data.stage.clone(),
            layer: data.layer.clone(),
            from_step: data.steps.0,
            share,
            tasks,
        })
    }

    /// Looks of the clusters (colours) and of the tasks (marks), the largest first.
    fn looks(&self, page: &Page) -> [Looks; 2] {
        let (mut clusters, mut tasks) = (vec![0; self.clusters], vec![0; self.tasks.len()]);
        for dot in &self.dots {
            tasks[dot.1] += 1;
            clusters[dot.2] += 1;
        }
        [clusters, tasks].map(|counts| Looks::assign(&counts, page.most))
    }

    /// What the colours mean.
    fn key(&self, canvas: &Canvas) -> Vec<Entry> {
        if let Some(paint) = &self.paint {
            return paint.entries(canvas);
        }
        let [clusters, _] = self.looks(&canvas.page);
        let shown = |i: &&usize| self.shown.as_ref().is_none_or(|shown| shown.contains(i));
        let key = |i: &usize| (i.to_string(), looks::paper(clusters.of(*i)), Mark::Alone(Shape::Disc));
        let rest: Vec<&usize> = clusters.others().iter().filter(shown).collect();
        let samples = self.dots.iter().filter(|d| clusters.of(d.2).is_none()).count();
        let members = Some((samples, "samples"));
        let rest = others("clusters", rest.len(), members, looks::paper(None), Mark::Alone(Shape::Disc));
        clusters.own().iter().filter(shown).map(key).chain(rest).collect()
    }

    /// What the marks mean.
    fn entries(&self, canvas: &Canvas) -> Vec<Entry> {
        let [_, tasks] = self.looks(&canvas.page);
        let names = canvas.readable(&self.tasks);
        let task = |i: &usize| (names[*i].clone(), INK, Mark::Alone(looks::mark(tasks.of(*i))));
        let members = Some((self.dots.iter().filter(|d| tasks.of(d.1).is_none()).count(), "samples"));
        let rest = others("tasks", tasks.others().len(), members, INK, Mark::Alone(looks::mark(None)));
        tasks.own().iter().map(task).chain(rest).collect()
    }

    fn marks(&self, canvas: &mut Canvas, axes: &Axes, radius: f64) {
        let [clusters, tasks] = self.looks(&canvas.page);
        let colors = self.paint.as_ref().map(|paint| paint.colors(&canvas.page));
        // What goes together lies below what has a mark of its own.
        let (own, rest): (Vec<usize>, Vec<usize>) =
            (0..self.dots.len()).partition(|i| tasks.of(self.dots[*i].1).is_some());
        for i in rest.into_iter().chain(own) {
            let (_, task, of, x, y) = &self.dots[i];
            let color = colors.as_ref().map_or_else(|| looks::paper(clusters.of(*of)), |colors| colors[i]);
            canvas.mark(looks::mark(tasks.of(*task)), axes.at(*x, *y), radius, color);
        }
    }

    /// The number of each cluster at the middle of its marks, or beside it with a line to it where it would cover a small
    /// cluster or another number: what tells clusters apart besides colour.
    fn numbers(&self, canvas: &mut Canvas, axes: &Axes) {
        let radius = canvas.small * 0.62 + 0.8;
        let every = self.dots.len().div_ceil(VECTOR_MARKS).max(1);
        let seen: Vec<(usize, Point)> = self.dots.iter().step_by(every).map(|d| (d.2, axes.at(d.3, d.4))).collect();
        let middle = |i: usize| {
            let own = || self.dots.iter().filter(|d| d.2 == i);
            let mean = |of: fn(&Dot) -> f64| own().map(of).sum::<f64>() / own().count() as f64;
            (own().count() > 0).then(|| (i, axes.at(mean(|d| d.3), mean(|d| d.4))))
        };
        let [clusters, _] = self.looks(&canvas.page);
        let middles: Vec<(usize, Point)> = clusters.own().iter().copied().filter_map(middle).collect();
        let at: Vec<Point> = middles.iter().map(|m| m.1).collect();
        let places = label_places(&at, radius, &seen, (axes.from, axes.to));
        let radius = radius - 0.8;
        for ((_, middle), place) in middles.iter().zip(&places) {
            canvas.line(&[*middle, *place], INK, 0.6);
        }
        for ((i, _), at) in middles.iter().zip(places) {
            canvas.mark(Shape::Disc, at, radius + 0.8, INK);
            canvas.mark(Shape::Disc, at, radius + 0.2, WHITE);
            canvas.text(&i.to_string(), at, canvas.small, (Across::Center, Along::Middle), INK);
        }
    }

    /// What the colours are called.
    fn colors(&self) -> &str {
        self.paint.as_ref().map_or("cluster", |paint| &paint.by)
    }

    fn legends(&self, canvas: &mut Canvas, left: f64, right: f64) -> f64 {
        let small = canvas.small;
        let mut y = small * 0.75;
        let wide = canvas.width(self.colors(), small).max(canvas.width("task", small));
        for (name, entries) in [(self.colors(), self.key(canvas)), ("task", self.entries(canvas))] {
            if entries.is_empty() {
                continue;
            }
            canvas.text(name, (left, y), small, (Across::Left, Along::Middle), INK);
            let start = left + wide + 6.0;
            y += legend(canvas, &entries, (start, y), right) + 1.0;
        }
        y
    }
}

impl Figure for ContextClusters {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        let width = venue.column() * 72.0;
        let canvas = page.canvas((width, 0.0));
        let wide = canvas.width(self.colors(), venue.small()).max(canvas.width("task", venue.small()));
        let start = 12.0 + wide;
        let legends = [self.key(&canvas), self.entries(&canvas)];
        let used: f64 = legends.iter().map(|e| legend_height(&canvas, e, start, width - 5.0)).sum();
        (width, (width * if venue.column() > 4.5 { 0.55 } else { 0.75 } + used).min(page.room()))
    }

    fn draw(&self, canvas: &mut Canvas) {
        let x = range(self.dots.iter().map(|d| d.3), 0.04).unwrap_or((0.0, 1.0));
        let y = range(self.dots.iter().map(|d| d.4), 0.04).unwrap_or((0.0, 1.0));
        let whole = canvas.size.0 - 5.0;
        let top = self.legends(canvas, 5.0, whole) - canvas.small * 0.4;
        let scale = self.paint.as_ref().and_then(Paint::scale);
        let right = scale.map_or(whole, |scale| canvas.size.0 - heat::bar_room(canvas, scale));
        let left = left_room(canvas, y);
        let axes = Axes { from: (left, top), to: (right, canvas.size.1 - bottom_room(canvas)), x, y };
        let title =
            |i: usize| format!("PC {} ({:.1} % of variance)", [self.axes.0, self.axes.1][i], self.share[i] * 100.0);
        axes.frame(canvas, &title(0), &title(1));
        // Fewer marks may be larger.
        let radius = (60.0 / (self.dots.len() as f64).sqrt()).clamp(0.9, 2.2);
        if self.dots.len() > VECTOR_MARKS {
            let size = (axes.to.0 - axes.from.0, axes.to.1 - axes.from.1);
            let mut inner = canvas.page.canvas(size);
            let within = Axes { from: (0.0, 0.0), to: size, ..axes };
            self.marks(&mut inner, &within, radius);
            let pixels = raster::marks(&inner.finish());
            canvas.image(axes.from, axes.to, Arc::new(pixels), false);
        } else {
            self.marks(canvas, &axes, radius);
        }
        self.numbers(canvas, &axes);
        if let Some(scale) = scale {
            heat::bar(canvas, (axes.to.0, axes.from.1), axes.to.1, scale, self.colors());
        }
    }

    fn table(&self) -> Table {
        let line = |(i, (sample, task, cluster, x, y)): (usize, &Dot)| {
            let [index, split] = place_cells(self.places.get(i).copied().flatten());
            let task = self.tasks[*task].clone();
            [sample.clone(), task, cluster.to_string(), x.to_string(), y.to_string(), index, split]
        };
        let rows = self.dots.iter().enumerate().map(line).collect();
        let mut table = Table::new(["sample", "task", "cluster", "pc1", "pc2", "index", "split"], rows);
        (table.columns[3], table.columns[4]) = (format!("pc{}", self.axes.0), format!("pc{}", self.axes.1));
        if let Some(paint) = &self.paint {
            table.columns.push(paint.by.clone());
            table.rows.iter_mut().enumerate().for_each(|(i, row)| row.push(paint.cell(i)));
        }
        table
    }

    fn notes(&self) -> Value {
        json!({
            "stage": self.stage, "layer": self.layer, "first_step": self.from_step,
            "samples": format!("showing {} of {}", self.dots.len(), self.of),
            "clusters": "k-means in the original space", "k": self.clusters, "seed": self.seed, "inertia": self.inertia,
            "variance_ratio": self.share, "colour": self.colors(), "only": self.only,
        })
    }

    fn left_out(&self) -> Vec<String> {
        self.left_out.clone()
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let [clusters, tasks] = self.looks(page);
        let numbers: Vec<String> = (0..self.clusters).map(|i| i.to_string()).collect();
        let clusters = LeftOut::of("clusters", &numbers, clusters.own(), true).filter(|_| self.paint.is_none());
        clusters.into_iter().chain(LeftOut::of("tasks", &self.tasks, tasks.own(), true)).collect()
    }
}
