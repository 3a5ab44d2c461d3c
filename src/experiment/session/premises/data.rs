//! The samples of a run, one by one, and the sizes of their pictures.

use super::super::error::SessionError;
use super::{Difference, Premise, hex, short};
use crate::data::{DataError, Dataset, Entry};
use covft_analyses::store::PictureDecision;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What a set holds, with the samples that are left out: which those are follows from the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SetPremise {
    /// Instruction file, or `builtin:scenes`; not compared.
    path: PathBuf,
    /// Samples.
    samples: u64,
    /// SHA-256 of the instruction file; null for a built-in set.
    file: Option<String>,
    /// SHA-256 of what the samples say.
    texts: String,
    /// SHA-256 of their pictures' sizes in bytes.
    pictures: String,
    #[serde(skip)]
    rows: Vec<Row>,
}

/// A sample in `premises.samples`: 16 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// Of what it says.
    hash: u64,
    /// Bytes of its picture, 0 without one, [`UNSEEN`] if the run decided about it.
    picture: u64,
    /// For messages, where it is known: its place in the file, its line and id.
    name: Option<String>,
}

/// `picture` of a sample whose picture was decided about.
const UNSEEN: u64 = u64::MAX;

impl Row {
    fn shows_the_same(&self, other: &Self) -> bool {
        self.picture == other.picture || [self.picture, other.picture].contains(&UNSEEN)
    }
}

impl SetPremise {
    /// `left_out`: samples of all sets that were left out for their picture.
    pub(super) fn of(set: &Dataset, left_out: &[PictureDecision]) -> Result<Self, SessionError> {
        let set = &set.whole();
        let split = set.split().name();
        // The run holds on to what it decided about these, so that their pictures are not looked at.
        let gone = left_out.iter().filter(|d| d.split == split).map(|d| d.index as usize);
        let unseen: BTreeSet<usize> = gone.chain(set.standing_in().into_keys()).collect();
        let of = |i: usize| {
            let row = row(set, i)?;
            Ok(if unseen.contains(&i) { Row { picture: UNSEEN, ..row } } else { row })
        };
        let rows = (0..set.len()).into_par_iter().map(of).collect::<Result<Vec<_>, DataError>>()?;
        Ok(Self {
            path: set.path().to_path_buf(),
            samples: rows.len() as u64,
            file: set.file().map(|file| hex(file.sha256())),
            texts: digest(&rows, |row| row.hash),
            pictures: digest(&rows, |row| row.picture),
            rows,
        })
    }

    /// All that a run which trains on it depends on.
    pub(super) fn key(&self) -> [&str; 2] {
        [&self.texts, &self.pictures]
    }

    /// Whether both hold the same samples in the same order. A file that is written otherwise holds the same ones; the same
    /// file does, whatever a program of another version makes of it.
    fn says_the_same(&self, other: &Self) -> bool {
        (self.file.is_some() && self.file == other.file) || self.texts == other.texts
    }

    /// Whether both have the same pictures, as far as they are looked at.
    fn shows_the_same(&self, other: &Self) -> bool {
        let known = self.rows.len() as u64 == self.samples && self.rows.len() == other.rows.len();
        self.pictures == other.pictures || known && self.rows.iter().zip(&other.rows).all(|(a, b)| a.shows_the_same(b))
    }

    fn shown(&self) -> String {
        format!("{} samples (sha256 {})", self.samples, short(self.file.as_ref().unwrap_or(&self.texts)))
    }
}

fn digest(rows: &[Row], of: impl Fn(&Row) -> u64) -> String {
    let mut hash = Sha256::new();
    rows.iter().for_each(|row| hash.update(of(row).to_le_bytes()));
    hex(&hash.finalize())
}

fn row(set: &Dataset, i: usize) -> Result<Row, DataError> {
    let entry = set.entry(i)?;
    // All that an entry has, so that what is added to it is thought of here. Words follow from turns, remarks teach nothing.
    let Entry { id, image, task, system, turns, answers, words: _, remarks: _ } = &entry;
    let mut hash = Sha256::new();
    hash.update(format!("{:?}", (id, image, task, turns, answers)));
    // Alone, so that the hashes of runs of before stay for entries without one.
    if let Some(system) = system {
        hash.update(format!("{system:?}"));
    }
    let picture = match image {
        None => 0,
        Some(name) if set.file().is_some() => std::fs::metadata(set.image_path(name)).map_or(0, |meta| meta.len()),
        Some(name) => {
            let picture = set.picture(id, name)?;
            hash.update(picture.as_raw());
            picture.as_raw().len() as u64
        }
    };
    let hash = u64::from_le_bytes(*hash.finalize().first_chunk().expect("a SHA-256 hash has 32 bytes"));
    let line = set.file().map(|file| format!("line {}, ", file.line(set.index(i)))).unwrap_or_default();
    Ok(Row { hash, picture, name: Some(format!("{line}entry {} (id {:?})", set.index(i), id)) })
}

/// Sets that came, went, or hold other samples or pictures.
pub(super) fn differences(was: &BTreeMap<String, SetPremise>, is: &BTreeMap<String, SetPremise>) -> Vec<Difference> {
    let new = is.keys().filter(|name| !was.contains_key(*name));
    was.keys().chain(new).flat_map(|name| between(name, was.get(name), is.get(name))).collect()
}

fn between(name: &str, was: Option<&SetPremise>, is: Option<&SetPremise>) -> Vec<Difference> {
    let difference = |what: String, was: String, is: String, more: String| {
        vec![Difference { premise: Some(Premise::Data), what, was, is, more }]
    };
    let shown = |set: Option<&SetPremise>| set.map_or_else(|| "no such set".to_owned(), SetPremise::shown);
    match (was, is) {
        (Some(a), Some(b)) if a.says_the_same(b) => {
            if a.shows_the_same(b) {
                return Vec::new();
            }
            let hash = |set: &SetPremise| format!("pictures whose sizes have the sha256 {}", short(&set.pictures));
            difference(format!("data.{name}, pictures"), hash(a), hash(b), other_pictures(a, b))
        }
        (Some(a), Some(b)) => difference(format!("data.{name}"), a.shown(), b.shown(), other_samples(a, b)),
        (was, is) => difference(format!("data.{name}"), shown(was), shown(is), String::new()),
    }
}

fn other_pictures(was: &SetPremise, is: &SetPremise) -> String {
    let differ = |(a, b): &(&Row, &Row)| !a.shows_the_same(b);
    let pairs = || was.rows.iter().zip(&is.rows).filter(differ);
    let Some((a, b)) = pairs().next() else { return String::new() };
    let name = b.name.as_deref().unwrap_or_default();
    let now = if b.picture == 0 { "is missing".to_owned() } else { format!("has {}", b.picture) };
    format!(": {} samples; the first is {name}, whose picture had {} bytes and {now}", pairs().count(), a.picture)
}

/// How many are gone, how many are new, and the first that differs.
fn other_samples(was: &SetPremise, is: &SetPremise) -> String {
    if was.rows.len() as u64 != was.samples {
        // The list was cut or lost; the counts and hashes stand without it.
        return String::new();
    }
    let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
    was.rows.iter().for_each(|row| *counts.entry(row.hash).or_default() += 1);
    is.rows.iter().for_each(|row| *counts.entry(row.hash).or_default() -= 1);
    let gone: i64 = counts.values().filter(|n| **n > 0).sum();
    let new: i64 = counts.values().filter(|n| **n < 0).map(|n| -n).sum();
    let how = match (gone, new) {
        (0, 0) => "the same samples in another order".to_owned(),
        _ => format!("{gone} are gone or changed, {new} are new or changed"),
    };
    let first = was.rows.iter().zip(&is.rows).take_while(|(a, b)| a.hash == b.hash).count();
    match is.rows.get(first).and_then(|row| row.name.as_deref()) {
        Some(name) => format!(": {how}; the first that differs is {name}"),
        None => format!(": {how}; all after sample {first} are gone"),
    }
}

/// The rows of all sets, one after the other.
pub(super) fn write_samples(file: &mut impl Write, sets: &BTreeMap<String, SetPremise>) -> io::Result<()> {
    let mut bytes = Vec::new();
    for row in sets.values().flat_map(|set| &set.rows) {
        bytes.extend_from_slice(&row.hash.to_le_bytes());
        bytes.extend_from_slice(&row.picture.to_le_bytes());
    }
    file.write_all(&bytes)
}

/// Gives `sets` the rows that `path` holds; none where they do not amount to what the set says.
pub(super) fn read_samples(path: &Path, sets: &mut BTreeMap<String, SetPremise>) {
    // Without them a difference is told with less: which samples differ, not whether some do.
    let bytes = std::fs::read(path).unwrap_or_default();
    let number = |bytes: &[u8]| u64::from_le_bytes(*bytes.first_chunk().expect("a chunk of 16 bytes has 8"));
    let row = |bytes: &[u8]| Row { hash: number(bytes), picture: number(&bytes[8..]), name: None };
    let mut rows = bytes.chunks_exact(16).map(row);
    for set in sets.values_mut() {
        let taken: Vec<Row> = rows.by_ref().take(usize::try_from(set.samples).unwrap_or(usize::MAX)).collect();
        if digest(&taken, |row| row.hash) == set.texts && digest(&taken, |row| row.picture) == set.pictures {
            set.rows = taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rows: &[(u64, u64)]) -> SetPremise {
        let row = |(i, (hash, picture)): (usize, &(u64, u64))| Row {
            hash: *hash,
            picture: *picture,
            name: Some(format!("entry {i} (id \"s{i}\")")),
        };
        let rows: Vec<Row> = rows.iter().enumerate().map(row).collect();
        let (texts, pictures) = (digest(&rows, |r| r.hash), digest(&rows, |r| r.picture));
        SetPremise { samples: rows.len() as u64, texts, pictures, rows, ..SetPremise::default() }
    }

    fn told(was: &[(u64, u64)], is: &[(u64, u64)]) -> String {
        let map = |rows| BTreeMap::from([("train".to_owned(), set(rows))]);
        let found = differences(&map(was), &map(is));
        assert!(found.len() < 2);
        found.first().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn samples_that_went_changed_and_moved_are_told_apart() {
        let all = [(1, 9), (2, 9), (3, 0)];
        assert_eq!(told(&all, &all), "");
        assert!(
            told(&all, &all[..2])
                .ends_with(": 1 are gone or changed, 0 are new or changed; all after sample 2 are gone")
        );
        assert!(told(&all, &[(1, 9), (5, 9), (3, 0)]).ends_with("the first that differs is entry 1 (id \"s1\")"));
        assert!(told(&all, &[(2, 9), (1, 9), (3, 0)]).contains("another order; the first that differs is entry 0"));
        let text = told(&all, &[(1, 9), (2, 8), (3, 0)]);
        assert!(
            text.ends_with("1 samples; the first is entry 1 (id \"s1\"), whose picture had 9 bytes and has 8"),
            "{text}"
        );
        assert_eq!((told(&all, &[(1, 9), (2, UNSEEN), (3, 0)]), told(&[(1, UNSEEN)], &[(1, 5)])), Default::default());
        assert!(
            told(&all, &[]).contains("the run began with 3 samples (sha256 ") && told(&[], &all).contains("0 samples")
        );
    }

    #[test]
    fn a_file_written_otherwise_holds_the_same_and_the_same_file_does_whatever_is_read_of_it() {
        let one = SetPremise { file: Some("a".into()), ..set(&[(1, 0)]) };
        let other = SetPremise { file: Some("b".into()), ..set(&[(1, 0)]) };
        assert!(one.says_the_same(&other));
        let read_otherwise = SetPremise { file: Some("a".into()), ..set(&[(7, 0)]) };
        assert!(one.says_the_same(&read_otherwise));
    }

    #[test]
    fn rows_come_back_and_a_damaged_list_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("premises.samples");
        let sets = BTreeMap::from([("train".to_owned(), set(&[(1, 2), (3, 4)])), ("val".to_owned(), set(&[(5, 6)]))]);
        write_samples(&mut std::fs::File::create(&path).unwrap(), &sets).unwrap();
        let empty = || sets.iter().map(|(k, v)| (k.clone(), SetPremise { rows: Vec::new(), ..v.clone() }));
        let mut read: BTreeMap<_, _> = empty().collect();
        read_samples(&path, &mut read);
        assert_eq!(read["val"].rows, [Row { hash: 5, picture: 6, name: None }]);
        std::fs::write(&path, [0; 30]).unwrap();
        let mut read: BTreeMap<_, _> = empty().collect();
        read_samples(&path, &mut read);
        assert!(read["train"].rows.is_empty());
        // The difference is told all the same.
        let now = BTreeMap::from([("train".to_owned(), set(&[(1, 2)])), ("val".to_owned(), set(&[(5, 6)]))]);
        assert!(differences(&read, &now)[0].to_string().contains("began with 2 samples"));
    }
}
