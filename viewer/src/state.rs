//! What is looked at in a run: the analysis, the selection, the step.

use crate::core::bits::Bits;
use crate::core::embed::{Asked, Embedding, Input};
use crate::core::memo::Memo;
use crate::core::query::{Fields, Query};
use crate::core::scatter::{ColorBy, Colors, Population, Shown};
use crate::core::selection::Selection;
use crate::data::{LayerKey, RunData};
use crate::jobs::{Spawner, Work};
use crate::notes::Notes;
use crate::panels::Local;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Key of the points: embedding, population, step, axes.
type ShownKey = (u64, Population, u32, [usize; 2]);
/// Key of the colours: points, what they mean, names of clusters, records (where they matter).
type ColorsKey = (ShownKey, ColorBy, BTreeMap<u16, String>, u64);

/// Everything about the run in the window.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub run: Option<PathBuf>,
    pub notes: Notes,
    saved: Notes,
    /// Why the notes could not be read; they are then not written either.
    pub notes_error: Option<String>,
    pub selection: Selection,
    /// The step of the run that is shown; `None`: the latest.
    pub at: Option<u32>,
    pub playing: bool,
    pub embedding: Option<Arc<Embedding>>,
    /// Counts embeddings.
    pub serial: u64,
    pub embedding_error: Option<String>,
    pub work: Work<Result<Embedding, String>>,
    asked: Option<Asked>,
    pub shown: Arc<Shown>,
    pub shown_key: Option<ShownKey>,
    pub colors: Arc<Colors>,
    pub colors_key: Option<ColorsKey>,
    /// Counts arrangements of points, and of points with colours.
    pub shown_serial: u64,
    pub colors_serial: u64,
    /// What is typed into the search.
    pub search: String,
    pub search_error: Option<String>,
    found: Memo<(String, u64, u64), Result<Option<Bits>, String>>,
    /// The sample under the pointer: now, and as of the last frame, which every view has drawn by then.
    pub hovered: Option<u32>,
    pub pointed: Option<u32>,
    /// The sample that single-sample views show.
    pub focus: Option<u32>,
    /// What each panel keeps.
    pub local: Local,
}

/// A sample with its cluster, for the search.
struct Searched<'a> {
    data: &'a RunData,
    sample: u32,
    cluster: Option<u16>,
    expert: Option<u16>,
}

impl Fields for Searched<'_> {
    fn words(&self, column: &str) -> Option<Cow<'_, str>> {
        let samples = &self.data.samples;
        let row = || samples.row(self.sample);
        Some(match column {
            "id" => samples.id(self.sample).into(),
            "task" => samples.task(self.sample).into(),
            "split" => row()?.split.as_str().into(),
            "question" => row()?.question.as_str().into(),
            "answer" => row()?.answer.as_str().into(),
            "image" => row()?.image.as_deref()?.into(),
            "prediction" => samples.look(self.sample)?.prediction.as_ref()?.0.as_str().into(),
            _ => return None,
        })
    }

    fn number(&self, column: &str) -> Option<f64> {
        let sample = self.data.samples.look(self.sample)?;
        match column {
            "loss" => sample.loss.map(f64::from),
            "tokens" => Some(f64::from(sample.tokens)),
            "seen" => Some(f64::from(sample.seen)),
            "correct" => sample.prediction.as_ref()?.1,
            "cluster" => self.cluster.map(f64::from),
            "expert" => self.expert.map(f64::from),
            _ => None,
        }
    }
}

impl State {
    /// Turns to `run`, with its notes. `step`: the last step that is recorded.
    pub(crate) fn turn_to(&mut self, run: Option<&Path>) {
        self.save();
        let (notes, notes_error) = match run.map(Notes::read) {
            Some(Ok(notes)) => (notes, None),
            Some(Err(error)) => (Notes::default(), Some(error)),
            None => (Notes::default(), None),
        };
        *self = Self { run: run.map(Path::to_owned), saved: notes.clone(), notes, notes_error, ..Self::default() };
    }

    /// Takes the notes as they are for written.
    pub(crate) fn unwritten(&mut self) {
        self.saved = self.notes.clone();
    }

    /// Writes the notes if they changed.
    pub(crate) fn save(&mut self) {
        if let Some(run) = self.run.as_ref().filter(|_| self.notes != self.saved && self.notes_error.is_none()) {
            self.notes_error = self.notes.write(run).err();
            self.saved = self.notes.clone();
        }
    }

    /// The step up to which everything is shown.
    pub(crate) fn until(&self) -> u32 {
        self.at.unwrap_or(u32::MAX)
    }

    /// The layer whose contexts are shown.
    pub(crate) fn layer(&self, data: &RunData) -> Option<LayerKey> {
        let layers = data.context_layers();
        let named = self.notes.layer.as_ref().and_then(|name| layers.iter().find(|(l, _)| l.1 == *name));
        // The one with most rows; the deepest of equals.
        named.or_else(|| layers.iter().max_by_key(|(layer, rows)| (*rows, layer.0))).map(|(layer, _)| layer.clone())
    }

    fn input(data: &RunData, asked: Asked) -> Option<Input> {
        let contexts = data.contexts.get(&asked.layer)?;
        let of: Vec<u32> = (0..data.samples.len() as u32).map(|s| data.samples.task_number(s)).collect();
        let tasks = contexts.rows.sample.iter().map(|s| of[*s as usize]).collect();
        Some(Input { width: contexts.width, chunks: contexts.chunks.clone(), tasks, asked })
    }

    /// Begins what is out of date and takes in what is finished.
    pub(crate) fn refresh(&mut self, data: &RunData, spawner: &Spawner) {
        if let Some(result) = self.work.poll() {
            match result {
                Ok(embedding) => {
                    self.embedding = Some(Arc::new(embedding));
                    self.embedding_error = None;
                    self.serial += 1;
                }
                Err(error) => self.embedding_error = Some(error),
            }
        }
        let Some(layer) = self.layer(data) else { return };
        let asked = Asked { layer, clusters: self.notes.k, seed: self.notes.seed };
        let rows = data.contexts.get(&asked.layer).map_or(0, |c| c.rows.len());
        let has = self.embedding.as_ref().filter(|e| e.asked == asked).map(|e| e.rows());
        let begun = self.asked.as_ref() == Some(&asked);
        if has.is_none() && (!begun || (self.embedding_error.is_some() && !self.work.busy() && self.local.rows != rows))
        {
            self.find(data, asked, spawner, None);
        } else if let Some(placed) = has
            && placed < rows
            && !self.work.busy()
        {
            // A fit over few rows of a young run is done again; later rows are only placed.
            let old = self.embedding.clone().filter(|e| rows < 2 * e.fitted || e.fitted >= 1000);
            self.find(data, asked, spawner, old);
        }
        self.arrange(data);
    }

    /// Finds components and clusters anew.
    pub(crate) fn again(&mut self) {
        self.asked = None;
        self.embedding = None;
    }

    fn find(&mut self, data: &RunData, asked: Asked, spawner: &Spawner, old: Option<Arc<Embedding>>) {
        self.local.rows = data.contexts.get(&asked.layer).map_or(0, |c| c.rows.len());
        self.asked = Some(asked.clone());
        self.embedding_error = None;
        let Some(input) = Self::input(data, asked) else { return };
        self.work.start(spawner, move |progress| match old {
            Some(old) => old.extended(&input, progress).map(Ok),
            None => Embedding::find(&input, progress).transpose(),
        });
        if let Some(result) = self.work.poll() {
            match result {
                Ok(embedding) => {
                    self.embedding = Some(Arc::new(embedding));
                    self.serial += 1;
                }
                Err(error) => self.embedding_error = Some(error),
            }
        }
    }

    /// Points and colours, where what they depend on changed.
    fn arrange(&mut self, data: &RunData) {
        let Some(found) = self.embedding.clone() else { return };
        let until = self.until().min(data.last_step());
        let key = (self.serial, self.notes.population, until, self.notes.axes);
        if self.shown_key != Some(key) {
            self.shown = Arc::new(Shown::new(data, &found, self.notes.population, until, self.notes.axes));
            self.shown_key = Some(key);
            self.shown_serial += 1;
        }
        let by = self.notes.color;
        let records =
            matches!(by, ColorBy::Loss | ColorBy::Seen | ColorBy::Correct | ColorBy::Expert | ColorBy::Entropy);
        let version = if records { data.version } else { data.samples.in_dataset() as u64 };
        let names = if by == ColorBy::Cluster { self.notes.names.clone() } else { BTreeMap::new() };
        let key = (key, by, names, version);
        if self.colors_key.as_ref() != Some(&key) {
            self.colors = Arc::new(Colors::new(data, &found, &self.shown, by, &self.notes.names));
            self.colors_key = Some(key);
            self.colors_serial += 1;
        }
    }

    /// Cluster of each sample: of its latest row that is shown.
    pub(crate) fn clusters(&mut self, data: &RunData) -> Arc<Vec<Option<u16>>> {
        let (shown, found) = (Arc::clone(&self.shown), self.embedding.clone());
        let key = (self.serial, self.shown_key.map(|k| (k.1, k.2)), data.samples.len());
        let of = |found: &Embedding| {
            let mut clusters = vec![None; data.samples.len()];
            for (sample, row) in shown.samples.iter().zip(&shown.rows) {
                clusters[*sample as usize] = Some(found.labels[*row as usize]);
            }
            clusters
        };
        let make = || Arc::new(found.map_or_else(|| vec![None; data.samples.len()], |f| of(&f)));
        Arc::clone(self.local.clusters.get(key, make))
    }

    /// The samples that the search finds; `None` where nothing is sought.
    pub(crate) fn found(&mut self, data: &RunData) -> Option<Bits> {
        let clusters = self.clusters(data);
        let experts = self.experts(data);
        let search = self.search.clone();
        let key = (search.clone(), data.version, self.serial);
        let find = || -> Result<Option<Bits>, String> {
            let query = Query::parse(&search)?;
            let at = |list: &[Option<u16>], s: u32| list.get(s as usize).copied().flatten();
            let one = |sample| Searched { data, sample, cluster: at(&clusters, sample), expert: at(&experts, sample) };
            let all = 0..data.samples.len() as u32;
            Ok((!query.is_empty()).then(|| Bits::of(all.filter(|s| query.finds(&one(*s))))))
        };
        match self.found.get(key, find) {
            Ok(found) => {
                self.search_error = None;
                found.clone()
            }
            Err(error) => {
                self.search_error = Some(error.clone());
                None
            }
        }
    }

    /// Expert of each sample in the shown layer, as of its latest row.
    pub(crate) fn experts(&mut self, data: &RunData) -> Arc<Vec<Option<u16>>> {
        let layer = self.layer(data);
        let make = || {
            let mut experts = vec![None; data.samples.len()];
            if let Some(routing) = layer.as_ref().and_then(|l| data.routing.get(l)) {
                (0..routing.rows.len())
                    .for_each(|i| experts[routing.rows.sample[i] as usize] = Some(routing.expert(i) as u16));
            }
            Arc::new(experts)
        };
        Arc::clone(self.local.experts.get((data.version, layer.clone()), make))
    }
}
