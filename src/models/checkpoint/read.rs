//! Safetensors read lazily: opening reads the headers, each tensor is read when it is asked for.

use crate::nn::TensorSource;
use candle_core::{Device, Result, Tensor};
use half::{bf16, f16};
use indexmap::IndexMap;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Headers larger than this are not headers (the format's own limit).
const MAX_HEADER: u64 = 100_000_000;

/// Why weights could not be read or written. Every message ends in the path.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Nothing is there.
    #[error("there is no such file or folder of weights: {path}")]
    Missing {
        /// What was looked for.
        path: PathBuf,
    },
    /// A folder without weights.
    #[error("the folder holds neither model.safetensors nor model.safetensors.index.json: {path}")]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {doing}: {source}: {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
        /// The file.
        path: PathBuf,
    },
    /// Shorter than its header says.
    #[error("the file is truncated, {found} of {expected} bytes are there; fetch it again: {path}")]
    Truncated {
        /// Bytes there.
        found: u64,
        /// Bytes the header promises.
        expected: u64,
        /// The file.
        path: PathBuf,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("not a readable safetensors file ({reason}): {path}")]
    Corrupt {
        /// What does not fit.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// A pretrained part that is not all there.
    #[error("the weights lack {name}: {source_of}")]
    Lacking {
        /// The tensor, by the source's own name.
        name: String,
        /// Path of the weights.
        source_of: String,
    },
    /// A tensor that is not made of floating-point numbers.
    #[error("{name} holds {dtype:?}, not f32, f16, bf16 or f64: {path}")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
        /// The file.
        path: PathBuf,
    },
}

impl CheckpointError {
    /// As candle's error, without the backtrace that its own constructors hang on: the message ends in the path.
    pub(super) fn plain(self) -> candle_core::Error {
        candle_core::Error::Msg(self.to_string())
    }

    pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { doing, source, path: path.to_owned() }
    }
}

/// The tensors of one safetensors file, or of a folder with `model.safetensors` or with shards and their index.
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name to shard.
    index: IndexMap<String, usize>,
}

impl Safetensors {
    /// Opens `path` and reads the headers; a shard's header must hold what the index says it holds.
    ///
    /// # Errors
    /// A path without weights, a truncated or corrupt file.
    pub fn open(path: &Path) -> std::result::Result<Self, CheckpointError> {
        if !path.exists() {
            return Err(CheckpointError::Missing { path: path.to_owned() });
        }
        let shards = files(path)?.iter().map(|file| Shard::open(file)).collect::<std::result::Result<Vec<_>, _>>()?;
        let mut index = IndexMap::new();
        for (i, shard) in shards.iter().enumerate() {
            index.extend(shard.header.offset_keys().into_iter().map(|name| (name, i)));
        }
        Ok(Self { path: path.to_owned(), shards, index })
    }

    /// Names, shard by shard, in the order of the data.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// Everything, read into memory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = HashMap::with_capacity(self.index.len());
        for name in self.names() {
            all.extend(self.get(name)?.map(|tensor| (name.to_owned(), tensor)));
        }
        Ok(all)
    }

    /// Shape of `name`, without reading it.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.shards[*self.index.get(name)?].header.info(name).map(|info| info.shape.as_slice())
    }

    /// Reads `name` as float32 numbers; `None` if it is not there.
    ///
    /// # Errors
    /// A file that changed under us, a tensor of integers.
    pub fn read(&self, name: &str) -> std::result::Result<Option<Vec<f32>>, CheckpointError> {
        let Some(shard) = self.index.get(name).map(|&i| &self.shards[i]) else { return Ok(None) };
        let Some(info) = shard.header.info(name) else { return Ok(None) };
        let bytes = shard.bytes(info)?;
        let values = match info.dtype {
            Dtype::F32 => map_chunks(&bytes, f32::from_le_bytes),
            Dtype::F16 => map_chunks(&bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => map_chunks(&bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => map_chunks(&bytes, |b| f64::from_le_bytes(b) as f32),
            dtype => return Err(CheckpointError::Dtype { name: name.to_owned(), dtype, path: shard.path.clone() }),
        };
        Ok(Some(values))
    }
}

impl TensorSource for Safetensors {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(values) = self.read(name).map_err(CheckpointError::plain)? else { return Ok(None) };
        let dims = self.shape(name).unwrap_or_default();
        Tensor::from_vec(values, dims, &Device::Cpu).map(Some)
    }

    fn dims(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.shape(name).map(<[usize]>::to_vec))
    }

    fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.index.contains_key(name))
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

fn map_chunks<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&chunk| convert(chunk)).collect()
}

/// `model.safetensors.index.json`.
#[derive(serde::Deserialize)]
struct Index {
    /// File of each tensor; sorted by name, so that the order of the shards does not depend on chance.
    weight_map: BTreeMap<String, String>,
}

/// The safetensors files that `path` stands for, each once.
fn files(path: &Path) -> std::result::Result<Vec<PathBuf>, CheckpointError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let index = path.join("model.safetensors.index.json");
    if !index.exists() {
        let single = path.join("model.safetensors");
        return if single.exists() {
            Ok(vec![single])
        } else {
            Err(CheckpointError::NoWeights { path: path.to_owned() })
        };
    }
    let text = std::fs::read_to_string(&index).map_err(CheckpointError::io("read the index", &index))?;
    let parsed: Index = serde_json::from_str(&text)
        .map_err(|e| CheckpointError::Corrupt { reason: e.to_string(), path: index.clone() })?;
    let mut shards: Vec<String> = parsed.weight_map.into_values().collect();
    shards.sort_unstable();
    shards.dedup();
    let shards: Vec<PathBuf> = shards.iter().map(|name| path.join(name)).collect();
    match shards.iter().find(|shard| !shard.exists()) {
        Some(missing) => Err(CheckpointError::Missing { path: missing.clone() }),
        None => Ok(shards),
    }
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: Mutex<File>,
    header: Metadata,
    /// Where the tensors' bytes begin.
    data: u64,
}

impl Shard {
    fn open(path: &Path) -> std::result::Result<Self, CheckpointError> {
        let corrupt = |reason: String| CheckpointError::Corrupt { reason, path: path.to_owned() };
        let mut file = File::open(path).map_err(CheckpointError::io("open the weights", path))?;
        let found = file.metadata().map_err(CheckpointError::io("measure the weights", path))?.len();
        let truncated = |expected| CheckpointError::Truncated { found, expected, path: path.to_owned() };
        if found < 8 {
            return Err(truncated(8));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(CheckpointError::io("read the header", path))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(corrupt(format!("a header of {length} bytes")));
        }
        let data = 8 + length;
        if found < data {
            return Err(truncated(data));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(CheckpointError::io("read the header", path))?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|e| corrupt(format!("header: {e}")))?;
        let expected = data + header.data_len() as u64;
        match found.cmp(&expected) {
            std::cmp::Ordering::Less => Err(truncated(expected)),
            std::cmp::Ordering::Greater => Err(corrupt(format!("{} bytes after the last tensor", found - expected))),
            std::cmp::Ordering::Equal => Ok(Self { path: path.to_owned(), file: Mutex::new(file), header, data }),
        }
    }

    fn bytes(&self, info: &TensorInfo) -> std::result::Result<Vec<u8>, CheckpointError> {
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0; end - start];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.data + start as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(CheckpointError::io("read a tensor", &self.path))?;
        Ok(bytes)
    }
}
