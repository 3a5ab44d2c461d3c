//! Where the streams stood at each checkpoint: what a resumed run keeps.

use super::atomic::write_atomic;
use super::dir::RunDir;
use super::error::{Result, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};

/// A position in every stream: the number of the next part. Streams that are not named begin at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Step of the run at the checkpoint.
    pub global_step: u64,
    /// Next part by stream.
    pub next_part: BTreeMap<String, u32>,
}

/// `records/cuts.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cuts {
    /// How often the run was resumed: parts may have been dropped when this changes.
    pub resumed: u64,
    /// In order of step.
    pub cuts: Vec<Cut>,
}

impl Cuts {
    pub(super) fn read(dir: &RunDir) -> Result<Self> {
        let path = dir.cuts();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|source| StoreError::Json { source, path }),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(StoreError::io("read", &path)(e)),
        }
    }

    pub(super) fn write(&self, dir: &RunDir) -> Result<()> {
        let path = dir.cuts();
        let text = serde_json::to_vec(self).map_err(|source| StoreError::Json { source, path: path.clone() })?;
        write_atomic(&path, |file| file.write_all(&text))
    }

    pub(super) fn at(&self, dir: &RunDir, global_step: u64) -> Result<Cut> {
        let known = || self.cuts.iter().map(|c| c.global_step).collect();
        let found = self.cuts.iter().find(|c| c.global_step == global_step).cloned();
        found.ok_or_else(|| StoreError::NoCut { global_step, known: known(), path: dir.cuts() })
    }
}
