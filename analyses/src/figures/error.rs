//! Why a figure cannot be drawn.

use crate::store::StoreError;
use std::path::PathBuf;

/// An error of a figure.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// The run cannot be read, or the files not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name that is none.
    #[error("no {kind} is called `{asked}`; there are: {known}")]
    Unknown {
        /// `figure`, `venue` and the like.
        kind: &'static str,
        /// Asked for.
        asked: String,
        /// Known names.
        known: String,
    },
    /// Options that the figure does not take.
    #[error("the figure `{figure}` does not take {option}; it takes {takes}")]
    Option {
        /// Figure.
        figure: String,
        /// Refused flags.
        option: String,
        /// Flags that it takes.
        takes: String,
    },
    /// The run did not log what the figure shows.
    #[error("the figure `{figure}` needs {what}, which is not here; it is logged by {option}: {}", path.display())]
    Lacks {
        /// Figure.
        figure: String,
        /// Stream or column.
        what: String,
        /// What logs it.
        option: String,
        /// The run or study.
        path: PathBuf,
    },
    /// What was logged cannot become the figure.
    #[error("the figure `{figure}` cannot be made of what was logged ({why}): {}", path.display())]
    Data {
        /// Figure.
        figure: String,
        /// What is wrong, and what to do.
        why: String,
        /// The run.
        path: PathBuf,
    },
    /// A sidecar that no figure can be made of.
    #[error("this is no sidecar of a figure ({why}): {}", path.display())]
    Sidecar {
        /// What is wrong.
        why: String,
        /// The file.
        path: PathBuf,
    },
    /// A font that figures cannot be drawn with.
    #[error("figures cannot be drawn with this font ({why}): {}", path.display())]
    Font {
        /// What is wrong, and what to do.
        why: String,
        /// The file.
        path: PathBuf,
    },
    /// A file could not be encoded.
    #[error("cannot draw `{figure}`: {why}")]
    Draw {
        /// Figure.
        figure: String,
        /// Its reason.
        why: String,
    },
}
