//! `covft-probe verify DIR`: every number of a folder of reference numbers, dumped from the published implementation,
//! against ours.
//!
//! The folder: `instruct.json` and `images/`; `llava/`, `clip/`, `bert/` (the model); `methods/<method>` (what a method
//! adds); `expected/` (`batch.safetensors`, `meta.json`, `<method>.safetensors`); and, each where it is there,
//! `llama-gqa/` and `towers/<kind>/`. The model is fed the stored batch; our own data path is compared with it apart.

mod compare;
mod data;
mod forward;
mod golden;
mod gradients;
mod grams;
mod language;
mod parity;
pub mod real_weights;
mod towers;
mod training;

pub use parity::parity;

use candle_core::Device;
use golden::{Golden, METHODS};
use std::path::{Path, PathBuf};

/// Tolerances that a correct float32 implementation meets, as `max |a - b| / max |b|` of each tensor.
pub mod tolerance {
    /// Values of the forward pass.
    pub const FORWARD: f64 = 1e-5;
    /// Gradients.
    pub const GRADIENT: f64 = 1e-4;
    /// Losses, gradient norms and drift.
    pub const TRACE: f64 = 1e-4;
    /// Losses of training steps in bfloat16.
    pub const SHORT: f64 = 2e-2;
    /// Parameters after training, relative to their displacement.
    pub const DISPLACEMENT: f64 = 1e-2;
    /// Share of sketched inner products that may lie outside their stated 95 % intervals.
    pub const OUTSIDE: f64 = 0.1;
    /// Standard errors that a mean over 100 sketches may be off: by chance one entry in a million is.
    pub const DEVIATIONS: f64 = 5.0;
    /// Learning rates.
    pub const RATE: f64 = 1e-9;
    /// Pixels before normalisation, of values in 0..=1: one grey level.
    pub const PIXEL: f64 = 1.0 / 255.0;
}

/// One line of the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was compared.
    pub what: String,
    /// The largest relative difference.
    pub max_rel: f64,
    /// What it may be.
    pub tolerance: f64,
    /// Whether everything in this line is within its tolerance.
    pub pass: bool,
    /// How many, which was the worst, what failed.
    pub note: String,
}

/// Everything that was compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerifyReport {
    /// In the order of the checks.
    pub rows: Vec<Row>,
    /// What the folder holds that is not checked here, with the reason.
    pub skipped: Vec<String>,
}

impl VerifyReport {
    /// Whether every line passed, and there is one.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.pass)
    }
}

/// Why a folder could not be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file that should be there.
    #[error("cannot read the reference ({reason}): {path}")]
    Unreadable {
        /// The reason.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// The instructions or images could not be read.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// The model could not be built or run.
    #[error(transparent)]
    Model(#[from] candle_core::Error),
}

/// Checks `folder`, the models lying on `device`.
///
/// # Errors
/// A folder of another layout, a model that cannot be built. Numbers that differ are rows, not errors.
pub fn verify(folder: &Path, device: &Device) -> Result<VerifyReport, VerifyError> {
    let golden = Golden::open(folder, device)?;
    let mut report = VerifyReport::default();
    data::check(&golden, &mut report)?;
    for name in METHODS {
        let (Some(expected), Some(method)) = (golden.expected(name)?, golden.method(name)) else {
            report.skipped.push(format!("{name}: the folder has no expected/{name}.safetensors"));
            continue;
        };
        let (model, store) = golden.build(name, method)?;
        forward::check(&golden, name, &model, &expected, &mut report)?;
        gradients::check(&golden, name, (&model, &store), &expected, &mut report)?;
        grams::check(&golden, name, &model, &mut report)?;
        training::check(&golden, name, (&model, &store), &expected, &mut report)?;
    }
    language::check(folder, device, &mut report)?;
    towers::check(folder, device, &mut report)?;
    if !device.is_cpu() {
        report.rows.extend(parity(folder, device)?.rows);
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
