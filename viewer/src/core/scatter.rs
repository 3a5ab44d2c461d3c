//! Which rows are shown, where, and in which colour.

use super::bits::Bits;
use super::by_sample::BySample;
use super::embed::{Embedding, NO_CLUSTER};
use super::grid::Grid;
use crate::data::RunData;
use crate::tokens;
use covft_analyses::figures::viridis;
use std::collections::BTreeMap;

/// Which rows of a layer are points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Population {
    /// The latest row of each sample.
    #[default]
    Latest,
    /// Every row.
    All,
    /// Rows of the set that is looked at again and again.
    Tracked,
}

impl Population {
    pub(crate) const ALL: [(Self, &str); 3] =
        [(Self::Latest, "latest of each sample"), (Self::All, "every row"), (Self::Tracked, "tracked samples")];
}

/// What colours mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ColorBy {
    #[default]
    Cluster,
    Task,
    Expert,
    Stage,
    Split,
    Step,
    Loss,
    Entropy,
    Seen,
    Tokens,
    Correct,
    Conflict,
    Alignment,
}

impl ColorBy {
    pub(crate) const ALL: [(Self, &str); 13] = [
        (Self::Cluster, "cluster"),
        (Self::Task, "task"),
        (Self::Expert, "expert"),
        (Self::Stage, "stage"),
        (Self::Split, "split"),
        (Self::Step, "step"),
        (Self::Loss, "loss"),
        (Self::Entropy, "routing entropy"),
        (Self::Seen, "times seen"),
        (Self::Tokens, "answer tokens"),
        (Self::Correct, "correctness"),
        (Self::Conflict, "share of pairs in conflict"),
        (Self::Alignment, "alignment with the step"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(by, _)| *by == self).map_or("", |(_, name)| name)
    }
}

/// The points that are shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Row of the layer by point.
    pub rows: Vec<u32>,
    pub samples: Vec<u32>,
    pub xs: Vec<f32>,
    pub ys: Vec<f32>,
    pub grid: Grid,
    /// Sample by place in the grid, so that a lasso reads memory in order.
    by_place: Vec<u32>,
    /// Rows of the layer in all.
    pub of: usize,
    /// Rows that were passed over because their vectors are not finite.
    pub not_finite: usize,
}

impl Shown {
    /// Points of `population` up to step `at` of the run, at the components `axes`.
    pub(crate) fn new(data: &RunData, found: &Embedding, population: Population, at: u32, axes: [usize; 2]) -> Self {
        let Some(contexts) = data.contexts.get(&found.asked.layer) else { return Self::default() };
        let starts = data.stage_starts();
        let rows = &contexts.rows;
        let n = found.rows().min(rows.len());
        let early = |i: &usize| {
            let counts = population != Population::Tracked || contexts.tracked[*i];
            counts && starts[rows.stage[*i] as usize].saturating_add(rows.step[*i]) <= at
        };
        let finite = |i: &usize| found.labels[*i] != NO_CLUSTER;
        let not_finite = (0..n).filter(early).filter(|i| !finite(i)).count();
        let wanted = (0..n).filter(early).filter(finite);
        let chosen: Vec<u32> = if population == Population::Latest {
            // Rows are in order of time, so the last one wins.
            let mut last = vec![u32::MAX; data.samples.len()];
            wanted.for_each(|i| last[rows.sample[i] as usize] = i as u32);
            last.retain(|i| *i != u32::MAX);
            last
        } else {
            wanted.map(|i| i as u32).collect()
        };
        let column = |k: usize| -> Vec<f32> {
            let from = &found.coordinates[k.min(found.coordinates.len() - 1)];
            chosen.iter().map(|i| from[*i as usize]).collect()
        };
        let (xs, ys) = (column(axes[0]), column(axes[1]));
        let grid = Grid::new(&xs, &ys);
        let samples: Vec<u32> = chosen.iter().map(|i| rows.sample[*i as usize]).collect();
        let by_place = grid.in_order().iter().map(|p| samples[*p as usize]).collect();
        Self { samples, rows: chosen, xs, ys, grid, by_place, of: n, not_finite }
    }
}

impl Shown {
    /// The samples of the points inside a closed polygon, and how many points these are.
    pub(crate) fn inside(&self, corners: &[[f64; 2]]) -> (Bits, usize) {
        let mut samples = Bits::default();
        let mut points = 0;
        self.grid.polygon(&self.xs, &self.ys, corners, |at| {
            points += 1;
            samples.insert(self.by_place[at]);
        });
        (samples, points)
    }
}

/// A line of the legend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub name: String,
    pub color: [u8; 3],
    pub points: usize,
    /// The value that the points have, for selecting them; `None` in a scale.
    pub value: Option<u16>,
}

/// The colour of every point.
#[derive(Debug, Default)]
pub(crate) struct Colors {
    pub index: Vec<u16>,
    pub palette: Vec<[u8; 3]>,
    pub keys: Vec<Key>,
}

/// Values by point: numbers of names, or numbers.
enum Values {
    Names(Vec<u16>, Vec<String>),
    Scale(Vec<Option<f32>>),
}

/// Colour of the `i`th of several names: eight that are told apart by all eyes, then lighter and darker ones of them.
pub(crate) fn category(i: usize) -> [u8; 3] {
    let base = tokens::CATEGORIES[i % tokens::CATEGORIES.len()];
    let shade = |c: u8, to: f32, by: f32| (f32::from(c) + (to - f32::from(c)) * by) as u8;
    match i / tokens::CATEGORIES.len() % 3 {
        0 => base,
        1 => base.map(|c| shade(c, 255.0, 0.5)),
        _ => base.map(|c| shade(c, 0.0, 0.4)),
    }
}

impl Colors {
    pub(crate) fn new(
        data: &RunData,
        found: &Embedding,
        shown: &Shown,
        by: ColorBy,
        names: &BTreeMap<u16, String>,
        gradients: &BySample,
    ) -> Self {
        let of_samples = |of: &dyn Fn(u32) -> Option<f64>| {
            Self::scale(&shown.samples.iter().map(|s| of(*s).map(|v| v as f32)).collect::<Vec<_>>())
        };
        match by {
            ColorBy::Conflict => return of_samples(&|s| gradients.conflict(s)),
            ColorBy::Alignment => return of_samples(&|s| gradients.alignment(s)),
            _ => {}
        }
        match values(data, found, shown, by, names) {
            Values::Names(index, names) => Self::names(index, &names),
            Values::Scale(values) => Self::scale(&values),
        }
    }

    fn names(index: Vec<u16>, names: &[String]) -> Self {
        let palette: Vec<[u8; 3]> = (0..names.len()).map(category).collect();
        let mut counts = vec![0; names.len()];
        index.iter().for_each(|i| {
            if let Some(count) = counts.get_mut(*i as usize) {
                *count += 1;
            }
        });
        let keys = (0..names.len()).filter(|i| counts[*i] > 0);
        let keys = keys
            .map(|i| Key { name: names[i].clone(), color: palette[i], points: counts[i], value: Some(i as u16) })
            .collect();
        Self { index, palette, keys }
    }

    /// Numbers on a scale; what has none, and what is not finite, apart from it and from each other.
    fn scale(values: &[Option<f32>]) -> Self {
        let finite = || values.iter().flatten().copied().filter(|v| v.is_finite());
        let (low, high) = finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let mut palette: Vec<[u8; 3]> = (0..256).map(|i| viridis(f64::from(i) / 255.0)).collect();
        let plain = |color: egui::Color32| [color.r(), color.g(), color.b()];
        palette.extend([plain(tokens::NO_VALUE), plain(tokens::NOT_FINITE)]);
        // Halves, so that no difference is infinite.
        let far = high / 2.0 - low / 2.0;
        let place = |v: &Option<f32>| match v {
            None => 256,
            Some(v) if !v.is_finite() => 257,
            Some(v) if far > 0.0 => ((v / 2.0 - low / 2.0) / far * 255.0) as u16,
            Some(_) => 128,
        };
        let index: Vec<u16> = values.iter().map(place).collect();
        let mut keys = Vec::new();
        if low <= high {
            for share in [1.0, 0.75, 0.5, 0.25, 0.0] {
                let value = low * (1.0 - share) + high * share;
                let color = viridis(f64::from(share));
                keys.push(Key { name: number(value), color, points: 0, value: None });
            }
        }
        for (value, name) in [(256, "no value"), (257, "not finite")] {
            let points = index.iter().filter(|i| **i == value).count();
            if points > 0 {
                keys.push(Key {
                    name: name.to_owned(),
                    color: palette[usize::from(value)],
                    points,
                    value: Some(value),
                });
            }
        }
        Self { index, palette, keys }
    }
}

/// A number for people.
pub(crate) fn number(value: f32) -> String {
    if value.fract() == 0.0 && value.abs() < 1e7 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// Name of a cluster: the one that was given, or its number.
pub(crate) fn cluster_name(names: &BTreeMap<u16, String>, cluster: u16) -> String {
    names
        .get(&cluster)
        .filter(|n| !n.is_empty())
        .map_or_else(|| format!("cluster {cluster}"), |n| format!("{cluster}: {n}"))
}

fn values(data: &RunData, found: &Embedding, shown: &Shown, by: ColorBy, names: &BTreeMap<u16, String>) -> Values {
    let rows = || shown.rows.iter().map(|r| *r as usize);
    let samples = || shown.samples.iter().copied();
    let Some(contexts) = data.contexts.get(&found.asked.layer) else { return Values::Scale(Vec::new()) };
    match by {
        ColorBy::Cluster => {
            let all = (0..found.asked.clusters).map(|c| cluster_name(names, c as u16)).collect();
            Values::Names(rows().map(|r| found.labels[r]).collect(), all)
        }
        ColorBy::Task => {
            let of: Vec<u16> = (0..data.samples.len() as u32)
                .map(|s| u16::try_from(data.samples.task_number(s)).unwrap_or(u16::MAX))
                .collect();
            Values::Names(samples().map(|s| of[s as usize]).collect(), data.samples.tasks.list())
        }
        ColorBy::Stage => Values::Names(rows().map(|r| contexts.rows.stage[r]).collect(), data.stages.list()),
        ColorBy::Split => {
            let of = |s: u32| match data.samples.row(s).map(|r| r.split.as_str()) {
                Some("train") => 0,
                Some("val") => 1,
                _ => 2,
            };
            Values::Names(
                samples().map(of).collect(),
                ["train", "val", "not in the data set"].map(str::to_owned).to_vec(),
            )
        }
        ColorBy::Expert | ColorBy::Entropy => routed(data, found, shown, by),
        ColorBy::Step => {
            let starts = data.stage_starts();
            let at = |r: usize| Some((starts[contexts.rows.stage[r] as usize] + contexts.rows.step[r]) as f32);
            Values::Scale(rows().map(at).collect())
        }
        _ => {
            let of = |s: u32| {
                let sample = data.samples.look(s)?;
                match by {
                    ColorBy::Loss => sample.loss,
                    ColorBy::Seen => Some(sample.seen as f32),
                    ColorBy::Tokens => Some(sample.tokens as f32),
                    _ => sample.prediction.as_ref()?.1.map(|c| c as f32),
                }
            };
            Values::Scale(samples().map(of).collect())
        }
    }
}

/// Expert or entropy of the routing row of the same sample, stage and step.
fn routed(data: &RunData, found: &Embedding, shown: &Shown, by: ColorBy) -> Values {
    let layer = &found.asked.layer;
    let (Some(contexts), Some(routing)) = (data.contexts.get(layer), data.routing.get(layer)) else {
        return Values::Scale(vec![None; shown.rows.len()]);
    };
    let matched = match_rows(&contexts.rows, &routing.rows);
    let row = |r: &u32| matched[*r as usize];
    if by == ColorBy::Entropy {
        let of = |r: &u32| row(r).map(|i| routing.entropy[i as usize]);
        return Values::Scale(shown.rows.iter().map(of).collect());
    }
    let (none, bad) = (routing.experts as u16, routing.experts as u16 + 1);
    let of = |r: &u32| row(r).map_or(none, |i| routing.expert(i as usize).unwrap_or(bad));
    let others = ["not routed", "routing not finite"].map(str::to_owned);
    let names = (0..routing.experts).map(|e| format!("expert {e}")).chain(others).collect();
    Values::Names(shown.rows.iter().map(of).collect(), names)
}

/// For each row of `a` the row of `b` of the same stage, step and sample. Both are in order of time.
pub(crate) fn match_rows(a: &crate::data::Rows, b: &crate::data::Rows) -> Vec<Option<u32>> {
    let mut found = vec![None; a.len()];
    let mut from = 0;
    let mut here: std::collections::HashMap<u32, u32> = std::collections::HashMap::new();
    let mut now = None;
    for (i, found) in found.iter_mut().enumerate() {
        let key = (a.stage[i], a.step[i]);
        if now != Some(key) {
            now = Some(key);
            here.clear();
            while from < b.len() && (b.stage[from], b.step[from]) < key {
                from += 1;
            }
            let mut at = from;
            while at < b.len() && (b.stage[at], b.step[at]) == key {
                here.insert(b.sample[at], at as u32);
                at += 1;
            }
        }
        *found = here.get(&a.sample[i]).copied();
    }
    found
}
