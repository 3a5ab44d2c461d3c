//! Why a probe ends the run.

use covft_analyses::store::StoreError;

/// An error of a probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The records cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A tensor cannot be read.
    #[error("cannot measure the vision encoder: {0}")]
    Tensor(#[from] candle_core::Error),
    /// `log_grads` is on, something trains, and no gradient came.
    #[error(
        "`log_grads` is on and {trained} tensors of the vision encoder train, but no gradient was seen at step {step} of \
         stage {stage}"
    )]
    NoGradients {
        /// Trained tensors.
        trained: usize,
        /// Stage.
        stage: String,
        /// Step.
        step: u64,
    },
    /// The samples' gradients are not whole.
    #[error("gradients of samples were not measured at step {step} of stage {stage}: {reason}")]
    Samples {
        /// What is missing.
        reason: String,
        /// Stage.
        stage: String,
        /// Step.
        step: u64,
    },
    /// The encoder has gates, and no routing came.
    #[error(
        "the vision encoder has CoMoE gates, but its forward passes handed back no contexts or routing at step {step} of \
         stage {stage}"
    )]
    NoRouting {
        /// Stage.
        stage: String,
        /// Step.
        step: u64,
    },
    /// The routing of a batch has other rows than the batch.
    #[error("layer {layer} hands back {rows} rows of routing for {samples} samples at step {step} of stage {stage}")]
    RoutingRows {
        /// Layer.
        layer: usize,
        /// Rows.
        rows: usize,
        /// Samples.
        samples: usize,
        /// Stage.
        stage: String,
        /// Step.
        step: u64,
    },
    /// A resumed stage whose start is not known.
    #[error(
        "drift cannot go on in stage {stage}: the checkpoint does not hold what {name} was at the stage's start; \
         set `[probe] drift = false` to train without it: {source_name}"
    )]
    NoStart {
        /// Stage.
        stage: String,
        /// Parameter.
        name: String,
        /// Where it was looked for.
        source_name: String,
    },
    /// `LoRA` factors without a scale.
    #[error("stage {stage} trains LoRA factors such as {name}, but its alpha / r was not given to the recorder")]
    NoLoraScale {
        /// Stage.
        stage: String,
        /// A factor.
        name: String,
    },
}
