//! A folder of reference numbers: the layout, and the models that its methods stand for.

use super::VerifyError;
use crate::config::model::{ModelConfig, Tuning, VisionMethod};
use crate::models::checkpoint::{Chain, Safetensors};
use crate::models::mllm::{Mllm, MllmInput, load_recipe, open_source};
use crate::nn::{ParamStore, TensorSource};
use candle_core::{Device, Result, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The methods a folder may hold, by the published names of their files.
pub(super) const METHODS: [&str; 6] = ["context_moe_layernorm", "fullft", "freeze", "bias", "lora", "vpt"];

/// The one whose file holds every intermediate value too.
pub(super) const COVFT: &str = "context_moe_layernorm";

/// The folder, read.
#[derive(Debug)]
pub(super) struct Golden {
    pub(super) folder: PathBuf,
    pub(super) meta: Meta,
    pub(super) config: ModelConfig,
    /// CoVFT's, from `llava/config.json`.
    tuning: Tuning,
    pub(super) input: MllmInput,
    /// Where the models lie.
    pub(super) device: Device,
}

/// `expected/meta.json`.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Meta {
    pub(super) context_texts: Vec<String>,
    pub(super) bert_input_ids: Vec<Vec<u32>>,
    bert_attention_mask: Vec<Vec<u32>>,
    pub(super) trainable: BTreeMap<String, Vec<String>>,
    pub(super) train: BTreeMap<String, Trace>,
    pub(super) drift_l2: BTreeMap<String, BTreeMap<String, f64>>,
    #[serde(default)]
    pub(super) drift_l2_effective: BTreeMap<String, BTreeMap<String, f64>>,
    pub(super) recipe: Recipe,
    pub(super) lora: LoraMeta,
    vpt: VptMeta,
}

/// What the reference measured in its training steps.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Trace {
    pub(super) losses: Vec<f64>,
    pub(super) grad_norm: Vec<f64>,
    pub(super) lr: Vec<f64>,
}

/// How it trained.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Recipe {
    pub(super) optimizer: String,
    pub(super) lr: f64,
    pub(super) betas: [f64; 2],
    pub(super) eps: f64,
    pub(super) weight_decay: f64,
    pub(super) schedule: String,
    pub(super) warmup_steps: u64,
    pub(super) steps: u64,
    pub(super) clip: f64,
}

/// Adapters' rank and scale.
#[derive(Debug, serde::Deserialize)]
pub(super) struct LoraMeta {
    pub(super) rank: usize,
    pub(super) alpha: f64,
}

#[derive(Debug, serde::Deserialize)]
struct VptMeta {
    prompts: usize,
}

impl Golden {
    pub(super) fn open(folder: &Path, device: &Device) -> std::result::Result<Self, VerifyError> {
        let path = folder.join("expected/meta.json");
        let unreadable = |reason: String| VerifyError::Unreadable { reason, path: path.clone() };
        let text = std::fs::read_to_string(&path).map_err(|e| unreadable(e.to_string()))?;
        let meta: Meta = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
        let (config, tuning) = load_recipe(&folder.join("llava"))?;
        let batch = Tensors::open(&folder.join("expected/batch.safetensors"))?;
        let input = input(&batch, &meta, device)?;
        Ok(Self { folder: folder.to_owned(), meta, config, tuning, input, device: device.clone() })
    }

    /// Reference numbers of a method, if the folder has them.
    pub(super) fn expected(&self, method: &str) -> Result<Option<Tensors>> {
        let path = self.folder.join("expected").join(format!("{method}.safetensors"));
        if path.exists() { Tensors::open(&path).map(Some) } else { Ok(None) }
    }

    /// The vision encoder's method of a published name.
    pub(super) fn method(&self, name: &str) -> Option<VisionMethod> {
        let lora = &self.meta.lora;
        Some(match name {
            COVFT => self.tuning.vision.clone(),
            "fullft" => VisionMethod::Full,
            "freeze" => VisionMethod::Freeze,
            "bias" => VisionMethod::BitFit,
            "lora" => VisionMethod::Lora { rank: lora.rank, alpha: lora.alpha, dropout: 0.0 },
            "vpt" => VisionMethod::Vpt { prompts: self.meta.vpt.prompts },
            _ => return None,
        })
    }

    /// A model tuned by `method`, with whatever tensors `methods/<name>` adds.
    pub(super) fn build(&self, name: &str, method: VisionMethod) -> Result<(Mllm, ParamStore)> {
        let mut links: Vec<Box<dyn TensorSource>> = Vec::new();
        let extra = self.folder.join("methods").join(name);
        if extra.is_dir() {
            let extra = extra.join("extra.safetensors");
            links.push(Box::new(Safetensors::open(&extra).map_err(candle_core::Error::wrap)?));
        }
        links.push(open_source(&self.config)?);
        let tuning = Tuning { vision: method, ..self.tuning.clone() };
        Mllm::build(&self.config, &tuning, &Chain(links), 0, &self.device, 0)
    }

    /// Labelled tokens of the batch.
    pub(super) fn labelled(&self) -> usize {
        self.input.labels.iter().map(|l| l.iter().skip(1).filter(|l| **l != crate::ops::IGNORE_INDEX).count()).sum()
    }
}

/// A file of reference tensors.
#[derive(Debug)]
pub(super) struct Tensors {
    map: HashMap<String, Tensor>,
    path: PathBuf,
}

impl Tensors {
    pub(super) fn open(path: &Path) -> Result<Self> {
        match candle_core::safetensors::load(path, &Device::Cpu) {
            Ok(map) => Ok(Self { map, path: path.to_owned() }),
            Err(e) => candle_core::bail!("cannot read reference tensors ({e}): {}", path.display()),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&Tensor> {
        self.map.get(name)
    }

    pub(super) fn get(&self, name: &str) -> Result<&Tensor> {
        match self.map.get(name) {
            Some(tensor) => Ok(tensor),
            None => candle_core::bail!("{name} is missing: {}", self.path.display()),
        }
    }

    /// Names that begin with `prefix`, without it, sorted.
    pub(super) fn below(&self, prefix: &str) -> Vec<&str> {
        let mut names: Vec<&str> = self.map.keys().filter_map(|name| name.strip_prefix(prefix)).collect();
        names.sort_unstable();
        names
    }

    /// The single number `name`.
    pub(super) fn scalar(&self, name: &str) -> Result<f64> {
        self.get(name)?.to_dtype(candle_core::DType::F64)?.flatten_all()?.get(0)?.to_scalar()
    }
}

/// The stored batch without its padding.
fn input(batch: &Tensors, meta: &Meta, device: &Device) -> Result<MllmInput> {
    let rows = |name: &str| batch.get(name)?.to_dtype(candle_core::DType::I64)?.to_vec2::<i64>();
    let lengths: Vec<usize> = rows("attention_mask")?.iter().map(|m| m.iter().filter(|v| **v != 0).count()).collect();
    let cut = |name: &str| -> Result<Vec<Vec<i64>>> {
        Ok(rows(name)?.into_iter().zip(&lengths).map(|(row, n)| row[..*n].to_vec()).collect())
    };
    Ok(MllmInput {
        pixels: batch.get("pixel_values")?.to_device(device)?,
        input_ids: cut("input_ids")?,
        labels: cut("labels")?,
        context_ids: meta.contexts(),
        task_ids: None,
    })
}

impl Meta {
    /// The text encoder's ids without padding.
    pub(super) fn contexts(&self) -> Vec<Vec<u32>> {
        let cut = |(ids, mask): (&Vec<u32>, &Vec<u32>)| {
            ids.iter().zip(mask).filter(|(_, m)| **m != 0).map(|(id, _)| *id).collect()
        };
        self.bert_input_ids.iter().zip(&self.bert_attention_mask).map(cut).collect()
    }
}
