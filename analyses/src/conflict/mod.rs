//! Gradient conflict between samples: from the pairs of a run to matrices of mean cosines, shares of pairs in conflict, and
//! the gradient noise scale.
//!
//! Pairs are taken within one optimiser step and counted in two groups, those of their samples (tasks, or any label a
//! sample may carry). Everything is read part by part; memory grows with layers, modules and pairs of labels, not with rows.
//!
//! * A pair is *in conflict* when the 95 % interval of its cosine lies below 0, *undecided* when it holds 0.
//! * A mean's standard error counts a step as one observation (its pairs share samples, weights and projections); with
//!   one step only, a pair.

mod counts;
mod labels;
mod matrix;
mod noise;
mod tally;
#[cfg(test)]
mod tests;

pub use counts::{CellCounts, Counts, conflict_counts};
pub use labels::{Labels, dominating_experts};
pub use matrix::{CellConflict, Conflict, Matrix, SampleAt, conflict, conflict_by};
pub use noise::{NoisePoint, noise_series, pooled_scale};
pub use tally::{Pair, Tally};

use std::ops::RangeInclusive;

/// Which rows count.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Stage; `None` for the last one that has pairs.
    pub stage: Option<String>,
    /// `trainable` or `shared`.
    pub space: String,
    /// `sketch` or `exact`.
    pub mode: String,
    /// Pairs of the tracked set, which is measured without training on it, in place of the step's own.
    pub tracked: bool,
    /// Steps of the stage.
    pub steps: RangeInclusive<u64>,
    /// One layer only (`all` is the row over all layers).
    pub layer: Option<String>,
    /// One module only (`all` is the row over all modules).
    pub module: Option<String>,
}

impl Selection {
    /// Sketched pairs of the steps' own samples in `space`, over every layer and module of the last stage.
    #[must_use]
    pub fn of(space: &str) -> Self {
        Self {
            stage: None,
            space: space.to_owned(),
            mode: "sketch".to_owned(),
            tracked: false,
            steps: 0..=u64::MAX,
            layer: None,
            module: None,
        }
    }

    fn has(&self, space: &str, mode: &str, step: u64, layer: &str, module: &str) -> bool {
        self.space == space
            && self.mode == mode
            && self.steps.contains(&step)
            && self.layer.as_deref().is_none_or(|wanted| wanted == layer)
            && self.module.as_deref().is_none_or(|wanted| wanted == module)
    }
}
