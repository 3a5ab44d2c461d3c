//! `cluster-samples`: of each cluster of context vectors the four samples nearest to its centre: picture, question,
//! answer.

use super::color::{GREY, INK, WHITE};
use super::contexts::{Contexts, has};
use super::looks::{self, Looks};
use super::page::{LeftOut, Page};
use super::scene::{Across, Along, Canvas, Pixels, Point, Shape};
use super::source::Source;
use super::{Figure, FigureId, Options, Result, Table, place_cells};
use crate::store::{Place, RunDir};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::Cursor;
use std::sync::Arc;

/// Samples of each cluster.
const NEAREST: usize = 4;
/// Sides of pictures are at most so many pixels: 0.9 in at 300 dpi.
const SIDE: u32 = 270;
const LINES: usize = 3;

#[derive(Debug, Serialize, Deserialize)]
struct Sample {
    id: String,
    /// Where it stands in the data; null in older runs and files.
    #[serde(default)]
    place: Option<Place>,
    task: String,
    /// From the cluster's centre, in the original space.
    distance: f64,
    question: String,
    answer: String,
    /// PNG in base64; null for text alone.
    picture: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    cluster: usize,
    samples: usize,
    nearest: Vec<Sample>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClusterSamples {
    stage: String,
    layer: String,
    from_step: u64,
    rows: Vec<Row>,
    #[serde(default)]
    left_out: Vec<String>,
}

/// A picture as a small PNG; `None` where the sample has none or it cannot be read.
fn picture(run: &RunDir, image: &str) -> Option<String> {
    let path = run.path().join(image);
    let picture = image::open(path).ok()?;
    let larger = picture.width().max(picture.height()) > SIDE;
    let small = if larger { picture.thumbnail(SIDE, SIDE) } else { picture };
    let mut bytes = Vec::new();
    small.to_rgb8().write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).ok()?;
    Some(STANDARD.encode(bytes))
}

fn pixels(png: &str) -> Option<Pixels> {
    let bytes = STANDARD.decode(png).ok()?;
    let picture = image::load_from_memory(&bytes).ok()?.to_rgba8();
    Some(Pixels { width: picture.width() as usize, height: picture.height() as usize, rgba: picture.into_raw() })
}

impl ClusterSamples {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let id = FigureId::ClusterSamples;
        let contexts = Contexts::load(id, source, options)?;
        if !source.run.dataset().exists() {
            return Err(source.lacks(id, "`dataset.parquet`", "every training run"));
        }
        let (clusters, fewer) = contexts.clusters(&contexts.fitted(options), options)?;
        let left_out = contexts.left_out(fewer);
        let only = options.shown();
        let data = &contexts.data;
        let distances = clusters.distances(data.vectors.view());
        let shown = |i: &usize| has(only.as_ref(), &data.samples[*i]);
        let sample = |i: usize| {
            let s = &data.samples[i];
            Sample {
                id: s.sample.clone(),
                place: s.place,
                task: s.task.clone(),
                distance: distances[i],
                question: s.question.clone(),
                answer: s.answer.clone(),
                picture: s.image.as_ref().and_then(|image| picture(&source.run, image)),
            }
        };
        let row = |c: usize| {
            let own = (0..data.samples.len()).filter(|i| clusters.labels()[*i] == c);
            let mut own: Vec<usize> = own.filter(shown).collect();
            own.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]).then(a.cmp(b)));
            let samples = own.len();
            Row { cluster: c, samples, nearest: own.into_iter().take(NEAREST).map(sample).collect() }
        };
        let rows: Vec<Row> = (0..clusters.centroids().nrows()).map(row).filter(|row| row.samples > 0).collect();
        if rows.is_empty() {
            return Err(source.unfit(id, "none of the samples asked for has a context vector here".to_owned()));
        }
        let (stage, layer, from_step) = (data.stage.clone(), data.layer.clone(), data.steps.0);
        Ok(Self { stage, layer, from_step, rows, left_out })
    }

    /// Height of a row: a picture beside three lines of question and two of answer.
    fn row_height(small: f64) -> f64 {
        small * 1.15 * (LINES as f64 + 3.0) + 5.0
    }

    /// The clusters that a page has room for, the largest.
    fn shown(&self, page: &Page) -> Looks {
        let most = page.fit(self.rows.len(), Self::row_height(page.venue.small()), 4.0);
        let most = page.most.map_or(most, |asked| most.min(asked));
        Looks::largest(&self.sizes(), Some(most), usize::MAX)
    }

    fn sizes(&self) -> Vec<usize> {
        self.rows.iter().map(|r| r.samples).collect()
    }

    fn sample(canvas: &mut Canvas, sample: &Sample, task: &str, from: Point, to: Point) {
        let small = canvas.small;
        let side = (to.1 - from.1 - 4.0).min((to.0 - from.0) * 0.42);
        let (left, top) = (from.0, from.1 + 2.0);
        if let Some(pixels) = sample.picture.as_deref().and_then(pixels) {
            let scale = side / pixels.width.max(pixels.height) as f64;
            let (width, height) = (pixels.width as f64 * scale, pixels.height as f64 * scale);
            canvas.image((left, top), (left + width, top + height), Arc::new(pixels), true);
            canvas.outline((left, top), (left + width, top + height), GREY, 0.4);
        } else {
            canvas.outline((left, top), (left + side, top + side), GREY, 0.4);
            let middle = (left + side / 2.0, top + side / 2.0);
            canvas.text("text", middle, small, (Across::Center, Along::Middle), GREY.mix(INK, 0.5));
        }
        let (x, room) = (left + side + 4.0, to.0 - left - side - 8.0);
        let mut y = top;
        canvas.text(task, (x, y), small, (Across::Left, Along::Top), GREY.mix(INK, 0.55));
        y += small * 1.15;
        for line in canvas.wrap(&sample.question, small, room, LINES) {
            canvas.text(&line, (x, y), small, (Across::Left, Along::Top), INK);
            y += small * 1.15;
        }
        for line in canvas.wrap(&format!("\u{2192} {}", sample.answer), small, room, 2) {
            canvas.text(&line, (x, y), small, (Across::Left, Along::Top), super::color::BLUE);
            y += small * 1.15;
        }
    }
}

impl Figure for ClusterSamples {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        (venue.full() * 72.0, self.shown(page).own().len() as f64 * Self::row_height(venue.small()) + 4.0)
    }

    fn draw(&self, canvas: &mut Canvas) {
        let height = Self::row_height(canvas.small);
        let left = canvas.small * 3.4;
        let width = (canvas.size.0 - left) / NEAREST as f64;
        // By the clusters' numbers, as in `context-clusters`: some may have no row.
        let mut counts = vec![0; self.rows.iter().map(|r| r.cluster + 1).max().unwrap_or(0)];
        self.rows.iter().for_each(|r| counts[r.cluster] = r.samples);
        let looks = Looks::assign(&counts, canvas.page.most);
        let shown = self.shown(&canvas.page);
        let mut tasks: Vec<String> = self.rows.iter().flat_map(|r| &r.nearest).map(|s| s.task.clone()).collect();
        tasks.sort();
        tasks.dedup();
        let side = (height - 4.0).min(width * 0.42);
        let names = canvas.names(&tasks, canvas.small, width - side - 8.0);
        for (r, row) in shown.own().iter().map(|i| &self.rows[*i]).enumerate() {
            let top = 2.0 + r as f64 * height;
            if r > 0 {
                canvas.line(&[(0.0, top), (canvas.size.0, top)], GREY.mix(WHITE, 0.4), 0.4);
            }
            let middle = (left * 0.45, top + height * 0.42);
            canvas.mark(Shape::Disc, middle, canvas.small * 0.95, INK);
            canvas.mark(Shape::Disc, middle, canvas.small * 0.85, looks::paper(looks.of(row.cluster)));
            canvas.mark(Shape::Disc, middle, canvas.small * 0.62, WHITE);
            canvas.text(&row.cluster.to_string(), middle, canvas.small, (Across::Center, Along::Middle), INK);
            let below = (middle.0, middle.1 + canvas.small * 1.25);
            canvas.text(&format!("n={}", row.samples), below, canvas.small, (Across::Center, Along::Top), INK);
            for (s, sample) in row.nearest.iter().enumerate() {
                let from = ((s as f64).mul_add(width, left), top);
                let task = tasks.binary_search(&sample.task).map_or("", |i| names[i].as_str());
                Self::sample(canvas, sample, task, from, (from.0 + width, top + height));
            }
        }
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for row in &self.rows {
            for (rank, s) in row.nearest.iter().enumerate() {
                let (cluster, rank) = (row.cluster.to_string(), rank.to_string());
                let (question, answer) = (s.question.clone(), s.answer.clone());
                let [index, split] = place_cells(s.place);
                let (id, task, distance) = (s.id.clone(), s.task.clone(), s.distance.to_string());
                rows.push([cluster, rank, id, index, split, task, distance, question, answer]);
            }
        }
        Table::new(["cluster", "rank", "sample", "index", "split", "task", "distance", "question", "answer"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "stage": self.stage, "layer": self.layer, "first_step": self.from_step,
            "nearest": "smallest distance to the cluster's centre in the original space",
        })
    }

    fn left_out(&self) -> Vec<String> {
        self.left_out.clone()
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let names: Vec<String> = self.rows.iter().map(|r| r.cluster.to_string()).collect();
        LeftOut::of("clusters", &names, self.shown(page).own(), false).into_iter().collect()
    }
}
