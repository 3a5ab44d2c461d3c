//! The loop's model and batch: the multimodal model over the data path's batches.

use super::hook::SampleInfo;
use super::step::{ForwardOutput, Objective, StepBatch, StepModel};
use crate::data::{Batch, NO_TASK};
use crate::models::mllm::{Mllm, MllmInput};
use crate::nn::ParamStore;
use crate::ops::Ctx;
use candle_core::{DType, Device, Result, Tensor};
use std::sync::Arc;

/// Name of the text encoder's objective.
const TASKS: &str = "tasks";

/// A multimodal model with its parameters, as the loop wants it.
#[derive(Debug)]
pub struct MllmStep {
    model: Mllm,
    params: ParamStore,
    device: Device,
}

impl MllmStep {
    /// What [`Mllm::build`] gave, and the device it was built on.
    #[must_use]
    pub fn new(model: Mllm, params: ParamStore, device: Device) -> Self {
        Self { model, params, device }
    }

    /// Computes in `dtype`; see [`Mllm::set_compute`].
    #[must_use]
    pub fn computing_in(mut self, dtype: DType) -> Self {
        self.model.set_compute(dtype);
        self
    }

    /// Keeps bfloat16 copies of the weights, or does not; see [`ParamStore::keep_copies`].
    #[must_use]
    pub fn keeping_copies(self, keep: bool) -> Self {
        self.params.keep_copies(keep);
        self
    }

    /// The model.
    #[must_use]
    pub fn mllm(&self) -> &Mllm {
        &self.model
    }

    fn input(&self, batch: &Batch) -> Result<MllmInput> {
        let side = batch.image_size;
        Ok(MllmInput {
            pixels: Tensor::from_slice(&batch.pixels, (batch.len(), 3, side, side), &self.device)?,
            input_ids: batch.input_ids.clone(),
            labels: batch.labels.clone(),
            context_ids: batch.context_ids.clone(),
            task_ids: Some(batch.task_ids.clone()),
        })
    }
}

impl StepBatch for Batch {
    fn samples(&self) -> Vec<SampleInfo> {
        let info = |sample: &crate::data::SampleMeta| SampleInfo {
            id: Arc::clone(&sample.id),
            index: sample.index as u64,
            split: sample.split,
            task: sample.task.clone(),
            has_image: sample.has_image,
        };
        self.samples.iter().map(info).collect()
    }

    fn labelled_tokens(&self) -> usize {
        Self::labelled_tokens(self)
    }

    /// Samples without a task have no part in telling tasks apart.
    fn objective_count(&self, name: &str) -> usize {
        if name == TASKS { self.task_ids.iter().filter(|task| **task != NO_TASK).count() } else { self.len() }
    }
}

impl StepModel for MllmStep {
    type Batch = Batch;

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn forward(&self, ctx: &Ctx, batch: &Batch) -> Result<ForwardOutput> {
        let output = self.model.forward(ctx, &self.input(batch)?)?;
        Ok(ForwardOutput {
            losses: output.sample_losses,
            loss_sum: output.loss_sum,
            objectives: output.text_loss_sum.map(|sum| Objective { name: TASKS, sum }).into_iter().collect(),
            routing: output.routing,
            sequence_tokens: output.sequence_tokens,
        })
    }
}
