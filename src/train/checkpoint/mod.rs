//! Checkpoints: written whole or not at all, and enough to go on with the same bytes.
//!
//! ```text
//! checkpoints/step-000300/   300 optimiser steps of the run are done
//!   model.safetensors        all parameters, by their names in LLaVA's layout
//!   optimizer.safetensors    first_moment.<name>, second_moment.<name>
//!   start.safetensors        trained vision parameters as the stage began, for drift
//!   state.json               stage, steps, position in the data, loss history
//! ```
//!
//! Names beginning with a dot are unfinished writes or deletions; no reader looks at them.

mod error;
mod read;
mod retention;
mod start;
mod write;

pub use error::CheckpointError;
pub use read::{Loaded, latest, list};
pub use retention::{Kept, Policy, superfluous};
pub use start::StartValues;
pub use write::CheckpointDir;

use super::adamw::SaveMoments;
use super::spike::SpikeMonitor;
use crate::nn::{MapSource, ParamStore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the layout above.
pub const SCHEMA: u32 = 1;

/// `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Stage name.
    pub stage: String,
    /// Index of the stage in the recipe.
    pub stage_index: usize,
    /// Optimiser steps done in the stage.
    pub step: u64,
    /// Steps planned in the stage: its schedule depends on them.
    pub steps_in_stage: u64,
    /// Optimiser steps done in the run.
    pub global_step: u64,
    /// Whether the stage is over, its last evaluation included.
    pub stage_finished: bool,
    /// The run's seed; every random draw is a function of it and of counters.
    pub seed: u64,
    /// Where the data source goes on.
    pub position: serde_json::Value,
    /// Held-out loss of these parameters, where an evaluation measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f32>,
    /// Lowest held-out loss of the stage so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_eval_loss: Option<f32>,
    /// Losses and gradient norms of the last steps.
    pub spikes: SpikeMonitor,
    /// Tensors in `model.safetensors`; not stored by versions of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors: Option<usize>,
    /// What hooks want back when the run goes on, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<String, serde_json::Value>,
}

/// Everything a checkpoint is made of, borrowed.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// Counters.
    pub state: &'a RunState,
    /// Parameters.
    pub params: &'a ParamStore,
    /// Optimiser.
    pub optimizer: &'a dyn SaveMoments,
    /// Vision parameters as the stage began.
    pub start: &'a StartValues,
    /// Which checkpoints stay.
    pub policy: Policy,
}

/// The values at the end of a stage, as the source of the next stage's model: it shares storage with `params` and copies
/// nothing (a builder copies what will train).
#[must_use]
pub fn hand_over(params: &ParamStore) -> MapSource {
    let tensors = params.iter().map(|p| (p.weight.name().to_owned(), p.weight.tensor().clone()));
    MapSource { tensors: tensors.collect() }
}
