//! Held-out samples on the way and at the end.

use super::{Collaborator, Result, Trainer};
use crate::train::error::TrainError;
use crate::train::hook::EvalView;
use crate::train::step::{BatchSource, Scope, StepModel};

impl<M: StepModel, S: BatchSource<Batch = M::Batch>> Trainer<'_, M, S> {
    /// Whether the held-out loss is the lowest so far.
    pub(super) fn evaluate_if_due(&mut self) -> Result<bool> {
        self.progress.eval_loss = None;
        let Some(every) = self.plan.stage.eval_every else { return Ok(false) };
        let due = self.progress.step.is_multiple_of(every) || self.is_over();
        if due { self.evaluate(Scope::Subset) } else { Ok(false) }
    }

    pub(super) fn evaluate(&mut self, scope: Scope) -> Result<bool> {
        let Some(Collaborator(evaluator)) = &mut self.evaluator else { return Ok(false) };
        let result = evaluator.evaluate(self.model, scope);
        let evaluation = result.map_err(|source| TrainError::Evaluation { at: self.at(), source })?;
        let view = EvalView {
            at: self.id(),
            split: &evaluation.split,
            rows: &evaluation.rows,
            predictions: &evaluation.predictions,
        };
        self.hooks.evaluated(&view).map_err(|source| self.hook_failed(source))?;
        // Where the subset is evaluated on the way, the best checkpoint is the best on the subset.
        let decides = scope == Scope::Subset || self.plan.stage.eval_every.is_none();
        match evaluation.loss().filter(|_| decides) {
            Some(loss) => Ok(self.note_eval_loss(loss as f32)),
            None => Ok(false),
        }
    }

    fn note_eval_loss(&mut self, loss: f32) -> bool {
        let improved = self.progress.best_eval_loss.is_none_or(|best| loss < best);
        self.progress.eval_loss = Some(loss);
        if improved {
            self.progress.best_eval_loss = Some(loss);
        }
        improved
    }
}
