//! Some columns of a stream, for passes that need no more: what is not named is not read.

use super::name::Name;
use super::records::record;
use arrow::array::RecordBatch;
use std::path::Path;

record! {
    /// Stream `contexts` without the vectors.
    ContextKey in "contexts" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
        /// Layer.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Whether the sample belongs to the tracked set.
        tracked: bool,
    }
}

record! {
    /// Stream `routing`: where its rows stand.
    RoutingKey in "routing" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
    }
}

record! {
    /// Stream `routing`: the weights alone.
    RoutingWeights in "routing" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
        /// Sample id.
        sample: Name,
        /// Number of the sample's entry in its file; null in older records. So `split`.
        index: Option<u64>,
        /// Set that the sample is of: `train` or `val`.
        split: Option<Name>,
        /// Layer.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Whether the sample belongs to the tracked set; false in older files.
        tracked: bool,
        /// Routing weights `[E]`, which sum to 1.
        weights: Vec<f32>,
    }
}

record! {
    /// Stream `samples`: the task of a sample.
    SampleTask in "samples" {
        /// Sample id.
        sample: Name,
        /// Number of its entry in the training set's file; null in older records.
        index: Option<u64>,
        /// Task, where the data names one.
        task: Option<Name>,
    }
}

record! {
    /// `dataset.parquet`: the same.
    DatasetTask in "dataset" {
        /// Sample id.
        sample: Name,
        /// Number of its entry in its file; null in older runs.
        index: Option<u64>,
        /// `train` or `val`.
        split: Name,
        /// Task, where the data names one.
        task: Option<Name>,
    }
}
