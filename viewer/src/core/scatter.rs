//! Which rows are shown, where, and what their colours mean.

use super::bits::Bits;
use super::embed::{Embedding, NO_CLUSTER};
use super::grid::Grid;
use crate::data::RunData;

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
