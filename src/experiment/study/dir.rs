//! The folder of a study.

use super::error::StudyError;
use super::plan::{self, Planned};
use crate::config::Recipe;
use crate::config::data::Broken;
use crate::config::study::StudyConfig;
use crate::experiment::session::Premise;
use covft_analyses::store::{STUDY_SCHEMA, Study, StudyKind, StudyStatus, timestamp, write_atomic};
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A study on disk that this process works on; no other can at the same time.
#[derive(Debug)]
pub struct StudyDir {
    path: PathBuf,
    study: Study,
    recipe: Recipe,
    config: StudyConfig,
    runs: Vec<Planned>,
    /// What may differ from how its runs began.
    pub accept: Vec<Premise>,
    /// Held as long as this lives.
    _lock: File,
}

impl StudyDir {
    /// A new study of `recipe` in the folder `path`.
    ///
    /// # Errors
    /// A recipe without `[study]`; a study is there already; the folder cannot be made.
    pub fn create(recipe: &Recipe, path: &Path, command: Vec<String>) -> Result<Self, StudyError> {
        if Study::path(path).exists() {
            return Err(StudyError::Exists { path: path.to_path_buf() });
        }
        let config = recipe.study.as_ref().ok_or(StudyError::NotAStudy)?;
        let runs = plan::runs(recipe, path)?;
        let study = Study {
            schema: STUDY_SCHEMA,
            kind: match config {
                StudyConfig::Conflict { .. } => StudyKind::Conflict,
                StudyConfig::Methods { .. } => StudyKind::Methods,
            },
            command,
            started: timestamp(SystemTime::now()),
            status: StudyStatus::Running,
            stage: recipe.stages[plan::studied(recipe)?].name.clone(),
            runs: runs.into_iter().map(|planned| planned.run).collect(),
        };
        fs::create_dir_all(path).map_err(StudyError::io("make the folder", path))?;
        write_atomic(&recipe_path(path), |file| file.write_all(recipe.to_toml().as_bytes()))?;
        study.write(path)?;
        Self::open(path)
    }

    /// A study that is there.
    ///
    /// # Errors
    /// There is none, its recipe cannot be used, or another process works on it.
    pub fn open(path: &Path) -> Result<Self, StudyError> {
        let (study, recipe) = read(path)?;
        let lock = path.join(".lock");
        let file = File::create(&lock).map_err(StudyError::io("write", &lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StudyError::Busy { path: path.to_path_buf() }),
            Err(TryLockError::Error(error)) => return Err(StudyError::io("lock", &lock)(error)),
        }
        let config = recipe.study.clone().ok_or(StudyError::NotAStudy)?;
        let runs = plan::runs(&recipe, path)?;
        Ok(Self { path: path.to_path_buf(), study, recipe, config, runs, accept: Vec::new(), _lock: file })
    }

    /// Changes what happens to samples whose picture cannot be read, in all its runs from here on.
    ///
    /// # Errors
    /// The recipe cannot be written.
    pub fn set_broken(&mut self, broken: Broken) -> Result<(), StudyError> {
        self.recipe.data.broken = broken;
        self.runs = plan::runs(&self.recipe, &self.path)?;
        Ok(write_atomic(&recipe_path(&self.path), |file| file.write_all(self.recipe.to_toml().as_bytes()))?)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `study.json`.
    #[must_use]
    pub fn study(&self) -> &Study {
        &self.study
    }

    /// `[study]` of its recipe.
    #[must_use]
    pub fn config(&self) -> &StudyConfig {
        &self.config
    }

    /// The recipe that its runs were made from.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The folder of a run.
    #[must_use]
    pub fn run(&self, label: &str) -> PathBuf {
        self.path.join(label)
    }

    pub(super) fn runs(&self) -> &[Planned] {
        &self.runs
    }

    pub(super) fn finish(&mut self) -> Result<(), StudyError> {
        self.study.status = StudyStatus::Done;
        Ok(self.study.write(&self.path)?)
    }
}

/// `study.json` and `config.toml` of a study.
pub(super) fn read(path: &Path) -> Result<(Study, Recipe), StudyError> {
    Ok((Study::read(path)?, Recipe::read(&recipe_path(path), &[])?))
}

/// `config.toml`: the recipe with its `[study]`.
fn recipe_path(path: &Path) -> PathBuf {
    path.join("config.toml")
}
