//! Pairs of samples of one step and the cosine of their gradients.

use super::LayerKey;
use covft_analyses::store::PairRow;
use std::collections::{BTreeMap, BTreeSet};

/// One pair in one layer and module.
#[derive(Clone, Copy, Debug)]
struct Pair {
    stage: u16,
    step: u32,
    tasks: (u32, u32),
    samples: (u32, u32),
    cosine: f32,
    high: f32,
}

/// Layer, module and space.
pub(crate) type Place = (LayerKey, String, String);

/// One cell of the matrix of tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cell {
    pub pairs: u64,
    sum: f64,
    /// Pairs whose interval lies below 0.
    pub conflicts: u64,
    pub samples: BTreeSet<u32>,
}

impl Cell {
    /// Mean cosine; `None` without a pair that has one.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.sum / self.pairs as f64)
    }
}

/// All pairs by place.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    by_place: BTreeMap<Place, Vec<Pair>>,
}

impl Pairs {
    pub(super) fn take(&mut self, stage: u16, samples: (u32, u32), tasks: (u32, u32), row: PairRow) {
        let pair = Pair {
            stage,
            step: row.step as u32,
            tasks,
            samples,
            cosine: row.cosine.unwrap_or(f32::NAN),
            high: row.high.unwrap_or(f32::NAN),
        };
        self.by_place.entry(((row.depth, row.layer), row.module, row.space)).or_default().push(pair);
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.by_place.keys()
    }

    /// Mean cosine by pair of tasks (the smaller number first), over the rows that `wanted` (stage, step) takes.
    pub(crate) fn matrix(&self, place: &Place, wanted: impl Fn(u16, u32) -> bool) -> BTreeMap<(u32, u32), Cell> {
        let mut cells: BTreeMap<(u32, u32), Cell> = BTreeMap::new();
        let rows = self.by_place.get(place).into_iter().flatten();
        for pair in rows.filter(|p| wanted(p.stage, p.step) && p.cosine.is_finite()) {
            let key = (pair.tasks.0.min(pair.tasks.1), pair.tasks.0.max(pair.tasks.1));
            let cell = cells.entry(key).or_default();
            cell.pairs += 1;
            cell.sum += f64::from(pair.cosine);
            cell.conflicts += u64::from(pair.high < 0.0);
            cell.samples.extend([pair.samples.0, pair.samples.1]);
        }
        cells
    }

    /// Share of pairs in conflict and the mean cosine, by place of one space.
    pub(crate) fn by_place(&self, space: &str, wanted: impl Fn(u16, u32) -> bool) -> Vec<(Place, u64, f64, f64)> {
        let of = self.by_place.iter().filter(|(place, _)| place.2 == space);
        of.filter_map(|(place, rows)| {
            let rows: Vec<&Pair> = rows.iter().filter(|p| wanted(p.stage, p.step) && p.cosine.is_finite()).collect();
            let n = rows.len() as f64;
            let conflicts = rows.iter().filter(|p| p.high < 0.0).count() as f64;
            let mean = rows.iter().map(|p| f64::from(p.cosine)).sum::<f64>() / n;
            (n > 0.0).then(|| (place.clone(), n as u64, conflicts / n, mean))
        })
        .collect()
    }
}
