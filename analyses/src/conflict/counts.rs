//! Pairs counted while training, for every layer and module: the stream `conflict`, which is small where single pairs are
//! many.

use super::{Selection, Tally};
use crate::store::{ALL, ConflictRow, Result, RunDir, StoreError, visit_records};
use std::collections::BTreeMap;

/// One layer and module.
#[derive(Clone, Debug, PartialEq)]
pub struct CellCounts {
    /// Layer, or `all`.
    pub layer: String,
    /// Sort key of the layer.
    pub depth: Option<i32>,
    /// Module, or `all`.
    pub module: String,
    /// Pairs within one task.
    pub within: Tally,
    /// Pairs of different tasks.
    pub across: Tally,
    /// All pairs, those of samples without a task too.
    pub all: Tally,
}

/// Counts in a run.
#[derive(Debug)]
pub struct Counts {
    /// The stage that was counted; empty if there is no pair.
    pub stage: String,
    /// Every layer and module, in order of depth (`all` last), then of module (`all` first).
    pub cells: Vec<CellCounts>,
    /// Parts that could not be read.
    pub problems: Vec<StoreError>,
}

impl Counts {
    /// The cell of a layer and module (`all` for either).
    #[must_use]
    pub fn cell(&self, layer: &str, module: &str) -> Option<&CellCounts> {
        self.cells.iter().find(|c| c.layer == layer && c.module == module)
    }
}

/// Sorts cells: by depth, the row over all layers last; by module, the one over all modules first.
type Key = (bool, i32, String, bool, String);

/// How the selected pairs agree, by layer and module.
///
/// # Errors
/// The folder of the run cannot be listed. Damaged parts are told in [`Counts::problems`].
pub fn conflict_counts(dir: &RunDir, selection: &Selection) -> Result<Counts> {
    let (mut stage, mut cells) = (String::new(), BTreeMap::<Key, CellCounts>::new());
    let mut add = |row: &ConflictRow| {
        let other = selection.stage.as_ref().is_some_and(|wanted| *wanted != row.stage);
        let chosen = selection.has(&row.space, &row.mode, row.step, &row.layer, &row.module);
        if other || !chosen || selection.tracked != row.tracked {
            return;
        }
        if stage != row.stage {
            // Without a choice the last stage counts.
            stage.clone_from(&row.stage);
            cells.clear();
        }
        let (depth, layer, module) = (row.depth, row.layer.clone(), row.module.clone());
        let key = (depth.is_none(), depth.unwrap_or(0), layer.clone(), module != ALL, module.clone());
        let none = Tally::default;
        let empty = || CellCounts { layer, depth, module, within: none(), across: none(), all: none() };
        let cell = cells.entry(key).or_insert_with(empty);
        cell.all.add_counts(row);
        match row.relation.as_str() {
            "within" => cell.within.add_counts(row),
            "across" => cell.across.add_counts(row),
            _ => {}
        }
    };
    let problems = visit_records(dir, |row: ConflictRow| add(&row))?;
    Ok(Counts { stage, cells: cells.into_values().collect(), problems })
}
