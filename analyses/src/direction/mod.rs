//! Which way the gradients of a run point, step by step: cosines with a dominant direction, under four definitions.
//!
//! | definition | direction that the gradient of step t is compared with | from |
//! | --- | --- | --- |
//! | `mean` | the sum of the *other* steps' unit gradients | sketches |
//! | `mean_raw` | the sum of all steps' gradients, its own included | sketches |
//! | `svd` | the top right singular vector of the steps x parameters matrix, signed so that the mean cosine is positive | sketches |
//! | `momentum` | AdamW's first moment of the steps before | stream `layers` |
//!
//! Sketches give inner products with noise but without bias, except of a gradient with itself, where the exact norm is
//! known: every self term here is the exact one, every other term a sketched one. Each cosine carries its standard error
//! from that noise, each series the value that the same gradients would give if their signs were random.

mod block;
mod definition;
mod series;
mod sketches;
mod solve;
#[cfg(test)]
mod tests;

pub use definition::Definition;
pub use series::{Null, Series};
pub use sketches::{LayerSketches, Sketches};
pub use solve::{momentum, sketched};

use crate::store::{ALL, LayerRow, Result, RunDir, read_where};

/// The series of `definition` in a stage of `run` (the last one that has any, if none is named), one a layer from the
/// embeddings on, then the one over all layers; empty where the run did not log what is needed. `space` is `trainable` or
/// `shared`; `momentum` exists over what trains alone.
///
/// # Errors
/// The run cannot be listed. Damaged parts are passed over with a warning.
pub fn directions(run: &RunDir, definition: Definition, stage: Option<&str>, space: &str) -> Result<Vec<Series>> {
    if definition == Definition::Momentum {
        let read = read_where(run, |row: &LayerRow| row.module == ALL)?;
        read.problems.iter().for_each(|problem| tracing::warn!("{problem}"));
        return Ok(if space == "trainable" { momentum(&read.rows, stage) } else { Vec::new() });
    }
    let sketches = Sketches::read(run, stage, space)?;
    Ok(sketches.map(|sketches| sketched(&sketches, definition)).unwrap_or_default())
}
