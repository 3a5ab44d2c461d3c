//! What figures are drawn from: runs, and studies with their runs.

use super::error::FigureError;
use super::{FigureId, Result};
use crate::labels;
use crate::store::{Manifest, Record, RunDir, StoreError, Study, visit_records};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Names that a line has at most.
const NAMED: usize = 6;

/// One run among those that a figure is drawn from.
#[derive(Debug)]
pub struct Source {
    /// What legends call it; unique among its neighbours.
    pub label: String,
    /// Tuning method, where a study names it.
    pub method: Option<String>,
    /// Stage that a study asks about.
    pub stage: Option<String>,
    /// The run.
    pub run: RunDir,
    pub(super) manifest: Manifest,
    problems: RefCell<BTreeSet<String>>,
}

/// A study among the inputs.
#[derive(Debug)]
pub struct StudySource {
    /// `study.json`.
    pub study: Study,
    /// Its folder, for its own records.
    pub folder: RunDir,
    problems: RefCell<BTreeSet<String>>,
}

/// Runs and studies, in the order in which they were named.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Single runs and the runs of studies.
    pub runs: Vec<Source>,
    /// Studies.
    pub studies: Vec<StudySource>,
    /// Runs of studies that have not begun.
    pub missing: Vec<PathBuf>,
}

impl Source {
    fn open(label: String, run: RunDir) -> Result<Self> {
        let manifest = Manifest::read(&run)?;
        Ok(Self { label, method: None, stage: None, run, manifest, problems: RefCell::default() })
    }

    /// What it has in common with the other seeds of a study: the method, or else its label.
    pub(super) fn group(&self) -> &str {
        self.method.as_deref().unwrap_or(&self.label)
    }

    /// Hands every row of a stream to `see`, with no more than 8,192 rows in memory.
    pub(super) fn visit<R: Record>(&self, mut see: impl FnMut(R)) -> Result<()> {
        let problems = visit_records::<R>(&self.run, &mut see)?;
        self.note(problems.iter().map(ToString::to_string));
        Ok(())
    }

    /// Keeps what could not be read, to be told once.
    pub(super) fn note(&self, problems: impl IntoIterator<Item = String>) {
        self.problems.borrow_mut().extend(problems);
    }

    /// The rows of a stream that `keep` takes.
    pub(super) fn rows<R: Record>(&self, keep: impl Fn(&R) -> bool) -> Result<Vec<R>> {
        let mut rows = Vec::new();
        self.visit(|row| {
            if keep(&row) {
                rows.push(row);
            }
        })?;
        Ok(rows)
    }

    /// That the run did not log `what`, and which option does.
    pub(super) fn lacks(&self, id: FigureId, what: &str, option: &str) -> FigureError {
        FigureError::Lacks {
            figure: id.to_string(),
            what: what.to_owned(),
            option: option.to_owned(),
            path: self.run.path().to_owned(),
        }
    }

    /// That what the run logged cannot become the figure.
    pub(super) fn unfit(&self, id: FigureId, why: String) -> FigureError {
        FigureError::Data { figure: id.to_string(), why, path: self.run.path().to_owned() }
    }

    /// The stage to draw: asked for, the study's, or `None`.
    pub(super) fn stage(&self, asked: Option<&str>) -> Option<String> {
        asked.map(str::to_owned).or_else(|| self.stage.clone())
    }

    fn provenance(&self) -> Result<RunNote> {
        let m = &self.manifest;
        Ok(RunNote {
            name: self.run.name(),
            label: self.label.clone(),
            seed: m.seed,
            started: m.started.clone(),
            device: m.device.clone(),
            dispatch: m.dispatch.clone(),
            versions: m.versions.clone(),
            command: m.command.clone(),
            config_sha256: sha256_of(&self.run.config())?,
            dataset_sha256: sha256_of(&self.run.dataset())?,
        })
    }
}

impl StudySource {
    /// The rows of a stream of the study itself.
    pub(super) fn rows<R: Record>(&self, keep: impl Fn(&R) -> bool) -> Result<Vec<R>> {
        let mut kept = Vec::new();
        let problems = visit_records::<R>(&self.folder, |row| kept.extend(Some(row).filter(|r| keep(r))))?;
        self.problems.borrow_mut().extend(problems.iter().map(ToString::to_string));
        Ok(kept)
    }
}

/// Where a run's numbers come from, as sidecars say it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunNote {
    name: String,
    label: String,
    seed: u64,
    started: String,
    device: String,
    dispatch: String,
    versions: BTreeMap<String, String>,
    command: Vec<String>,
    config_sha256: Option<String>,
    dataset_sha256: Option<String>,
}

/// Title of an axis of steps that runs of these stages share.
pub(super) fn stage_steps<'a>(stages: impl IntoIterator<Item = &'a str>) -> String {
    let stages: BTreeSet<&str> = stages.into_iter().collect();
    match (stages.len(), stages.first()) {
        (1, Some(one)) => format!("step of stage {one}"),
        _ => "step of the stage".to_owned(),
    }
}

/// SHA-256 of bytes, in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    Sha256::digest(bytes).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// SHA-256 of a file; `None` if there is none.
fn sha256_of(path: &Path) -> Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("read", path)(e).into()),
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    Ok(Some(sha256(&bytes)))
}

impl Inputs {
    /// Opens run directories and study directories.
    ///
    /// # Errors
    /// A path is neither, or its `manifest.json` or `study.json` cannot be understood.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut inputs = Self::default();
        for path in paths {
            if path.join("study.json").is_file() {
                inputs.open_study(path, paths.len() > 1)?;
            } else {
                let run = RunDir::open(path.clone())?;
                inputs.runs.push(Source::open(run.name(), run)?);
            }
        }
        labels::number(inputs.runs.iter_mut().map(|run| &mut run.label));
        Ok(inputs)
    }

    /// One run.
    ///
    /// # Errors
    /// Its manifest cannot be understood.
    pub fn of_run(run: &RunDir) -> Result<Self> {
        Ok(Self { runs: vec![Source::open(run.name(), run.clone())?], ..Self::default() })
    }

    fn open_study(&mut self, path: &Path, several: bool) -> Result<()> {
        let study = Study::read(path)?;
        let folder = RunDir::of_study(path);
        for planned in &study.runs {
            let place = path.join(&planned.label);
            if !place.join("manifest.json").is_file() {
                self.missing.push(place);
                continue;
            }
            let label = if several { format!("{}/{}", folder.name(), planned.label) } else { planned.label.clone() };
            let mut source = Source::open(label, RunDir::open(place)?)?;
            source.method = Some(planned.method.clone());
            source.stage = Some(study.stage.clone());
            self.runs.push(source);
        }
        self.studies.push(StudySource { study, folder, problems: RefCell::default() });
        Ok(())
    }

    /// Parts of records that could not be read so far, one line each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let runs = self.runs.iter().map(|r| &r.problems);
        let all = runs.chain(self.studies.iter().map(|s| &s.problems));
        all.flat_map(|p| p.borrow().iter().cloned().collect::<Vec<_>>()).collect()
    }

    /// Says which of several runs are not among those of the figure.
    pub(super) fn note_absent<'a>(&self, id: FigureId, present: impl IntoIterator<Item = &'a String>) {
        let present: BTreeSet<&String> = present.into_iter().collect();
        let absent: Vec<&str> =
            self.runs.iter().filter(|r| !present.contains(&r.label)).map(|r| r.label.as_str()).collect();
        let (Some(first), false) = (self.runs.first(), absent.is_empty()) else { return };
        let names = absent.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = if absent.len() > NAMED { ", ..." } else { "" };
        let (n, all) = (absent.len(), self.runs.len());
        first.note([format!("{id}: {n} of {all} runs have nothing for it and are not in it: {names}{more}")]);
    }

    /// That there is no run at all.
    pub(super) fn nothing(&self, id: FigureId) -> FigureError {
        FigureError::Lacks {
            figure: id.to_string(),
            what: "a run".to_owned(),
            option: "`covft-probe train` or `covft-probe experiment`".to_owned(),
            path: self.path(),
        }
    }

    /// The first path, for messages.
    pub(super) fn path(&self) -> PathBuf {
        let study = self.studies.first().map(|s| s.folder.path());
        study.or_else(|| self.runs.first().map(|r| r.run.path())).map(Path::to_owned).unwrap_or_default()
    }

    pub(super) fn provenance(&self, runs: &[&Source]) -> Result<Value> {
        let runs = runs.iter().map(|r| r.provenance()).collect::<Result<Vec<_>>>()?;
        let study = |s: &StudySource| json!({ "name": s.folder.name(), "study": s.study });
        Ok(json!({ "runs": runs, "studies": self.studies.iter().map(study).collect::<Vec<_>>() }))
    }
}
