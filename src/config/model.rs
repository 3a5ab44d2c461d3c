//! The model's part of a recipe: sizes, checkpoints and how each part is tuned.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[model]`: either folders of pretrained weights or sizes for a model from nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A whole LLaVA-layout checkpoint folder; parts it lacks come from the folders below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// Weights that LoRA tuned begin with their factors added to them (`W + (alpha / r) up down`), and so does a stage after
    /// one that LoRA tuned, unless it goes on with the same adapters. Without it they are refused where they would be lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge: bool,
    /// Vision tower.
    pub vision: VisionConfig,
    /// Projector.
    #[serde(default)]
    pub projector: ProjectorKind,
    /// Language model.
    pub language: LanguageConfig,
    /// Text encoder that asks for the context.
    pub text: TextConfig,
}

/// Kind of vision tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TowerKind {
    /// CLIP ViT.
    Clip,
    /// DINOv2.
    Dinov2,
}

/// `[model.vision]`. Sizes may be left out where `weights` has a `config.json` that names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// Folder in Hugging Face layout; random initialisation without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Tower kind; from `config.json` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<TowerKind>,
    /// Input resolution in pixels; the checkpoint's if left out (DINOv2: position table resized bicubically).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// Patch size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_size: Option<usize>,
    /// Width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// FFN width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ffn: Option<usize>,
    /// Which hidden state feeds the projector; -2 is the output of the last but one block.
    #[serde(default = "default_select_layer")]
    pub select_layer: i64,
}

impl VisionConfig {
    /// A tower as its folder describes it.
    #[must_use]
    pub fn from_folder(weights: impl Into<PathBuf>) -> Self {
        Self { weights: Some(weights.into()), ..Self::default() }
    }
}

impl Default for VisionConfig {
    /// Nothing said: what an empty `[model.vision]` means.
    fn default() -> Self {
        Self {
            weights: None,
            kind: None,
            image_size: None,
            patch_size: None,
            width: None,
            layers: None,
            heads: None,
            ffn: None,
            select_layer: default_select_layer(),
        }
    }
}

fn default_select_layer() -> i64 {
    -2
}

/// `[model] projector`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProjectorKind {
    /// One linear layer.
    #[serde(rename = "linear")]
    Linear,
    /// Linear, exact GELU, linear.
    #[default]
    #[serde(rename = "mlp2x_gelu")]
    Mlp2xGelu,
}

/// `[model.language]`: a LLaMA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LanguageConfig {
    /// Folder in Hugging Face layout; random initialisation without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// `tokenizer.json`; the one in `weights` if left out; `builtin:scenes` for the built-in set's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Sizes of a model from nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<LanguageSizes>,
}

/// `[model.language.sizes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LanguageSizes {
    /// Width.
    pub width: usize,
    /// FFN width.
    pub ffn: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Vocabulary; the tokenizer's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// Output head shares the embedding table.
    #[serde(default)]
    pub tied: bool,
    /// Rotary base.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
}

fn default_rope_theta() -> f64 {
    10_000.0
}

/// `[model.text]`: a BERT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Folder in Hugging Face layout; random initialisation without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// `tokenizer.json`; the one in `weights` if left out; `builtin:scenes` for the built-in set's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// How token states become one vector.
    #[serde(default)]
    pub pool: Pool,
    /// Sizes of a model from nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<TextSizes>,
}

/// How the text encoder's token states become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// State of the first token (the paper).
    #[default]
    Cls,
    /// Mean over the valid tokens (sentence encoders trained so).
    Mean,
}

/// `[model.text.sizes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextSizes {
    /// Width.
    pub width: usize,
    /// FFN width.
    pub ffn: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads.
    pub heads: usize,
    /// Vocabulary; the tokenizer's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// Longest text.
    #[serde(default = "default_positions")]
    pub positions: usize,
}

fn default_positions() -> usize {
    512
}

/// How each part of the model is tuned in one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Vision encoder.
    #[serde(default)]
    pub vision: VisionMethod,
    /// Whether the projector trains.
    #[serde(default = "super::yes")]
    pub projector: bool,
    /// Language model.
    #[serde(default)]
    pub language: LanguageMethod,
    /// Text encoder.
    #[serde(default)]
    pub text: TextMethod,
    /// Which blocks are run again in the backward pass to save memory.
    #[serde(default)]
    pub checkpointing: Checkpointing,
}

/// How the vision encoder is tuned: `{ type = "covft", experts = 4 }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum VisionMethod {
    /// Nothing trains.
    #[default]
    Freeze,
    /// Everything trains.
    Full,
    /// Low-rank adapters on the attention's four projections; all else frozen.
    Lora {
        /// Rank r.
        #[serde(default = "default_lora_rank")]
        rank: usize,
        /// Scale is alpha / r.
        #[serde(default = "default_lora_alpha")]
        alpha: f64,
        /// Dropout before the down projection.
        #[serde(default = "default_lora_dropout")]
        dropout: f64,
    },
    /// Biases train.
    #[serde(rename = "bitfit")]
    BitFit,
    /// Prompts inserted after the class token of every layer.
    Vpt {
        /// Prompts a layer.
        #[serde(default = "default_prompts")]
        prompts: usize,
    },
    /// Context vector extraction and contextual mixture of experts, with the layer norms of every block.
    Covft {
        /// Experts.
        #[serde(default = "default_experts")]
        experts: usize,
        /// First CoMoE layer; half of the used layers if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start_layer: Option<usize>,
        /// One past the last CoMoE layer; the used layers if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end_layer: Option<usize>,
        /// Router.
        #[serde(default)]
        router: Router,
    },
}

impl VisionMethod {
    /// Its name in TOML.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Full => "full",
            Self::Lora { .. } => "lora",
            Self::BitFit => "bitfit",
            Self::Vpt { .. } => "vpt",
            Self::Covft { .. } => "covft",
        }
    }

    /// The method called `name`, with its usual settings.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "freeze" => Self::Freeze,
            "full" => Self::Full,
            "lora" => {
                Self::Lora { rank: default_lora_rank(), alpha: default_lora_alpha(), dropout: default_lora_dropout() }
            }
            "bitfit" => Self::BitFit,
            "vpt" => Self::Vpt { prompts: default_prompts() },
            "covft" => Self::Covft {
                experts: default_experts(),
                start_layer: None,
                end_layer: None,
                router: Router::default(),
            },
            _ => return None,
        })
    }
}

fn default_lora_rank() -> usize {
    8
}
fn default_lora_alpha() -> f64 {
    16.0
}
fn default_lora_dropout() -> f64 {
    0.05
}
fn default_prompts() -> usize {
    50
}
fn default_experts() -> usize {
    4
}

/// How routing logits become weights: `"dense"`, `"uniform"` or `{ sparse = 2 }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Router {
    /// Softmax over all experts (the paper).
    #[default]
    Dense,
    /// Softmax over the given number of experts with the largest logits, the others at zero: `{ sparse = 2 }`.
    Sparse(usize),
    /// Every expert alike, whatever the context; gate and context extractor do not train.
    Uniform,
}

/// How the language model is tuned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LanguageMethod {
    /// Everything trains.
    #[default]
    Full,
    /// Low-rank adapters on all linear layers but the output head.
    Lora {
        /// Rank r.
        rank: usize,
        /// Scale is alpha / r.
        alpha: f64,
        /// Dropout before the down projection.
        #[serde(default)]
        dropout: f64,
    },
    /// Nothing trains.
    Freeze,
}

/// How the text encoder is tuned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextMethod {
    /// Frozen (the paper).
    #[default]
    Freeze,
    /// Trains by telling the samples' tasks apart from their questions (for encoders from nothing).
    Tasks,
}

/// Which blocks are run again in the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checkpointing {
    /// None.
    #[default]
    None,
    /// The vision tower's.
    Vision,
    /// The tower's and the language model's.
    All,
}
