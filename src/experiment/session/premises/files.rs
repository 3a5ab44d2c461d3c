//! Tokenizers and weights by their bytes.

use super::super::error::SessionError;
use super::super::records;
use super::{Difference, Premise, hex, short};
use crate::config::data::is_builtin_scenes;
use crate::config::model::ModelConfig;
use covft_analyses::store::write_atomic;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A hash of files that are smaller is not worth keeping.
const LARGE: u64 = 16 << 20;

/// Files beside a tokenizer that say which of its tokens are special.
const BESIDE_TOKENIZER: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// Files of a folder of weights that are read beside the tensors.
const BESIDE_WEIGHTS: [&str; 3] = ["config.json", "preprocessor_config.json", "model.safetensors.index.json"];

/// SHA-256 of files. Those of large ones are kept in a folder under path, length and dates, so that gigabytes of weights are
/// read once.
#[derive(Debug)]
pub(super) struct Digests {
    cache: PathBuf,
}

/// What a kept hash is of.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    modified: u128,
    /// When the file's entry last changed, where the system tells: a date of modification can be set back.
    changed: i128,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    of: Stamp,
    sha256: String,
}

impl Digests {
    pub(super) fn new(cache: &Path) -> Self {
        Self { cache: cache.to_path_buf() }
    }

    /// Length and hash, as records and messages show them.
    fn of(&self, path: &Path) -> Result<String, SessionError> {
        let meta = std::fs::metadata(path).map_err(records::io("measure", path))?;
        let sha256 = if meta.len() < LARGE { sha256(path)? } else { self.kept(path, &meta)? };
        Ok(format!("{} bytes, sha256 {sha256}", meta.len()))
    }

    fn kept(&self, path: &Path, meta: &Metadata) -> Result<String, SessionError> {
        let stamp = Stamp::of(path, meta);
        let name = hex(&Sha256::digest(stamp.path.as_os_str().as_encoded_bytes()));
        let file = self.cache.join(format!("sha256-{}.json", &name[..32]));
        let earlier: Option<Kept> = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(kept) = earlier.filter(|kept| kept.of == stamp) {
            return Ok(kept.sha256);
        }
        let kept = Kept { of: stamp, sha256: sha256(path)? };
        std::fs::create_dir_all(&self.cache).map_err(records::io("make the cache folder", &self.cache))?;
        let text = serde_json::to_vec(&kept).expect("numbers and strings are JSON");
        write_atomic(&file, |file| file.write_all(&text))?;
        Ok(kept.sha256)
    }
}

impl Stamp {
    fn of(path: &Path, meta: &Metadata) -> Self {
        #[cfg(unix)]
        let changed = {
            use std::os::unix::fs::MetadataExt;
            i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec())
        };
        #[cfg(not(unix))]
        let changed = 0;
        let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        Self {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
            bytes: meta.len(),
            modified: modified.unwrap_or_default().as_nanos(),
            changed,
        }
    }
}

fn sha256(path: &Path) -> Result<String, SessionError> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(records::io("open", path))?;
    std::io::copy(&mut file, &mut hash).map_err(records::io("read", path))?;
    Ok(hex(&hash.finalize()))
}

/// Both tokenizers, with what stands beside them.
pub(super) fn tokenizers(
    [language, text]: &[PathBuf; 2],
    digests: &Digests,
) -> Result<BTreeMap<String, String>, SessionError> {
    let mut found = BTreeMap::new();
    for (key, name, path) in [
        ("model.language.tokenizer", "tokenizer.json", language),
        ("model.text.tokenizer", "context_tokenizer.json", text),
    ] {
        if is_builtin_scenes(path) {
            let bytes = records::tokenizer_bytes(name, path)?;
            let digest = format!("{} bytes, sha256 {}", bytes.len(), hex(&Sha256::digest(&bytes)));
            found.insert(key.to_owned(), digest);
            continue;
        }
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.clone() };
        found.insert(key.to_owned(), digests.of(&file)?);
        for name in BESIDE_TOKENIZER {
            let beside = file.with_file_name(name);
            if beside.is_file() {
                found.insert(format!("{key}, {name}"), digests.of(&beside)?);
            }
        }
    }
    Ok(found)
}

/// The files of every folder of weights that the recipe names.
pub(super) fn weights(model: &ModelConfig, digests: &Digests) -> Result<BTreeMap<String, String>, SessionError> {
    let named = [
        ("model.checkpoint", &model.checkpoint),
        ("model.vision.weights", &model.vision.weights),
        ("model.language.weights", &model.language.weights),
        ("model.text.weights", &model.text.weights),
    ];
    let mut found = BTreeMap::new();
    for (key, path) in named {
        let Some(path) = path else { continue };
        for file in files(path)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            found.insert(format!("{key}, {name}"), digests.of(&file)?);
        }
    }
    Ok(found)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, SessionError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path).map_err(records::io("list the weights", path))?;
    let matters = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.is_file() && (BESIDE_WEIGHTS.contains(&name) || path.extension().is_some_and(|end| end == "safetensors"))
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(matters).collect())
}

/// Files that came, went, or hold other bytes.
pub(super) fn differences(
    premise: Premise,
    was: &BTreeMap<String, String>,
    is: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let new = is.keys().filter(|name| !was.contains_key(*name));
    let shown = |digest: Option<&String>| match digest.and_then(|d| d.split_once("sha256 ")) {
        Some((bytes, hash)) => format!("{bytes}sha256 {}", short(hash)),
        None => "no such file".to_owned(),
    };
    was.keys()
        .chain(new)
        .filter(|name| was.get(*name) != is.get(*name))
        .map(|name| {
            let (was, is) = (shown(was.get(name)), shown(is.get(name)));
            Difference { premise: Some(premise), what: name.clone(), was, is, more: String::new() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_hashed_again_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, cache) = (dir.path().join("model.safetensors"), dir.path().join("cache"));
        let digests = Digests::new(&cache);
        std::fs::write(&path, vec![1; LARGE as usize]).unwrap();
        let first = digests.of(&path).unwrap();
        let kept = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        // What is kept is what is told, until the file is another one.
        let text = std::fs::read_to_string(&kept).unwrap();
        std::fs::write(&kept, text.replace(first.rsplit(' ').next().unwrap(), "kept")).unwrap();
        assert!(digests.of(&path).unwrap().ends_with("sha256 kept"));
        let date = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = vec![1; LARGE as usize];
        bytes[LARGE as usize / 2] = 2;
        std::fs::write(&path, bytes).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
        let second = digests.of(&path).unwrap();
        assert!(second != first && !second.ends_with("kept"), "{second}");
    }

    #[test]
    fn other_missing_and_new_files_are_named() {
        let map = |files: &[(&str, &str)]| {
            files.iter().map(|(k, v)| ((*k).to_owned(), format!("3 bytes, sha256 {v}"))).collect::<BTreeMap<_, _>>()
        };
        let found = differences(
            Premise::Weights,
            &map(&[("a", "0123456789abcdef"), ("b", "1")]),
            &map(&[("a", "2"), ("c", "3")]),
        );
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "a: the run began with 3 bytes, sha256 0123456789ab, now it is 3 bytes, sha256 2",
                "b: the run began with 3 bytes, sha256 1, now it is no such file",
                "c: the run began with no such file, now it is 3 bytes, sha256 3",
            ]
        );
    }
}
