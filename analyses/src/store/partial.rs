//! Some columns of a stream, for passes that need no more: what is not named is not read.

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
        sample: String,
        /// Layer.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Routing weights `[E]`, which sum to 1.
        weights: Vec<f32>,
    }
}

record! {
    /// Stream `samples`: the task of a sample.
    SampleTask in "samples" {
        /// Sample id.
        sample: String,
        /// Task, where the data names one.
        task: Option<String>,
    }
}

record! {
    /// `dataset.parquet`: the same.
    DatasetTask in "dataset" {
        /// Sample id.
        sample: String,
        /// Task, where the data names one.
        task: Option<String>,
    }
}
