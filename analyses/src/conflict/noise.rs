//! The gradient noise scale along a run.

use super::Selection;
use crate::store::{NoiseRow, Result, RunDir, read_records};

/// One step of one layer and module.
#[derive(Clone, Debug, PartialEq)]
pub struct NoisePoint {
    /// Step of the stage.
    pub step: u64,
    /// Layer, or `all`.
    pub layer: String,
    /// Sort key of the layer.
    pub depth: Option<i32>,
    /// Module, or `all`.
    pub module: String,
    /// Samples that the estimates are over.
    pub samples: u64,
    /// Unbiased estimate of the squared norm of the mean gradient; may be negative.
    pub grad2: f64,
    /// Unbiased estimate of the trace of the samples' covariance.
    pub trace: f64,
    /// Their ratio; `None` where `grad2` is not positive.
    pub scale: Option<f64>,
}

impl From<NoiseRow> for NoisePoint {
    fn from(row: NoiseRow) -> Self {
        let NoiseRow { step, layer, depth, module, samples, grad2, trace, scale, .. } = row;
        Self { step, layer, depth, module, samples, grad2, trace, scale }
    }
}

/// The noise of the selected steps, layers and modules, in the order they were written.
///
/// # Errors
/// The folder of the run cannot be listed.
pub fn noise_series(dir: &RunDir, selection: &Selection) -> Result<Vec<NoisePoint>> {
    let rows = read_records::<NoiseRow>(dir)?.rows;
    let counts = |row: &NoiseRow| selection.has(&row.space, &row.mode, row.step, &row.layer, &row.module);
    let last = rows.iter().rev().find(|row| counts(row)).map(|row| row.stage.clone());
    let Some(stage) = selection.stage.clone().or(last) else { return Ok(Vec::new()) };
    Ok(rows.into_iter().filter(|row| row.stage == stage && counts(row)).map(NoisePoint::from).collect())
}

/// Noise scale over several points of one layer and module: the ratio of the means, which is far less noisy than the mean of
/// the ratios. `None` where the mean of `grad2` is not positive; points that are not finite are left out.
#[must_use]
pub fn pooled_scale<'a>(points: impl IntoIterator<Item = &'a NoisePoint>) -> Option<f64> {
    let finite = points.into_iter().filter(|p| p.grad2.is_finite() && p.trace.is_finite());
    let (trace, grad2) = finite.fold((0.0, 0.0), |(t, g), p| (t + p.trace, g + p.grad2));
    (grad2 > 0.0).then(|| trace / grad2)
}
