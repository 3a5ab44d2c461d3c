//! Stages that are worth keeping: the end of a stage marked `reuse` is saved under a hash of everything that it depends
//! on, and a later run that begins the same way loads it.

use super::error::SessionError;
use super::premises::{Premises, that_trains};
use crate::config::Recipe;
use crate::config::train::Stage;
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
    pub(super) fn new(recipe: &Recipe, stages: &[Stage], premises: &Premises) -> Self {
        let base = |index: usize| {
            // A stage can only be skipped when all before it can.
            stages[..=index].iter().all(|s| s.reuse).then(|| Base { path: folder(recipe, index, premises) })
        };
        Self((0..stages.len()).map(base).collect())
    }

    pub(super) fn get(&self, index: usize) -> Option<&Base> {
        self.0[index].as_ref()
    }
}

/// `<out>/.stages/<name>-<hash>.safetensors`. The hash is over the premises of a run, and over the device and the version.
fn folder(recipe: &Recipe, index: usize, premises: &Premises) -> PathBuf {
    let mut hash = Sha256::new();
    let parts = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "device": recipe.device,
        "recipe": that_trains(recipe, index),
    });
    hash.update(parts.to_string());
    premises.hash(&mut hash);
    let digest = u64::from_be_bytes(*hash.finalize().first_chunk().expect("a SHA-256 hash has 32 bytes"));
    recipe.out.join(".stages").join(format!("{}-{digest:016x}.safetensors", recipe.stages[index].name))
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
