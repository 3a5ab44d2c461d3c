//! Reading checkpoints.

use super::error::CheckpointError;
use super::{RunState, SCHEMA};
use crate::models::checkpoint::Safetensors;
use crate::nn::{ParamStore, TensorSource};
use crate::train::OwnedMoments;
use candle_core::Result;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A checkpoint to go on from.
#[derive(Debug)]
pub struct Loaded {
    /// Its folder.
    pub path: PathBuf,
    /// Counters.
    pub state: RunState,
    /// Parameters: the source of the model that goes on.
    pub model: Safetensors,
    /// First and second moments.
    pub optimizer: Safetensors,
    /// Vision parameters as the stage began.
    pub start: Safetensors,
}

impl Loaded {
    /// Reads `path/`.
    ///
    /// # Errors
    /// A file that is missing, cut short or of another version.
    pub fn open(path: &Path) -> std::result::Result<Self, CheckpointError> {
        let file = |name: &str| Safetensors::open(&path.join(name));
        let state = read_state(path)?;
        let model = file("model.safetensors")?;
        let found = model.names().count();
        if let Some(tensors) = state.tensors.filter(|tensors| *tensors != found) {
            return Err(CheckpointError::OtherTensors { tensors, found, path: path.to_owned() });
        }
        Ok(Self {
            path: path.to_owned(),
            state,
            model,
            optimizer: file("optimizer.safetensors")?,
            start: file("start.safetensors")?,
        })
    }

    /// That its weights are those of the model that goes on, by name and shape: what is missing must not be drawn anew.
    pub(in crate::train) fn check(&self, params: &ParamStore) -> Result<()> {
        let shapes: BTreeMap<&str, &[usize]> =
            params.iter().map(|p| (p.weight.name(), p.weight.tensor().dims())).collect();
        let of = |is: &dyn Fn(&str, &[usize]) -> bool| -> Vec<&str> {
            shapes.iter().filter(|(name, shape)| is(name, shape)).map(|(name, _)| *name).collect()
        };
        let missing = of(&|name, _| self.model.shape(name).is_none());
        let reshaped = of(&|name, shape| self.model.shape(name).is_some_and(|found| found != shape));
        let unexpected = self.model.names().filter(|name| !shapes.contains_key(name)).collect();
        let lists = [("missing", missing), ("of another shape", reshaped), ("of no use", unexpected)];
        let words: Vec<String> = lists
            .into_iter()
            .filter_map(|(what, names)| {
                let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
                Some(format!("{what}: {}{more}", names.first()?))
            })
            .collect();
        if words.is_empty() {
            return Ok(());
        }
        Err(candle_core::Error::Msg(format!(
            "its tensors are not those that were saved ({}); go on from another checkpoint by moving this one away: {}",
            words.join("; "),
            self.path.display()
        )))
    }

    /// Name, first and second moment of every parameter that has some.
    ///
    /// # Errors
    /// A first moment without its second.
    pub fn moments(&self) -> Result<Vec<OwnedMoments>> {
        let flat = |kind: &str, name: &str| -> Result<Vec<f32>> {
            match self.optimizer.read(&format!("{kind}.{name}")).map_err(candle_core::Error::wrap)? {
                Some(values) => Ok(values),
                None => candle_core::bail!("{kind}.{name} is missing: {}", self.optimizer.describe()),
            }
        };
        let names = self.optimizer.names().filter_map(|name| name.strip_prefix("first_moment."));
        names.map(|name| Ok((name.to_owned(), flat("first_moment", name)?, flat("second_moment", name)?))).collect()
    }
}

/// Reads `path/state.json`.
pub(super) fn read_state(path: &Path) -> std::result::Result<RunState, CheckpointError> {
    let path = path.join("state.json");
    let text = fs::read_to_string(&path).map_err(CheckpointError::io("read", &path))?;
    let failed = |reason: String| CheckpointError::State { reason, path: path.clone() };
    let state: RunState = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
    if state.schema != SCHEMA {
        return Err(failed(format!("layout version {}, this program reads {SCHEMA}", state.schema)));
    }
    Ok(state)
}

/// The checkpoints below `checkpoints/`, by steps: step and folder. None where the folder does not exist.
///
/// # Errors
/// A folder that cannot be listed.
pub fn list(dir: &Path) -> std::result::Result<Vec<(u64, PathBuf)>, CheckpointError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(CheckpointError::io("list", dir))? {
        let path = entry.map_err(CheckpointError::io("list", dir))?.path();
        let name = path.file_name().and_then(|n| n.to_str());
        if let Some(step) = name.and_then(|n| n.strip_prefix("step-")).and_then(|n| n.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The folder of the latest checkpoint below `checkpoints/`.
///
/// # Errors
/// A folder that cannot be listed.
pub fn latest(dir: &Path) -> std::result::Result<Option<PathBuf>, CheckpointError> {
    Ok(list(dir)?.pop().map(|(_, path)| path))
}
