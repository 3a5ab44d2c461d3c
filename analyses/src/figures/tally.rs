//! Pairs of samples as figures show them: mean cosine, conflicts, and what is undecided.

use super::source::Source;
use super::{FigureId, Options, Result};
use crate::conflict::{Conflict, Counts, Selection, Tally, conflict, conflict_counts};
use crate::stats::finite;
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
    /// Pairs without a cosine: a gradient is zero or nothing but rounding.
    #[serde(default)]
    pub undefined: u64,
    /// Pairs whose numbers are not finite.
    #[serde(default)]
    pub not_finite: u64,
}

impl Pairs {
    pub(super) fn of(tally: &Tally) -> Self {
        let (pairs, conflict, undecided) = (tally.pairs, tally.conflict, tally.undecided);
        let (mean, error) = (tally.mean().and_then(finite), tally.error().and_then(finite));
        let (undefined, not_finite) = (tally.undefined, tally.not_finite);
        Self { pairs, conflict, undecided, mean, error, undefined, not_finite }
    }

    /// The pairs that are in none of the numbers, in words.
    pub(super) fn left_out(&self) -> Vec<String> {
        let of = |n: u64, why: &str| (n > 0).then(|| format!("{n} of {} pairs {why}: left out", self.all()));
        let zero = of(self.undefined, "have no cosine (a gradient is zero or nothing but rounding)");
        zero.into_iter().chain(of(self.not_finite, "have numbers that are not finite")).collect()
    }

    fn all(&self) -> u64 {
        self.pairs + self.undefined + self.not_finite
    }

    /// All of several groups; their common standard error is not known.
    pub(super) fn merged<'a>(of: &(impl Iterator<Item = &'a Self> + Clone)) -> Self {
        let sum = |part: fn(&Self) -> u64| of.clone().map(part).sum::<u64>();
        let known = of.clone().filter_map(|p| p.mean.map(|m| (m, p.pairs as f64)));
        let (total, n) = known.fold((0.0, 0.0), |(t, n), (m, pairs)| (t + m * pairs, n + pairs));
        let mean = (n > 0.0).then(|| total / n);
        Self {
            pairs: sum(|p| p.pairs),
            conflict: sum(|p| p.conflict),
            undecided: sum(|p| p.undecided),
            undefined: sum(|p| p.undefined),
            not_finite: sum(|p| p.not_finite),
            mean,
            error: None,
        }
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

fn selection(source: &Source, options: &Options, mode: &str) -> Selection {
    let stage = source.stage(options.stage.as_deref());
    let steps = options.steps.map_or(0..=u64::MAX, |(from, to)| from..=to);
    let tracked = options.tracked.unwrap_or(false);
    Selection { stage, steps, tracked, mode: mode.to_owned(), ..Selection::of(&options.space) }
}

/// The ways of measuring pairs to look for, the first that was logged.
fn modes(options: &Options) -> Vec<&str> {
    options.mode.as_deref().map_or_else(|| vec!["sketch", "exact"], |mode| vec![mode])
}

/// The pairs of one layer and module to draw: sketched ones, or exact ones where no others were logged.
pub(super) fn load(
    id: FigureId,
    source: &Source,
    options: &Options,
    layer: &str,
    module: &str,
) -> Result<(Conflict, String)> {
    let mut bad = Vec::new();
    for mode in modes(options) {
        let (layer, module) = (Some(layer.to_owned()), Some(module.to_owned()));
        let found = conflict(&source.run, &Selection { layer, module, ..selection(source, options, mode) })?;
        source.note(found.problems.iter().map(ToString::to_string));
        if found.cells.iter().any(|c| c.all.pairs > 0) {
            return Ok((found, mode.to_owned()));
        }
        bad.extend(found.cells.iter().flat_map(|c| Pairs::of(&c.all).left_out()));
    }
    if let Some(why) = bad.first() {
        return Err(source.unfit(id, why.clone()));
    }
    let what = format!("`pairs` of space {} and layer {layer}", options.space);
    Err(source.lacks(id, &what, option_that_logs("pairs")))
}

/// The counts of every layer and module to draw, of such pairs.
pub(super) fn counts(id: FigureId, source: &Source, options: &Options) -> Result<(Counts, String)> {
    let mut bad = Vec::new();
    for mode in modes(options) {
        let found = conflict_counts(&source.run, &selection(source, options, mode))?;
        source.note(found.problems.iter().map(ToString::to_string));
        if found.cells.iter().any(|c| c.all.pairs > 0) {
            return Ok((found, mode.to_owned()));
        }
        bad.extend(found.cells.iter().flat_map(|c| Pairs::of(&c.all).left_out()));
    }
    if let Some(why) = bad.first() {
        return Err(source.unfit(id, why.clone()));
    }
    let what = format!("`conflict` of space {}", options.space);
    Err(source.lacks(id, &what, option_that_logs("conflict")))
}

/// How much longer sketches would have to be where most pairs are undecided: a factor on `k`.
pub(super) fn longer(tally: &Tally) -> Option<usize> {
    const K: usize = 1024;
    let mostly = tally.undecided_share().is_some_and(|s| s > 0.5);
    let factor = tally.k_to_decide(K).map(|k| k / K)?;
    (mostly && factor > 1).then_some(factor)
}
