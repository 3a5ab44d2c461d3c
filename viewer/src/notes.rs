//! The analysis file beside the run, `analysis/view.json`: what was asked for, the names of clusters, selections.
//!
//! It is a [`ViewFile`], which `covft-probe analyze --from` repeats without a window, with the explorer's own fields beside
//! (`axes, population, color`).

use crate::core::scatter::{ColorBy, Population};
use covft_analyses::analysis::{NamedSelection, VIEW_SCHEMA, ViewFile};
use covft_analyses::store::write_atomic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Which rows clusters were found from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    pub stage: String,
    /// First and last step of the stage.
    pub steps: (u64, u64),
    /// Those of the tracked samples in place of the steps' own.
    pub tracked: bool,
}

/// Everything of an analysis that should be found again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notes {
    /// Layer of the context vectors; the last but one if `None`.
    pub layer: Option<String>,
    /// Clusters.
    pub k: usize,
    /// Seed of k-means.
    pub seed: u64,
    /// Beginnings of k-means.
    pub restarts: usize,
    /// Samples that components and clusters are found from at most.
    pub fit: usize,
    /// Components on the axes, from 0.
    pub axes: [usize; 2],
    pub population: Population,
    pub color: ColorBy,
    /// Names of clusters.
    pub names: BTreeMap<u16, String>,
    /// Kept selections by name.
    pub selections: BTreeMap<String, NamedSelection>,
}

/// The explorer's own part of the file.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Own {
    axes: [usize; 2],
    population: Population,
    color: ColorBy,
}

impl Default for Own {
    fn default() -> Self {
        Self { axes: [0, 1], population: Population::default(), color: ColorBy::default() }
    }
}

impl Default for Notes {
    fn default() -> Self {
        let Own { axes, population, color } = Own::default();
        Self {
            layer: None,
            k: 10,
            seed: 0,
            restarts: crate::core::embed::RESTARTS,
            fit: crate::core::embed::FITTED,
            axes,
            population,
            color,
            names: BTreeMap::new(),
            selections: BTreeMap::new(),
        }
    }
}

/// Where the notes of a run lie.
pub(crate) fn path(run: &Path) -> PathBuf {
    run.join("analysis").join("view.json")
}

/// What lies in the file of a run: the notes, and the rows that its clusters were found from if it says so.
pub(crate) type Kept = (Notes, Option<Basis>);

impl Notes {
    /// The notes of a run; `None` where there are none.
    ///
    /// # Errors
    /// The file is there and cannot be understood; said in words.
    pub(crate) fn read(run: &Path) -> Result<Option<Kept>, String> {
        let path = path(run);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("cannot read the notes ({e}): {}", path.display())),
        };
        let left =
            |why: String| format!("the notes are not valid ({why}), so they are left as they are: {}", path.display());
        let file = ViewFile::read(&path).map_err(|e| match e {
            covft_analyses::store::StoreError::Json { source, .. } => left(source.to_string()),
            other => format!("the notes are left as they are: {other}"),
        })?;
        let own: Own = serde_json::from_slice(&text).map_err(|e| left(e.to_string()))?;
        let basis = file.stage.zip(file.steps);
        let basis = basis.map(|(stage, steps)| Basis { stage, steps, tracked: file.tracked.unwrap_or(false) });
        let name = |(cluster, name)| Some((u16::try_from(cluster).ok()?, name));
        let notes = Self {
            layer: file.layer,
            k: file.clusters.unwrap_or(10).clamp(1, 64),
            seed: file.seed,
            restarts: file.restarts.max(1),
            fit: file.fit.unwrap_or(crate::core::embed::FITTED),
            axes: own.axes,
            population: own.population,
            color: own.color,
            names: file.cluster_names.into_iter().filter_map(name).collect(),
            selections: file.selections.into_iter().map(|n| (n.name.clone(), n)).collect(),
        };
        Ok(Some((notes, basis)))
    }

    /// Writes them, whole or not at all. `basis`: the rows that the clusters were found from, where some were; `layer`: theirs.
    ///
    /// # Errors
    /// The file system refuses; said in words.
    pub(crate) fn write(&self, run: &Path, layer: Option<&str>, basis: Option<&Basis>) -> Result<(), String> {
        let path = path(run);
        let folder = run.join("analysis");
        std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make the folder ({e}): {}", folder.display()))?;
        let file = ViewFile {
            schema: VIEW_SCHEMA,
            run: run.display().to_string(),
            stage: basis.map(|b| b.stage.clone()),
            layer: layer.map(str::to_owned).or_else(|| self.layer.clone()),
            steps: basis.map(|b| b.steps),
            tracked: basis.map(|b| b.tracked),
            fit: Some(self.fit),
            clusters: Some(self.k),
            sweep: None,
            seed: self.seed,
            restarts: self.restarts,
            cluster_names: self.names.iter().map(|(c, name)| (usize::from(*c), name.clone())).collect(),
            selections: self.selections.values().cloned().collect(),
        };
        let own = Own { axes: self.axes, population: self.population, color: self.color };
        let text = || {
            let (mut whole, own) = (serde_json::to_value(&file)?, serde_json::to_value(&own)?);
            if let (Some(whole), serde_json::Value::Object(own)) = (whole.as_object_mut(), own) {
                whole.extend(own);
            }
            serde_json::to_vec_pretty(&whole)
        };
        let text = text().map_err(|e| e.to_string())?;
        write_atomic(&path, |file| file.write_all(&text)).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_reopen_and_bad_ones_are_left_alone() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(Notes::read(run.path()).unwrap(), None);
        let notes = Notes {
            k: 4,
            color: ColorBy::Task,
            names: BTreeMap::from([(1, "text".to_owned())]),
            selections: BTreeMap::from([("odd".to_owned(), NamedSelection::new("odd", [(None, "a")]))]),
            ..Notes::default()
        };
        let basis = Basis { stage: "instruct".into(), steps: (3, 9), tracked: false };
        notes.write(run.path(), Some("22"), Some(&basis)).unwrap();
        let text = std::fs::read_to_string(path(run.path())).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&file["schema"], &file["clusters"], &file["restarts"]), (&1.into(), &4.into(), &10.into()));
        assert_eq!((&file["layer"], &file["color"], &file["fit"]), (&"22".into(), &"task".into(), &5000.into()));
        let named = Notes { layer: Some("22".into()), ..notes };
        assert_eq!(Notes::read(run.path()).unwrap(), Some((named, Some(basis))));
        std::fs::write(path(run.path()), r#"{"schema": 1, "run": "elsewhere", "clusters": 3}"#).unwrap();
        let usual = Notes { k: 3, ..Notes::default() };
        assert_eq!(Notes::read(run.path()).unwrap(), Some((usual, None)), "missing fields are the usual");
        for bad in ["{", r#"{"schema": 99}"#, r#"{"schema": 1, "run": "a", "axes": 7}"#] {
            std::fs::write(path(run.path()), bad).unwrap();
            assert!(Notes::read(run.path()).unwrap_err().ends_with("view.json"));
        }
    }
}
