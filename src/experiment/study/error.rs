//! Why a study could not start or go on.

use crate::config::ConfigError;
use crate::experiment::session::{Difference, SessionError};
use crate::probe::ProbeError;
use crate::train::TrainError;
use crate::train::checkpoint::CheckpointError;
use covft_analyses::store::StoreError;
use std::path::{Path, PathBuf};

/// See the variants.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// A recipe of one run.
    #[error("the recipe has no [study]; train it with: covft-probe train -c RECIPE")]
    NotAStudy,
    /// The folder is taken.
    #[error("a study lies there already; go on with it by --resume, or name another folder by --out: {}", path.display())]
    Exists {
        /// The study.
        path: PathBuf,
    },
    /// Another process works on it.
    #[error("another process works on this study: {}", path.display())]
    Busy {
        /// The study.
        path: PathBuf,
    },
    /// A run that the study does not have.
    #[error("the study has no run called {label}: {}", path.display())]
    NoRun {
        /// Label.
        label: String,
        /// The study.
        path: PathBuf,
    },
    /// The end of the base is no longer kept.
    #[error("the weights that the runs begin from are gone from {}; delete the base to train it again: {}", kept.display(), path.display())]
    BaseGone {
        /// Folder of kept stages.
        kept: PathBuf,
        /// The base's run.
        path: PathBuf,
    },
    /// A recipe that was edited after runs had begun by it.
    #[error("{}", other_recipe(differences, path))]
    OtherRecipe {
        /// Run and what differs.
        differences: Vec<(String, Difference)>,
        /// The study.
        path: PathBuf,
    },
    /// Runs that do not see the same objects at the same steps.
    #[error("{a} and {b} are not about the same pictures and objects in the same order: {}", path.display())]
    NotPartners {
        /// A run.
        a: String,
        /// Another.
        b: String,
        /// The study.
        path: PathBuf,
    },
    /// A run that ended with an error.
    #[error("{label} failed: {why}: {}", path.display())]
    Failed {
        /// The run.
        label: String,
        /// Why, in one line.
        why: String,
        /// Its folder.
        path: PathBuf,
    },
    /// The recipe of the study, or of one of its runs.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The loop.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Distances.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Records.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the study.
    #[error("cannot {what}: {source}: {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
        /// The file.
        path: PathBuf,
    },
}

/// Every difference on its own line, then what to do.
fn other_recipe(differences: &[(String, Difference)], path: &Path) -> String {
    let lines: Vec<String> = differences.iter().map(|(run, d)| format!("\n  - {run}: {d}")).collect();
    format!(
        "runs of the study began by another recipe than it has now:{}\nput it back, start another study, or go on all the same \
         with --accept recipe (runs that have begun keep theirs): {}",
        lines.concat(),
        path.display()
    )
}

impl StudyError {
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, source, path }
    }
}
