//! Reads a whole set once, before the first step: what it holds, what of it teaches nothing, which images are missing
//! or broken.

use super::check_cache;
use super::dataset::Dataset;
use super::error::{DataError, Result};
use crate::config::data::Unlabelled;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the check does beyond reading the texts.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions<'a> {
    /// Decode every image.
    pub decode_images: bool,
    /// Folder in which the findings about the texts are kept under the files' hash.
    pub cache: Option<&'a Path>,
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
    let kept = options.cache.and_then(|folder| check_cache::path(dataset, folder));
    let earlier = kept.as_deref().and_then(check_cache::read);
    let cached = earlier.is_some();
    let findings = match earlier {
        Some(findings) => findings,
        None => read_texts(dataset)?,
    };
    if let (Some(path), false) = (&kept, cached) {
        check_cache::write(path, &findings)?;
    }
    let images = &findings.images;
    let missing = if dataset.file().is_some() { problems(dataset, images, exists)? } else { Vec::new() };
    let broken = if options.decode_images {
        let absent: HashSet<&Path> = missing.iter().map(|p| p.path.as_path()).collect();
        let there = images.iter().filter(|(name, _)| !absent.contains(&*dataset.image_path(name)));
        Some(problems(dataset, &there.cloned().collect::<Vec<_>>(), decodes)?)
    } else {
        None
    };
    let (path, images) = (dataset.path().to_path_buf(), images.len());
    Ok(CheckReport { path, images, missing, broken, max_length: dataset.preparation().max_length, cached, findings })
}

/// What one sample adds.
struct Counted {
    id: Arc<str>,
    image: Option<Arc<str>>,
    tokens: usize,
    labelled: usize,
    truncated: bool,
}

/// Samples that are in memory at once.
const BLOCK: usize = 4096;

fn read_texts(dataset: &Dataset) -> Result<Findings> {
    let mut kinds: BTreeMap<(Option<Arc<str>>, bool), KindCount> = BTreeMap::new();
    let mut findings = Findings::default();
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for start in (0..dataset.len()).step_by(BLOCK) {
        let places = start..dataset.len().min(start + BLOCK);
        let counted: Vec<Result<Counted>> = places.clone().into_par_iter().map(|i| count(dataset, i)).collect();
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
            if counted.labelled == 0 {
                kind.unlabelled += 1;
                let index = dataset.index(i);
                let line = dataset.file().map_or(1, |f| f.line(index));
                findings.unlabelled.push(Dropped { index, line, id: counted.id.to_string() });
            }
            if let Some(name) = counted.image.filter(|name| names.insert(Arc::clone(name))) {
                findings.images.push((name.to_string(), i));
            }
            findings.repeated_ids += usize::from(!ids.insert(counted.id));
        }
    }
    findings.kinds = kinds.into_values().collect();
    Ok(findings)
}

fn count(dataset: &Dataset, i: usize) -> Result<Counted> {
    let p = dataset.preparation();
    let entry = dataset.entry(i)?;
    let encoded = dataset.encode(i, &entry)?;
    let tokens = encoded.expanded_len(p.image_tokens);
    Ok(Counted {
        id: entry.id,
        image: entry.image,
        tokens: tokens.min(p.max_length),
        labelled: encoded.labelled(),
        truncated: encoded.cut || tokens > p.max_length,
    })
}

fn exists(dataset: &Dataset, name: &str, _: &str) -> Option<String> {
    (!dataset.image_path(name).is_file()).then(|| "the image is missing".to_owned())
}

fn decodes(dataset: &Dataset, name: &str, sample: &str) -> Option<String> {
    match dataset.picture(sample, name) {
        Err(DataError::Image { problem, .. }) => Some(problem),
        _ => None,
    }
}

/// Images for which `wrong` finds something, in the order of `images`.
fn problems(
    dataset: &Dataset,
    images: &[(String, usize)],
    wrong: fn(&Dataset, &str, &str) -> Option<String>,
) -> Result<Vec<ImageProblem>> {
    let found: Vec<Option<String>> = images.par_iter().map(|(name, _)| wrong(dataset, name, "")).collect();
    let with = |((name, place), problem): (&(String, usize), Option<String>)| {
        problem.map(|problem| {
            let sample = dataset.entry(*place)?.id.to_string();
            Ok(ImageProblem { sample, path: dataset.image_path(name), problem })
        })
    };
    images.iter().zip(found).filter_map(with).collect()
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
    /// The set is empty; a kind has no labelled token at all; single samples have none and `unlabelled` refuses them;
    /// an image is missing or broken.
    pub fn verdict(&self, unlabelled: Unlabelled) -> Result<()> {
        let refuse = |problem: String| Err(DataError::Refused { problem, path: self.path.clone() });
        if self.samples() == 0 {
            return refuse("there is no sample in it".to_owned());
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
        let show = |p: &ImageProblem| format!("{} (sample {:?})", p.path.display(), p.sample);
        if !self.missing.is_empty() {
            let list = first(&self.missing, show);
            return refuse(format!("{} of {} images are missing: {list}", self.missing.len(), self.images));
        }
        let broken = self.broken.as_deref().unwrap_or_default();
        if !broken.is_empty() {
            let list = first(broken, |p| format!("{}: {}", show(p), p.problem));
            return refuse(format!("{} of {} images are broken: {list}", broken.len(), self.images));
        }
        Ok(())
    }
}

/// The first three of a list in words.
fn first<T>(list: &[T], show: impl Fn(&T) -> String) -> String {
    let text = list.iter().take(3).map(show).collect::<Vec<_>>().join(", ");
    if list.len() > 3 { format!("{text} and {} more", list.len() - 3) } else { text }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
