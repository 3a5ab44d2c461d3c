//! Pairs of samples of one step and the cosine of their gradients; tallied by the code of the conflict analysis.

use super::table::{Result, Table};
use super::{Keys, LayerKey};
use covft_analyses::conflict::{Pair, Tally};
use std::collections::{BTreeMap, BTreeSet};

/// One pair at one place.
#[derive(Clone, Copy, Debug)]
struct Row {
    stage: u16,
    step: u32,
    tasks: (u32, u32),
    samples: (u32, u32),
    pair: Pair,
}

/// What pairs are compared over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub layer: LayerKey,
    pub module: String,
    /// `trainable` or `shared`.
    pub space: String,
    /// `sketch` or `exact`.
    pub mode: String,
    /// Pairs of the tracked set in place of the steps' own.
    pub tracked: bool,
}

impl Place {
    /// In words.
    pub(crate) fn words(&self) -> String {
        let module = if self.module == covft_analyses::store::ALL { "" } else { &format!(" {}", self.module) };
        let tracked = if self.tracked { ", tracked samples" } else { "" };
        format!("layer {}{module}, {}, {}{tracked}", self.layer.1, self.space, self.mode)
    }

    /// Whether another place differs in layer and module only.
    fn beside(&self, other: &Self) -> bool {
        self.space == other.space && self.mode == other.mode && self.tracked == other.tracked
    }
}

/// One cell of the matrix of tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cell {
    pub tally: Tally,
    pub samples: BTreeSet<u32>,
}

/// All pairs by place.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    by_place: BTreeMap<Place, Vec<Row>>,
}

impl Pairs {
    pub(super) fn take(&mut self, table: Table<'_>, keys: &mut Keys<'_>) -> Result<()> {
        let [stage, layer, module, space, mode] = [
            table.words("stage")?,
            table.words("layer")?,
            table.words("module")?,
            table.words("space")?,
            table.words("mode")?,
        ];
        let (a, b) = (table.words("sample_a")?, table.words("sample_b")?);
        let (place_a, place_b) = (table.places("index_a")?, table.places("index_b")?);
        let (task_a, task_b) = (table.some_words("task_a")?, table.some_words("task_b")?);
        let (step, depth, tracked) = (table.counts("step")?, table.depths()?, table.flags("tracked")?);
        let (cosine, error) = (table.some_singles("cosine")?, table.some_singles("error")?);
        let (low, high) = (table.some_singles("low")?, table.some_singles("high")?);
        for (i, step) in step.iter().enumerate() {
            let row = Row {
                stage: keys.stages.number(stage.value(i)) as u16,
                step: *step as u32,
                tasks: (keys.task(task_a(i)), keys.task(task_b(i))),
                samples: (keys.samples.number(place_a(i), a.value(i)), keys.samples.number(place_b(i), b.value(i))),
                pair: Pair { cosine: cosine(i), error: error(i), low: low(i), high: high(i) },
            };
            let place = Place {
                layer: (depth(i), layer.value(i).to_owned()),
                module: module.value(i).to_owned(),
                space: space.value(i).to_owned(),
                mode: mode.value(i).to_owned(),
                tracked: tracked.value(i),
            };
            self.by_place.entry(place).or_default().push(row);
        }
        Ok(())
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.by_place.keys()
    }

    /// The place that is shown unless another is chosen: the whole encoder, all modules, sketched pairs of the steps' own
    /// samples, the first space.
    pub(crate) fn usual(&self) -> Option<&Place> {
        let all = |p: &&Place| (p.layer.1 != super::ALL, p.module != super::ALL, p.tracked, p.mode != "sketch");
        self.by_place.keys().min_by_key(all)
    }

    /// Rows of a place in the last of its stages among those that `wanted` (stage, step) takes: a stage says nothing of
    /// another's conflict.
    fn rows(&self, place: &Place, wanted: impl Fn(u16, u32) -> bool) -> impl Iterator<Item = &Row> {
        let all: &[Row] = self.by_place.get(place).map_or(&[], Vec::as_slice);
        let last = all.iter().rev().find(|r| wanted(r.stage, r.step)).map(|r| r.stage);
        all.iter().filter(move |r| Some(r.stage) == last && wanted(r.stage, r.step))
    }

    /// The stage whose pairs are shown of a place.
    pub(crate) fn stage(&self, place: &Place, wanted: impl Fn(u16, u32) -> bool) -> Option<u16> {
        self.rows(place, wanted).next().map(|row| row.stage)
    }

    /// Tallies by pair of tasks (the smaller number first), over the rows that `wanted` (stage, step) takes.
    pub(crate) fn matrix(&self, place: &Place, wanted: impl Fn(u16, u32) -> bool) -> BTreeMap<(u32, u32), Cell> {
        let mut cells: BTreeMap<(u32, u32), Cell> = BTreeMap::new();
        for row in self.rows(place, wanted) {
            let cell = cells.entry((row.tasks.0.min(row.tasks.1), row.tasks.0.max(row.tasks.1))).or_default();
            cell.tally.add(u64::from(row.step), row.pair);
            cell.samples.extend([row.samples.0, row.samples.1]);
        }
        cells
    }

    /// Tallies by layer and module, elsewhere as in `place`.
    pub(crate) fn by_layer(&self, place: &Place, wanted: impl Fn(u16, u32) -> bool) -> Vec<(Place, Tally)> {
        let of = self.by_place.keys().filter(|p| p.beside(place));
        of.map(|place| {
            let mut tally = Tally::default();
            self.rows(place, &wanted).for_each(|row| tally.add(u64::from(row.step), row.pair));
            (place.clone(), tally)
        })
        .collect()
    }

    /// Tally of every sample's pairs, by number of the sample.
    pub(crate) fn by_sample(
        &self,
        place: &Place,
        samples: usize,
        wanted: impl Fn(u16, u32) -> bool,
    ) -> Vec<Option<Tally>> {
        let mut tallies: Vec<Option<Tally>> = vec![None; samples];
        for row in self.rows(place, wanted) {
            for sample in [row.samples.0, row.samples.1] {
                if let Some(tally) = tallies.get_mut(sample as usize) {
                    tally.get_or_insert_default().add(u64::from(row.step), row.pair);
                }
            }
        }
        tallies
    }
}
