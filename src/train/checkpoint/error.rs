//! Errors of checkpoints; each ends in the path.

use std::path::{Path, PathBuf};

/// A checkpoint that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system refused (full disk, missing right).
    #[error("cannot {action}: {source}: {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: std::io::Error,
        /// Of what.
        path: PathBuf,
    },
    /// Weights or moments that are missing, cut short or garbled.
    #[error(transparent)]
    Weights(#[from] crate::models::checkpoint::CheckpointError),
    /// `state.json` that cannot be understood.
    #[error("cannot read the state ({reason}): {}", path.display())]
    State {
        /// What does not fit.
        reason: String,
        /// File.
        path: PathBuf,
    },
    /// `model.safetensors` is not as it was written.
    #[error(
        "model.safetensors holds {found} tensors, and {tensors} were saved; go on from another checkpoint by moving this one \
         away: {}",
        path.display()
    )]
    OtherTensors {
        /// Tensors that were saved.
        tensors: usize,
        /// Tensors that are there.
        found: usize,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A tensor could not be lent to the writer.
    #[error("cannot save a tensor ({reason}): {}", path.display())]
    Tensor {
        /// What failed.
        reason: String,
        /// File.
        path: PathBuf,
    },
}

impl CheckpointError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, source, path }
    }
}
