//! The streams: one plain struct a row. Key columns come first: `stage`, `step`, and where they apply `sample`, `layer`,
//! `module`. A number that is undefined is null; a number that is not finite is stored as such.
//!
//! `layer` is the checkpoint's number (`"0"`, `"1"`, ...), `embeddings`, `final_norm` or [`ALL`]; `depth` sorts it: -1 for
//! the embeddings, the number for a block, the number of blocks for the final norm, null for [`ALL`].

use super::cell::Cell;
use super::error::{Result, StoreError};
use super::name::Name;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use half::f16;
use std::path::Path;
use std::sync::Arc;

/// Name of the row over all layers (`layer`) or over all modules of a layer (`module`).
pub const ALL: &str = "all";

/// A row of a stream.
pub trait Record: Sized + Clone + std::fmt::Debug {
    /// Name of the stream, and of its folder.
    const STREAM: &'static str;
    /// Names of its columns. A type may name some of a stream's columns only: the others are then not read.
    const COLUMNS: &'static [&'static str];

    /// The rows as a table.
    ///
    /// # Errors
    /// Vectors of different lengths in one column.
    fn batch(rows: &[Self]) -> Result<RecordBatch>;

    /// The rows of a table read from `path`. Unknown columns are passed over.
    ///
    /// # Errors
    /// A column is missing, of another type, or holds nulls where none may be.
    fn rows(batch: &RecordBatch, path: &Path) -> Result<Vec<Self>>;
}

/// What makes the program log `stream`, for messages about a run that lacks it.
#[must_use]
pub fn option_that_logs(stream: &str) -> &'static str {
    match stream {
        "routing" => "`[probe] routing = true` in a stage that trains the vision encoder with `covft`",
        "contexts" => "`[probe] contexts = true` in a stage that trains the vision encoder with `covft`",
        "gradients" => "`--log-grads` with `[probe] batch_sketches = true`",
        "pairs" | "conflict" | "sample_gradients" | "noise" => "`--log-grads` with `[probe] sample_sketches = true`",
        "budget" => "`[probe] budget`",
        "distances" => "`covft-probe experiment conflict`",
        "layers" => "`[probe] drift = true`, and `--log-grads` for gradient norms and cosines",
        "evals" | "predictions" => "`eval_every` of the stage's `[train]`",
        _ => "every training run",
    }
}

pub(super) fn columns(
    stream: &str,
    columns: Vec<(&str, bool, std::result::Result<ArrayRef, String>)>,
) -> Result<RecordBatch> {
    let rows = |why: String| StoreError::Rows { stream: stream.to_owned(), why };
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays = Vec::with_capacity(columns.len());
    for (name, nullable, array) in columns {
        let array = array.map_err(|why| rows(format!("column `{name}`: {why}")))?;
        fields.push(Field::new(name, array.data_type().clone(), nullable));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|e| rows(e.to_string()))
}

pub(super) fn column<C: Cell + Clone>(batch: &RecordBatch, name: &str, path: &Path) -> Result<Vec<C>> {
    let wrong = |found: String| StoreError::Column {
        column: name.to_owned(),
        found,
        expected: format!("{}{}", C::EXPECTED, if C::NULLABLE { "" } else { " without nulls" }),
        path: path.to_owned(),
    };
    let Some(array) = batch.column_by_name(name) else {
        let cell = C::absent().ok_or_else(|| wrong("missing".into()))?;
        return Ok(vec![cell; batch.num_rows()]);
    };
    let nulls = array.null_count();
    C::cells(array).ok_or_else(|| wrong(format!("{} with {nulls} nulls", array.data_type())))
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident in $stream:literal { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

        impl $crate::store::Record for $name {
            const STREAM: &'static str = $stream;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn batch(rows: &[Self]) -> $crate::store::Result<RecordBatch> {
                $crate::store::records::columns($stream, vec![$((
                    stringify!($field),
                    <$kind as $crate::store::cell::Cell>::NULLABLE,
                    <$kind as $crate::store::cell::Cell>::array(rows.iter().map(|r| &r.$field)),
                ),)*])
            }

            fn rows(batch: &RecordBatch, path: &Path) -> $crate::store::Result<Vec<Self>> {
                $(let mut $field = $crate::store::records::column::<$kind>(batch, stringify!($field), path)?.into_iter();)*
                let whole = "every column of a table has as many cells as it has rows";
                Ok((0..batch.num_rows()).map(|_| Self { $($field: $field.next().expect(whole),)* }).collect())
            }
        }
    };
}
pub(super) use record;

record! {
    /// Stream `steps`: one row an optimiser step.
    StepRow in "steps" {
        /// Stage.
        stage: String,
        /// Optimiser step in the stage, from 0.
        step: u64,
        /// Steps since the run began.
        global_step: u64,
        /// Mean loss over the step's labelled tokens.
        loss: f64,
        /// Largest learning rate of the vision encoder's groups; null if it does not train. So the next three.
        lr_vision: Option<f64>,
        /// The projector's.
        lr_projector: Option<f64>,
        /// The language model's.
        lr_language: Option<f64>,
        /// The text encoder's.
        lr_text: Option<f64>,
        /// Norm of the gradient over everything that trains, before clipping.
        grad_norm: f64,
        /// What clipping multiplied the gradient with; 1 = not clipped.
        clip_factor: f64,
        /// Samples.
        samples: u64,
        /// Labelled tokens, which the loss is the mean over.
        labelled_tokens: u64,
        /// Tokens through the language model, padding included.
        sequence_tokens: u64,
        /// Milliseconds waiting for data.
        ms_data: f64,
        /// Milliseconds in forward passes.
        ms_forward: f64,
        /// Milliseconds in backward passes.
        ms_backward: f64,
        /// Milliseconds in clipping and optimiser.
        ms_optimizer: f64,
        /// Milliseconds of the whole step, probes included.
        ms_total: f64,
        /// Milliseconds that the probes took of it.
        ms_probe: f64,
        /// Bytes of records that the probes logged at this step, before compression.
        probe_bytes: u64,
        /// Largest resident memory so far, bytes; null where the system does not tell.
        peak_memory: Option<u64>,
    }
}

record! {
    /// Stream `layers`: the vision encoder by layer and module; `module = "all"` is the whole layer, `layer = "all"` the
    /// whole encoder. Row t has the gradient at theta_t, the update to theta_(t+1) and the drift after it.
    LayerRow in "layers" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
        /// Layer.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Module, or `all`.
        module: String,
        /// Elements of the trained tensors that the numbers are over; 0 for what is frozen.
        elements: u64,
        /// Distance from the stage's start, `||theta_(t+1) - theta_0||`; of effective weights under LoRA, whose factors
        /// stand under the module `lora` and are not in `all`.
        drift: f64,
        /// `drift / ||theta_0||`; null where the start is zero or nothing trains.
        drift_relative: Option<f64>,
        /// `drift / sqrt(elements)`; null where nothing trains.
        drift_per_element: Option<f64>,
        /// `||theta_(t+1) - theta_t||`.
        update: f64,
        /// Norm of the gradient before clipping; null without `--log-grads` or where nothing trains.
        grad_norm: Option<f64>,
        /// Cosine of the gradient with AdamW's first moment of the steps before; null at a stage's first step, without
        /// `--log-grads`, where either is zero, or where nothing trains.
        momentum: Option<f64>,
    }
}

record! {
    /// Stream `samples`: every sample of every step.
    SampleRow in "samples" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
        /// Sample id.
        sample: String,
        /// Number of its entry in the training set's file; null in older records.
        index: Option<u64>,
        /// Micro-batch within the step.
        micro: u64,
        /// Task, where the data names one.
        task: Option<String>,
        /// Whether it has an image.
        has_image: bool,
        /// Mean loss over its own labelled tokens; null if it has none left.
        loss: Option<f64>,
        /// Labelled tokens.
        tokens: u64,
    }
}

record! {
    /// Stream `contexts`: context vectors, one row a sample and `CoMoE` layer.
    ContextRow in "contexts" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
        /// Sample id.
        sample: String,
        /// Number of the sample's entry in its file; null in older records. So `split`.
        index: Option<u64>,
        /// Set that the sample is of: `train` or `val`.
        split: Option<Name>,
        /// Layer.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Whether the sample belongs to a fixed set that is looked at again and again; false for the step's own batch.
        tracked: bool,
        /// The vector `[C]`.
        vector: Vec<f16>,
    }
}

record! {
    /// Stream `routing`: one row a sample and `CoMoE` layer.
    RoutingRow in "routing" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
        /// Sample id.
        sample: String,
        /// Number of the sample's entry in its file; null in older records. So `split`.
        index: Option<u64>,
        /// Set that the sample is of: `train` or `val`.
        split: Option<Name>,
        /// Layer.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Whether the sample belongs to the tracked set; false for the step's own batch, and in older files.
        tracked: bool,
        /// Routing logits `[E]`.
        logits: Vec<f32>,
        /// Routing weights `[E]`, which sum to 1.
        weights: Vec<f32>,
        /// Entropy of the weights in nats.
        entropy: f32,
    }
}

record! {
    /// Stream `evals`: one row a task, and one for `all`.
    EvalRow in "evals" {
        /// Stage.
        stage: String,
        /// Steps of the stage that were done.
        step: u64,
        /// The same over the run.
        global_step: u64,
        /// `val` or `val-subset`.
        split: String,
        /// Task, or `all`.
        task: String,
        /// Mean loss over labelled tokens; null without any.
        loss: Option<f64>,
        /// Labelled tokens.
        tokens: u64,
        /// Samples.
        samples: u64,
        /// Score in 0..=1; null where nothing was scored.
        score: Option<f64>,
        /// `exact`, `iou50`, `vqa`.
        scorer: Option<String>,
        /// Samples that the score is over.
        scored: u64,
        /// Score of the best constant answer to the same samples; null where nothing was scored.
        chance: Option<f64>,
    }
}

record! {
    /// Stream `predictions`: generated answers of an evaluation.
    PredictionRow in "predictions" {
        /// Stage.
        stage: String,
        /// Steps of the stage that were done.
        step: u64,
        /// `val` or `val-subset`.
        split: String,
        /// Sample id.
        sample: String,
        /// Number of its entry in the held-out set's file; null in older records.
        index: Option<u64>,
        /// Task.
        task: Option<String>,
        /// The text.
        text: String,
        /// How far it is right, 0..=1; null where no scorer exists.
        correct: Option<f64>,
    }
}
