//! Cosines over the steps of a stage.

use super::definition::Definition;
use crate::stats::Summary;

/// Mean cosine that gradients of random sign would have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Null {
    /// Mean over the draws of signs.
    pub mean: f64,
    /// Standard deviation over the draws.
    pub deviation: f64,
}

/// Cosines of each step's gradient with a dominant direction, over one layer or all.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the direction is.
    pub definition: Definition,
    /// Stage.
    pub stage: String,
    /// `trainable` or `shared`.
    pub space: String,
    /// Layer, or `all`.
    pub layer: String,
    /// Sort key of the layer; `None` for `all`.
    pub depth: Option<i32>,
    /// Steps in the stage that have a cosine.
    pub steps: Vec<u64>,
    /// Cosine of each; may leave -1..1 by its error.
    pub cosines: Vec<f64>,
    /// Standard error of each from the sketches' noise; 0 where nothing is sketched.
    pub errors: Vec<f64>,
    /// Standard error of the mean cosine from the sketches' noise (the cosines' errors are not independent: they share the
    /// direction).
    pub mean_error: f64,
    /// What gradients of random sign would give. For `momentum`, which cannot be taken again, signs are drawn for the
    /// cosines; likewise for `svd`, whose singular vectors do not change with the signs.
    pub null: Option<Null>,
    /// Steps without a cosine: a gradient of norm zero or with numbers that are not finite.
    pub skipped: Vec<u64>,
}

impl Series {
    /// T, the number of steps that the direction is over.
    #[must_use]
    pub fn t(&self) -> usize {
        self.cosines.len()
    }

    /// Mean, deviation (over the steps) and extremes of the cosines; `None` without any.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        Summary::of(self.cosines.iter().copied())
    }

    /// Share of the cosines that lie below 0; `None` without any.
    #[must_use]
    pub fn below_zero(&self) -> Option<f64> {
        let below = self.cosines.iter().filter(|c| **c < 0.0).count();
        (self.t() > 0).then(|| below as f64 / self.t() as f64)
    }

    /// Cosines in each of `bins` equal parts of -1..=1; what lies outside counts in the outermost.
    #[must_use]
    pub fn histogram(&self, bins: usize) -> Vec<u64> {
        let mut counts = vec![0; bins];
        for cosine in self.cosines.iter().filter(|_| bins > 0) {
            let bin = (f64::midpoint(*cosine, 1.0) * bins as f64).floor().clamp(0.0, bins as f64 - 1.0);
            counts[bin as usize] += 1;
        }
        counts
    }
}
