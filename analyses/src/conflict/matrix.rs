//! The matrix of mean cosines between groups of samples, for every layer and module.

use super::tally::{Pair, Tally};
use super::{Labels, Selection};
use crate::store::{PairRow, Result, RunDir, SampleKey, StoreError, visit_records};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A sample in a step, as far as a label may depend on it.
#[derive(Clone, Copy, Debug)]
pub struct SampleAt<'a> {
    /// Stage.
    pub stage: &'a str,
    /// Step of the stage.
    pub step: u64,
    /// Layer, or `all`.
    pub layer: &'a str,
    /// What tells the sample apart.
    pub sample: &'a SampleKey,
    /// Task, where the data names one.
    pub task: Option<&'a str>,
}

/// Tallies between the groups of `labels`, symmetric.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Names of the groups, sorted.
    pub labels: Arc<[String]>,
    cells: BTreeMap<(usize, usize), Tally>,
    none: Tally,
}

impl Matrix {
    /// Pairs between group `a` and group `b`, in either order; a tally of nothing where there were none.
    #[must_use]
    pub fn get(&self, a: usize, b: usize) -> &Tally {
        self.cells.get(&(a.min(b), a.max(b))).unwrap_or(&self.none)
    }

    /// Rows of mean cosines; `None` where there is no pair.
    #[must_use]
    pub fn means(&self) -> Vec<Vec<Option<f64>>> {
        let n = self.labels.len();
        (0..n).map(|a| (0..n).map(|b| self.get(a, b).mean()).collect()).collect()
    }
}

/// One layer and module.
#[derive(Clone, Debug, PartialEq)]
pub struct CellConflict {
    /// Layer, or `all`.
    pub layer: String,
    /// Sort key of the layer.
    pub depth: Option<i32>,
    /// Module, or `all`.
    pub module: String,
    /// Between the groups.
    pub matrix: Matrix,
    /// Pairs within one group.
    pub within: Tally,
    /// Pairs of different groups.
    pub across: Tally,
    /// All pairs, those of unlabelled samples too.
    pub all: Tally,
}

/// Conflict in a run.
#[derive(Debug)]
pub struct Conflict {
    /// The stage that was counted; empty if there is no pair.
    pub stage: String,
    /// Names of the groups, sorted.
    pub labels: Arc<[String]>,
    /// Every layer and module, in order of depth (`all` last), then of module (`all` first).
    pub cells: Vec<CellConflict>,
    /// Pairs a sample of which has no label; they count in [`CellConflict::all`] alone.
    pub unlabelled: u64,
    /// Parts that could not be read.
    pub problems: Vec<StoreError>,
}

impl Conflict {
    /// The cell of a layer and module (`all` for either).
    #[must_use]
    pub fn cell(&self, layer: &str, module: &str) -> Option<&CellConflict> {
        self.cells.iter().find(|c| c.layer == layer && c.module == module)
    }

    /// The cells of one module by depth, the row over all layers left out.
    pub fn by_layer<'a>(&'a self, module: &'a str) -> impl Iterator<Item = &'a CellConflict> {
        self.cells.iter().filter(move |c| c.module == module && c.depth.is_some())
    }

    /// The cells over all layers, module by module.
    pub fn by_module(&self) -> impl Iterator<Item = &CellConflict> {
        self.cells.iter().filter(|c| c.depth.is_none())
    }
}

/// Conflict between tasks.
///
/// # Errors
/// The folder of the run cannot be listed. Damaged parts are told in [`Conflict::problems`].
pub fn conflict(dir: &RunDir, selection: &Selection) -> Result<Conflict> {
    conflict_by(dir, selection, &|at: &SampleAt<'_>| at.task.map(str::to_owned))
}

/// Conflict between the groups that `labels` puts samples in; see [`Labels`].
///
/// # Errors
/// As [`conflict`].
pub fn conflict_by(dir: &RunDir, selection: &Selection, labels: &dyn Labels) -> Result<Conflict> {
    let mut counting = Counting::new(selection, labels);
    let problems = visit_records(dir, |row: PairRow| counting.add(&row))?;
    Ok(counting.finish(problems))
}

type Key = (bool, i32, String, bool, String);

struct Cell {
    depth: Option<i32>,
    pairs: BTreeMap<(usize, usize), Tally>,
    within: Tally,
    across: Tally,
    all: Tally,
}

struct Counting<'a> {
    selection: &'a Selection,
    labels: &'a dyn Labels,
    stage: String,
    /// Number of each group, in the order in which they came.
    names: BTreeMap<String, usize>,
    cells: BTreeMap<Key, Cell>,
    unlabelled: u64,
}

impl<'a> Counting<'a> {
    fn new(selection: &'a Selection, labels: &'a dyn Labels) -> Self {
        let (stage, names, cells) = (String::new(), BTreeMap::new(), BTreeMap::new());
        Self { selection, labels, stage, names, cells, unlabelled: 0 }
    }

    fn add(&mut self, row: &PairRow) {
        let (wanted, [a, b]) = (self.selection, row.keys());
        if wanted.stage.as_ref().is_some_and(|stage| *stage != row.stage)
            || wanted.tracked != row.tracked
            || !wanted.has(&row.space, &row.mode, row.step, &row.layer, &row.module)
            || a == b
        {
            return;
        }
        if self.stage != row.stage {
            // Without a choice the last stage counts.
            *self = Self { stage: row.stage.to_string(), ..Self::new(self.selection, self.labels) };
        }
        let pair = Pair { cosine: row.cosine, error: row.error, low: row.low, high: row.high };
        let groups = (self.group(row, &a, row.task_a.as_deref()), self.group(row, &b, row.task_b.as_deref()));
        let key = (
            row.depth.is_none(),
            row.depth.unwrap_or(0),
            row.layer.to_string(),
            row.module != crate::store::ALL,
            row.module.to_string(),
        );
        let cell = self.cells.entry(key).or_insert_with(|| Cell {
            depth: row.depth,
            pairs: BTreeMap::new(),
            within: Tally::default(),
            across: Tally::default(),
            all: Tally::default(),
        });
        cell.all.add(row.step, pair);
        let (Some(a), Some(b)) = groups else {
            self.unlabelled += 1;
            return;
        };
        if a == b { &mut cell.within } else { &mut cell.across }.add(row.step, pair);
        cell.pairs.entry((a.min(b), a.max(b))).or_default().add(row.step, pair);
    }

    fn group(&mut self, row: &PairRow, sample: &SampleKey, task: Option<&str>) -> Option<usize> {
        let at = SampleAt { stage: &row.stage, step: row.step, layer: &row.layer, sample, task };
        let name = self.labels.label(&at)?;
        if let Some(known) = self.names.get(&name) {
            return Some(*known);
        }
        let next = self.names.len();
        self.names.insert(name, next);
        Some(next)
    }

    fn finish(self, problems: Vec<StoreError>) -> Conflict {
        // Groups were numbered as they came: number them by name.
        let mut place = vec![0; self.names.len()];
        self.names.values().enumerate().for_each(|(sorted, came)| place[*came] = sorted);
        let labels: Arc<[String]> = self.names.into_keys().collect();
        let cells = self.cells.into_iter().map(|((_, _, layer, _, module), cell)| {
            let sorted = |((a, b), tally): ((usize, usize), Tally)| {
                let (a, b) = (place[a], place[b]);
                ((a.min(b), a.max(b)), tally)
            };
            let Cell { depth, pairs, within, across, all } = cell;
            let cells = pairs.into_iter().map(sorted).collect();
            let matrix = Matrix { labels: labels.clone(), cells, none: Tally::default() };
            CellConflict { layer, depth, module, matrix, within, across, all }
        });
        Conflict { stage: self.stage, cells: cells.collect(), labels, unlabelled: self.unlabelled, problems }
    }
}
