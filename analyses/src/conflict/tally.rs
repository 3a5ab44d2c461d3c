//! Counts and the mean cosine of a group of pairs.

use crate::store::{ConflictRow, Judged};

/// What is known of a group of pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Pairs with a cosine.
    pub pairs: u64,
    /// Of those, the ones whose interval lies below 0.
    pub conflict: u64,
    /// Of those, the ones whose interval holds 0.
    pub undecided: u64,
    /// Pairs without a cosine: a gradient is zero or nothing but rounding.
    pub undefined: u64,
    /// Pairs whose numbers are not finite; in none of the rest.
    pub not_finite: u64,
    /// Steps with such pairs.
    pub steps: u64,
    sum: f64,
    squares: f64,
    /// Squared standard errors of the sketches.
    sketched: f64,
    /// Sums over the steps that are over, of `n s`, `n^2`, `s^2` with `n` pairs of sum `s`.
    folded: [f64; 3],
    /// The step that is under way: its number, pairs and sum.
    open: Option<(u64, f64, f64)>,
}

/// One pair as a tally sees it: columns of the stream `pairs`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pair {
    /// Cosine; `None` where a gradient is zero or nothing but rounding.
    pub cosine: Option<f32>,
    /// Its standard error.
    pub error: Option<f32>,
    /// Lower end of its 95 % interval.
    pub low: Option<f32>,
    /// Upper end.
    pub high: Option<f32>,
}

impl Tally {
    /// Counts a pair. `step` tells steps apart; all pairs of one come together.
    pub fn add(&mut self, step: u64, pair: Pair) {
        match Judged::of([pair.cosine, pair.error, pair.low, pair.high]) {
            Judged::Undefined => self.undefined += 1,
            Judged::NotFinite => self.not_finite += 1,
            Judged::Cosine { cosine, error, conflict, undecided } => {
                self.pairs += 1;
                self.sum += cosine;
                self.squares += cosine * cosine;
                self.sketched += error * error;
                self.conflict += u64::from(conflict);
                self.undecided += u64::from(undecided);
                self.observe(step, 1.0, cosine);
            }
        }
    }

    /// Counts the pairs of a row. All rows of one step come together.
    pub(super) fn add_counts(&mut self, row: &ConflictRow) {
        self.undefined += row.undefined;
        self.not_finite += row.not_finite;
        if row.pairs == 0 {
            return;
        }
        self.pairs += row.pairs;
        self.conflict += row.conflict;
        self.undecided += row.undecided;
        self.sum += row.cosines;
        self.squares += row.squares;
        self.sketched += row.errors;
        self.observe(row.step, row.pairs as f64, row.cosines);
    }

    /// `more` pairs of a step, whose cosines sum to `cosines`.
    fn observe(&mut self, step: u64, more: f64, cosines: f64) {
        match &mut self.open {
            Some((of, n, sum)) if *of == step => {
                *n += more;
                *sum += cosines;
            }
            open => {
                let before = open.replace((step, more, cosines));
                self.folded = fold(self.folded, before);
                self.steps += 1;
            }
        }
    }

    /// Mean cosine; `None` without a pair.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.sum / self.pairs as f64)
    }

    /// Standard error of the mean: spread between the steps' pairs and the sketches' error together; with one step only,
    /// the spread between its pairs. `None` for fewer than two pairs.
    #[must_use]
    pub fn error(&self) -> Option<f64> {
        let (mean, n) = (self.mean()?, self.pairs as f64);
        if self.pairs < 2 {
            return None;
        }
        if self.steps < 2 {
            let spread = (self.squares - n * mean * mean).max(0.0) / (n - 1.0);
            return Some((spread / n).sqrt());
        }
        let steps = self.steps as f64;
        let [sums, counts, squares] = fold(self.folded, self.open);
        let spread = (squares - 2.0 * mean * sums + mean * mean * counts).max(0.0);
        Some((spread * steps / (steps - 1.0)).sqrt() / n)
    }

    /// The part of [`error`](Self::error) that longer sketches would take away, if the pairs' errors were independent.
    #[must_use]
    pub fn sketch_error(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.sketched.sqrt() / self.pairs as f64)
    }

    /// Share of the pairs that are in conflict.
    #[must_use]
    pub fn conflict_share(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.conflict as f64 / self.pairs as f64)
    }

    /// Share of the pairs that are undecided.
    #[must_use]
    pub fn undecided_share(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.undecided as f64 / self.pairs as f64)
    }

    /// The `k` that would leave a typical pair of these decided at its present cosine, given the `k` that they were sketched
    /// with: errors shrink with its square root. `None` where that makes no sense (no pairs, exact ones, mean 0).
    #[must_use]
    pub fn k_to_decide(&self, k: usize) -> Option<usize> {
        let typical = (self.squares / self.pairs as f64).sqrt();
        let error = (self.sketched / self.pairs as f64).sqrt();
        let signal = (typical * typical - error * error).max(0.0).sqrt();
        let factor = (2.0 * error / signal).powi(2);
        (self.pairs > 0 && factor.is_finite() && factor > 0.0)
            .then(|| ((k as f64 * factor).ceil() as usize).max(1).next_power_of_two())
    }
}

fn fold(sums: [f64; 3], step: Option<(u64, f64, f64)>) -> [f64; 3] {
    let Some((_, n, s)) = step else { return sums };
    [sums[0] + n * s, sums[1] + n * n, sums[2] + s * s]
}
