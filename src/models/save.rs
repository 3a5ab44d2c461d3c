//! A model as a checkpoint folder in LLaVA's layout, and the recipe read back from one.

use super::checkpoint::{CheckpointError, write_folder};
use super::description::read_in;
use super::shapes::{LanguageShape, ModelShapes, TextShape};
use crate::config::model::{
    Checkpointing, LanguageConfig, LanguageMethod, ModelConfig, Pool, ProjectorKind, Router, TextConfig, TextMethod,
    Tuning, VisionConfig, VisionMethod,
};
use crate::nn::ParamStore;
use candle_core::{Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Key of `config.json` that holds the model's part of the recipe.
pub(super) const RECIPE_KEY: &str = "covft_probe";

/// Writes `model.safetensors` (LLaVA's names, the text encoder included), `config.json` (what LLaVA and Hugging Face
/// read, and what [`load_recipe`] reads) and `files` (tokenizers: `tokenizer.json`, `context_tokenizer.json`).
///
/// # Errors
/// A full disk, a missing parent; the folder that was there before then stays.
pub fn save_checkpoint(
    store: &ParamStore,
    config: &ModelConfig,
    tuning: &Tuning,
    shapes: &ModelShapes,
    folder: &Path,
    files: &[(String, Vec<u8>)],
) -> std::result::Result<(), CheckpointError> {
    write_folder(folder, store, &config_json(config, tuning, shapes), files)
}

/// The `config.json` of a checkpoint.
#[must_use]
pub fn config_json(config: &ModelConfig, tuning: &Tuning, shapes: &ModelShapes) -> Value {
    let folder = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let mut json = language_json(&shapes.language);
    let multimodal = json!({
        "use_mm_proj": true,
        "mm_vision_tower": folder(&config.vision.weights),
        "mm_projector_type": config.projector,
        "mm_hidden_size": shapes.vision.width,
        "mm_vision_select_layer": config.vision.select_layer,
        "mm_vision_select_feature": "patch",
        "mm_patch_merge_type": "flat",
        "image_aspect_ratio": "pad",
        "tokenizer_padding_side": "right",
        "vfm_tuning_type": published_name(&tuning.vision),
        "context_embedding_model": folder(&config.text.weights),
        "context_embedding_dim": shapes.text.width,
        "context_embedding_config": text_json(&shapes.text),
        "vision_config": shapes.vision.config_json(),
    });
    if let (Value::Object(json), Value::Object(multimodal)) = (&mut json, multimodal) {
        json.extend(multimodal);
    }
    if let VisionMethod::Covft { experts, start_layer, .. } = &tuning.vision {
        json["moe_num_experts"] = json!(experts);
        json["moe_start_layer"] = json!(start_layer.unwrap_or(shapes.vision.used_layers() / 2));
    }
    json[RECIPE_KEY] = json!({ "model": portable(config), "tuning": tuning });
    json
}

fn language_json(shape: &LanguageShape) -> Value {
    json!({
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava_llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.positions,
        "hidden_act": "silu",
        "rms_norm_eps": shape.eps,
        "rope_theta": shape.rope_theta,
        "rope_scaling": null,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": shape.bos.first(),
        "eos_token_id": shape.eos,
        "torch_dtype": "float32",
    })
}

fn text_json(shape: &TextShape) -> Value {
    json!({
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.types,
        "layer_norm_eps": shape.eps,
    })
}

/// The recipe without the folders that the checkpoint replaces.
fn portable(config: &ModelConfig) -> ModelConfig {
    let mut config = config.clone();
    (config.checkpoint, config.merge) = (None, false);
    let tokenizer = |given: Option<PathBuf>, weights: &Option<PathBuf>| {
        given.or_else(|| weights.as_ref().map(|w| w.join("tokenizer.json")))
    };
    config.language.tokenizer = tokenizer(config.language.tokenizer, &config.language.weights);
    config.text.tokenizer = tokenizer(config.text.tokenizer, &config.text.weights);
    (config.vision.weights, config.language.weights, config.text.weights) = (None, None, None);
    config
}

fn published_name(method: &VisionMethod) -> &'static str {
    match method {
        VisionMethod::Freeze => "freeze",
        VisionMethod::Full => "fullft",
        VisionMethod::Lora { .. } => "lora",
        VisionMethod::BitFit => "bias",
        VisionMethod::Vpt { .. } => "vpt",
        VisionMethod::Covft { .. } => "context_moe_layernorm",
    }
}

/// The model and tuning of a checkpoint folder: as written by [`save_checkpoint`], or read out of a LLaVA
/// `config.json` whose `mm_vision_tower` and `context_embedding_model` are folders (relative to the checkpoint's).
///
/// # Errors
/// No readable `config.json`, or one that names no tower or text encoder that is here.
pub fn load_recipe(folder: &Path) -> Result<(ModelConfig, Tuning)> {
    let path = folder.join("config.json");
    let json = read_in(folder, "config.json")?;
    let Some((mut model, tuning)) = stored_tuning(&json, &path)? else { return published(&json, folder, &path) };
    model.checkpoint = Some(folder.to_owned());
    let own = |name: &str| Some(folder.join(name)).filter(|p| p.exists());
    model.language.tokenizer = own("tokenizer.json").or(model.language.tokenizer);
    model.text.tokenizer = own("context_tokenizer.json").or(model.text.tokenizer);
    Ok((model, tuning))
}

/// The model and tuning that a `config.json` of ours carries.
pub(super) fn stored_tuning(json: &Value, path: &Path) -> Result<Option<(ModelConfig, Tuning)>> {
    let Some(recipe) = json.get(RECIPE_KEY) else { return Ok(None) };
    let parse = |key: &str| recipe.get(key).cloned().unwrap_or_default();
    let model = serde_json::from_value::<ModelConfig>(parse("model"));
    let tuning = serde_json::from_value::<Tuning>(parse("tuning"));
    match (model, tuning) {
        (Ok(model), Ok(tuning)) => Ok(Some((model, tuning))),
        (Err(e), _) | (_, Err(e)) => bail!("the recipe under {RECIPE_KEY} cannot be read ({e}): {}", path.display()),
    }
}

fn published(json: &Value, folder: &Path, path: &Path) -> Result<(ModelConfig, Tuning)> {
    let part = |key: &str| -> Result<PathBuf> {
        match json.get(key).and_then(Value::as_str).map(|name| folder.join(name)) {
            Some(part) if part.is_dir() => Ok(part),
            Some(part) => bail!("{key} names {}, which is not a folder here: {}", part.display(), path.display()),
            None => bail!("{key} is missing: {}", path.display()),
        }
    };
    let projector = match json.get("mm_projector_type").and_then(Value::as_str) {
        // What LLaVA takes where nothing is said.
        Some("linear") | None => ProjectorKind::Linear,
        Some("mlp2x_gelu") => ProjectorKind::Mlp2xGelu,
        Some(other) => bail!("mm_projector_type {other} is not supported: {}", path.display()),
    };
    let integer = |key: &str| json.get(key).and_then(Value::as_i64);
    let size = |key: &str| integer(key).and_then(|n| usize::try_from(n).ok());
    let vision = match json.get("vfm_tuning_type").and_then(Value::as_str) {
        Some("context_moe_layernorm") => VisionMethod::Covft {
            experts: size("moe_num_experts").unwrap_or(4),
            start_layer: size("moe_start_layer"),
            end_layer: None,
            router: Router::default(),
        },
        Some("fullft") => VisionMethod::Full,
        Some("bias") => VisionMethod::BitFit,
        Some("freeze") | None => VisionMethod::Freeze,
        Some(other) => bail!("vfm_tuning_type {other} says too little to rebuild the tower: {}", path.display()),
    };
    let model = ModelConfig {
        checkpoint: Some(folder.to_owned()),
        merge: false,
        vision: VisionConfig {
            select_layer: integer("mm_vision_select_layer").unwrap_or(-2),
            ..VisionConfig::from_folder(part("mm_vision_tower")?)
        },
        projector,
        language: LanguageConfig { weights: None, tokenizer: Some(folder.join("tokenizer.json")), sizes: None },
        text: text_from(part("context_embedding_model")?),
    };
    let tuning = Tuning {
        vision,
        projector: true,
        language: LanguageMethod::Full,
        text: TextMethod::Freeze,
        checkpointing: Checkpointing::None,
    };
    Ok((model, tuning))
}

fn text_from(weights: PathBuf) -> TextConfig {
    TextConfig { weights: Some(weights), tokenizer: None, pool: Pool::Cls, sizes: None }
}
