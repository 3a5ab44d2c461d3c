//! Pairs of samples: mean cosine, conflicts, and what is undecided.

use super::source::Source;
use super::{FigureId, Options, Result};
use crate::store::{PairRow, option_that_logs};
use serde::{Deserialize, Serialize};

/// Counts of a group of pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Pairs with a cosine.
    pub pairs: u64,
    /// Pairs whose interval lies below 0.
    pub conflict: u64,
    /// Pairs whose interval holds 0.
    pub undecided: u64,
    sum: f64,
}

impl Tally {
    pub(super) fn add(&mut self, row: &PairRow) {
        let Some(cosine) = row.cosine.filter(|c| c.is_finite()) else { return };
        self.pairs += 1;
        self.sum += f64::from(cosine);
        let (low, high) = (row.low.unwrap_or(cosine), row.high.unwrap_or(cosine));
        if high < 0.0 {
            self.conflict += 1;
        } else if low <= 0.0 {
            self.undecided += 1;
        }
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.sum / self.pairs as f64)
    }

    pub(super) fn share(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.conflict as f64 / self.pairs as f64)
    }

    pub(super) fn undecided_share(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.undecided as f64 / self.pairs as f64)
    }
}

/// Hands the pairs of the stage to draw to `see`, in the mode that the run has (sketches where it has both), and names
/// stage and mode. `reset` is called when a later stage takes the place of an earlier one.
pub(super) fn visit(
    id: FigureId,
    source: &Source,
    options: &Options,
    mut see: impl FnMut(Option<&PairRow>),
) -> Result<(String, String)> {
    let wanted = source.stage(options.stage.as_deref());
    let mut found: Option<(String, String)> = None;
    source.visit(|row: PairRow| {
        if row.tracked || row.space != options.space || wanted.as_ref().is_some_and(|w| *w != row.stage) {
            return;
        }
        let better = match &found {
            None => true,
            Some((stage, mode)) => *stage != row.stage || (mode == "exact" && row.mode == "sketch"),
        };
        if better {
            found = Some((row.stage.clone(), row.mode.clone()));
            see(None);
        }
        if found.as_ref().is_some_and(|f| f.1 == row.mode) {
            see(Some(&row));
        }
    })?;
    found.ok_or_else(|| source.lacks(id, &format!("`pairs` of space {}", options.space), option_that_logs("pairs")))
}
