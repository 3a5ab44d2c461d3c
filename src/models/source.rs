//! Where a model's tensors come from: the folders a recipe names, under LLaVA's full names.

use super::checkpoint::{Chain, Renamed, Safetensors};
use super::tuning::is_optional;
use crate::config::model::ModelConfig;
use crate::nn::TensorSource;
use candle_core::{Error, Result, Tensor};
use std::path::Path;

/// The chain of folders that `config` names: the whole checkpoint first, then the parts' own folders. Names are
/// LLaVA's (`model.vision_tower.vision_tower.*`, `model.mm_projector.*`, `model.layers.*`, `model.embed_tokens.weight`,
/// `model.norm.weight`, `lm_head.weight`, `model.context_embedding_model.*`); folders of llava-hf, plain towers, plain
/// LLaMAs and BERTs with old norm names are translated. A folder that is named must hold its whole part; parts without
/// a folder are drawn.
///
/// # Errors
/// A folder that is missing or cannot be read.
pub fn open_source(config: &ModelConfig) -> Result<Box<dyn TensorSource>> {
    let mut links: Vec<Box<dyn TensorSource>> = Vec::new();
    if let Some(folder) = &config.checkpoint {
        links.push(Box::new(Renamed::new(open(folder)?, CHECKPOINT).complete(optional)));
    }
    if let Some(folder) = &config.vision.weights {
        links.push(Box::new(Renamed::new(open(folder)?, VISION).complete(optional)));
    }
    if let Some(folder) = &config.language.weights {
        links.push(Box::new(Renamed::new(open(folder)?, LANGUAGE).complete(optional)));
    }
    if let Some(folder) = &config.text.weights {
        links.push(Box::new(Renamed::new(OldNorms(open(folder)?), TEXT).complete(optional)));
    }
    Ok(Box::new(Chain(links)))
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
const VISION: [(&str, &str); 4] = [
    ("model.vision_tower.vision_tower.", ""),
    ("model.vision_tower.vision_tower.", "model.vision_tower.vision_tower."),
    ("model.vision_tower.vision_tower.", "vision_tower."),
    ("model.vision_tower.vision_tower.", "dinov2."),
];

/// A LLaMA alone, or inside a LLaVA checkpoint of either kind.
const LANGUAGE: [(&str, &str); 8] = [
    ("model.layers.", "model.layers."),
    ("model.embed_tokens.", "model.embed_tokens."),
    ("model.norm.", "model.norm."),
    ("lm_head.", "lm_head."),
    ("model.layers.", "language_model.model.layers."),
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
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

fn open(folder: &Path) -> Result<Safetensors> {
    Safetensors::open(folder).map_err(Error::wrap)
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

impl<S: TensorSource> TensorSource for OldNorms<S> {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        match (self.0.get(name)?, old_name(name)) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(old)) => self.0.get(&old),
            (None, None) => Ok(None),
        }
    }

    fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.0.contains(name)? || old_name(name).map_or(Ok(false), |old| self.0.contains(&old))?)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}
