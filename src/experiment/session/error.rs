//! Why a run could not start or go on.

use super::premises::{Difference, Premise};
use super::tokens::TokenError;
use crate::data::DataError;
use crate::models::checkpoint::CheckpointError as ModelFileError;
use crate::probe::ProbeError;
use crate::train::TrainError;
use crate::train::checkpoint::CheckpointError;
use covft_analyses::store::StoreError;
use std::path::{Component, Path, PathBuf};

/// See the variants.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Weights or data that the recipe names are not there.
    #[error("{}", missing(weights, data))]
    Missing {
        /// Weights.
        weights: Vec<PathBuf>,
        /// Data.
        data: Vec<PathBuf>,
    },
    /// No tokenizer is named and none lies beside the weights.
    #[error("{key} is not set and no tokenizer lies beside the weights: name a tokenizer.json, or {example}")]
    NoTokenizer {
        /// Key of the recipe.
        key: &'static str,
        /// Another value that would do.
        example: &'static str,
    },
    /// Tokenizers, template and models do not fit together.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The device cannot be used.
    #[error("{device}: {reason}")]
    Device {
        /// As the recipe names it.
        device: String,
        /// Why not.
        reason: String,
    },
    /// A run directory without any checkpoint to go on from.
    #[error("nothing to resume, no checkpoint was written yet; start the run anew: {}", path.display())]
    NothingToResume {
        /// The run.
        path: PathBuf,
    },
    /// The run is over.
    #[error("the run is finished, there is nothing to resume: {}", path.display())]
    AlreadyDone {
        /// The run.
        path: PathBuf,
    },
    /// A checkpoint of another recipe.
    #[error("the checkpoint belongs to stage {index} ({found}), which the run's recipe does not have: {}", path.display())]
    OtherRecipe {
        /// Index of the stage.
        index: usize,
        /// Stage of the checkpoint.
        found: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// The run began otherwise.
    #[error("{}", changed(differences, path))]
    Changed {
        /// What differs.
        differences: Vec<Difference>,
        /// The run.
        path: PathBuf,
    },
    /// `premises.json` that cannot be understood.
    #[error("cannot read what the run began with ({reason}); without the file it goes on uncompared: {}", path.display())]
    Premises {
        /// What does not fit.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// A stage that no sample is left for.
    #[error("stage {stage}: no training sample has one of its tasks: {tasks}")]
    NoSamples {
        /// Stage.
        stage: String,
        /// Its tasks.
        tasks: String,
    },
    /// No two samples of a stage's tasks are about the same.
    #[error(
        "stage {stage}: no sample of {tasks} has a partner among {with}: partners show the same picture and have the same \
         id but for the task's name, or name the same box"
    )]
    NoPairs {
        /// Stage.
        stage: String,
        /// Its tasks.
        tasks: String,
        /// Tasks of the partners.
        with: String,
    },
    /// A study where a run was expected.
    #[error("the recipe is a study of several runs; start it with: {command} -c RECIPE")]
    IsStudy {
        /// The command for it.
        command: &'static str,
    },
    /// Data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Tensors, sizes, weights.
    #[error(transparent)]
    Model(#[from] candle_core::Error),
    /// Weights on disk.
    #[error(transparent)]
    Weights(#[from] ModelFileError),
    /// The loop.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Probes.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The run directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the run directory.
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
fn changed(differences: &[Difference], path: &Path) -> String {
    let lines: Vec<String> = differences.iter().map(|d| format!("\n  - {d}")).collect();
    let mut names: Vec<&str> = differences.iter().filter_map(|d| d.premise).map(Premise::name).collect();
    names.dedup();
    let flag = if names == ["data"] { "--data-changed".to_owned() } else { format!("--accept {}", names.join(",")) };
    format!(
        "the run cannot go on as it began:{}\nput it back, or go on all the same with {flag} (the manifest then says so): {}",
        lines.concat(),
        path.display()
    )
}

fn missing(weights: &[PathBuf], data: &[PathBuf]) -> String {
    let list = |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    if !weights.is_empty() {
        let how = "scripts/fetch-weights.sh fills weights/ for the real-mini recipes; other checkpoints are put there \
                   in Hugging Face layout";
        parts.push(format!("missing weights: {} ({how})", list(weights)));
        if let Some(id) = weights.iter().find(|path| is_hub_id(path)) {
            let id = id.display();
            parts.push(format!("{id} looks like a name on the Hugging Face hub: nothing is fetched from there, name a folder that holds it (`hf download {id} --local-dir {id}` makes one)"));
        }
    }
    if !data.is_empty() {
        let how = "instruction files and an images folder in LLaVA's format belong there; docs/data.md says how";
        parts.push(format!("missing data: {} ({how})", list(data)));
    }
    parts.join("; ")
}

/// `owner/name`, and no such owner here.
fn is_hub_id(path: &Path) -> bool {
    let parts: Vec<Component<'_>> = path.components().collect();
    matches!(parts.as_slice(), [Component::Normal(owner), Component::Normal(_)] if !Path::new(owner).exists())
}
