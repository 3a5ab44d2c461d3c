//! What a tower is: read from a checkpoint's `config.json`, from the recipe, or both where they agree.

use super::preprocess::Preprocessor;
use crate::config::model::{TowerKind, VisionConfig};
use crate::models::description::{CLIP, DINOV2, DescriptionError, read_in};
use crate::ops::Activation;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Everything a tower's shape depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct TowerSizes {
    /// Architecture.
    pub kind: TowerKind,
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Width D.
    pub width: usize,
    /// Blocks in the checkpoint.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward layers.
    pub ffn: usize,
    /// Their activation, and the experts'.
    pub activation: Activation,
    /// Epsilon of the tower's layer norms.
    pub norm_eps: f64,
    /// Hidden state that feeds the projector: negative from the end of `[embeddings, block 0, ..]`.
    pub select_layer: i64,
    /// Mean of each colour channel, of pixels in `0..=1`.
    pub image_mean: [f64; 3],
    /// Standard deviation of each colour channel.
    pub image_std: [f64; 3],
    /// Rows of the position table in the checkpoint, class token included.
    pub position_rows: usize,
}

/// Why a tower's sizes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SizesError {
    /// A description that cannot be followed.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// Another architecture.
    #[error("model_type {found:?} is not a vision tower known here (clip, clip_vision_model, dinov2): {path}")]
    Kind {
        /// The file's `model_type`.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// A size neither the recipe nor the weights give.
    #[error("model.vision needs `{key}`: neither the recipe nor the weights name it")]
    Missing {
        /// Key of `[model.vision]`.
        key: &'static str,
    },
    /// Recipe and weights disagree.
    #[error("model.vision.{key} = {wanted} contradicts {found} of the weights; leave it out: {path}")]
    Contradiction {
        /// Key of `[model.vision]`.
        key: &'static str,
        /// The recipe's.
        wanted: String,
        /// The weights'.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// Sizes that do not fit together.
    #[error("model.vision: {reason}")]
    Unfit {
        /// What does not fit.
        reason: String,
    },
}

const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

/// The keys of `config.json` that matter here.
#[derive(Debug, Default, Deserialize)]
struct Described {
    #[serde(default)]
    model_type: String,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    mlp_ratio: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    hidden_act: Option<Activation>,
    layer_norm_eps: Option<f64>,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
    /// Fields that nobody here knows.
    #[serde(skip)]
    unknown: Vec<String>,
}

impl TowerSizes {
    /// The recipe's sizes, completed from the weights' `config.json` and `preprocessor_config.json`.
    ///
    /// # Errors
    /// Sizes that are missing, contradict each other or do not fit together.
    pub fn resolve(config: &VisionConfig) -> Result<Self, SizesError> {
        let (described, path) = match &config.weights {
            Some(weights) => (described(weights, config.kind)?, weights.join("config.json")),
            None => (Described::default(), PathBuf::new()),
        };
        let kind = kind(config, &described, &path)?;
        let size = |key, wanted: Option<usize>, found: Option<usize>| match (wanted, found) {
            (Some(wanted), Some(found)) if wanted != found => Err(SizesError::Contradiction {
                key,
                wanted: wanted.to_string(),
                found: found.to_string(),
                path: path.clone(),
            }),
            (wanted, found) => wanted.or(found).ok_or(SizesError::Missing { key }),
        };
        let width = size("width", config.width, described.hidden_size)?;
        let ffn = described.intermediate_size.or_else(|| Some(described.mlp_ratio? * width));
        // DINOv2's position table is resized to the wanted resolution; CLIP's is not.
        let resizable = if kind == TowerKind::Dinov2 { None } else { described.image_size };
        let image_size = size("image_size", config.image_size.or(described.image_size), resizable)?;
        let patch_size = size("patch_size", config.patch_size, described.patch_size)?;
        let processor = Preprocessor::beside(config.weights.as_deref())?;
        processor.fits(kind, image_size)?;
        let (mean, std) = match kind {
            TowerKind::Clip => (CLIP_MEAN, CLIP_STD),
            TowerKind::Dinov2 => (IMAGENET_MEAN, IMAGENET_STD),
        };
        let side = |pixels: usize| pixels / patch_size.max(1);
        let sizes = Self {
            kind,
            image_size,
            patch_size,
            width,
            layers: size("layers", config.layers, described.num_hidden_layers)?,
            heads: size("heads", config.heads, described.num_attention_heads)?,
            ffn: size("ffn", config.ffn, ffn)?,
            activation: described.hidden_act.unwrap_or(match kind {
                TowerKind::Clip => Activation::QuickGelu,
                TowerKind::Dinov2 => Activation::Gelu,
            }),
            norm_eps: described.layer_norm_eps.unwrap_or(match kind {
                TowerKind::Clip => 1e-5,
                TowerKind::Dinov2 => 1e-6,
            }),
            select_layer: config.select_layer,
            image_mean: processor.image_mean.or(described.image_mean).unwrap_or(mean),
            image_std: processor.image_std.or(described.image_std).unwrap_or(std),
            position_rows: 1 + side(described.image_size.unwrap_or(image_size)).pow(2),
        };
        sizes.check()?;
        Ok(sizes)
    }

    /// Blocks that run: those up to the selected hidden state.
    #[must_use]
    pub fn used_layers(&self) -> usize {
        let states = self.layers as i64 + 1;
        let index = if self.select_layer < 0 { states + self.select_layer } else { self.select_layer };
        usize::try_from(index).unwrap_or(0).min(self.layers)
    }

    /// Patches of the square input image: the number P of image tokens.
    #[must_use]
    pub fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// The `config.json` that [`resolve`](Self::resolve) and Hugging Face read these sizes from.
    #[must_use]
    pub fn config_json(&self) -> Value {
        let (model_type, architecture) = match self.kind {
            TowerKind::Clip => ("clip_vision_model", "CLIPVisionModel"),
            TowerKind::Dinov2 => ("dinov2", "Dinov2Model"),
        };
        let mut config = json!({
            "model_type": model_type,
            "architectures": [architecture],
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.ffn,
            // The size of the position table: the resolution may differ, the table is resized to it.
            "image_size": (self.position_rows - 1).isqrt() * self.patch_size,
            "patch_size": self.patch_size,
            "num_channels": 3,
            "hidden_act": self.activation,
            "layer_norm_eps": self.norm_eps,
            "image_mean": self.image_mean,
            "image_std": self.image_std,
        });
        if self.kind == TowerKind::Dinov2 && self.ffn.is_multiple_of(self.width) {
            config["mlp_ratio"] = json!(self.ffn / self.width);
        }
        config
    }

    fn check(&self) -> Result<(), SizesError> {
        let unfit = |reason: String| Err(SizesError::Unfit { reason });
        if [self.image_size, self.patch_size, self.width, self.layers, self.heads, self.ffn].contains(&0) {
            return unfit("every size must be at least 1".into());
        }
        if !self.image_size.is_multiple_of(self.patch_size) {
            return unfit(format!("image_size {} is no multiple of patch_size {}", self.image_size, self.patch_size));
        }
        if !self.width.is_multiple_of(self.heads) {
            return unfit(format!("width {} is no multiple of heads {}", self.width, self.heads));
        }
        let states = self.layers as i64 + 1;
        if self.select_layer == 0 || self.select_layer > self.layers as i64 || self.select_layer <= -states {
            let last = self.layers;
            return unfit(format!("select_layer {} is none of 1..={last} and -{last}..=-1", self.select_layer));
        }
        Ok(())
    }
}

fn kind(config: &VisionConfig, described: &Described, path: &Path) -> Result<TowerKind, SizesError> {
    let found = match described.model_type.as_str() {
        "" => None,
        "clip_vision_model" | "clip" => Some(TowerKind::Clip),
        "dinov2" => Some(TowerKind::Dinov2),
        other => return Err(SizesError::Kind { found: other.to_owned(), path: path.to_owned() }),
    };
    match (config.kind, found) {
        (Some(wanted), Some(found)) if wanted != found => Err(SizesError::Contradiction {
            key: "kind",
            wanted: format!("{wanted:?}").to_lowercase(),
            found: described.model_type.clone(),
            path: path.to_owned(),
        }),
        (wanted, found) => wanted.or(found).ok_or(SizesError::Missing { key: "kind" }),
    }
}

fn described(folder: &Path, kind: Option<TowerKind>) -> Result<Described, SizesError> {
    let path = folder.join("config.json");
    let mut whole = read_in(folder, "config.json")?;
    let older = whole.get_mut("vision_config_dict").map(Value::take);
    // A whole CLIP or LLaVA nests its tower, beside keys that mean its language model.
    let mut nested = whole.get_mut("vision_config").map(Value::take).filter(Value::is_object);
    if let (Some(Value::Object(tower)), Some(kind)) = (&mut nested, whole.get("model_type")) {
        // transformers' LLaVA has CLIP's tower where it says nothing.
        let clip = Value::from("clip_vision_model");
        tower.entry("model_type").or_insert(if kind == "llava" { clip } else { kind.clone() });
        // As transformers does: what stands in the older key wins.
        tower.extend(older.as_ref().and_then(Value::as_object).cloned().unwrap_or_default());
    }
    let json = nested.unwrap_or(whole);
    let part = match (json.get("model_type").and_then(Value::as_str), kind) {
        (Some("clip_vision_model" | "clip"), _) | (None, Some(TowerKind::Clip)) => &CLIP,
        (Some("dinov2"), _) | (None, Some(TowerKind::Dinov2)) => &DINOV2,
        // Another one, which is refused by its name.
        _ => return Ok(serde_json::from_value(json!({ "model_type": json.get("model_type") })).unwrap_or_default()),
    };
    let unknown = part.check(&json, &path)?;
    let read = |json: Value| serde_json::from_value::<Described>(json).map_err(|e| e.to_string());
    let read = read(json.clone()).map_err(|reason| {
        // The field by itself tells which one it is.
        let fields = json.as_object().into_iter().flatten();
        let named =
            fields.filter_map(|(key, value)| Some(format!("{key} = {value}: {}", read(json!({ key: value })).err()?)));
        let reason = named.into_iter().next().unwrap_or(reason);
        DescriptionError::Unreadable { reason, path: path.clone() }
    })?;
    Ok(Described { unknown, ..read })
}

/// What is to be told of a tower's description: fields that nobody here knows, and what is done in another way.
///
/// # Errors
/// As [`TowerSizes::resolve`].
pub fn remarks(config: &VisionConfig) -> Result<Vec<String>, SizesError> {
    let Some(folder) = &config.weights else { return Ok(Vec::new()) };
    let (sizes, processor) = (TowerSizes::resolve(config)?, Preprocessor::beside(Some(folder))?);
    let unknown = |file: &str, fields: Vec<String>| {
        let path = folder.join(file);
        let line = format!("config fields not known here, passed over: {}: {}", fields.join(", "), path.display());
        (!fields.is_empty()).then_some(line)
    };
    let lines = [
        unknown("config.json", described(folder, config.kind)?.unknown),
        unknown("preprocessor_config.json", processor.unknown.clone()),
        processor.remark(sizes.image_size),
    ];
    Ok(lines.into_iter().flatten().collect())
}

#[cfg(test)]
#[path = "sizes_tests.rs"]
mod tests;
