//! Training: the loop, what it needs ([`StepModel`], [`BatchSource`], [`Evaluator`], [`Saver`]) and what it tells
//! ([`hook`]). The loop knows no probe, no progress bar and no file.
//!
//! Run it on a thread with a stack of [`STACK`] bytes.

mod adamw;
pub mod checkpoint;
mod error;
mod gradients;
pub mod hook;
mod hooks;
mod loader_source;
mod mllm;
mod moments;
mod pass;
mod readout;
mod schedule;
mod spike;
mod step;
mod team;
mod trainer;

pub use adamw::{AdamW, Group, Moments, OwnedMoments, SaveMoments, SavedMoments};
pub use error::{At, BoxError, SampleIds, TrainError};
pub use gradients::{Fault, clip_factor, global_norm};
pub use hooks::Hooks;
pub use loader_source::LoaderSource;
pub use mllm::MllmStep;
pub use schedule::learning_rate_share;
pub use spike::SpikeMonitor;
pub use step::{
    BatchSource, Evaluation, Evaluator, ForwardOutput, Objective, Saver, Scope, StepBatch, StepModel, TrackedSource,
};
pub use team::Team;
pub use trainer::{Outcome, StagePlan, Trainer};

/// What the loop's thread needs: candle walks the graph of a step recursively.
pub const STACK: usize = 64 << 20;

#[cfg(test)]
mod tests;
