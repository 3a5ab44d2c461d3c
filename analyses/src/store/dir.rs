//! Where everything lies inside a run directory.

use super::error::{Result, StoreError};
use std::fs;
use std::path::{Path, PathBuf};

/// Folder of the streams.
pub(super) const RECORDS: &str = "records";

/// A run directory. Holds no open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the folders of a new run.
    ///
    /// # Errors
    /// A run is already there; the folder cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let dir = Self { path: path.into() };
        if dir.manifest().exists() {
            return Err(StoreError::Exists { path: dir.path });
        }
        for folder in [dir.records(), dir.checkpoints()] {
            fs::create_dir_all(&folder).map_err(StoreError::io("make the folder", &folder))?;
        }
        Ok(dir)
    }

    /// A run that is there.
    ///
    /// # Errors
    /// [`StoreError::NotARun`] where no manifest is.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let dir = Self { path: path.into() };
        if dir.manifest().is_file() { Ok(dir) } else { Err(StoreError::NotARun { path: dir.path }) }
    }

    /// The folder of a study, whose own records lie as a run's do.
    #[must_use]
    pub fn of_study(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The runs directly below `folder`, in order of name; none if there is no such folder.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn list(folder: &Path) -> Result<Vec<Self>> {
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(folder).map_err(StoreError::io("list", folder))?;
        let mut runs: Vec<Self> = entries.flatten().filter_map(|e| Self::open(e.path()).ok()).collect();
        runs.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(runs)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's own name.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// `manifest.json`
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    /// `config.toml`: the resolved configuration; training from it repeats the run.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `log.txt`
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    /// `dataset.parquet`
    #[must_use]
    pub fn dataset(&self) -> PathBuf {
        self.path.join("dataset.parquet")
    }

    /// `images/`: pictures of a built-in data set.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.path.join("images")
    }

    /// `records/`
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.path.join(RECORDS)
    }

    /// `records/<stream>/`
    #[must_use]
    pub fn stream(&self, stream: &str) -> PathBuf {
        self.records().join(stream)
    }

    /// `records/cuts.json`
    #[must_use]
    pub fn cuts(&self) -> PathBuf {
        self.records().join("cuts.json")
    }

    /// `checkpoints/`
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `checkpoints/step-000300/`, by the run's step.
    #[must_use]
    pub fn checkpoint(&self, global_step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{global_step:06}"))
    }

    /// `analysis/`
    #[must_use]
    pub fn analysis(&self) -> PathBuf {
        self.path.join("analysis")
    }

    /// `figures/`
    #[must_use]
    pub fn figures(&self) -> PathBuf {
        self.path.join("figures")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_open_list() {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::create(root.path().join("b")).unwrap();
        assert!(matches!(RunDir::open(dir.path()), Err(StoreError::NotARun { .. })));
        fs::write(dir.manifest(), "{}").unwrap();
        assert!(matches!(RunDir::create(dir.path()), Err(StoreError::Exists { .. })));
        assert_eq!(RunDir::list(root.path()).unwrap(), std::slice::from_ref(&dir));
        assert_eq!(dir.name(), "b");
        assert!(dir.checkpoint(300).ends_with("checkpoints/step-000300"));
        assert!(RunDir::list(&root.path().join("none")).unwrap().is_empty());
    }
}
