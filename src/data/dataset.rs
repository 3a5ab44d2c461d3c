//! A set of samples ready to be prepared: entries, where their images lie, and how both become numbers.

use super::batch::{NO_TASK, SampleMeta};
use super::conversation::Entry;
use super::error::{DataError, Result};
use super::index::InstructFile;
use super::picture::{self, Picture};
use super::preparation::Preparation;
use super::scenes::{self, SceneSet};
use super::stand_in::StandIns;
use crate::config::data::{BUILTIN_SCENES, DataConfig, is_builtin_scenes};
use ::image::RgbImage;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Trained on.
    Train,
    /// Held out.
    Val,
}

impl Split {
    /// `train` or `val`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

/// Names of the training set's tasks, sorted; a task's number is its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskTable(Vec<Arc<str>>);

impl TaskTable {
    /// Sorts the names.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        names.dedup();
        Self(names)
    }

    /// Names in order of their numbers.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.0
    }

    /// Number of a task, or [`NO_TASK`].
    #[must_use]
    pub fn number(&self, task: Option<&str>) -> u32 {
        task.and_then(|t| self.0.binary_search_by(|n| (**n).cmp(t)).ok()).map_or(NO_TASK, |i| i as u32)
    }
}

/// What a sample is, for the run directory's `dataset.parquet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleInfo {
    /// Which sample.
    pub meta: SampleMeta,
    /// Part of the data.
    pub split: Split,
    /// Image file; for the built-in set the name that [`Dataset::picture`] goes under.
    pub image: Option<PathBuf>,
    /// Width and height of the image, turned as `data.exif` says.
    pub dimensions: Option<(u32, u32)>,
    /// First question.
    pub question: String,
    /// First answer.
    pub answer: String,
}

#[derive(Debug)]
enum Entries {
    File(InstructFile),
    Memory(Vec<Entry>),
}

#[derive(Debug)]
enum Pictures {
    Folder(PathBuf),
    Memory(BTreeMap<Arc<str>, RgbImage>),
}

#[derive(Debug)]
struct Inner {
    entries: Entries,
    pictures: Pictures,
    tasks: TaskTable,
    preparation: Preparation,
    split: Split,
    stand_ins: StandIns,
}

/// A set of samples. Cloning and selecting share the entries.
#[derive(Clone, Debug)]
pub struct Dataset {
    inner: Arc<Inner>,
    rows: Arc<[u32]>,
}

impl Dataset {
    /// The training set.
    ///
    /// # Errors
    /// The configuration, the instruction file or the image folder is not what it should be.
    pub fn train(config: &DataConfig, preparation: Preparation) -> Result<Self> {
        config.check()?;
        Self::open(config, &config.train, Split::Train, preparation, None)
    }

    /// The held-out set, if there is one. `tasks` are the training set's.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn val(config: &DataConfig, preparation: Preparation, tasks: &TaskTable) -> Result<Option<Self>> {
        config.check()?;
        let builtin = PathBuf::from(BUILTIN_SCENES);
        let path = match &config.val {
            Some(path) => path,
            None if config.is_scenes() && config.scenes.val > 0 => &builtin,
            None => return Ok(None),
        };
        Self::open(config, path, Split::Val, preparation, Some(tasks.clone())).map(Some)
    }

    fn open(
        config: &DataConfig,
        path: &Path,
        split: Split,
        preparation: Preparation,
        tasks: Option<TaskTable>,
    ) -> Result<Self> {
        if is_builtin_scenes(path) {
            return Ok(Self::of_scenes(scenes::generate(&config.scenes, split), split, preparation, tasks));
        }
        let file = InstructFile::open(path)?;
        let folder = config.image_folder(path);
        if (0..file.len()).any(|i| file.has_image(i)) && !folder.is_dir() {
            if folder.exists() {
                return Err(DataError::NoFolder { path: folder });
            }
            return Err(DataError::NotFound { what: "image folder", path: folder });
        }
        let tasks = tasks.unwrap_or_else(|| TaskTable::new(file.tasks().iter().cloned()));
        let rows = (0..file.len() as u32).collect();
        let (entries, pictures) = (Entries::File(file), Pictures::Folder(folder));
        let stand_ins = StandIns::new(config.broken);
        Ok(Self { inner: Arc::new(Inner { entries, pictures, tasks, preparation, split, stand_ins }), rows })
    }

    fn of_scenes(set: SceneSet, split: Split, preparation: Preparation, tasks: Option<TaskTable>) -> Self {
        let tasks = tasks.unwrap_or_else(|| TaskTable::new(set.entries.iter().filter_map(|e| e.task.clone())));
        let rows = (0..set.entries.len() as u32).collect();
        let pictures = Pictures::Memory(set.pictures.into_iter().collect());
        let entries = Entries::Memory(set.entries);
        let stand_ins = StandIns::default();
        Self { inner: Arc::new(Inner { entries, pictures, tasks, preparation, split, stand_ins }), rows }
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The tasks by number.
    #[must_use]
    pub fn tasks(&self) -> &TaskTable {
        &self.inner.tasks
    }

    /// Which part of the data.
    #[must_use]
    pub fn split(&self) -> Split {
        self.inner.split
    }

    pub(super) fn stand_ins(&self) -> &StandIns {
        &self.inner.stand_ins
    }

    /// How entries become numbers.
    #[must_use]
    pub fn preparation(&self) -> &Preparation {
        &self.inner.preparation
    }

    /// The instruction file, where the set is not built in.
    #[must_use]
    pub fn file(&self) -> Option<&InstructFile> {
        match &self.inner.entries {
            Entries::File(file) => Some(file),
            Entries::Memory(_) => None,
        }
    }

    /// Path of the instruction file, or `builtin:scenes`.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file().map_or(Path::new(BUILTIN_SCENES), InstructFile::path)
    }

    /// Number of sample `i`'s entry in its file.
    #[must_use]
    pub fn index(&self, i: usize) -> usize {
        self.rows[i] as usize
    }

    /// Entry of sample `i`.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn entry(&self, i: usize) -> Result<Entry> {
        match &self.inner.entries {
            Entries::File(file) => file.entry(self.index(i)),
            Entries::Memory(entries) => Ok(entries[self.index(i)].clone()),
        }
    }

    /// Task of sample `i`, without reading the entry.
    #[must_use]
    pub fn task(&self, i: usize) -> Option<Arc<str>> {
        match &self.inner.entries {
            Entries::File(file) => file.task(self.index(i)).cloned(),
            Entries::Memory(entries) => entries[self.index(i)].task.clone(),
        }
    }

    /// Whether sample `i` has an image, without reading the entry.
    #[must_use]
    pub fn has_image(&self, i: usize) -> bool {
        match &self.inner.entries {
            Entries::File(file) => file.has_image(self.index(i)),
            Entries::Memory(entries) => entries[self.index(i)].image.is_some(),
        }
    }

    /// Words of every sample, negative for those without an image: LLaVA's `modality_lengths`.
    #[must_use]
    pub fn modality_lengths(&self) -> Vec<i32> {
        let words = |i| match &self.inner.entries {
            Entries::File(file) => file.words(self.index(i)),
            Entries::Memory(entries) => entries[self.index(i)].words,
        };
        let signed = |i| {
            let n = i32::try_from(words(i)).unwrap_or(i32::MAX).max(1);
            if self.has_image(i) { n } else { -n }
        };
        (0..self.len()).map(signed).collect()
    }

    /// The set with every entry, also those that were left out.
    #[must_use]
    pub fn whole(&self) -> Self {
        let entries = match &self.inner.entries {
            Entries::File(file) => file.len(),
            Entries::Memory(entries) => entries.len(),
        };
        Self { inner: Arc::clone(&self.inner), rows: (0..entries as u32).collect() }
    }

    /// The samples at these places, in this order.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        Self { inner: Arc::clone(&self.inner), rows: places.iter().map(|&i| self.rows[i]).collect() }
    }

    /// The samples whose task is one of `tasks`.
    #[must_use]
    pub fn of_tasks(&self, tasks: &[String]) -> Self {
        let wanted = |i: &usize| self.task(*i).is_some_and(|t| tasks.iter().any(|w| **w == *t));
        self.select(&(0..self.len()).filter(wanted).collect::<Vec<_>>())
    }

    /// All samples but those of these entries.
    #[must_use]
    pub fn without_entries(&self, dropped: &[usize]) -> Self {
        let dropped: BTreeSet<_> = dropped.iter().copied().collect();
        let kept = |i: &usize| !dropped.contains(&self.index(*i));
        self.select(&(0..self.len()).filter(kept).collect::<Vec<_>>())
    }

    /// At most `n` samples, the same ones every time: as many of each task as possible, spread evenly over the set.
    #[must_use]
    pub fn subset(&self, n: usize) -> Self {
        let mut groups: BTreeMap<Option<Arc<str>>, Vec<usize>> = BTreeMap::new();
        for i in 0..self.len() {
            groups.entry(self.task(i)).or_default().push(i);
        }
        let groups: Vec<_> = groups.into_values().collect();
        let mut quota = vec![0; groups.len()];
        let mut left = n.min(self.len());
        while left > 0 {
            for (q, group) in quota.iter_mut().zip(&groups) {
                if *q < group.len() && left > 0 {
                    *q += 1;
                    left -= 1;
                }
            }
        }
        let spread =
            |(group, &q): (&Vec<usize>, &usize)| (0..q).map(|j| group[j * group.len() / q]).collect::<Vec<_>>();
        let mut places: Vec<usize> = groups.iter().zip(&quota).flat_map(spread).collect();
        places.sort_unstable();
        self.select(&places)
    }

    /// Path of a sample's image; a bare name for the built-in set.
    #[must_use]
    pub fn image_path(&self, name: &str) -> PathBuf {
        match &self.inner.pictures {
            Pictures::Folder(folder) => folder.join(name),
            Pictures::Memory(_) => PathBuf::from(name),
        }
    }

    /// Pictures of the built-in set by name, sorted; nothing for a file.
    pub fn pictures(&self) -> impl Iterator<Item = (&str, &RgbImage)> {
        let memory = match &self.inner.pictures {
            Pictures::Folder(_) => None,
            Pictures::Memory(pictures) => Some(pictures.iter().map(|(name, image)| (&**name, image))),
        };
        memory.into_iter().flatten()
    }

    /// A sample's image, turned as `data.exif` says.
    ///
    /// # Errors
    /// It is missing or cannot be decoded.
    pub fn picture(&self, sample: &str, name: &str) -> Result<RgbImage> {
        self.opened(sample, name).map(|opened| opened.pixels)
    }

    pub(super) fn opened(&self, sample: &str, name: &str) -> Result<Picture> {
        let exif = self.preparation().exif;
        let decoded = match &self.inner.pictures {
            Pictures::Folder(folder) => picture::open(&folder.join(name), exif),
            Pictures::Memory(pictures) => {
                let pixels = pictures.get(name).cloned().ok_or_else(|| "no such picture".to_owned());
                pixels.map(|pixels| Picture { pixels, has_rotation: false, kind: None })
            }
        };
        decoded.map_err(|problem| self.image_error(sample, name, problem))
    }

    /// Width and height of a sample's image as it is trained on, from its header alone.
    ///
    /// # Errors
    /// It is missing or is not an image.
    pub fn dimensions(&self, sample: &str, name: &str) -> Result<(u32, u32)> {
        let exif = self.preparation().exif;
        let size = match &self.inner.pictures {
            Pictures::Folder(folder) => picture::dimensions(&folder.join(name), exif),
            Pictures::Memory(pictures) => {
                pictures.get(name).map(RgbImage::dimensions).ok_or_else(|| "no such picture".to_owned())
            }
        };
        size.map_err(|problem| self.image_error(sample, name, problem))
    }

    pub(super) fn image_error(&self, sample: &str, name: &str, problem: String) -> DataError {
        DataError::Image { sample: sample.to_owned(), problem, path: self.image_path(name) }
    }
}
