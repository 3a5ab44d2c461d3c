//! What the loop needs of a model, a batch, a data source, an evaluator and a place to save.

use super::checkpoint::{CheckpointError, Snapshot};
use super::error::BoxError;
use super::hook::{EvalRow, Prediction, SampleInfo, SampleLoss};
use crate::models::covft::LayerRouting;
use crate::models::mllm::SampleLosses;
use crate::nn::ParamStore;
use crate::ops::Ctx;
use candle_core::{Device, Result, Tensor};

/// A model that can be trained: from a batch to a sum of losses.
pub trait StepModel {
    /// What it eats.
    type Batch: StepBatch;

    /// Its parameters.
    fn params(&self) -> &ParamStore;

    /// Where it lives.
    fn device(&self) -> &Device;

    /// One micro-batch. Gradients are recorded when `ctx` says so.
    ///
    /// # Errors
    /// A tensor operation that fails; inputs that do not fit the model.
    fn forward(&self, ctx: &Ctx, batch: &Self::Batch) -> Result<ForwardOutput>;
}

/// A micro-batch, as far as the loop looks into it.
pub trait StepBatch {
    /// The samples, in batch order.
    fn samples(&self) -> Vec<SampleInfo>;

    /// Labelled tokens, as the loss will count them: known before any forward pass.
    fn labelled_tokens(&self) -> usize;

    /// Samples that the objective `name` counts.
    fn objective_count(&self, name: &str) -> usize {
        let _ = name;
        self.samples().len()
    }
}

/// What a forward pass returns.
#[derive(Clone, Debug)]
pub struct ForwardOutput {
    /// Sum of the losses of the labelled tokens: a tracked scalar.
    pub loss_sum: Tensor,
    /// Further objectives, each added to the step's loss as a mean of its own.
    pub objectives: Vec<Objective>,
    /// Losses by sample, in batch order.
    pub losses: SampleLosses,
    /// Contexts and routing, one entry a CoMoE layer.
    pub routing: Vec<LayerRouting>,
    /// Tokens through the language model, padding included.
    pub sequence_tokens: usize,
}

impl ForwardOutput {
    /// The losses with what is known of the samples, whose sums are `sums`.
    #[must_use]
    pub fn by_sample(&self, samples: Vec<SampleInfo>, sums: Vec<f64>) -> Vec<SampleLoss> {
        let numbers = sums.into_iter().zip(self.losses.tokens());
        let loss = |(sample, (loss_sum, tokens)): (SampleInfo, (f64, usize))| {
            let SampleInfo { id, index, split, task, has_image } = sample;
            SampleLoss { id, index, split, task, has_image, loss_sum, tokens }
        };
        samples.into_iter().zip(numbers).map(loss).collect()
    }
}

/// An objective beside the language model's (telling tasks apart trains the text encoder).
#[derive(Clone, Debug)]
pub struct Objective {
    /// Name.
    pub name: &'static str,
    /// Sum over the samples that it counts: a tracked scalar, divided by their number in the whole step.
    pub sum: Tensor,
}

/// Where batches come from. Its position is part of a checkpoint.
pub trait BatchSource {
    /// What it gives.
    type Batch: StepBatch;

    /// All micro-batches of the next optimiser step: their labelled tokens are then known before the first backward
    /// pass.
    ///
    /// # Errors
    /// An image that cannot be read, a worker that died.
    fn next_step(&mut self) -> std::result::Result<Vec<Self::Batch>, BoxError>;

    /// Where the next step begins.
    fn position(&self) -> serde_json::Value;

    /// Goes to a position that [`position`](Self::position) gave.
    ///
    /// # Errors
    /// A position of other data.
    fn seek(&mut self, position: &serde_json::Value) -> std::result::Result<(), BoxError>;
}

/// Which held-out samples an evaluation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The fixed subset.
    Subset,
    /// All of them.
    Whole,
}

/// Result of an evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// `val` or `val-subset`.
    pub split: String,
    /// One row a task and `all`.
    pub rows: Vec<EvalRow>,
    /// Generated answers.
    pub predictions: Vec<Prediction>,
}

impl Evaluation {
    /// Loss of the row `all`.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        self.rows.iter().find(|row| row.task == "all").map(|row| row.loss)
    }
}

/// Measures a model on held-out samples.
pub trait Evaluator<M> {
    /// The model as it is now, on `scope`.
    ///
    /// # Errors
    /// Whatever keeps it from measuring.
    fn evaluate(&mut self, model: &M, scope: Scope) -> std::result::Result<Evaluation, BoxError>;
}

/// Samples that are measured again and again, never trained on.
pub trait TrackedSource<B> {
    /// All of them, in batches, always the same.
    ///
    /// # Errors
    /// An image that cannot be read.
    fn batches(&mut self) -> std::result::Result<&[B], BoxError>;
}

/// Keeps checkpoints.
pub trait Saver {
    /// Writes one, wholly or not at all, and deletes those that need not stay.
    ///
    /// # Errors
    /// A file that cannot be written; older checkpoints are then untouched.
    fn save(&mut self, snapshot: &Snapshot<'_>) -> std::result::Result<(), CheckpointError>;
}
