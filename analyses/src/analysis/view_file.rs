//! What the explorer saves of an analysis, apart from its layout: enough to repeat it without a window.

use super::contexts::ContextParams;
use super::data::{Selection, Steps};
use super::defaults::RESTARTS;
use crate::store::{Place, StoreError, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Schema of analysis files that this program writes, and the newest it reads.
pub const VIEW_SCHEMA: u64 = 1;

/// An analysis file.
///
/// ```json
/// {
///   "schema": 1, "run": "runs/scenes", "stage": "instruct", "layer": "4", "steps": [150, 249],
///   "tracked": false, "fit": 5000, "clusters": 10, "seed": 0, "restarts": 10,
///   "cluster_names": {"0": "counting"},
///   "selections": [{"name": "odd ones", "samples": ["train_00001_ocr"], "places": [["train", 7]]}]
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewFile {
    /// Schema.
    pub schema: u64,
    /// Run directory that it was made of.
    pub run: String,
    /// Stage; the last with context vectors if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Layer; the last but one with context vectors if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// First and last step; [`Steps::Late`] if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<(u64, u64)>,
    /// Whether it is over the tracked samples; over them where these steps have any if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracked: Option<bool>,
    /// Samples that components and clusters are found from at most; all if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<usize>,
    /// Clusters; chosen by a sweep or 10 if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
    /// Numbers of clusters that were tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<(usize, usize)>,
    /// Seed.
    #[serde(default)]
    pub seed: u64,
    /// Beginnings of k-means.
    #[serde(default = "restarts")]
    pub restarts: usize,
    /// Names that people gave clusters, by number.
    #[serde(default)]
    pub cluster_names: BTreeMap<usize, String>,
    /// Samples that people set apart.
    #[serde(default)]
    pub selections: Vec<NamedSelection>,
}

/// Samples under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedSelection {
    /// Name.
    pub name: String,
    /// Sample ids.
    pub samples: Vec<String>,
    /// The samples' places in the data, in the same order; without them every sample of these ids is meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
}

impl NamedSelection {
    /// A selection of these samples.
    #[must_use]
    pub fn new<'a>(name: &str, samples: impl IntoIterator<Item = (Option<Place>, &'a str)>) -> Self {
        let (places, samples): (Vec<Option<Place>>, Vec<String>) =
            samples.into_iter().map(|(place, id)| (place, id.to_owned())).unzip();
        let places = places.into_iter().collect::<Option<Vec<Place>>>().unwrap_or_default();
        Self { name: name.to_owned(), samples, places }
    }

    /// Its samples.
    pub fn each(&self) -> impl Iterator<Item = (Option<Place>, &str)> {
        self.samples.iter().enumerate().map(|(i, id)| (self.places.get(i).copied(), id.as_str()))
    }
}

fn restarts() -> usize {
    RESTARTS
}

impl ViewFile {
    /// A file of `run` that leaves everything at its default.
    #[must_use]
    pub fn new(run: impl Into<String>) -> Self {
        Self {
            schema: VIEW_SCHEMA,
            run: run.into(),
            stage: None,
            layer: None,
            steps: None,
            tracked: None,
            fit: None,
            clusters: None,
            sweep: None,
            seed: 0,
            restarts: RESTARTS,
            cluster_names: BTreeMap::new(),
            selections: Vec::new(),
        }
    }

    /// Which context vectors it is about.
    #[must_use]
    pub fn selection(&self) -> Selection {
        let steps = self.steps.map_or(Steps::Late, |(from, to)| Steps::Between(from, to));
        let (stage, layer) = (self.stage.clone(), self.layer.clone());
        Selection { stage, layer, steps, tracked: self.tracked, most: 0, seed: self.seed }
    }

    /// How they are analysed.
    #[must_use]
    pub fn params(&self) -> ContextParams {
        ContextParams {
            clusters: self.clusters,
            fit: self.fit,
            sweep: self.sweep,
            seed: self.seed,
            restarts: self.restarts,
            ..ContextParams::default()
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is missing, is no JSON of this format, or has a newer schema.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Head {
            schema: u64,
        }
        let text = fs::read(path).map_err(StoreError::io("read", path))?;
        let json = |source| StoreError::Json { source, path: path.to_owned() };
        let head: Head = serde_json::from_slice(&text).map_err(json)?;
        if head.schema > VIEW_SCHEMA {
            return Err(StoreError::NewerSchema { found: head.schema, known: VIEW_SCHEMA, path: path.to_owned() });
        }
        let file: Self = serde_json::from_slice(&text).map_err(json)?;
        let uneven = |s: &&NamedSelection| !s.places.is_empty() && s.places.len() != s.samples.len();
        match file.selections.iter().find(uneven) {
            None => Ok(file),
            Some(s) => {
                let (samples, places) = (s.samples.len(), s.places.len());
                let why = format!("selection {:?} has {samples} samples and {places} places", s.name);
                Err(json(serde::de::Error::custom(why)))
            }
        }
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        let json = |source| StoreError::Json { source, path: path.to_owned() };
        let text = serde_json::to_vec_pretty(self).map_err(json)?;
        write_atomic(path, |file| file.write_all(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_little_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view.json");
        let mut view = ViewFile::new("runs/a");
        view.clusters = Some(7);
        view.steps = Some((3, 9));
        view.cluster_names.insert(2, "counting".into());
        view.selections.push(NamedSelection::new("odd", [(Some(Place::new(Some("val"), 3)), "x")]));
        view.write(&path).unwrap();
        assert_eq!(ViewFile::read(&path).unwrap(), view);
        assert_eq!(view.selection().steps, Steps::Between(3, 9));
        assert_eq!(view.params().clusters, Some(7));
        assert!(fs::read_to_string(&path).unwrap().replace(char::is_whitespace, "").contains(r#"[["val",3]]"#));
        let selections = |inside: &str| {
            fs::write(&path, format!(r#"{{"schema": 1, "run": "a", "selections": [{inside}]}}"#)).unwrap();
            ViewFile::read(&path).map(|view| view.selections)
        };
        let old = selections(r#"{"name": "odd", "samples": ["x"]}"#).unwrap();
        assert_eq!(old[0].each().collect::<Vec<_>>(), [(None, "x")], "older files have ids alone");
        let error = selections(r#"{"name": "odd", "samples": ["x"], "places": [["train", 1], ["train", 2]]}"#);
        assert!(error.unwrap_err().to_string().contains("\"odd\" has 1 samples and 2 places"));
        fs::write(&path, r#"{"schema": 1, "run": "runs/a"}"#).unwrap();
        assert_eq!(ViewFile::read(&path).unwrap(), ViewFile::new("runs/a"));
        fs::write(&path, r#"{"schema": 9, "run": 3}"#).unwrap();
        assert!(ViewFile::read(&path).unwrap_err().to_string().contains("schema 9"));
    }
}
