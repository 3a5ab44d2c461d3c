//! `study.json`: several runs that answer one question together.
//!
//! ```text
//! runs/<study>/
//!   study.json                         which runs, and what sets them apart
//!   records/distances/part-*.parquet   conflict studies: distance of the two runs by step and layer
//!   <label>/                           one run directory a run
//!   analysis/  figures/
//! ```

use super::atomic::write_atomic;
use super::error::{Result, StoreError};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Schema of `study.json` that this program writes, and the newest it reads.
pub const STUDY_SCHEMA: u64 = 1;

/// A study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Study {
    /// Schema.
    pub schema: u64,
    /// What it asks.
    pub kind: StudyKind,
    /// Command line.
    pub command: Vec<String>,
    /// When it started, UTC.
    pub started: String,
    /// How far it is.
    pub status: StudyStatus,
    /// Stage of its runs that the question is about.
    pub stage: String,
    /// Its runs, planned ones included.
    pub runs: Vec<StudyRun>,
}

/// What a study asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StudyKind {
    /// How far two sets of instructions over the same pictures pull one encoder apart.
    Conflict,
    /// What the tuning methods make of one base.
    Methods,
}

/// Whether a study still goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StudyStatus {
    /// It runs, or was stopped and may be resumed.
    Running,
    /// All its runs are done.
    Done,
}

/// A run of a study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyRun {
    /// Label, unique in the study; the run's folder has the same name.
    pub label: String,
    /// Tuning method of the vision encoder: `freeze`, `full`, `lora`, `bitfit`, `vpt`, `covft`.
    pub method: String,
    /// Seed.
    pub seed: u64,
    /// Tasks that it is trained on, where the study sets them.
    #[serde(default)]
    pub tasks: Vec<String>,
}

impl Study {
    /// `study.json` in the folder `dir`.
    #[must_use]
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("study.json")
    }

    /// Reads the study in the folder `dir`.
    ///
    /// # Errors
    /// It is missing, is no JSON of this format, or has a newer schema.
    pub fn read(dir: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            schema: u64,
        }
        let path = Self::path(dir);
        let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
        let json = |source| StoreError::Json { source, path: path.clone() };
        let head: Head = serde_json::from_slice(&text).map_err(json)?;
        if head.schema > STUDY_SCHEMA {
            return Err(StoreError::NewerSchema { found: head.schema, known: STUDY_SCHEMA, path });
        }
        serde_json::from_slice(&text).map_err(json)
    }

    /// Writes it into the folder `dir`, whole or not at all.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = Self::path(dir);
        let json = serde_json::to_vec_pretty(self).map_err(|source| StoreError::Json { source, path: path.clone() })?;
        write_atomic(&path, |file| file.write_all(&json))
    }
}
