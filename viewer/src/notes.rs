//! The analysis file beside the run, `analysis/view.json`: what was asked for, the names of clusters, selections.

use crate::core::scatter::{ColorBy, Population};
use covft_analyses::store::write_atomic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Newest version that is read.
const VERSION: u32 = 1;

/// Everything of an analysis that should be found again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Notes {
    /// Version of this file.
    pub version: u32,
    /// Layer of the context vectors; the one with most rows if null.
    pub layer: Option<String>,
    /// Clusters.
    pub k: usize,
    /// Seed of k-means.
    pub seed: u64,
    /// Components on the axes, from 0.
    pub axes: [usize; 2],
    pub population: Population,
    pub color: ColorBy,
    /// Names of clusters.
    pub names: BTreeMap<u16, String>,
    /// Sample ids by name of the selection.
    pub selections: BTreeMap<String, Vec<String>>,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            version: VERSION,
            layer: None,
            k: 10,
            seed: 0,
            axes: [0, 1],
            population: Population::default(),
            color: ColorBy::default(),
            names: BTreeMap::new(),
            selections: BTreeMap::new(),
        }
    }
}

/// Where the notes of a run lie.
pub(crate) fn path(run: &Path) -> PathBuf {
    run.join("analysis").join("view.json")
}

impl Notes {
    /// The notes of a run; the usual ones where there are none.
    ///
    /// # Errors
    /// The file is there and cannot be understood; said in words.
    pub(crate) fn read(run: &Path) -> Result<Self, String> {
        let path = path(run);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(format!("cannot read the notes ({e}): {}", path.display())),
        };
        let notes: Self = serde_json::from_slice(&text)
            .map_err(|e| format!("the notes are not valid ({e}), so they are left as they are: {}", path.display()))?;
        if notes.version > VERSION {
            let newer = "the notes were written by a newer version, so they are left as they are";
            return Err(format!("{newer}: {}", path.display()));
        }
        Ok(Self { k: notes.k.clamp(1, 64), ..notes })
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// The file system refuses; said in words.
    pub(crate) fn write(&self, run: &Path) -> Result<(), String> {
        let path = path(run);
        let folder = run.join("analysis");
        std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make the folder ({e}): {}", folder.display()))?;
        let text = serde_json::to_vec_pretty(self).map_err(|e| e.to_string())?;
        write_atomic(&path, |file| file.write_all(&text)).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_reopen_and_bad_ones_are_left_alone() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(Notes::read(run.path()).unwrap(), Notes::default());
        let notes = Notes {
            k: 4,
            names: BTreeMap::from([(1, "text".to_owned())]),
            selections: BTreeMap::from([("odd".to_owned(), vec!["a".to_owned()])]),
            ..Notes::default()
        };
        notes.write(run.path()).unwrap();
        assert_eq!(Notes::read(run.path()).unwrap(), notes);
        std::fs::write(path(run.path()), r#"{"version": 1, "k": 3}"#).unwrap();
        assert_eq!(
            Notes::read(run.path()).unwrap(),
            Notes { k: 3, ..Notes::default() },
            "missing fields are the usual"
        );
        for bad in ["{", r#"{"version": 99}"#] {
            std::fs::write(path(run.path()), bad).unwrap();
            assert!(Notes::read(run.path()).unwrap_err().ends_with("view.json"));
        }
    }
}
