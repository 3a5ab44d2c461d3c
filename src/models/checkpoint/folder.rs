//! Which files of a folder are its weights, by Hugging Face's rules, and what a folder without any holds instead.

use super::read::CheckpointError;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The files that a path stands for.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Each once, in the order of their names.
    pub(super) files: Vec<PathBuf>,
    /// File of each tensor that an index names.
    pub(super) map: BTreeMap<String, PathBuf>,
}

/// `model.safetensors.index.json`.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Of a file itself; of a folder `model.safetensors`, which wins over an index beside it, else the index's shards.
pub(super) fn files(path: &Path) -> Result<Files, CheckpointError> {
    if !path.is_dir() {
        return Ok(Files { files: vec![path.to_owned()], ..Files::default() });
    }
    let single = path.join("model.safetensors");
    if single.exists() {
        return Ok(Files { files: vec![single], ..Files::default() });
    }
    let index = path.join("model.safetensors.index.json");
    for link in [&single, &index] {
        if let (Ok(target), false) = (std::fs::read_link(link), link.exists()) {
            let reason = format!("this is a link to {}, which is not there; fetch the file anew", target.display());
            return Err(CheckpointError::Corrupt { reason, path: link.clone() });
        }
    }
    if index.exists() { shards(path, &index) } else { Err(no_weights(path)) }
}

/// Whether any file of weights is there, sound or not; a folder with a description alone has none.
#[must_use]
pub fn holds_weights(path: &Path) -> bool {
    files(path).is_ok() || !path.is_dir() || path.join("model.safetensors.index.json").exists()
}

fn shards(folder: &Path, index: &Path) -> Result<Files, CheckpointError> {
    let corrupt = |reason: String| CheckpointError::Corrupt { reason, path: index.to_owned() };
    let bytes = std::fs::read(index).map_err(CheckpointError::io("read the index", index))?;
    if is_lfs_pointer(&bytes) {
        return Err(CheckpointError::LfsPointer { path: index.to_owned() });
    }
    let parsed: Index = serde_json::from_slice(&bytes).map_err(|e| corrupt(format!("index: {e}")))?;
    let mut map = BTreeMap::new();
    for (name, file) in parsed.weight_map {
        // A name in the folder and nothing else: an index that was fetched must not lead out of it.
        if !matches!(Path::new(&file).components().collect::<Vec<_>>().as_slice(), [Component::Normal(_)]) {
            return Err(corrupt(format!("the index names {file:?} for {name}, which is no file of this folder")));
        }
        map.insert(name, folder.join(file));
    }
    let mut files: Vec<PathBuf> = map.values().cloned().collect();
    files.sort_unstable();
    files.dedup();
    if files.is_empty() {
        return Err(corrupt("the index names no tensor".into()));
    }
    match files.iter().find(|file| !file.exists()) {
        Some(missing) => Err(CheckpointError::Shard { path: missing.clone() }),
        None => Ok(Files { files, map }),
    }
}

/// Formats that other tools keep weights in.
const OTHERS: [&str; 10] = ["bin", "pt", "pth", "ckpt", "gguf", "ggml", "msgpack", "h5", "onnx", "npz"];

fn no_weights(folder: &Path) -> CheckpointError {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let ends = |name: &&String, among: &[&str]| {
        Path::new(name.as_str()).extension().is_some_and(|end| among.iter().any(|other| end == *other))
    };
    let save = "transformers' from_pretrained and save_pretrained write model.safetensors";
    let instead = if names.iter().any(|name| name.starts_with("adapter_")) {
        "; it holds a PEFT adapter alone: merge that into its base model (merge_and_unload, save_pretrained) and name \
         the result"
            .to_owned()
    } else if let Some(name) = names.iter().find(|name| ends(name, &["safetensors"])) {
        format!("; {name} alone is no whole model: fetch the index or model.safetensors")
    } else if let Some(name) = names.iter().find(|name| ends(name, &OTHERS)) {
        format!("; {name} is in a format that is not read: {save}")
    } else if let Some(name) = names.iter().find(|name| folder.join(name).join("config.json").exists()) {
        format!("; name the folder {name} inside it")
    } else {
        String::new()
    };
    CheckpointError::NoWeights { instead, path: folder.to_owned() }
}

/// Whether the bytes are what Git LFS leaves in place of a file that was not fetched.
pub(in crate::models) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs.github.com/spec/")
}
