//! The check's findings about a file, kept under the hash of all that they depend on.

use super::check::Findings;
use super::dataset::Dataset;
use super::error::{DataError, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Raised whenever the findings, or how they are found, change.
const FORMAT: u32 = 1;

/// Where the findings about `dataset` lie in `folder`. `None` for the built-in set, which is quicker made than read.
pub(super) fn path(dataset: &Dataset, folder: &Path) -> Option<PathBuf> {
    let file = dataset.file()?;
    let p = dataset.preparation();
    let mut hash = Sha256::new();
    hash.update(FORMAT.to_le_bytes());
    hash.update(file.sha256());
    hash.update(p.tokenizers.language.fingerprint());
    hash.update(p.tokenizers.language.end().to_le_bytes());
    hash.update(format!("{:?} {:?} {} {}", p.template, p.system, p.max_length, p.image_tokens));
    for i in 0..dataset.len() {
        hash.update((dataset.index(i) as u64).to_le_bytes());
    }
    let name = u128::from_be_bytes(*hash.finalize().first_chunk().expect("a SHA-256 hash has 32 bytes"));
    Some(folder.join(format!("check-{name:032x}.json")))
}

/// Findings kept earlier; `None` where there are none that can be read.
pub(super) fn read(path: &Path) -> Option<Findings> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Keeps findings: written whole under another name, then renamed, so that no reader sees a part.
pub(super) fn write(path: &Path, findings: &Findings) -> Result<()> {
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
