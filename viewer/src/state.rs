//! What is looked at in a run: the analysis, the selection, the step.

use crate::core::bits::Bits;
use crate::core::by_sample::BySample;
use crate::core::classes::{Look, experts};
use crate::core::colors::Colors;
use crate::core::embed::{Asked, Embedding, Input, NO_CLUSTER};
use crate::core::fit;
use crate::core::memo::Memo;
use crate::core::query::Query;
use crate::core::scatter::{ColorBy, Population, Shown};
use crate::core::searched::Searched;
use crate::core::selection::Selection;
use crate::data::{LayerKey, Place, RunData};
use crate::jobs::{Spawner, Work};
use crate::notes::{Basis, Notes};
use crate::panels::Local;
use covft_analyses::analysis::default_layer;
use covft_analyses::cluster::matched;
use covft_analyses::figures::looks::Looks;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Key of the points: embedding, population, step, axes.
type ShownKey = (u64, Population, u32, [usize; 2]);
/// Key of the colours: points, what they mean, names of clusters, records (where they matter), pairs that conflict is of,
/// whether the ground is dark.
type ColorsKey = (ShownKey, ColorBy, BTreeMap<u16, String>, u64, Option<Place>, bool);

/// Everything about the run in the window.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub run: Option<PathBuf>,
    pub notes: Notes,
    /// What the file holds; the rows of the clusters in it.
    saved: Notes,
    saved_basis: Option<Basis>,
    /// Whether there is a file.
    filed: bool,
    /// The rows that clusters are to be found from, so that names and saved clusters keep their meaning.
    pinned: Option<Basis>,
    /// Why the notes could not be read; they are then not written either.
    pub notes_error: Option<String>,
    pub selection: Selection,
    /// The step of the run that is shown; `None`: the latest.
    pub at: Option<u32>,
    pub playing: bool,
    /// Whether the window's ground is dark.
    pub dark: bool,
    pub embedding: Option<Arc<Embedding>>,
    /// Counts embeddings.
    pub serial: u64,
    pub embedding_error: Option<String>,
    pub work: Work<Result<Embedding, String>>,
    asked: Option<Asked>,
    /// The embedding that is being found anew.
    before: Option<Arc<Embedding>>,
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
    found: Memo<(String, u64, u64, u32), Result<Option<Bits>, String>>,
    /// The sample under the pointer: now, and as of the last frame, which every view has drawn by then.
    pub hovered: Option<u32>,
    pub pointed: Option<u32>,
    /// The sample that single-sample views show.
    pub focus: Option<u32>,
    /// What each panel keeps.
    pub local: Local,
}

impl State {
    /// Turns to `run`, with its notes. `step`: the last step that is recorded.
    pub(crate) fn turn_to(&mut self, run: Option<&Path>) {
        self.save();
        let (kept, notes_error) = match run.map(Notes::read) {
            Some(Ok(kept)) => (kept, None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let filed = kept.is_some();
        let (notes, basis) = kept.unwrap_or_default();
        let (saved, saved_basis, pinned) = (notes.clone(), basis.clone(), basis);
        let run = run.map(Path::to_owned);
        let dark = self.dark;
        *self = Self { run, notes, saved, saved_basis, filed, pinned, notes_error, dark, ..Self::default() };
    }

    /// Takes the notes as they are for written.
    pub(crate) fn unwritten(&mut self) {
        self.saved = self.notes.clone();
    }

    /// Writes the notes if they changed, with the rows that the clusters were found from.
    pub(crate) fn save(&mut self) {
        let found = self.embedding.as_ref().map(|e| &e.basis);
        if self.pinned.is_none() && !self.notes.names.is_empty() {
            // Names are of these clusters.
            self.pinned = found.cloned();
        }
        let moved = self.filed && found.is_some() && found != self.saved_basis.as_ref();
        if moved || self.notes != self.saved {
            self.file();
        }
    }

    /// Writes the notes; where they lie.
    pub(crate) fn file(&mut self) -> Option<PathBuf> {
        let run = self.run.as_ref().filter(|_| self.notes_error.is_none())?;
        let found =
            self.embedding.as_ref().filter(|e| e.asked.clusters == self.notes.k && e.asked.seed == self.notes.seed);
        let basis = found.map(|e| &e.basis).or(self.pinned.as_ref());
        self.notes_error = self.notes.write(run, found.map(|e| e.asked.layer.1.as_str()), basis).err();
        (self.saved, self.saved_basis, self.filed) = (self.notes.clone(), basis.cloned(), true);
        self.notes_error.is_none().then(|| crate::notes::path(run))
    }

    /// Keeps the clusters as they are: writes them down, and finds them from the same rows from now on.
    pub(crate) fn keep(&mut self) -> Option<PathBuf> {
        self.pinned = self.embedding.as_ref().map(|e| e.basis.clone());
        self.file()
    }

    /// The step up to which everything is shown.
    pub(crate) fn until(&self) -> u32 {
        self.at.unwrap_or(u32::MAX)
    }

    /// The layer whose contexts are shown.
    pub(crate) fn layer(&self, data: &RunData) -> Option<LayerKey> {
        let layers = data.context_layers();
        let named = self.notes.layer.as_ref().and_then(|name| layers.iter().find(|(l, _)| l.1 == *name));
        named.or_else(|| default_layer(&layers)).map(|(layer, _)| layer.clone())
    }

    /// What is asked for now.
    fn asked(&self, data: &RunData) -> Option<Asked> {
        let layer = self.layer(data)?;
        let tracked = fit::tracked(data.contexts.get(&layer)?, &self.notes);
        Some(Asked {
            layer,
            clusters: self.notes.k,
            seed: self.notes.seed,
            restarts: self.notes.restarts,
            fit: self.notes.fit,
            tracked,
            basis: self.pinned.clone().filter(|b| b.tracked == tracked),
        })
    }

    fn input(data: &RunData, asked: Asked, place_only: bool) -> Result<Input, String> {
        let contexts = data.contexts.get(&asked.layer).ok_or("this layer has no context vectors")?;
        let none = || "no context vectors of the tracked samples; choose other points".to_owned();
        let fit = if place_only {
            None
        } else {
            let basis =
                asked.basis.clone().or_else(|| fit::basis(data, contexts, asked.tracked, u32::MAX)).ok_or_else(none)?;
            Some(fit::gather(data, &asked.layer, &basis, asked.fit)?)
        };
        Ok(Input { width: contexts.width, chunks: contexts.chunks.clone(), rows: contexts.rows.len(), fit, asked })
    }

    /// Where nothing was kept or chosen, the tracked samples are looked at if there are any, as `covft-probe analyze` does.
    fn begin(&mut self, data: &RunData) {
        let untouched = !self.filed
            && self.embedding.is_none()
            && self.before.is_none()
            && self.notes.population == Population::Latest;
        let layer = self.layer(data).filter(|_| untouched);
        if layer.and_then(|l| data.contexts.get(&l)).is_some_and(|c| c.tracked.contains(&true)) {
            self.notes.population = Population::Tracked;
            self.saved.population = Population::Tracked;
        }
    }

    /// Begins what is out of date and takes in what is finished.
    pub(crate) fn refresh(&mut self, data: &RunData, spawner: &Spawner) {
        self.begin(data);
        self.receive();
        let Some(asked) = self.asked(data) else { return };
        let rows = data.contexts.get(&asked.layer).map_or(0, |c| c.rows.len());
        let has = self.embedding.as_ref().filter(|e| e.answers(&asked)).map(|e| e.rows());
        let begun = self.asked.as_ref() == Some(&asked);
        if has.is_none() && (!begun || (self.embedding_error.is_some() && !self.work.busy() && self.local.rows != rows))
        {
            self.find(data, asked, spawner, None);
        } else if let Some(placed) = has
            && placed < rows
            && !self.work.busy()
        {
            // A fit over few rows of a young run is done again; later rows are only placed.
            let fixed = asked.basis.is_some();
            let old = self.embedding.clone().filter(|e| fixed || rows < 2 * e.fitted() || e.fitted() >= 1000);
            self.find(data, asked, spawner, old);
        }
        self.arrange(data);
    }

    /// Finds components and clusters anew, from the latest rows.
    pub(crate) fn again(&mut self) {
        (self.asked, self.pinned) = (None, None);
        self.before = self.embedding.take().or(self.before.take());
    }

    fn find(&mut self, data: &RunData, asked: Asked, spawner: &Spawner, old: Option<Arc<Embedding>>) {
        self.local.rows = data.contexts.get(&asked.layer).map_or(0, |c| c.rows.len());
        self.asked = Some(asked.clone());
        self.embedding_error = None;
        match Self::input(data, asked, old.is_some()) {
            Ok(input) => self.work.start(spawner, move |progress| match old {
                Some(old) => old.extended(&input, progress).map(Ok),
                None => Embedding::find(&input, progress).transpose(),
            }),
            Err(error) => self.embedding_error = Some(error),
        }
        self.receive();
    }

    /// Takes in what is found.
    fn receive(&mut self) {
        match self.work.poll() {
            Some(Ok(embedding)) => {
                let before = self.embedding.take().or(self.before.take());
                if let Some(before) = before.filter(|b| !Arc::ptr_eq(&b.found, &embedding.found)) {
                    self.carry_names(&before, &embedding);
                }
                self.embedding = Some(Arc::new(embedding));
                self.embedding_error = None;
                self.serial += 1;
            }
            Some(Err(error)) => self.embedding_error = Some(error),
            None => {}
        }
    }

    /// Names stay with the clusters that share most rows with those they were given to.
    fn carry_names(&mut self, before: &Embedding, now: &Embedding) {
        if self.notes.names.is_empty() || before.asked.layer != now.asked.layer {
            return;
        }
        let both = before.labels.iter().zip(&now.labels).filter(|(a, b)| **a != NO_CLUSTER && **b != NO_CLUSTER);
        let (old, new): (Vec<usize>, Vec<usize>) = both.map(|(a, b)| (usize::from(*a), usize::from(*b))).unzip();
        let to = matched(&old, &new, before.asked.clusters, now.asked.clusters);
        let named = |(new, old): (usize, &usize)| {
            let name = self.notes.names.get(&u16::try_from(*old).ok()?)?;
            Some((u16::try_from(new).ok()?, name.clone()))
        };
        self.notes.names = to.iter().enumerate().filter_map(named).collect();
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
        let records = !matches!(by, ColorBy::Cluster | ColorBy::Task | ColorBy::Stage | ColorBy::Split | ColorBy::Step);
        let version = if records { data.version } else { data.samples.in_dataset() as u64 };
        let names = if by == ColorBy::Cluster { self.notes.names.clone() } else { BTreeMap::new() };
        let place = matches!(by, ColorBy::Conflict | ColorBy::Alignment).then(|| self.pairs_of(data)).flatten();
        let key = (key, by, names, version, place, self.dark);
        if self.colors_key.as_ref() != Some(&key) {
            let gradients = self.gradients(data);
            self.colors =
                Arc::new(Colors::new(data, &found, &self.shown, by, &self.notes.names, &gradients, self.dark));
            self.colors_key = Some(key);
            self.colors_serial += 1;
        }
    }

    /// The pairs that conflict is counted over: chosen in the view of conflict, or the usual ones.
    pub(crate) fn pairs_of(&self, data: &RunData) -> Option<Place> {
        let chosen = self.local.conflict.place().filter(|p| data.pairs.places().any(|known| known == *p));
        chosen.or_else(|| data.pairs.usual()).cloned()
    }

    /// Conflict and alignment of each sample, up to the step that is shown.
    pub(crate) fn gradients(&mut self, data: &RunData) -> Arc<BySample> {
        let (place, until) = (self.pairs_of(data), self.until().min(data.last_step()));
        let make = || Arc::new(BySample::new(data, place.as_ref(), until));
        Arc::clone(self.local.gradients.get((data.version, until, place.clone()), make))
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
        let gradients = self.gradients(data);
        let search = self.search.clone();
        let key = (search.clone(), data.version, self.serial, self.until());
        let find = || -> Result<Option<Bits>, String> {
            let query = Query::parse(&search)?;
            let at = |list: &[Option<u16>], s: u32| list.get(s as usize).copied().flatten();
            let one = |sample| {
                let (cluster, expert) = (at(&clusters, sample), at(&experts, sample));
                Searched { data, sample, cluster, expert, gradients: Arc::clone(&gradients) }
            };
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

    /// The looks of each layer's experts, by name of the layer.
    pub(crate) fn expert_looks(&mut self, data: &RunData) -> Arc<BTreeMap<String, Vec<Look>>> {
        let of = |routing| {
            let looks = Looks::assign(&experts(routing), None);
            (0..routing.experts).map(|e| Look::of(&looks, e)).collect()
        };
        let make = || Arc::new(data.routing.iter().map(|(layer, routing)| (layer.1.clone(), of(routing))).collect());
        Arc::clone(self.local.looks.get(data.version, make))
    }

    /// Expert of each sample in the shown layer, as of its latest row.
    pub(crate) fn experts(&mut self, data: &RunData) -> Arc<Vec<Option<u16>>> {
        let layer = self.layer(data);
        let make = || {
            let mut experts = vec![None; data.samples.len()];
            if let Some(routing) = layer.as_ref().and_then(|l| data.routing.get(l)) {
                (0..routing.rows.len()).for_each(|i| experts[routing.rows.sample[i] as usize] = routing.expert(i));
            }
            Arc::new(experts)
        };
        Arc::clone(self.local.experts.get((data.version, layer.clone()), make))
    }
}
