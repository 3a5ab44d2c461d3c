//! What a run began with, and whether it still holds when the run goes on.
//!
//! `premises.json` is written once, before the first step: the resolved recipe, what the sets hold, tokenizers and weights by
//! their bytes. A run that goes on compares it with what is there now; the dispatch level and the program's version stand in
//! the manifest. Another premise is one more line of [`LIST`].

mod data;
mod files;
mod recipe;

pub(super) use recipe::that_trains;

use super::error::SessionError;
use super::records;
use super::setup::Setup;
use crate::config::Recipe;
use covft_analyses::store::{Manifest, RunDir, write_atomic};
use data::SetPremise;
use files::Digests;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Version of `premises.json`.
const SCHEMA: u64 = 1;

/// Something that a run goes on under only as it began, unless its change is accepted by this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Premise {
    /// The keys of the recipe that change what is computed.
    Recipe,
    /// Samples and their pictures.
    Data,
    /// Both tokenizers.
    Tokenizers,
    /// The weights that the model began from.
    Weights,
    /// The instruction set of the kernels, whose rounding is its own.
    Dispatch,
}

impl Premise {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Recipe, Self::Data, Self::Tokenizers, Self::Weights, Self::Dispatch];

    /// `recipe`, `data`, `tokenizers`, `weights`, `dispatch`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recipe => "recipe",
            Self::Data => "data",
            Self::Tokenizers => "tokenizers",
            Self::Weights => "weights",
            Self::Dispatch => "dispatch",
        }
    }

    /// The premise of this name.
    ///
    /// # Errors
    /// There is none; names those that there are.
    pub fn named(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| format!("no premise {name:?}: {}", known()))
    }
}

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which premise; `None` for what may change.
    pub premise: Option<Premise>,
    /// A key of the recipe, a set, a file.
    pub what: String,
    /// As the run began.
    pub was: String,
    /// Now.
    pub is: String,
    /// What more can be said; empty, or a clause.
    pub more: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let now = match self.premise {
            None | Some(Premise::Recipe) => "config.toml now says",
            _ => "now it is",
        };
        write!(f, "{}: the run began with {}, {now} {}{}", self.what, self.was, self.is, self.more)
    }
}

type Compare = fn(&Premises, &Premises) -> Vec<Difference>;

/// How each premise is compared: what was with what is.
const LIST: [Compare; 5] = [
    |was, is| recipe::differences(&was.recipe, &is.recipe),
    |was, is| data::differences(&was.sets, &is.sets),
    |was, is| files::differences(Premise::Tokenizers, &was.tokenizers, &is.tokenizers),
    |was, is| files::differences(Premise::Weights, &was.weights, &is.weights),
    |was, is| {
        let more = " (it rounds otherwise: the same bytes come from the same level alone)".to_owned();
        let (what, was, is) = ("dispatch level".to_owned(), was.dispatch.clone(), is.dispatch.clone());
        if was == is { Vec::new() } else { vec![Difference { premise: Some(Premise::Dispatch), what, was, is, more }] }
    },
];

/// What a run begins with.
#[derive(Clone, Debug)]
pub(super) struct Premises {
    recipe: Recipe,
    /// `train` and `val`.
    sets: BTreeMap<String, SetPremise>,
    tokenizers: BTreeMap<String, String>,
    weights: BTreeMap<String, String>,
    dispatch: String,
}

/// `premises.json`.
#[derive(Serialize, Deserialize)]
struct File {
    schema: u64,
    recipe: String,
    data: BTreeMap<String, SetPremise>,
    tokenizers: BTreeMap<String, String>,
    weights: BTreeMap<String, String>,
}

impl Premises {
    /// Those of `recipe` now.
    pub(super) fn of(recipe: &Recipe, setup: &Setup) -> Result<Self, SessionError> {
        let digests = Digests::new(&recipe.out.join(".cache"));
        let mut sets = BTreeMap::new();
        for set in [Some(&setup.train), setup.val.as_ref()].into_iter().flatten() {
            sets.insert(set.split().name().to_owned(), SetPremise::of(set, &setup.left_out)?);
        }
        Ok(Self {
            recipe: recipe.clone(),
            sets,
            tokenizers: files::tokenizers(&setup.tokenizer_files, &digests)?,
            weights: files::weights(&recipe.model, &digests)?,
            dispatch: crate::kernels::dispatch_level().to_owned(),
        })
    }

    /// Those that the run in `dir` began with; `None` where it is older than the file.
    pub(super) fn read(dir: &RunDir) -> Result<Option<Self>, SessionError> {
        let path = path(dir);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(records::io("read", &path))?,
        };
        let unreadable = |reason: String| SessionError::Premises { reason, path: path.clone() };
        let file: File = serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
        if file.schema != SCHEMA {
            return Err(unreadable(format!("it has schema {}, this program knows {SCHEMA}", file.schema)));
        }
        let recipe = Recipe::parse(&file.recipe, &path, &[]).map_err(|e| unreadable(e.to_string()))?;
        let mut sets = file.data;
        data::read_samples(&samples_path(dir), &mut sets);
        let dispatch = Manifest::read(dir)?.dispatch;
        Ok(Some(Self { recipe, sets, tokenizers: file.tokenizers, weights: file.weights, dispatch }))
    }

    /// Writes them into `dir`; the samples first, of which the other file says what they must amount to.
    pub(super) fn write(&self, dir: &RunDir) -> Result<(), SessionError> {
        write_atomic(&samples_path(dir), |file| data::write_samples(file, &self.sets))?;
        let file = File {
            schema: SCHEMA,
            recipe: self.recipe.to_toml(),
            data: self.sets.clone(),
            tokenizers: self.tokenizers.clone(),
            weights: self.weights.clone(),
        };
        let mut text = serde_json::to_vec_pretty(&file).expect("maps of strings are JSON");
        text.push(b'\n');
        Ok(write_atomic(&path(dir), |file| file.write_all(&text))?)
    }

    /// What differs from `was`, in the order of the list; what may change is among it.
    pub(super) fn since(&self, was: &Self) -> Vec<Difference> {
        LIST.iter().flat_map(|compare| compare(was, self)).collect()
    }

    /// The same without the recipe: for a run that goes beside another, which differs by its recipe.
    pub(super) fn beside(&self, other: &Self) -> Vec<Difference> {
        LIST[1..].iter().flat_map(|compare| compare(other, self)).collect()
    }

    /// What everything that trains depends on beside the recipe, for a key.
    pub(super) fn hash(&self, hash: &mut Sha256) {
        let train = self.sets.get("train").map(SetPremise::key);
        let parts = serde_json::json!([train, self.tokenizers, self.weights, self.dispatch]);
        hash.update(parts.to_string());
    }
}

/// The keys that differ between two recipes and change what is computed.
pub(in crate::experiment) fn other_recipe(was: &Recipe, is: &Recipe) -> Vec<Difference> {
    recipe::differences(was, is).into_iter().filter(|d| d.premise.is_some()).collect()
}

/// The recipe that the run in `dir` began with or goes on with; `None` where there is no such run.
pub(in crate::experiment) fn recipe_of(dir: &Path) -> Result<Option<Recipe>, SessionError> {
    let Ok(run) = RunDir::open(dir) else { return Ok(None) };
    Ok(match Premises::read(&run)? {
        Some(premises) => Some(premises.recipe),
        None => Some(records::read_recipe(&run, None)?),
    })
}

fn path(dir: &RunDir) -> PathBuf {
    dir.path().join("premises.json")
}

fn samples_path(dir: &RunDir) -> PathBuf {
    dir.path().join("premises.samples")
}

/// The first digits of a hash, in hexadecimal.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
