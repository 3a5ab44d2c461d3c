//! Writing: whole or not at all. A file is written under a temporary name, flushed to the disk and renamed; a folder is
//! a temporary folder renamed.

use super::read::CheckpointError;
use crate::nn::ParamStore;
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

type Written = Result<(), CheckpointError>;

/// Writes `tensors` as float32 in the given order to `path`, replacing what is there.
///
/// # Errors
/// A full disk, a missing folder; then `path` is as before.
pub fn write_safetensors(path: &Path, tensors: &[(&str, &Tensor)]) -> Written {
    let part = temporary(path);
    let written = write_plain(&part, tensors)
        .and_then(|()| fs::rename(&part, path).map_err(CheckpointError::io("put the weights in place", path)))
        .and_then(|()| sync_folder(path.parent()));
    if written.is_err() {
        // The message that matters is the first one; a part that cannot be removed either changes nothing.
        fs::remove_file(&part).ok();
    }
    written
}

/// Writes a checkpoint folder in LLaVA's layout: `model.safetensors` with every parameter under its own name (metadata
/// `format = pt`, which Hugging Face asks for), `config.json`, and `files` (tokenizer and the like) by file name.
///
/// # Errors
/// As [`write_safetensors`]; a folder that was there before stays until the new one is whole.
pub fn write_folder(folder: &Path, params: &ParamStore, config: &Value, files: &[(String, Vec<u8>)]) -> Written {
    let part = temporary(folder);
    let written = fill(&part, params, config, files).and_then(|()| replace_folder(&part, folder));
    if written.is_err() {
        fs::remove_dir_all(&part).ok();
    }
    written
}

fn fill(part: &Path, params: &ParamStore, config: &Value, files: &[(String, Vec<u8>)]) -> Written {
    if part.exists() {
        fs::remove_dir_all(part).map_err(CheckpointError::io("remove an unfinished folder", part))?;
    }
    fs::create_dir_all(part).map_err(CheckpointError::io("make the folder", part))?;
    let tensors: Vec<_> = params.iter().map(|p| (p.weight.name(), p.weight.tensor())).collect();
    write_plain(&part.join("model.safetensors"), &tensors)?;
    write_bytes(&part.join("config.json"), format!("{config:#}\n").as_bytes())?;
    for (name, bytes) in files {
        write_bytes(&part.join(name), bytes)?;
    }
    sync_folder(Some(part))
}

/// Puts the finished `part` where `folder` is. Renaming over a folder that is not empty is not possible, so the old one
/// steps aside first; a kill in between leaves both under their temporary names.
fn replace_folder(part: &Path, folder: &Path) -> Written {
    let old = aside(folder);
    let had = folder.exists();
    if had {
        if old.exists() {
            fs::remove_dir_all(&old).map_err(CheckpointError::io("remove an outdated folder", &old))?;
        }
        fs::rename(folder, &old).map_err(CheckpointError::io("move the old folder aside", folder))?;
    }
    fs::rename(part, folder).map_err(CheckpointError::io("put the folder in place", folder))?;
    sync_folder(folder.parent())?;
    if had {
        fs::remove_dir_all(&old).map_err(CheckpointError::io("remove the old folder", &old))?;
    }
    Ok(())
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.old"))
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Written {
    let failed = |e| CheckpointError::io("write", path)(e);
    let mut file = File::create(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

fn write_plain(path: &Path, tensors: &[(&str, &Tensor)]) -> Written {
    let failed = |e| CheckpointError::io("write the weights", path)(e);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    let header = header(tensors);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    file.write_all(&header).map_err(failed)?;
    for (name, tensor) in tensors {
        let unreadable =
            |e: candle_core::Error| CheckpointError::Corrupt { reason: format!("{name}: {e}"), path: path.to_owned() };
        let values = tensor
            .to_device(&Device::Cpu)
            .and_then(|t| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>())
            .map_err(unreadable)?;
        for value in values {
            file.write_all(&value.to_le_bytes()).map_err(failed)?;
        }
    }
    let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(failed)
}

/// JSON header, padded with spaces so that the data begin at a multiple of 8.
fn header(tensors: &[(&str, &Tensor)]) -> Vec<u8> {
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut start = 0;
    for (name, tensor) in tensors {
        let end = start + 4 * tensor.elem_count();
        let entry = json!({ "dtype": "F32", "shape": tensor.dims(), "data_offsets": [start, end] });
        entries.insert((*name).to_owned(), entry);
        start = end;
    }
    let mut bytes = Value::Object(entries).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}

/// Flushes a folder's entries, so that a rename survives a power cut.
fn sync_folder(folder: Option<&Path>) -> Written {
    let Some(folder) = folder.filter(|f| !f.as_os_str().is_empty()) else { return Ok(()) };
    if cfg!(unix) {
        let failed = |e| CheckpointError::io("flush the folder", folder)(e);
        File::open(folder).and_then(|f| f.sync_all()).map_err(failed)?;
    }
    Ok(())
}
