//! Safetensors read lazily: opening reads the headers, each tensor is read when it is asked for.

use super::folder::{Files, files, is_lfs_pointer};
use crate::nn::TensorSource;
use candle_core::{Device, Result, Tensor};
use half::{bf16, f16};
use indexmap::IndexMap;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeSet, HashMap};
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
    /// A shard that the index names.
    #[error("the index beside it names this shard, which is missing; fetch it: {path}")]
    Shard {
        /// The shard.
        path: PathBuf,
    },
    /// A folder without weights.
    #[error("the folder holds neither model.safetensors nor model.safetensors.index.json{instead}: {path}")]
    NoWeights {
        /// What it holds instead and what to do with that, or nothing.
        instead: String,
        /// The folder.
        path: PathBuf,
    },
    /// A small text in place of a file that was not fetched.
    #[error("this is a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`: {path}")]
    LfsPointer {
        /// The file.
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
    /// NaN or infinite numbers.
    #[error("{name}: {count} of {total} numbers are not finite (NaN or infinite), the weights are damaged: {path}")]
    NotFinite {
        /// The tensor.
        name: String,
        /// How many are not.
        count: usize,
        /// How many there are.
        total: usize,
        /// The file.
        path: PathBuf,
    },
    /// A tensor that is not made of floating-point numbers.
    #[error("{name} holds {dtype:?}, not f32, f16, bf16 or f64 (quantised weights are not supported): {path}")]
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
    pub(in crate::models) fn plain(self) -> candle_core::Error {
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
    /// Names that were asked for and found.
    taken: Mutex<BTreeSet<String>>,
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
        let Files { files, map } = files(path)?;
        let shards = files.iter().map(|file| Shard::open(file)).collect::<std::result::Result<Vec<_>, _>>()?;
        let mut index = IndexMap::new();
        for (i, shard) in shards.iter().enumerate() {
            for name in shard.header.offset_keys() {
                match map.get(&name) {
                    // Of what two shards hold, the index says which counts.
                    Some(file) if *file != files[i] => {}
                    named => match index.insert(name.clone(), i) {
                        Some(before) if named.is_none() => {
                            let reason =
                                format!("{name} is in {} too, and no index says which counts", files[before].display());
                            return Err(CheckpointError::Corrupt { reason, path: files[i].clone() });
                        }
                        _ => {}
                    },
                }
            }
        }
        if let Some((name, file)) = map.iter().find(|(name, _)| !index.contains_key(*name)) {
            let reason = format!("the index says that {name} is here, and it is not");
            return Err(CheckpointError::Corrupt { reason, path: file.clone() });
        }
        Ok(Self { path: path.to_owned(), shards, index, taken: Mutex::default() })
    }

    /// Names of the tensors that were asked for, as values or dimensions, and found.
    #[must_use]
    pub fn taken(&self) -> BTreeSet<String> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, name: &str) {
        if self.index.contains_key(name) {
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        }
    }

    /// Whether `name` is of a type that [`read`](Self::read) reads; nothing if it is not there.
    ///
    /// # Errors
    /// Another type.
    pub fn numbers(&self, name: &str) -> std::result::Result<(), CheckpointError> {
        let Some(shard) = self.index.get(name).map(|&i| &self.shards[i]) else { return Ok(()) };
        match shard.header.info(name).map(|info| info.dtype) {
            None | Some(Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) => Ok(()),
            Some(dtype) => Err(CheckpointError::Dtype { name: name.to_owned(), dtype, path: shard.path.clone() }),
        }
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
    /// A file that changed under us, a tensor of integers, numbers that are not finite.
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
        match values.iter().filter(|x| !x.is_finite()).count() {
            0 => Ok(Some(values)),
            count => {
                let (name, total) = (name.to_owned(), values.len());
                Err(CheckpointError::NotFinite { name, count, total, path: shard.path.clone() })
            }
        }
    }
}

impl TensorSource for Safetensors {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        self.take(name);
        let Some(values) = self.read(name).map_err(CheckpointError::plain)? else { return Ok(None) };
        let dims = self.shape(name).unwrap_or_default();
        Tensor::from_vec(values, dims, &Device::Cpu).map(Some)
    }

    fn dims(&self, name: &str) -> Result<Option<Vec<usize>>> {
        self.take(name);
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
        let mut start = vec![0; usize::try_from(found.min(64)).unwrap_or(64)];
        file.read_exact(&mut start)
            .and_then(|()| file.rewind())
            .map_err(CheckpointError::io("read the header", path))?;
        if is_lfs_pointer(&start) {
            return Err(CheckpointError::LfsPointer { path: path.to_owned() });
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
