//! Pairs of samples as figures show them: mean cosine, conflicts, and what is undecided.

use super::source::Source;
use super::{FigureId, Options, Result};
use crate::conflict::{Conflict, Selection, Tally, conflict};
use crate::store::option_that_logs;
use serde::{Deserialize, Serialize};

/// Counts of a group of pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "sidecars name it so")]
pub(super) struct Pairs {
    /// Pairs with a cosine.
    pub pairs: u64,
    /// Pairs whose interval lies below 0.
    pub conflict: u64,
    /// Pairs whose interval holds 0.
    pub undecided: u64,
    /// Mean cosine; null without a pair.
    pub mean: Option<f64>,
    /// Its standard error; null for fewer than two pairs.
    pub error: Option<f64>,
}

impl Pairs {
    pub(super) fn of(tally: &Tally) -> Self {
        let (pairs, conflict, undecided) = (tally.pairs, tally.conflict, tally.undecided);
        let finite = |v: Option<f64>| v.filter(|v| v.is_finite());
        Self { pairs, conflict, undecided, mean: finite(tally.mean()), error: finite(tally.error()) }
    }

    /// Share of the pairs in conflict, %.
    pub(super) fn share(&self) -> Option<f64> {
        (self.pairs > 0).then(|| 100.0 * self.conflict as f64 / self.pairs as f64)
    }

    /// Share of the pairs that are undecided, %.
    pub(super) fn undecided_share(&self) -> Option<f64> {
        (self.pairs > 0).then(|| 100.0 * self.undecided as f64 / self.pairs as f64)
    }
}

/// The pairs to draw: sketched ones, or exact ones where no others were logged. `layer` alone, if named.
pub(super) fn load(
    id: FigureId,
    source: &Source,
    options: &Options,
    layer: Option<&str>,
    module: Option<&str>,
) -> Result<(Conflict, &'static str)> {
    for mode in ["sketch", "exact"] {
        let selection = Selection {
            stage: source.stage(options.stage.as_deref()),
            mode: mode.to_owned(),
            layer: layer.map(str::to_owned),
            module: module.map(str::to_owned),
            ..Selection::of(&options.space)
        };
        let found = conflict(&source.run, &selection)?;
        source.note(found.problems.iter().map(ToString::to_string));
        if found.cells.iter().any(|c| c.all.pairs > 0) {
            return Ok((found, mode));
        }
    }
    let of = layer.map_or_else(String::new, |l| format!(" and layer {l}"));
    let what = format!("`pairs` of space {}{of}", options.space);
    Err(source.lacks(id, &what, option_that_logs("pairs")))
}

/// How much longer sketches would have to be where most pairs are undecided: a factor on `k`.
pub(super) fn longer(tally: &Tally) -> Option<usize> {
    const K: usize = 1024;
    let mostly = tally.undecided_share().is_some_and(|s| s > 0.5);
    let factor = tally.k_to_decide(K).map(|k| k / K)?;
    (mostly && factor > 1).then_some(factor)
}
