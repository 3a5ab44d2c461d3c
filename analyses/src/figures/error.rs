//! Why a figure cannot be drawn.

use crate::store::StoreError;
use std::path::PathBuf;

/// An error of a figure.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// The run cannot be read, or the files not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No figure of that name.
    #[error("no figure is called `{asked}`; there are: {known}")]
    Unknown {
        /// Asked for.
        asked: String,
        /// Known names.
        known: String,
    },
    /// No venue of that name.
    #[error("no venue is called `{asked}`; there are: {known}")]
    UnknownVenue {
        /// Asked for.
        asked: String,
        /// Known names.
        known: String,
    },
    /// The run did not log what the figure shows.
    #[error("the figure `{figure}` needs `{what}`, which this run did not log; it is logged by {option}: {}", path.display())]
    Lacks {
        /// Figure.
        figure: String,
        /// Stream or column.
        what: &'static str,
        /// What logs it.
        option: &'static str,
        /// The run.
        path: PathBuf,
    },
    /// The drawing library failed.
    #[error("cannot draw `{figure}` ({why}): {}", path.display())]
    Draw {
        /// Figure.
        figure: String,
        /// Its reason.
        why: String,
        /// The file.
        path: PathBuf,
    },
}
