//! Held-out samples as the evaluation wants them: batches in order, and questions to answer.

use crate::data::{Batch, Dataset, Loader, Permutation, Sampler};
use crate::eval::{Answer, HeldOut};
use crate::models::generate::{GenerateOptions, Question, Sampling};
use crate::train::{BoxError, MllmStep, Scope, TrackedSource};
use candle_core::Tensor;
use std::sync::Arc;

/// Longest generated answer in tokens.
const ANSWER_TOKENS: usize = 64;

/// The held-out set of a stage.
#[derive(Debug)]
pub(super) struct HeldOutSet {
    subset: Dataset,
    whole: Dataset,
    questions: [Dataset; 2],
    batch: usize,
    workers: usize,
    prefetch: usize,
}

impl HeldOutSet {
    /// `subset` samples are evaluated on the way and all at the end; answers are generated for `generate` of either.
    pub(super) fn new(whole: &Dataset, subset: usize, generate: [usize; 2], batch: usize, workers: usize) -> Self {
        let small = whole.subset(subset);
        let questions = [small.subset(generate[0]), whole.subset(generate[1])];
        Self { subset: small, whole: whole.clone(), questions, batch, workers, prefetch: 2 }
    }
}

/// Stream of the permutation that tracked samples are drawn by; epochs of training have theirs.
const TRACKED: u64 = u64::MAX;

/// Samples that are measured again and again without training on them.
#[derive(Debug)]
pub(super) struct TrackedSet {
    set: Dataset,
    batch: usize,
    /// Prepared once.
    batches: Vec<Batch>,
}

impl TrackedSet {
    /// `n` samples of `from`, as equally many of every task as there are, drawn by `seed`.
    pub(super) fn new(from: &Dataset, n: usize, batch: usize, seed: u64) -> Self {
        let drawn = Permutation::new(from.len() as u64, seed, TRACKED);
        let places =
            drawn.map(|drawn| (0..from.len() as u64).map(|place| drawn.get(place) as usize).collect::<Vec<_>>());
        Self { set: from.select(&places.unwrap_or_default()).subset(n), batch, batches: Vec::new() }
    }
}

impl TrackedSource<Batch> for TrackedSet {
    fn batches(&mut self) -> Result<&[Batch], BoxError> {
        if self.batches.is_empty() {
            let sampler = Sampler::sequential(self.set.len(), self.batch);
            for number in 0..sampler.micro_batches_per_epoch() {
                let (at, places) = sampler.micro_batch(number);
                self.batches.push(self.set.batch(&places, at)?);
            }
        }
        Ok(&self.batches)
    }
}

impl HeldOut<MllmStep> for HeldOutSet {
    fn batches(
        &mut self,
        scope: Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<crate::data::Batch, BoxError>> + '_>, BoxError> {
        let set = match scope {
            Scope::Subset => &self.subset,
            Scope::Whole => &self.whole,
        };
        let sampler = Arc::new(Sampler::sequential(set.len(), self.batch));
        let all = 0..sampler.micro_batches_per_epoch();
        let loader = Loader::start(set, &sampler, all, self.workers, self.prefetch)?;
        Ok(Box::new(loader.map(|batch| batch.map_err(BoxError::from))))
    }

    fn answers(&mut self, model: &MllmStep, scope: Scope) -> Result<Vec<Answer>, BoxError> {
        let set = match scope {
            Scope::Subset => &self.questions[0],
            Scope::Whole => &self.questions[1],
        };
        let tokenizer = &set.preparation().tokenizers.language;
        let side = set.preparation().image.size as usize;
        let options =
            GenerateOptions { max_new_tokens: ANSWER_TOKENS, stop: vec![tokenizer.end()], sampling: Sampling::Greedy };
        let mut answers = Vec::with_capacity(set.len());
        for i in 0..set.len() {
            let item = set.eval_item(i)?;
            let pixels = Tensor::from_vec(item.pixels, (1, 3, side, side), crate::train::StepModel::device(model))?;
            let question = Question { pixels: &pixels, input_ids: &item.prompt_ids, context_ids: &item.context_ids };
            let generated = model.mllm().generate(&question, &options)?;
            answers.push(Answer {
                sample: item.meta.id,
                index: item.meta.index as u64,
                task: item.meta.task,
                text: tokenizer.decode(&generated.ids)?.trim().to_owned(),
                references: item.answers,
            });
        }
        Ok(answers)
    }
}
