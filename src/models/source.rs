//! Where a model's tensors come from: the folders a recipe names, under LLaVA's full names.

use super::checkpoint::{Chain, CheckpointError, Renamed, Safetensors};
use super::description::read_in;
use super::save::stored_tuning;
use super::tuning::{Added, Merged, Tuned, is_optional};
use crate::config::model::ModelConfig;
use crate::nn::{Part, TensorSource};
use candle_core::{Result, Tensor, bail};
use std::path::PathBuf;
use std::sync::Arc;

/// The chain of folders that `config` names: the whole checkpoint first, then the parts' own folders. Names are
/// LLaVA's (`model.vision_tower.vision_tower.*`, `model.mm_projector.*`, `model.layers.*`, `model.embed_tokens.weight`,
/// `model.norm.weight`, `lm_head.weight`, `model.context_embedding_model.*`); folders of llava-hf, plain towers, plain
/// LLaMAs and BERTs with old norm names are translated. A folder that is named must hold its whole part; parts without
/// a folder are drawn. With `merge`, adapters' factors are added to the weights that they stand beside.
///
/// # Errors
/// A folder that is missing or cannot be read; factors whose scale is not known.
pub fn open_source(config: &ModelConfig) -> Result<Box<dyn TensorSource>> {
    let links = links(config)?.iter().map(|link| link.source(config.merge)).collect::<Result<_>>()?;
    Ok(Box::new(Chain(links)))
}

/// One folder of the chain.
#[derive(Debug)]
pub(super) struct Link {
    /// The part it is for; `None` for a whole checkpoint.
    pub(super) part: Option<Part>,
    pub(super) folder: PathBuf,
    pub(super) file: Arc<Safetensors>,
    rules: &'static [(&'static str, &'static str)],
}

/// The folders that `config` names, in the order in which they are asked.
pub(super) fn links(config: &ModelConfig) -> Result<Vec<Link>> {
    let named: [(Option<Part>, &Option<PathBuf>, &'static [(&str, &str)]); 4] = [
        (None, &config.checkpoint, &CHECKPOINT),
        (Some(Part::Vision), &config.vision.weights, &VISION),
        (Some(Part::Language), &config.language.weights, &LANGUAGE),
        (Some(Part::Text), &config.text.weights, &TEXT),
    ];
    let open = |(part, folder, rules): (_, &Option<PathBuf>, _)| {
        let folder = folder.clone()?;
        let file = Safetensors::open(&folder).map(Arc::new).map_err(CheckpointError::plain);
        Some(file.map(|file| Link { part, folder, file, rules }))
    };
    named.into_iter().filter_map(open).collect()
}

impl Link {
    /// Its tensors under LLaVA's names.
    pub(super) fn source(&self, merge: bool) -> Result<Box<dyn TensorSource>> {
        let file = Arc::clone(&self.file);
        if self.part == Some(Part::Text) {
            return Ok(Box::new(self.renamed(OldNorms(file))));
        }
        if !merge {
            return Ok(Box::new(self.renamed(file)));
        }
        let (tuned, _) = self.tuned()?;
        let scale = |added: &Option<Added>| match added {
            Some(Added::Lora { rank, alpha: Some(alpha) }) => Ok(Some(alpha / *rank as f64)),
            Some(Added::Lora { alpha: None, .. }) => {
                bail!(
                    "model.merge = true, but the alpha of the adapters is stored nowhere in {}",
                    self.folder.display()
                )
            }
            _ => Ok(None),
        };
        let merged = Merged::new(file, scale(&tuned.vision)?, scale(&tuned.language)?);
        Ok(Box::new(self.renamed(merged)))
    }

    fn renamed<S: TensorSource>(&self, inner: S) -> Renamed<S> {
        Renamed::new(inner, self.rules.iter().copied()).complete(optional)
    }

    /// The file's names that may answer for a parameter's.
    pub(super) fn names_of<'a>(&'a self, param: &'a str) -> impl Iterator<Item = String> + 'a {
        let theirs = move |(ours, theirs): &(&str, &str)| Some(format!("{theirs}{}", param.strip_prefix(ours)?));
        let plain = self.rules.iter().filter_map(theirs);
        plain.flat_map(|name| old_name(&name).into_iter().chain([name]))
    }

    /// What tuning added to its tensors, as far as they are of its part, and whether its `config.json` carries a recipe
    /// of ours.
    pub(super) fn tuned(&self) -> Result<(Tuned, bool)> {
        let stored = match read_in(&self.folder, "config.json") {
            Ok(json) => stored_tuning(&json, &self.folder.join("config.json"))?.map(|(_, tuning)| tuning),
            // Sizes may come from the recipe.
            Err(_) => None,
        };
        let tensors = self.file.names().filter_map(|name| Some((name, self.file.shape(name)?)));
        let mut tuned = match Tuned::of(tensors, stored.as_ref()) {
            Ok(tuned) => tuned,
            Err(reason) => bail!("{reason}: {}", self.folder.display()),
        };
        if self.part.is_some_and(|part| part != Part::Vision) {
            tuned.vision = None;
        }
        if self.part.is_some_and(|part| part != Part::Language) {
            tuned.language = None;
        }
        Ok((tuned, stored.is_some()))
    }
}

/// Ours, theirs: LLaVA's own names, llava-hf's files, and the names current Hugging Face code gives them in memory.
const CHECKPOINT: [(&str, &str); 10] = [
    ("", ""),
    ("model.vision_tower.vision_tower.", "vision_tower."),
    ("model.vision_tower.vision_tower.", "model.vision_tower."),
    ("model.mm_projector.0.", "multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "multi_modal_projector.linear_2."),
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
    ("model.", "language_model.model."),
    ("model.", "model.language_model."),
    ("lm_head.", "language_model.lm_head."),
];

/// A tower alone, or inside a LLaVA checkpoint.
const VISION: [(&str, &str); 6] = [
    ("model.vision_tower.vision_tower.", ""),
    ("model.vision_tower.vision_tower.", "model.vision_tower.vision_tower."),
    ("model.vision_tower.vision_tower.", "vision_tower."),
    ("model.vision_tower.vision_tower.", "model.vision_tower."),
    ("model.vision_tower.vision_tower.", "dinov2."),
    // Prompts stand beside the tower.
    ("model.vision_tower.prompt_embeddings.", "model.vision_tower.prompt_embeddings."),
];

/// A LLaMA alone, or inside a LLaVA checkpoint of any kind.
const LANGUAGE: [(&str, &str); 11] = [
    ("model.layers.", "model.layers."),
    ("model.embed_tokens.", "model.embed_tokens."),
    ("model.norm.", "model.norm."),
    ("lm_head.", "lm_head."),
    ("model.layers.", "language_model.model.layers."),
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
    ("model.layers.", "model.language_model.layers."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.norm.", "model.language_model.norm."),
];

/// A BERT alone, inside a BERT with heads, or inside a CoVFT checkpoint.
const TEXT: [(&str, &str); 3] = [
    ("model.context_embedding_model.", ""),
    ("model.context_embedding_model.", "bert."),
    ("model.context_embedding_model.", "model.context_embedding_model."),
];

fn optional(name: &str) -> bool {
    is_optional(name) || name.contains(".pooler.") || name.starts_with(super::mllm::TASK_HEAD_PREFIX)
}

/// Norms that old files call `gamma` and `beta`.
#[derive(Debug)]
struct OldNorms<S>(S);

fn old_name(name: &str) -> Option<String> {
    let rest = |suffix| name.strip_suffix(suffix);
    rest("LayerNorm.weight")
        .map(|r| format!("{r}LayerNorm.gamma"))
        .or_else(|| rest("LayerNorm.bias").map(|r| format!("{r}LayerNorm.beta")))
}

impl<S: TensorSource> OldNorms<S> {
    fn ask<T>(&self, name: &str, answer: impl Fn(&S, &str) -> Result<Option<T>>) -> Result<Option<T>> {
        match (answer(&self.0, name)?, old_name(name)) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(old)) => answer(&self.0, &old),
            (None, None) => Ok(None),
        }
    }
}

impl<S: TensorSource> TensorSource for OldNorms<S> {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        self.ask(name, S::get)
    }

    fn dims(&self, name: &str) -> Result<Option<Vec<usize>>> {
        self.ask(name, S::dims)
    }

    fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.0.contains(name)? || old_name(name).map_or(Ok(false), |old| self.0.contains(&old))?)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn origin(&self, name: &str) -> (String, String) {
        let is_there = self.0.contains(name).unwrap_or(false);
        let old = old_name(name).filter(|_| !is_there);
        self.0.origin(old.as_deref().unwrap_or(name))
    }
}
