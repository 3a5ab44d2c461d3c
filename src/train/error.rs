//! What can go wrong in training. Each message says where (stage, step, samples, parameter) and what to do.

use super::checkpoint::CheckpointError;
use super::hook::SampleInfo;
use std::fmt;

/// An error of a collaborator (data source, hook, evaluator).
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where training stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Stage name.
    pub stage: String,
    /// Optimiser step within the stage.
    pub step: u64,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage {}, step {}", self.stage, self.step)
    }
}

/// Samples by id and entry, printed up to a dozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleIds(pub Vec<SampleInfo>);

impl fmt::Display for SampleIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        for (i, sample) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{sample}", if i == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Why training ended early. The optimiser has not moved in the step that an error names.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// NaN or infinite loss.
    #[error("{at}: the loss is not finite for {samples}; look at these samples, or lower the learning rate")]
    LossNotFinite {
        /// Where.
        at: At,
        /// Samples whose loss is not finite.
        samples: SampleIds,
    },
    /// NaN or infinite gradient.
    #[error("{at}: the gradient of {parameter} is not finite; samples {samples}")]
    GradientNotFinite {
        /// Where.
        at: At,
        /// First such parameter.
        parameter: String,
        /// Samples of the step.
        samples: SampleIds,
    },
    /// A parameter that the loss depends on received no gradient.
    #[error("{at}: {parameter} trains and the loss reaches it, but it received no gradient; samples {samples}")]
    GradientMissing {
        /// Where.
        at: At,
        /// First such parameter.
        parameter: String,
        /// Samples of the step.
        samples: SampleIds,
    },
    /// Nothing to learn from.
    #[error("{at}: a batch without any labelled token; samples {samples}")]
    NoLabels {
        /// Where.
        at: At,
        /// Samples of the batch.
        samples: SampleIds,
    },
    /// The forward pass counted other labelled tokens than the batch announced.
    #[error("{at}: the batch announced {announced} labelled tokens, the model saw {seen}; samples {samples}")]
    LabelCount {
        /// Where.
        at: At,
        /// By the batch.
        announced: usize,
        /// By the model.
        seen: usize,
        /// Samples of the batch.
        samples: SampleIds,
    },
    /// The source gave no micro-batch for a step.
    #[error("{at}: the data source gave no batch")]
    NoBatch {
        /// Where.
        at: At,
    },
    /// No parameter trains.
    #[error("stage {stage}: no parameter trains")]
    NothingTrains {
        /// Stage name.
        stage: String,
    },
    /// A checkpoint of another stage or another set of trained parameters.
    #[error("stage {stage} cannot go on from this checkpoint: {reason}")]
    Resume {
        /// Stage name.
        stage: String,
        /// What does not fit.
        reason: String,
    },
    /// The forward or backward pass failed.
    #[error("{at}: {source}; samples {samples}")]
    Model {
        /// Where.
        at: At,
        /// Samples of the batch.
        samples: SampleIds,
        /// What failed.
        source: candle_core::Error,
    },
    /// A tensor operation of the trainer failed.
    #[error("stage {stage}: {source}")]
    Tensor {
        /// Stage name.
        stage: String,
        /// What failed.
        source: candle_core::Error,
    },
    /// A device of several could not do its part.
    #[error("{at}: {device}: {reason}")]
    Member {
        /// Where.
        at: At,
        /// Which.
        device: String,
        /// What happened.
        reason: String,
    },
    /// Devices that must hold the same parameters do not.
    #[error(
        "{at}: {parameter} is another on {device} than on the first device; nothing was saved: go on from the last \
         checkpoint, and on the first device alone if it happens again"
    )]
    MembersApart {
        /// Where.
        at: At,
        /// The first such device.
        device: String,
        /// Its first such parameter.
        parameter: String,
    },
    /// The data source failed.
    #[error("{at}: {source}")]
    Data {
        /// Where.
        at: At,
        /// What failed.
        source: BoxError,
    },
    /// A hook failed.
    #[error("{at}: {source}")]
    Hook {
        /// Where.
        at: At,
        /// What failed.
        source: BoxError,
    },
    /// An evaluation failed.
    #[error("evaluation after {at}: {source}")]
    Evaluation {
        /// Where.
        at: At,
        /// What failed.
        source: BoxError,
    },
    /// A checkpoint could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}
