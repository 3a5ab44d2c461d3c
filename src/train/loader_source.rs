//! The loop's data source: a sampler's steps, prepared ahead in worker threads.

use super::error::BoxError;
use super::step::BatchSource;
use crate::data::{Batch, Dataset, Loader, Sampler, SamplerState};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Endless training batches of a data set. Its position is the sampler's: shuffles are functions of seed and epoch, so
/// going on from it gives the same batches whatever was prepared ahead before.
#[derive(Debug)]
pub struct LoaderSource {
    dataset: Dataset,
    sampler: Arc<Sampler>,
    workers: usize,
    prefetch: usize,
    step: u64,
    /// Started with the first step that is asked for.
    loader: Option<Loader>,
}

impl LoaderSource {
    /// From the sampler's first step on; `workers` threads prepare `prefetch` batches each ahead.
    #[must_use]
    pub fn new(dataset: Dataset, sampler: Arc<Sampler>, workers: usize, prefetch: usize) -> Self {
        Self { dataset, sampler, workers, prefetch, step: 0, loader: None }
    }

    fn start(&self) -> Result<Loader, BoxError> {
        let from = self.sampler.first_micro_batch(self.step);
        Ok(Loader::start(&self.dataset, &self.sampler, from..u64::MAX, self.workers, self.prefetch)?)
    }
}

impl BatchSource for LoaderSource {
    type Batch = Batch;

    fn next_step(&mut self) -> Result<Vec<Batch>, BoxError> {
        if self.sampler.micro_batches_per_epoch() == 0 {
            return Ok(Vec::new());
        }
        let mut loader = match self.loader.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let mut batches: Vec<Batch> = Vec::new();
        // An epoch's last step may have fewer micro-batches: the batch itself says how many there are.
        while batches.first().is_none_or(|first| batches.len() < first.at.of) {
            let Some(batch) = loader.next() else { break };
            batches.push(batch?);
        }
        self.loader = Some(loader);
        self.step += 1;
        Ok(batches)
    }

    fn position(&self) -> serde_json::Value {
        json!(self.sampler.state(self.step))
    }

    fn seek(&mut self, position: &serde_json::Value) -> Result<(), BoxError> {
        let state = SamplerState::deserialize(position)?;
        let Some(step) = self.sampler.step_of(&state) else {
            return Err("the checkpoint's place in the data is that of another batch size, seed or data set".into());
        };
        (self.step, self.loader) = (step, None);
        Ok(())
    }
}
