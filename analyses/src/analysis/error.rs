//! What can go wrong with an analysis.

use crate::cluster::KMeansError;
use crate::reduce::PcaError;
use crate::store::StoreError;
use std::path::PathBuf;

/// Result of an analysis.
pub type Result<T> = std::result::Result<T, AnalysisError>;

/// An error of an analysis; every message says what to do and, where there is one, ends in the path.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// From the run directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// From k-means.
    #[error(transparent)]
    KMeans(#[from] KMeansError),
    /// From the principal components.
    #[error(transparent)]
    Pca(#[from] PcaError),
    /// The run lacks a stream.
    #[error("the run has no `{stream}` records; {option} logs them: {}", path.display())]
    NoRecords {
        /// Stream.
        stream: &'static str,
        /// What logs it.
        option: &'static str,
        /// The run.
        path: PathBuf,
    },
    /// The run has the stream, but none of it can be read.
    #[error("no `{stream}` records can be read: {why}")]
    Unreadable {
        /// Stream.
        stream: &'static str,
        /// The first damage, ending in the file.
        why: String,
    },
    /// All that was logged is not finite.
    #[error("the run logged `{stream}`, but all {rows} rows that were asked for hold numbers that are not finite ({kinds}): {}", path.display())]
    NotFinite {
        /// Stream.
        stream: &'static str,
        /// Rows.
        rows: u64,
        /// How many by kind.
        kinds: String,
        /// The run.
        path: PathBuf,
    },
    /// A stage, layer or step that has no rows.
    #[error("no `{stream}` records of {what} {asked}; there are {known}: {}", path.display())]
    Unknown {
        /// Stream.
        stream: &'static str,
        /// `stage`, `layer` or `step`.
        what: &'static str,
        /// Asked for.
        asked: String,
        /// What there is.
        known: String,
        /// The run.
        path: PathBuf,
    },
    /// Too few samples.
    #[error("{why}: {}", path.display())]
    TooFew {
        /// How many there are, how many are needed, what was left out, and what to do.
        why: String,
        /// The run.
        path: PathBuf,
    },
    /// A range of numbers of clusters that cannot be.
    #[error(
        "--sweep {low}..{high} is no range of numbers of clusters for {distinct} distinct vectors; use 1..{distinct} at most"
    )]
    Sweep {
        /// From.
        low: usize,
        /// To.
        high: usize,
        /// Distinct vectors.
        distinct: usize,
    },
    /// The caller's progress function said so.
    #[error("stopped")]
    Stopped,
}
