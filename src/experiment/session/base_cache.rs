//! Stages that are worth keeping: the end of a stage marked `reuse` is saved under a hash of everything that it depends
//! on, and a later run that begins the same way loads it.

use super::error::SessionError;
use crate::config::Recipe;
use crate::config::data::{ScenesConfig, is_builtin_scenes};
use crate::config::train::{EvalAtEnd, SpikeConfig, Stage, StageConfig};
use crate::data::{Split, scenes};
use crate::models::checkpoint::{Safetensors, write_safetensors};
use crate::nn::{MapSource, ParamStore};
use candle_core::Tensor;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The reusable stages of a recipe.
#[derive(Debug)]
pub(super) struct BaseCache(Vec<Option<Base>>);

/// The end of one stage.
#[derive(Debug)]
pub(super) struct Base {
    path: PathBuf,
}

impl BaseCache {
    pub(super) fn new(recipe: &Recipe, stages: &[Stage]) -> Self {
        let base = |index: usize| {
            // A stage can only be skipped when all before it can.
            stages[..=index].iter().all(|s| s.reuse).then(|| Base { path: folder(recipe, index) })
        };
        Self((0..stages.len()).map(base).collect())
    }

    pub(super) fn get(&self, index: usize) -> Option<&Base> {
        self.0[index].as_ref()
    }
}

/// `<out>/.stages/<name>-<hash>.safetensors`.
fn folder(recipe: &Recipe, index: usize) -> PathBuf {
    let mut hash = Sha256::new();
    let mut data = recipe.data.clone();
    // These change the time, not the numbers.
    (data.workers, data.prefetch) = (1, 1);
    // Nothing is learnt from what is held out.
    (data.val, data.scenes.val) = (None, 0);
    let stages: Vec<StageConfig> = recipe.stages[..=index].iter().map(what_trains).collect();
    let parts = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "seed": recipe.seed,
        "device": recipe.device,
        "dtype": recipe.dtype,
        "dispatch": crate::kernels::dispatch_level(),
        "model": recipe.model,
        "data": data,
        "stages": stages,
    });
    hash.update(parts.to_string());
    // An edited instruction file is another set, other files are other weights, and so is a set that is drawn otherwise.
    hash_state(&mut hash, &recipe.data.train);
    let model = &recipe.model;
    let folders = [&model.checkpoint, &model.vision.weights, &model.language.weights, &model.text.weights];
    for weights in folders.into_iter().flatten() {
        hash_files(&mut hash, weights);
    }
    if is_builtin_scenes(&recipe.data.train) {
        hash_scenes(&mut hash, &recipe.data.scenes);
    }
    let digest = u64::from_be_bytes(*hash.finalize().first_chunk().expect("a SHA-256 hash has 32 bytes"));
    recipe.out.join(".stages").join(format!("{}-{digest:016x}.safetensors", recipe.stages[index].name))
}

/// Length and date of a file, as far as there is one.
fn hash_state(hash: &mut Sha256, path: &Path) {
    if let Ok(meta) = std::fs::metadata(path) {
        hash.update(meta.len().to_le_bytes());
        let since = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        hash.update(since.unwrap_or_default().as_nanos().to_le_bytes());
    }
}

/// Names, lengths and dates of the files in a folder.
fn hash_files(hash: &mut Sha256, folder: &Path) {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash_state(hash, &file);
    }
}

/// What the first scenes of the built-in set look like and ask.
fn hash_scenes(hash: &mut Sha256, config: &ScenesConfig) {
    let few = ScenesConfig { train: config.train.min(8), ..config.clone() };
    let set = scenes::generate(&few, Split::Train);
    for turn in set.entries.iter().flat_map(|entry| &entry.turns) {
        hash.update(turn.text.as_bytes());
    }
    for (_, picture) in &set.pictures {
        hash.update(picture.as_raw());
    }
}

/// The stage without what only looks at it: evaluations, checkpoints, warnings.
fn what_trains(stage: &StageConfig) -> StageConfig {
    StageConfig {
        eval_every: None,
        eval_at_start: false,
        eval_at_end: EvalAtEnd::default(),
        eval_samples: 1,
        generate_samples: None,
        generate_at_end: None,
        checkpoint_every: None,
        keep_last: 1,
        keep_best: true,
        keep_end: true,
        reuse: true,
        spikes: SpikeConfig::default(),
        ..stage.clone()
    }
}

impl Base {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The kept values; `None` if no run has come so far.
    pub(super) fn load(&self) -> Result<Option<MapSource>, SessionError> {
        if !self.path.exists() {
            return Ok(None);
        }
        Ok(Some(MapSource { tensors: Safetensors::open(&self.path)?.tensors()? }))
    }

    /// Keeps the values as they are now, written whole or not at all.
    pub(super) fn save(&self, params: &ParamStore) -> Result<(), SessionError> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        std::fs::create_dir_all(folder).map_err(|source| SessionError::Io {
            what: "make the folder",
            source,
            path: folder.to_path_buf(),
        })?;
        let tensors: Vec<(&str, &Tensor)> = params.iter().map(|p| (p.weight.name(), p.weight.tensor())).collect();
        Ok(write_safetensors(&self.path, &tensors)?)
    }
}
