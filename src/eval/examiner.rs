//! Runs a model over held-out samples.

use super::tally::Tally;
use crate::ops::Ctx;
use crate::train::{BoxError, Evaluation, Evaluator, Scope, StepBatch, StepModel};
use std::sync::Arc;

/// Held-out samples, and how a model answers them.
pub trait HeldOut<M: StepModel> {
    /// Batches of `scope`, each sample once, the same ones in the same order every time.
    ///
    /// # Errors
    /// Data that cannot be read.
    fn batches(&mut self, scope: Scope) -> Result<Batches<'_, M>, BoxError>;

    /// Generated answers for some samples of `scope`; none where nothing is to be generated.
    ///
    /// # Errors
    /// Data that cannot be read; a model that fails.
    fn answers(&mut self, model: &M, scope: Scope) -> Result<Vec<Answer>, BoxError>;
}

/// Batches in order.
pub type Batches<'a, M> = Box<dyn Iterator<Item = Result<<M as StepModel>::Batch, BoxError>> + 'a>;

/// A generated answer with what it is held to.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Sample id.
    pub sample: Arc<str>,
    /// Number of its entry in its file.
    pub index: u64,
    /// Task.
    pub task: Option<Arc<str>>,
    /// What the model said.
    pub text: String,
    /// Accepted answers.
    pub references: Vec<String>,
}

/// An [`Evaluator`] over [`HeldOut`] samples. Nothing is recorded for a backward pass, nothing dropped out.
#[derive(Debug)]
pub struct Examiner<H>(pub H);

impl<M: StepModel, H: HeldOut<M>> Evaluator<M> for Examiner<H> {
    fn evaluate(&mut self, model: &M, scope: Scope) -> Result<Evaluation, BoxError> {
        let mut tally = Tally::default();
        for batch in self.0.batches(scope)? {
            let batch = batch?;
            let output = model.forward(&Ctx::eval(), &batch)?;
            let samples = output.by_sample(batch.samples(), output.losses.read()?);
            samples.iter().for_each(|sample| tally.add_loss(sample));
        }
        for answer in self.0.answers(model, scope)? {
            tally.add_answer(&answer);
        }
        let (rows, predictions) = tally.finish();
        let split = match scope {
            Scope::Subset => "val-subset",
            Scope::Whole => "val",
        };
        Ok(Evaluation { split: split.into(), rows, predictions })
    }
}
