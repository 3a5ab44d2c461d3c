//! `manifest.json`: what ran, on what, and how it ended.

use super::atomic::write_atomic;
use super::clock::timestamp;
use super::dir::RunDir;
use super::error::{Result, StoreError};
use super::sample::Place;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::SystemTime;

/// Schema of the run directory that this program writes, and the newest it reads.
pub const SCHEMA: u64 = 1;

/// The manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Schema of the run directory.
    pub schema: u64,
    /// Command line.
    pub command: Vec<String>,
    /// Versions of the program and of what its numbers depend on.
    pub versions: BTreeMap<String, String>,
    /// Seed of the run.
    pub seed: u64,
    /// `cpu`, or the accelerator's name.
    pub device: String,
    /// Instruction set that the kernels chose, `avx512` and the like: numbers repeat on one machine and level.
    pub dispatch: String,
    /// When it started, UTC.
    pub started: String,
    /// When it ended, UTC.
    #[serde(default)]
    pub ended: Option<String>,
    /// Whether it runs.
    #[serde(flatten)]
    pub status: Status,
    /// The stages of the recipe, each with the parameters of its model, in order; added as they begin.
    #[serde(default)]
    pub stages: Vec<StageEntry>,
    /// Samples without any labelled token, left out before step 0.
    #[serde(default)]
    pub dropped: Vec<DroppedSample>,
    /// Samples whose picture is missing or broken, and what is trained in their place. A run that goes on repeats it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<PictureDecision>,
    /// What was read of each folder of weights and what was not, one line each.
    #[serde(default)]
    pub weights: Vec<String>,
    /// What was no longer as the run began when it went on, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Change>,
}

/// Whether a run still goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// It trains, or was killed and may be resumed.
    Running,
    /// It came to its end.
    Done,
    /// It stopped.
    Failed {
        /// Why, in one line.
        why: String,
    },
}

/// A stage of the recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageEntry {
    /// Name.
    pub name: String,
    /// Steps planned.
    pub steps: u64,
    /// Parameter table, in the model's order.
    pub parameters: Vec<ParameterEntry>,
}

/// One row of the parameter table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterEntry {
    /// Name in the checkpoint.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// `vision`, `projector`, `language`, `text`.
    pub part: String,
    /// Layer of the vision encoder (`embeddings`, `0`.., `final_norm`); null outside it.
    pub layer: Option<String>,
    /// Module.
    pub module: String,
    /// Whether it trains.
    pub trained: bool,
    /// Whether the loss depends on it.
    pub reached: bool,
}

/// A sample that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedSample {
    /// Sample id.
    pub sample: String,
    /// Where it stands in the data; missing in older manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Why.
    pub why: String,
}

/// What happens to a sample whose picture is missing or broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureDecision {
    /// `train` or `val`.
    pub split: String,
    /// Number of the entry in its instruction file, from 0.
    pub index: u64,
    /// Sample id.
    pub sample: String,
    /// What is wrong, ending in the path.
    pub why: String,
    /// What takes its place.
    pub instead: Instead,
}

/// What takes the place of a sample whose picture is missing or broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instead {
    /// It was left out before the first step.
    Nothing,
    /// A picture of the mean colour.
    Blank,
    /// It was met in training: the next sound sample.
    NextSample,
}

/// Something that a run went on with, other than it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When, UTC.
    pub at: String,
    /// Optimiser steps of the run that were done.
    pub step: u64,
    /// What: a key of the recipe, a set, a file, the version.
    pub what: String,
    /// As it was.
    pub was: String,
    /// As it is from then on.
    pub is: String,
    /// The premise whose change was accepted; null for what may change.
    #[serde(default)]
    pub accepted: Option<String>,
}

impl Manifest {
    /// The manifest of a run that starts now.
    #[must_use]
    pub fn start(command: Vec<String>, seed: u64, device: &str, dispatch: &str) -> Self {
        let versions = BTreeMap::from([("covft-probe".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        Self {
            schema: SCHEMA,
            command,
            versions,
            seed,
            device: device.to_owned(),
            dispatch: dispatch.to_owned(),
            started: timestamp(SystemTime::now()),
            ended: None,
            status: Status::Running,
            stages: Vec::new(),
            dropped: Vec::new(),
            pictures: Vec::new(),
            weights: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Sets status and end.
    pub fn finish(&mut self, status: Status) {
        self.ended = (status != Status::Running).then(|| timestamp(SystemTime::now()));
        self.status = status;
    }

    /// Reads the manifest of `dir`.
    ///
    /// # Errors
    /// It is missing, is no JSON of this format, or has a newer schema (told before anything else is looked at).
    pub fn read(dir: &RunDir) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            schema: u64,
        }
        let path = dir.manifest();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NotARun { path: dir.path().to_owned() });
            }
            Err(e) => return Err(StoreError::io("read", &path)(e)),
        };
        let json = |source| StoreError::Json { source, path: path.clone() };
        let head: Head = serde_json::from_slice(&text).map_err(json)?;
        if head.schema > SCHEMA {
            return Err(StoreError::NewerSchema { found: head.schema, known: SCHEMA, path });
        }
        serde_json::from_slice(&text).map_err(json)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write(&self, dir: &RunDir) -> Result<()> {
        let path = dir.manifest();
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|source| StoreError::Json { source, path: path.clone() })?;
        text.push(b'\n');
        write_atomic(&path, |file| file.write_all(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> (tempfile::TempDir, RunDir) {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::create(root.path().join("run")).unwrap();
        (root, dir)
    }

    #[test]
    fn round_trip_and_status_words() {
        let (_root, dir) = new();
        let mut manifest = Manifest::start(vec!["covft-probe".into(), "train".into()], 7, "cpu", "avx512");
        manifest.stages.push(StageEntry {
            name: "instruct".into(),
            steps: 3,
            parameters: vec![ParameterEntry {
                name: "a.weight".into(),
                shape: vec![2, 3],
                part: "vision".into(),
                layer: Some("final_norm".into()),
                module: "layer_norm".into(),
                trained: true,
                reached: false,
            }],
        });
        manifest.write(&dir).unwrap();
        assert!(fs::read_to_string(dir.manifest()).unwrap().contains("\"status\": \"running\""));
        assert_eq!(Manifest::read(&dir).unwrap(), manifest);
        manifest.finish(Status::Failed { why: "disk full".into() });
        manifest.write(&dir).unwrap();
        let text = fs::read_to_string(dir.manifest()).unwrap();
        assert!(text.contains("\"status\": \"failed\"") && text.contains("\"why\": \"disk full\""), "{text}");
        assert_eq!(Manifest::read(&dir).unwrap(), manifest);
    }

    #[test]
    fn newer_schema_is_refused_naming_both() {
        let (_root, dir) = new();
        fs::write(dir.manifest(), r#"{"schema": 9, "all": "else differs"}"#).unwrap();
        let message = Manifest::read(&dir).unwrap_err().to_string();
        assert!(message.contains("schema 9") && message.contains(&format!("up to {SCHEMA}")), "{message}");
    }

    #[test]
    fn broken_json_names_the_file() {
        let (_root, dir) = new();
        fs::write(dir.manifest(), r#"{"schema": 1"#).unwrap();
        let message = Manifest::read(&dir).unwrap_err().to_string();
        assert!(message.ends_with("manifest.json"), "{message}");
        fs::remove_file(dir.manifest()).unwrap();
        assert!(matches!(Manifest::read(&dir), Err(StoreError::NotARun { .. })));
    }
}
