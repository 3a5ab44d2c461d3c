//! Findings kept between runs: JSON files that are written whole and are made again when they cannot be read.

use super::error::{DataError, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Findings kept earlier; `None` where there are none that can be read.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Keeps findings: written whole under another name, then renamed, so that no reader sees a part.
pub(super) fn write<T: Serialize>(path: &Path, findings: &T) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(DataError::io("make the cache folder", folder))?;
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let bytes = serde_json::to_vec(findings).expect("findings are plain data");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&part, path));
    if done.is_err() {
        // The first error is the one to tell.
        drop(fs::remove_file(&part));
    }
    done.map_err(DataError::io("keep the data check", path))
}
