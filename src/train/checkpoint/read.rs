//! Reading checkpoints.

use super::error::CheckpointError;
use super::{RunState, SCHEMA};
use crate::nn::TensorSource;
use candle_core::{DType, Device, Result, Tensor};
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The tensors of one safetensors file, in memory.
#[derive(Clone, Debug)]
pub struct FileSource {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl FileSource {
    /// Reads the whole file; float16 and bfloat16 become float32.
    ///
    /// # Errors
    /// A file that cannot be opened, is cut short or holds other types.
    pub fn open(path: &Path) -> std::result::Result<Self, CheckpointError> {
        let broken = |reason: String| CheckpointError::Broken { reason, path: path.to_owned() };
        let bytes = fs::read(path).map_err(CheckpointError::io("read", path))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| broken(e.to_string()))?;
        let mut tensors = HashMap::with_capacity(file.len());
        for (name, view) in file.iter() {
            let dtype = match view.dtype() {
                Dtype::F32 => DType::F32,
                Dtype::F16 => DType::F16,
                Dtype::BF16 => DType::BF16,
                other => return Err(broken(format!("{name} is {other:?}"))),
            };
            let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)
                .and_then(|t| t.to_dtype(DType::F32))
                .map_err(|e| broken(format!("{name}: {e}")))?;
            tensors.insert(name.to_owned(), tensor);
        }
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// Names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl TensorSource for FileSource {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        Ok(self.tensors.get(name).cloned())
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

/// A checkpoint to go on from.
#[derive(Debug)]
pub struct Loaded {
    /// Its folder.
    pub path: PathBuf,
    /// Counters.
    pub state: RunState,
    /// Parameters: the source of the model that goes on.
    pub model: FileSource,
    /// First and second moments.
    pub optimizer: FileSource,
    /// Vision parameters as the stage began.
    pub start: FileSource,
}

impl Loaded {
    /// Reads `path/`.
    ///
    /// # Errors
    /// A file that is missing, cut short or of another version.
    pub fn open(path: &Path) -> std::result::Result<Self, CheckpointError> {
        let file = |name: &str| FileSource::open(&path.join(name));
        Ok(Self {
            path: path.to_owned(),
            state: read_state(path)?,
            model: file("model.safetensors")?,
            optimizer: file("optimizer.safetensors")?,
            start: file("start.safetensors")?,
        })
    }

    /// Name, first and second moment of every parameter that has some, by name.
    ///
    /// # Errors
    /// A first moment without its second.
    pub fn moments(&self) -> Result<Vec<(String, Vec<f32>, Vec<f32>)>> {
        let flat = |kind: &str, name: &str| -> Result<Vec<f32>> {
            match self.optimizer.get(&format!("{kind}.{name}"))? {
                Some(tensor) => tensor.flatten_all()?.to_vec1(),
                None => candle_core::bail!("{kind}.{name} is missing: {}", self.optimizer.describe()),
            }
        };
        let names = self.optimizer.names().into_iter().filter_map(|name| name.strip_prefix("first_moment."));
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
