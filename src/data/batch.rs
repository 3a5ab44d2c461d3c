//! What a training or evaluation step is fed.

use super::dataset::Split;
use super::encode::{Encoded, IGNORE_LABEL};
use std::sync::Arc;

/// `task_ids` of samples without a task, or with one that the training set lacks.
pub const NO_TASK: u32 = u32::MAX;

/// Which sample a row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleMeta {
    /// Sample id.
    pub id: Arc<str>,
    /// Task, where the data names one.
    pub task: Option<Arc<str>>,
    /// Number of the entry in its file, from 0: with the split it tells samples apart, whose ids may repeat.
    pub index: usize,
    /// Which set's file.
    pub split: Split,
    /// Whether the sample has an image.
    pub has_image: bool,
}

/// Where a batch stands in the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchPosition {
    /// Optimiser step, from 0.
    pub step: u64,
    /// Micro-batch within the step, from 0.
    pub micro: usize,
    /// Micro-batches of the step (fewer than the accumulation at the end of an epoch).
    pub of: usize,
}

/// A micro-batch of B samples. Rows are ragged; the model pads them after the images are spliced in.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Where it stands in the run.
    pub at: BatchPosition,
    /// Which samples.
    pub samples: Vec<SampleMeta>,
    /// Normalised pixels `[B, 3, S, S]`; zeros for samples without an image.
    pub pixels: Vec<f32>,
    /// S, in pixels.
    pub image_size: usize,
    /// Token ids, -200 where the image stands.
    pub input_ids: Vec<Vec<i64>>,
    /// Labels, not shifted, -100 where nothing is learnt; rows as long as those of `input_ids`.
    pub labels: Vec<Vec<i64>>,
    /// Text encoder's ids of the context texts, special tokens included.
    pub context_ids: Vec<Vec<u32>>,
    /// Number of each sample's task in the training set's [`TaskTable`](super::TaskTable), or [`NO_TASK`].
    pub task_ids: Vec<u32>,
}

/// Ids, labels and validity of a batch, padded on the right to the longest row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded {
    /// Columns.
    pub width: usize,
    /// Ids `[B, width]`.
    pub input_ids: Vec<i64>,
    /// Labels `[B, width]`.
    pub labels: Vec<i64>,
    /// Whether a token is there `[B, width]`.
    pub mask: Vec<bool>,
}

impl Batch {
    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Tokens that the loss counts.
    #[must_use]
    pub fn labelled_tokens(&self) -> usize {
        self.labels.iter().map(|row| row.iter().skip(1).filter(|&&l| l != IGNORE_LABEL).count()).sum()
    }

    /// Rows padded on the right with `pad`.
    #[must_use]
    pub fn padded(&self, pad: u32) -> Padded {
        let width = self.input_ids.iter().map(Vec::len).max().unwrap_or(0);
        let mut out = Padded { width, input_ids: Vec::new(), labels: Vec::new(), mask: Vec::new() };
        for (ids, labels) in self.input_ids.iter().zip(&self.labels) {
            let fill = width - ids.len();
            out.input_ids.extend(ids.iter().copied().chain(std::iter::repeat_n(i64::from(pad), fill)));
            out.labels.extend(labels.iter().copied().chain(std::iter::repeat_n(IGNORE_LABEL, fill)));
            out.mask.extend((0..width).map(|i| i < ids.len()));
        }
        out
    }

    pub(super) fn push(&mut self, meta: SampleMeta, encoded: Encoded, context: Vec<u32>, task: u32) {
        self.samples.push(meta);
        self.input_ids.push(encoded.ids);
        self.labels.push(encoded.labels);
        self.context_ids.push(context);
        self.task_ids.push(task);
    }
}

/// A question to be answered by generation: the first of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalItem {
    /// Which sample.
    pub meta: SampleMeta,
    /// Ids up to the header of the answer, -200 where the image stands.
    pub prompt_ids: Vec<i64>,
    /// Text encoder's ids of the question.
    pub context_ids: Vec<u32>,
    /// Normalised pixels `[3, S, S]`; zeros without an image.
    pub pixels: Vec<f32>,
    /// The question as written, without the placeholder.
    pub question: String,
    /// Accepted answers: the entry's `answers` where it lists them, else the one it gives.
    pub answers: Vec<String>,
}
