//! Reads a whole set once, before the first step: what it holds, what of it teaches nothing, which images are missing
//! or broken.

use super::check_cache;
use super::check_tokens::remark_tokens;
use super::conversation::Role;
use super::dataset::Dataset;
use super::error::{DataError, Result};
use super::keep;
use super::look::{Look, Progress, look};
use super::remark::{Remark, Tallies, Tally};
use super::shown::{self, Shown};
use crate::config::data::{Broken, Unlabelled};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the check does beyond reading the texts.
#[derive(Clone, Copy, Default)]
pub struct CheckOptions<'a> {
    /// Decode every image.
    pub decode_images: bool,
    /// Folder in which the findings about the texts are kept under the files' hash.
    pub cache: Option<&'a Path>,
    /// Hears how far the decoding is.
    pub progress: Option<&'a Progress<'a>>,
    /// Embeddings that the models have for tokens; not looked at if left out.
    pub embeddings: Option<Embeddings>,
}

/// Sizes of the embedding tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embeddings {
    /// The language model's.
    pub language: usize,
    /// The text encoder's.
    pub text: usize,
}

/// What a kind of sample (a task, with or without an image) amounts to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// Task, where the data names one.
    pub task: Option<String>,
    /// Whether its samples have an image.
    pub has_image: bool,
    /// Samples.
    pub samples: usize,
    /// Tokens, image features counted, after cutting at the longest length.
    pub tokens: u64,
    /// Tokens that the loss counts.
    pub labelled_tokens: u64,
    /// Samples without such a token.
    pub unlabelled: usize,
    /// Samples that were cut at the longest length.
    pub truncated: usize,
}

/// A sample that teaches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Number of the entry in its file, from 0.
    pub index: usize,
    /// 1-based line of the entry.
    pub line: u64,
    /// Sample id.
    pub id: String,
    /// Why it teaches nothing.
    pub why: String,
}

/// What the texts amount to: the part of a report that only depends on the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// By kind: sorted by task, with an image first.
    pub kinds: Vec<KindCount>,
    /// Samples without any token that the loss counts.
    pub unlabelled: Vec<Dropped>,
    /// Entries whose id an earlier entry has.
    pub repeated_ids: usize,
    /// What entries have that is not read, or not as their writers may think.
    pub tallies: Vec<Tally>,
    /// Images, each once, with the place of the first sample that shows it.
    images: Vec<(String, usize)>,
}

/// An image that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageProblem {
    /// First sample that shows it.
    pub sample: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

/// A sample whose image is missing or broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Number of the entry in its file, from 0.
    pub index: usize,
    /// Sample id.
    pub id: String,
    /// What is wrong with the image, and its path.
    pub why: String,
}

/// Outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Instruction file, or `builtin:scenes`.
    pub path: PathBuf,
    /// What the texts amount to.
    pub findings: Findings,
    /// Distinct images.
    pub images: usize,
    /// Images that are not there.
    pub missing: Vec<ImageProblem>,
    /// Images that cannot be decoded; `None` where they were not tried.
    pub broken: Option<Vec<ImageProblem>>,
    /// Every image that was decoded, with its file.
    pub looks: Vec<(String, Look)>,
    /// All samples whose image is missing or broken.
    pub unusable: Vec<Unusable>,
    /// Longest expanded sequence that the check counted with.
    pub max_length: usize,
    /// Whether the findings about the texts were kept from an earlier check.
    pub cached: bool,
}

/// Checks a set. Only an entry that cannot be rendered at all ends the check; everything else is in the report, for
/// [`CheckReport::verdict`] to judge.
///
/// # Errors
/// An entry cannot be read or rendered; the findings cannot be kept.
pub fn check(dataset: &Dataset, options: CheckOptions<'_>) -> Result<CheckReport> {
    let kept = options.cache.and_then(|folder| check_cache::path(dataset, folder, options.embeddings));
    let earlier: Option<Findings> = kept.as_deref().and_then(keep::read);
    let cached = earlier.is_some();
    let findings = match earlier {
        Some(findings) => findings,
        None => read_texts(dataset, options.embeddings)?,
    };
    if let (Some(path), false) = (&kept, cached) {
        keep::write(path, &findings)?;
    }
    let missing = if dataset.file().is_some() { missing(dataset, &findings.images)? } else { Vec::new() };
    let absent: HashSet<&Path> = missing.iter().map(|p| p.path.as_path()).collect();
    let there: Vec<&(String, usize)> =
        findings.images.iter().filter(|(name, _)| !absent.contains(&*dataset.image_path(name))).collect();
    let (looks, broken) = if options.decode_images {
        let names: Vec<String> = there.iter().map(|(name, _)| name.clone()).collect();
        let looks = look(dataset, &names, options.cache, options.progress)?;
        let problem = |((_, place), look): (&(String, usize), &Look)| Some((*place, look.problem.clone()?));
        let found: Vec<(usize, String)> = there.iter().copied().zip(&looks).filter_map(problem).collect();
        (names.into_iter().zip(looks).collect(), Some(problems(dataset, found)?))
    } else {
        (Vec::new(), None)
    };
    let unusable = unusable(dataset, missing.iter().chain(broken.iter().flatten()))?;
    let (path, images, max_length) =
        (dataset.path().to_path_buf(), findings.images.len(), dataset.preparation().max_length);
    Ok(CheckReport { path, findings, images, missing, broken, looks, unusable, max_length, cached })
}

/// What one sample adds.
struct Counted {
    id: Arc<str>,
    image: Option<Arc<str>>,
    tokens: usize,
    labelled: usize,
    truncated: bool,
    /// Why it teaches nothing, if it does not.
    nothing: &'static str,
    remarks: Vec<Remark>,
}

/// Samples that are in memory at once.
const BLOCK: usize = 4096;

fn read_texts(dataset: &Dataset, embeddings: Option<Embeddings>) -> Result<Findings> {
    let mut kinds: BTreeMap<(Option<Arc<str>>, bool), KindCount> = BTreeMap::new();
    let mut findings = Findings::default();
    let (mut ids, mut names, mut tallies) = (HashSet::new(), HashSet::new(), Tallies::default());
    for start in (0..dataset.len()).step_by(BLOCK) {
        let places = start..dataset.len().min(start + BLOCK);
        let counted: Vec<Result<Counted>> =
            places.clone().into_par_iter().map(|i| count(dataset, i, embeddings)).collect();
        for (i, counted) in places.zip(counted) {
            let counted = counted?;
            let (task, has_image) = (dataset.task(i), counted.image.is_some());
            let kind = kinds.entry((task.clone(), !has_image)).or_insert_with(|| KindCount {
                task: task.map(|t| t.to_string()),
                has_image,
                samples: 0,
                tokens: 0,
                labelled_tokens: 0,
                unlabelled: 0,
                truncated: 0,
            });
            kind.samples += 1;
            kind.tokens += counted.tokens as u64;
            kind.labelled_tokens += counted.labelled as u64;
            kind.truncated += usize::from(counted.truncated);
            let index = dataset.index(i);
            let line = dataset.file().map_or(1, |f| f.line(index));
            if counted.labelled == 0 {
                kind.unlabelled += 1;
                let (id, why) = (counted.id.to_string(), counted.nothing.to_owned());
                findings.unlabelled.push(Dropped { index, line, id, why });
            }
            for remark in counted.remarks {
                tallies.add(remark, line, &counted.id);
            }
            if let Some(name) = counted.image.filter(|name| names.insert(Arc::clone(name))) {
                findings.images.push((name.to_string(), i));
            }
            findings.repeated_ids += usize::from(!ids.insert(counted.id));
        }
    }
    findings.kinds = kinds.into_values().collect();
    findings.tallies = tallies.into_list();
    Ok(findings)
}

fn count(dataset: &Dataset, i: usize, embeddings: Option<Embeddings>) -> Result<Counted> {
    let p = dataset.preparation();
    let mut entry = dataset.entry(i)?;
    let encoded = dataset.encode(i, &entry)?;
    let tokens = encoded.expanded_len(p.image_tokens);
    let answered = entry.turns.iter().any(|t| t.role == Role::Assistant && !t.text.is_empty());
    let nothing = if answered { "data.max_length cuts all of its answers" } else { "it has no answer" };
    let mut remarks = std::mem::take(&mut entry.remarks);
    remark_tokens(dataset, &entry, &encoded, embeddings, &mut remarks)?;
    Ok(Counted {
        nothing,
        remarks,
        id: entry.id,
        image: entry.image,
        tokens: tokens.min(p.max_length),
        labelled: encoded.labelled(),
        truncated: encoded.cut || tokens > p.max_length,
    })
}

/// Images that are not there, in the order of the samples.
fn missing(dataset: &Dataset, images: &[(String, usize)]) -> Result<Vec<ImageProblem>> {
    let is_missing = |(name, _): &&(String, usize)| !dataset.image_path(name).exists();
    let missing: Vec<_> = images.par_iter().filter(is_missing).collect();
    problems(
        dataset,
        missing.into_iter().map(|(name, place)| (*place, shown::absent(&dataset.image_path(name)))).collect(),
    )
}

/// Problems by the place of the first sample that shows the image.
fn problems(dataset: &Dataset, found: Vec<(usize, String)>) -> Result<Vec<ImageProblem>> {
    let with = |(place, problem)| {
        let entry = dataset.entry(place)?;
        let path = dataset.image_path(entry.image.as_deref().unwrap_or_default());
        Ok(ImageProblem { sample: entry.id.to_string(), path, problem })
    };
    found.into_iter().map(with).collect()
}

/// All samples that show one of these images. Reads the entries once more, where there are any.
fn unusable<'p>(dataset: &Dataset, problems: impl Iterator<Item = &'p ImageProblem>) -> Result<Vec<Unusable>> {
    let bad: HashMap<&Path, &str> = problems.map(|p| (p.path.as_path(), p.problem.as_str())).collect();
    if bad.is_empty() {
        return Ok(Vec::new());
    }
    let of = |i: usize| -> Result<Option<Unusable>> {
        let entry = dataset.entry(i)?;
        let path = entry.image.as_deref().map(|name| dataset.image_path(name));
        let found = path.and_then(|path| bad.get(&*path).map(|problem| format!("{problem}: {}", shown::path(&path))));
        Ok(found.map(|why| Unusable { index: dataset.index(i), id: entry.id.to_string(), why }))
    };
    let found: Result<Vec<_>> = (0..dataset.len()).into_par_iter().map(of).collect();
    Ok(found?.into_iter().flatten().collect())
}

impl CheckReport {
    /// Samples.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.findings.kinds.iter().map(|k| k.samples).sum()
    }

    /// Tokens, image features counted.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.findings.kinds.iter().map(|k| k.tokens).sum()
    }

    /// Tokens that the loss counts.
    #[must_use]
    pub fn labelled_tokens(&self) -> u64 {
        self.findings.kinds.iter().map(|k| k.labelled_tokens).sum()
    }

    /// Entries to leave out ([`Dataset::without_entries`]), and to list before step 0.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.findings.unlabelled
    }

    /// Whether training may begin.
    ///
    /// # Errors
    /// The set is empty; a token has no embedding; a kind has no labelled token at all; single samples have none and `unlabelled` refuses them;
    /// an image is missing or broken and `broken` refuses it, or leaves no sample.
    pub fn verdict(&self, unlabelled: Unlabelled, broken: Broken) -> Result<()> {
        let refuse = |problem: String| Err(DataError::Refused { problem, path: self.path.clone() });
        if self.samples() == 0 {
            return refuse("there is no sample in it".to_owned());
        }
        if let Some(tally) = self.findings.tallies.iter().find(|t| t.remark.refuses()) {
            return refuse(format!(
                "{} (line {}, id {:?}, and {} entries in all); use the tokenizer that belongs to the model",
                tally.remark, tally.line, tally.id, tally.entries
            ));
        }
        if let Some(kind) = self.findings.kinds.iter().find(|k| k.labelled_tokens == 0) {
            let task = kind.task.as_ref().map_or_else(|| "without a task".to_owned(), |t| format!("of task {t:?}"));
            let image = if kind.has_image { "with" } else { "without" };
            return refuse(format!(
                "none of the {} samples {task} {image} an image has a token to learn; give them answers, or raise data.max_length ({})",
                kind.samples, self.max_length
            ));
        }
        if unlabelled == Unlabelled::Refuse && !self.dropped().is_empty() {
            return refuse(format!(
                "{} of {} samples have no token to learn and data.unlabelled is \"refuse\": {}",
                self.dropped().len(),
                self.samples(),
                first(self.dropped(), |d| format!("line {} (id {:?})", d.line, d.id))
            ));
        }
        if broken == Broken::Blank {
            return Ok(());
        }
        if broken == Broken::Drop {
            let left = self.unusable.len() < self.samples();
            return if left { Ok(()) } else { refuse("the images of all samples are missing or broken".to_owned()) };
        }
        let show = |p: &ImageProblem| format!("{} (sample {})", shown::path(&p.path), Shown(&p.sample));
        if !self.missing.is_empty() {
            let list = first(&self.missing, show);
            return refuse(format!("{} of {} images are missing: {list}; {HOW}", self.missing.len(), self.images));
        }
        let broken = self.broken.as_deref().unwrap_or_default();
        if !broken.is_empty() {
            let list = first(broken, |p| format!("{}: {}", show(p), p.problem));
            return refuse(format!("{} of {} images are broken: {list}; {HOW}", broken.len(), self.images));
        }
        Ok(())
    }
}

/// What to do about images that cannot be used.
const HOW: &str = "mend them, or set data.broken to \"drop\" or \"blank\"";

/// The first three of a list in words.
fn first<T>(list: &[T], show: impl Fn(&T) -> String) -> String {
    let text = list.iter().take(3).map(show).collect::<Vec<_>>().join(", ");
    if list.len() > 3 { format!("{text} and {} more", list.len() - 3) } else { text }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
