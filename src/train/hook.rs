//! What the training loop tells the world. Probes, progress bars and checkpoints are hooks; the loop knows none of them.

use crate::data::Split;
use crate::models::covft::LayerRouting;
use crate::nn::ParamStore;
use crate::ops::{BackwardObserver, Moved};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// An error from a hook ends the run.
pub type HookResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// One sample's part in a step.
#[derive(Clone, Debug)]
pub struct SampleLoss {
    /// Sample id.
    pub id: Arc<str>,
    /// Number of its entry in its file.
    pub index: u64,
    /// Which set's file.
    pub split: Split,
    /// Task, where the data names one.
    pub task: Option<Arc<str>>,
    /// Whether the sample has an image.
    pub has_image: bool,
    /// Sum of the losses of its labelled tokens.
    pub loss_sum: f64,
    /// Labelled tokens.
    pub tokens: usize,
}

/// What is known of a sample before its forward pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleInfo {
    /// Sample id; other samples may have the same.
    pub id: Arc<str>,
    /// Number of its entry in its file.
    pub index: u64,
    /// Which set's file.
    pub split: Split,
    /// Task, where the data names one.
    pub task: Option<Arc<str>>,
    /// Whether the sample has an image; one without has no gradient of the vision encoder.
    pub has_image: bool,
}

impl SampleInfo {
    /// What tells it apart from every other sample of a run.
    #[must_use]
    pub fn place(&self) -> (Split, u64) {
        (self.split, self.index)
    }
}

/// In messages: many entries may have one id.
impl std::fmt::Display for SampleInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held_out = if self.split == Split::Val { "held-out " } else { "" };
        write!(f, "{} ({held_out}entry {})", self.id, self.index)
    }
}

/// A micro-batch before its forward pass.
#[derive(Clone, Debug)]
pub struct MicroView<'a> {
    /// Where in the run.
    pub at: StepId<'a>,
    /// Number of the micro-batch within the step, from 0.
    pub micro: u32,
    /// Micro-batches of the step.
    pub micro_batches: usize,
    /// Which member of a team of devices runs it, from 0. Members run at the same time, each its own micro-batches in order.
    pub member: usize,
    /// Samples in batch order.
    pub samples: &'a [SampleInfo],
}

/// A micro-batch after its forward pass. `routing[i]` rows follow `samples`.
#[derive(Clone, Debug)]
pub struct MicroBatch {
    /// Samples in batch order.
    pub samples: Vec<SampleLoss>,
    /// One entry a CoMoE layer.
    pub routing: Vec<LayerRouting>,
}

/// A step whose gradients are complete, before clipping and before the optimiser moves.
#[derive(Debug)]
pub struct GradientView<'a> {
    /// Where in the run.
    pub at: StepId<'a>,
    /// Parameters; `weight.slot()` holds the gradient of the step's mean loss.
    pub params: &'a ParamStore,
    /// The optimiser's first moments of the steps before this one, by parameter name; empty at a stage's first step.
    pub first_moments: &'a dyn FirstMoments,
}

/// The optimiser has moved, measured while it did: what needs no pass of its own over the parameters.
#[derive(Debug)]
pub struct UpdateView<'a> {
    /// Where in the run.
    pub at: StepId<'a>,
    /// By name, in the store's order: the vision encoder's tensors that the optimiser moved on the host. The gradient is the
    /// one before clipping; the first moment that of the steps before.
    pub moved: &'a [(Arc<str>, Moved)],
}

/// Tracked samples as they are before a step, measured without training on them.
#[derive(Debug)]
pub struct TrackedView<'a> {
    /// The step that comes.
    pub at: StepId<'a>,
    /// Their batches with contexts and routing.
    pub micro_batches: &'a [MicroBatch],
    /// What measuring took.
    pub took: Duration,
}

/// Read access to AdamW's first moment.
pub trait FirstMoments: std::fmt::Debug {
    /// The moment of `name`, lent where it lies on the host, else copied; `None` for untrained parameters and before the
    /// first step.
    ///
    /// # Errors
    /// A moment that cannot be copied from its device.
    fn first_moment(&self, name: &str) -> candle_core::Result<Option<Cow<'_, [f32]>>>;
}

/// Where a record belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepId<'a> {
    /// Stage name.
    pub stage: &'a str,
    /// Optimiser step within the stage, from 0.
    pub step: u64,
    /// Steps since the run began, over all stages.
    pub global_step: u64,
}

/// A step that is over: the optimiser has moved.
#[derive(Debug)]
pub struct StepView<'a> {
    /// Where in the run.
    pub at: StepId<'a>,
    /// Steps in this stage.
    pub steps_in_stage: u64,
    /// Steps in the whole run.
    pub steps_in_run: u64,
    /// Mean loss over the step's labelled tokens.
    pub loss: f64,
    /// Means of further objectives (telling tasks apart), by name.
    pub objectives: &'a [(&'static str, f64)],
    /// Learning rate by parameter group, in the optimiser's order.
    pub learning_rates: &'a [(String, f64)],
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Factor that clipping multiplied the gradients with (1 = unclipped).
    pub clip_factor: f64,
    /// Labelled tokens of the step.
    pub labelled_tokens: usize,
    /// Tokens through the language model, padding included.
    pub sequence_tokens: usize,
    /// Micro-batches with their samples, contexts and routing.
    pub micro_batches: &'a [MicroBatch],
    /// Parameters after the update.
    pub params: &'a ParamStore,
    /// Times of the phases.
    pub times: StepTimes,
}

/// Wall time of a step's phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Waiting for the loader.
    pub data: Duration,
    /// Forward passes.
    pub forward: Duration,
    /// Backward passes.
    pub backward: Duration,
    /// Clipping and optimiser.
    pub optimizer: Duration,
    /// Hooks (probes), without writing checkpoints: what they took since the step before was reported.
    pub hooks: Duration,
    /// The whole step.
    pub total: Duration,
}

/// Start of a stage: parameters as they are before its first step.
#[derive(Debug)]
pub struct StageView<'a> {
    /// Stage name.
    pub stage: &'a str,
    /// Index in the recipe.
    pub index: usize,
    /// Steps planned.
    pub steps: u64,
    /// Steps of the whole run.
    pub steps_in_run: u64,
    /// Step at which it (re)starts: 0, or the checkpoint's when resuming.
    pub start_step: u64,
    /// Parameters as they are now: at step 0 of the stage, or the checkpoint's when resuming.
    pub params: &'a ParamStore,
    /// Values at step 0 of the stage for parameters of the vision encoder, kept in the checkpoint for resuming.
    pub start_values: &'a dyn crate::nn::TensorSource,
}

/// An evaluation.
#[derive(Clone, Debug)]
pub struct EvalView<'a> {
    /// Where in the run.
    pub at: StepId<'a>,
    /// `val` (whole held-out set) or `val-subset`.
    pub split: &'a str,
    /// One row a task plus `all`.
    pub rows: &'a [EvalRow],
    /// Predictions that were generated.
    pub predictions: &'a [Prediction],
}

/// Loss and score of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalRow {
    /// Task, or `all`.
    pub task: String,
    /// Mean loss over labelled tokens.
    pub loss: f64,
    /// Labelled tokens.
    pub tokens: usize,
    /// Samples.
    pub samples: usize,
    /// Score in 0..=1 where the task has a scorer and samples were generated.
    pub score: Option<f64>,
    /// `exact`, `iou50`, `vqa`.
    pub scorer: Option<&'static str>,
    /// Samples the score is over.
    pub scored: usize,
    /// Score of the best constant answer to the same samples: what a model reaches that does not look.
    pub chance: Option<f64>,
}

/// A generated answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Sample id.
    pub sample: String,
    /// Number of its entry in the held-out set's file.
    pub index: u64,
    /// Task.
    pub task: Option<String>,
    /// Generated text.
    pub text: String,
    /// Whether (how far) it is right, where a scorer exists.
    pub correct: Option<f64>,
}

/// Listener of a run. Every method does nothing unless overridden.
pub trait Hook {
    /// A stage begins or resumes.
    fn stage_start(&mut self, _: &StageView<'_>) -> HookResult {
        Ok(())
    }
    /// Gradients of a step are complete (not called when [`wants_gradients`](Self::wants_gradients) is false).
    fn gradients(&mut self, _: &GradientView<'_>) -> HookResult {
        Ok(())
    }
    /// Whether [`gradients`](Self::gradients) should be called for this step.
    fn wants_gradients(&self, _: StepId<'_>) -> bool {
        false
    }
    /// Who watches the backward pass of a micro-batch, called before its forward pass; the step's micro-batches come in
    /// order. Gradients that are seen are of each sample's share of the step's mean loss, before clipping.
    fn observer(&mut self, _: &MicroView<'_>) -> Option<Arc<dyn BackwardObserver>> {
        None
    }
    /// Whether the tracked samples, if there are any, are to be measured before this step.
    fn wants_tracked(&self, _: StepId<'_>) -> bool {
        false
    }
    /// Who watches the backward pass of a batch of tracked samples; without anyone there is only a forward pass. Gradients
    /// that are seen are of each sample's share of the tracked samples' mean loss; none reaches a parameter.
    fn tracked_observer(&mut self, _: &MicroView<'_>) -> Option<Arc<dyn BackwardObserver>> {
        None
    }
    /// The tracked samples are measured.
    fn tracked(&mut self, _: &TrackedView<'_>) -> HookResult {
        Ok(())
    }
    /// Whether [`updated`](Self::updated) should be called for this step.
    fn wants_update(&self, _: StepId<'_>) -> bool {
        false
    }
    /// The optimiser has moved; comes before [`step`](Self::step) (not called when [`wants_update`](Self::wants_update) is
    /// false).
    fn updated(&mut self, _: &UpdateView<'_>) -> HookResult {
        Ok(())
    }
    /// An optimiser step is over.
    fn step(&mut self, _: &StepView<'_>) -> HookResult {
        Ok(())
    }
    /// An evaluation is over. Its `at` counts the steps that are done: 0 is before the first.
    fn evaluated(&mut self, _: &EvalView<'_>) -> HookResult {
        Ok(())
    }
    /// A checkpoint is about to be written: close what must not be lost. `at` counts the steps that are done.
    fn before_checkpoint(&mut self, _: StepId<'_>) -> HookResult {
        Ok(())
    }
    /// What this hook wants back when the run goes on from a checkpoint, under a name of its own.
    fn save_state(&self) -> Option<(&'static str, serde_json::Value)> {
        None
    }
    /// Called before [`stage_start`](Self::stage_start) when resuming, with the states of all hooks by name.
    fn load_state(&mut self, _: &BTreeMap<String, serde_json::Value>) -> HookResult {
        Ok(())
    }
    /// A line for the log: a loss or gradient spike, a dropped sample.
    fn warn(&mut self, _: &str) -> HookResult {
        Ok(())
    }
    /// A line for the log that is no warning: a stage that is reused, what was read of the weights.
    fn note(&mut self, _: &str) -> HookResult {
        Ok(())
    }
    /// A stage is over.
    fn stage_end(&mut self, _: &StageView<'_>) -> HookResult {
        Ok(())
    }
}
