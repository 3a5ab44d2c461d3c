//! Sizes of the parts: from a checkpoint's `config.json`, or from the recipe.

mod text;

pub use text::TextShape;

use super::description::{BERT, DescriptionError, Fields, LLAMA, PROJECTOR, read_in};
use super::save::RECIPE_KEY;
use super::towers::{self, TowerSizes};
use crate::config::model::{LanguageConfig, ModelConfig, ProjectorKind, VisionConfig};
use candle_core::{Error, Result, bail};
use serde_json::Value;
use std::path::Path;
use text::text_of;

/// Sizes of every part of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShapes {
    /// The vision tower's.
    pub vision: TowerSizes,
    /// The language model's.
    pub language: LanguageShape,
    /// The text encoder's.
    pub text: TextShape,
}

impl ModelShapes {
    /// What the recipe says, completed by the `config.json` of the folders it names.
    ///
    /// # Errors
    /// A size that nobody says, or sizes that do not fit.
    pub fn resolve(config: &ModelConfig) -> Result<Self> {
        let checkpoint = config.checkpoint.as_deref();
        if let Some(folder) = checkpoint {
            agrees(config, folder)?;
        }
        Ok(Self {
            vision: TowerSizes::resolve(&tower_of(config)?).map_err(Error::wrap)?,
            language: LanguageShape::resolve(&config.language, checkpoint)?,
            text: TextShape::resolve(&config.text, checkpoint)?,
        })
    }
}

/// Fields of the model's descriptions that nobody here knows and that seem harmless, and other things to be told; one
/// line each.
///
/// # Errors
/// A description that cannot be followed.
pub fn remarks(config: &ModelConfig) -> Result<Vec<String>> {
    let mut lines = towers::remarks(&tower_of(config)?).map_err(Error::wrap)?;
    let mut unknown = |fields: Vec<String>, folder: &Path| {
        if !fields.is_empty() {
            let path = folder.join("config.json");
            lines.push(format!("config fields not known here, passed over: {}: {}", fields.join(", "), path.display()));
        }
    };
    if let Some(folder) = config.language.weights.as_deref().or(config.checkpoint.as_deref())
        && config.language.sizes.is_none()
    {
        let file = read_in(folder, "config.json")?;
        unknown(LLAMA.check(language_of(&file), &folder.join("config.json"))?, folder);
    }
    if let Some(folder) = &config.checkpoint {
        let mut fields = PROJECTOR.check(&read_in(folder, "config.json")?, &folder.join("config.json"))?;
        // Beside a language model's fields, they were told with those.
        fields.retain(|_| config.language.weights.is_some() || config.language.sizes.is_some());
        unknown(fields, folder);
    }
    if let (Some(folder), None) = (&config.text.weights, &config.text.sizes) {
        let file = read_in(folder, "config.json")?;
        unknown(BERT.check(text_of(&file), &folder.join("config.json"))?, folder);
    }
    Ok(lines)
}

/// The tower's part of the recipe; a whole checkpoint that describes its tower stands for a folder of its own.
fn tower_of(config: &ModelConfig) -> std::result::Result<VisionConfig, DescriptionError> {
    let mut vision = config.vision.clone();
    if let (None, Some(folder)) = (&vision.weights, &config.checkpoint)
        && read_in(folder, "config.json")?.get("vision_config").is_some_and(Value::is_object)
    {
        vision.weights = Some(folder.clone());
    }
    Ok(vision)
}

/// What joins the parts must be what the checkpoint was trained with.
fn agrees(config: &ModelConfig, folder: &Path) -> std::result::Result<(), DescriptionError> {
    let (json, path) = (read_in(folder, "config.json")?, folder.join("config.json"));
    PROJECTOR.family(&json, "", &path)?;
    PROJECTOR.check(&json, &path)?;
    let contradiction = |key, wanted: String, field: &str, found: String| {
        Err(DescriptionError::Contradiction { key, wanted, field: field.to_owned(), found, path: path.clone() })
    };
    for field in ["mm_vision_select_layer", "vision_feature_layer"] {
        let wanted = config.vision.select_layer;
        match json.get(field).filter(|v| !v.is_null()) {
            Some(found) if !found.is_i64() => {
                let reason = format!("{field} = {found} is not a whole number");
                return Err(DescriptionError::Unreadable { reason, path: path.clone() });
            }
            Some(found) if found.as_i64() != Some(wanted) => {
                return contradiction("model.vision.select_layer", wanted.to_string(), field, found.to_string());
            }
            _ => {}
        }
    }
    // Context vectors were trained upon what the text encoder's states became; read as plain JSON, since the rest is checked
    // where it is followed.
    let stored = |pointer: &str| json.pointer(&format!("/{RECIPE_KEY}/{pointer}"));
    if stored("tuning/vision/type").is_some_and(|method| method == "covft") {
        let wanted = serde_json::to_value(config.text.pool).unwrap_or_default();
        let found = stored("model/text/pool").cloned().unwrap_or_else(|| "cls".into());
        if found != wanted {
            return contradiction(
                "model.text.pool",
                wanted.to_string(),
                "covft_probe.model.text.pool",
                found.to_string(),
            );
        }
    }
    let kind = serde_json::to_value(config.projector).unwrap_or_default();
    match json.get("mm_projector_type").filter(|v| !v.is_null()) {
        Some(found) if serde_json::from_value::<ProjectorKind>(found.clone()).is_err() => {
            Err(DescriptionError::Value {
                field: "mm_projector_type".to_owned(),
                found: found.to_string(),
                part: "multimodal model",
                allowed: r#""linear", "mlp2x_gelu""#.to_owned(),
                path: path.clone(),
            })
        }
        Some(found) if *found != kind => {
            contradiction("model.projector", kind.to_string(), "mm_projector_type", found.to_string())
        }
        _ if json.get("text_config").is_some() && config.projector != ProjectorKind::Mlp2xGelu => {
            contradiction("model.projector", kind.to_string(), "the projector", "\"mlp2x_gelu\"".to_owned())
        }
        _ => Ok(()),
    }
}

/// LLaVA's word for how the pictures of a whole checkpoint became square, where its description has one.
///
/// # Errors
/// The description cannot be read.
pub fn image_aspect_ratio(folder: &Path) -> Result<Option<String>> {
    let json = read_in(folder, "config.json")?;
    Ok(json.get("image_aspect_ratio").and_then(Value::as_str).map(str::to_owned))
}

/// The language model's object of a `config.json`: the file's own, or llava-hf's `text_config`.
fn language_of(file: &Value) -> &Value {
    file.get("text_config").filter(|v| v.is_object()).unwrap_or(file)
}

/// Sizes of a LLaMA.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageShape {
    /// Rows of the embedding table and of the output head.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width inside the feed-forward network.
    pub ffn: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// The output head is the embedding table.
    pub tied: bool,
    /// Rotary base.
    pub rope_theta: f64,
    /// Epsilon of the RMS norms.
    pub eps: f64,
    /// Longest sequence the model was made for.
    pub positions: usize,
    /// Ids that begin a text, from `config.json`.
    pub bos: Vec<u32>,
    /// Ids that end a text, from `config.json`.
    pub eos: Vec<u32>,
}

impl LanguageShape {
    /// The recipe's sizes, else those of `config.json` in the weights' folder, else those of `checkpoint`'s.
    ///
    /// # Errors
    /// Neither is there, a size is missing or does not fit, or the file asks for something this LLaMA does not do.
    pub fn resolve(config: &LanguageConfig, checkpoint: Option<&Path>) -> Result<Self> {
        if let Some(s) = &config.sizes {
            let Some(vocabulary) = s.vocabulary else {
                bail!("model.language.sizes.vocabulary is not known: set it, or fill it in from the tokenizer");
            };
            let shape = Self {
                vocabulary,
                width: s.width,
                ffn: s.ffn,
                layers: s.layers,
                heads: s.heads,
                kv_heads: s.kv_heads,
                head_dim: s.width / s.heads.max(1),
                tied: s.tied,
                rope_theta: s.rope_theta,
                eps: 1e-5,
                positions: 2048,
                bos: Vec::new(),
                eos: Vec::new(),
            };
            shape.check("model.language.sizes")?;
            let Some(folder) = config.weights.as_deref().or(checkpoint) else { return Ok(shape) };
            let theirs = Self::from_folder(folder)?;
            same("model.language.sizes", &shape.numbers(), &theirs.numbers(), folder)?;
            return Ok(theirs);
        }
        let Some(folder) = config.weights.as_deref().or(checkpoint) else {
            bail!("model.language has neither weights nor sizes: give one of them");
        };
        Self::from_folder(folder)
    }

    /// From `folder/config.json`: a LLaMA's, LLaVA's, or llava-hf's (sizes under `text_config`).
    ///
    /// # Errors
    /// Another family; a field that this LLaMA does not follow; sizes that are missing or do not fit.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let (file, path) = (read_in(folder, "config.json")?, folder.join("config.json"));
        let json = language_of(&file);
        // llava-hf leaves out what equals LLaMA-7B; a file of its own must say its sizes.
        let nested = !std::ptr::eq(json, &raw const file);
        if nested {
            PROJECTOR.family(&file, "", &path)?;
        }
        let family = LLAMA.family(json, if nested { "llama" } else { "" }, &path)?;
        LLAMA.check(json, &path)?;
        if family == "mistral" && json.get("sliding_window") != Some(&Value::Null) {
            bail!(
                "mistral with a sliding window (4096 where config.json names none) is not supported: {}",
                path.display()
            );
        }
        let fields = Fields { json, path: &path };
        let size = |key: &str, seven_b: usize| match fields.size(key)? {
            Some(n) => Ok(n),
            None if nested => Ok(seven_b),
            None => bail!("{key} is missing: {}", path.display()),
        };
        let (width, heads) = (size("hidden_size", 4096)?, size("num_attention_heads", 32)?);
        // Mistral's default is another one than LLaMA's.
        let kv_heads = match fields.size("num_key_value_heads")? {
            None if family == "mistral" => bail!("num_key_value_heads is missing: {}", path.display()),
            found => found.unwrap_or(heads),
        };
        let of_file = Fields { json: &file, path: &path };
        let tokens = |key: &str| -> Result<Vec<u32>> {
            let own = fields.tokens(key)?;
            Ok(if own.is_empty() { of_file.tokens(key)? } else { own })
        };
        let shape = Self {
            vocabulary: size("vocab_size", 32_000)?,
            width,
            ffn: size("intermediate_size", 11_008)?,
            layers: size("num_hidden_layers", 32)?,
            heads,
            kv_heads,
            head_dim: fields.size("head_dim")?.unwrap_or(width / heads.max(1)),
            tied: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            rope_theta: rope_theta(fields)?,
            eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            positions: fields.size("max_position_embeddings")?.unwrap_or(2048),
            bos: tokens("bos_token_id")?,
            eos: tokens("eos_token_id")?,
        };
        shape.check(&path.display().to_string())?;
        Ok(shape)
    }

    /// What the recipe's sizes and a file's must agree on.
    fn numbers(&self) -> [(&'static str, f64); 10] {
        [
            ("vocabulary", self.vocabulary as f64),
            ("width", self.width as f64),
            ("ffn", self.ffn as f64),
            ("layers", self.layers as f64),
            ("heads", self.heads as f64),
            ("kv_heads", self.kv_heads as f64),
            ("head_dim", self.head_dim as f64),
            ("tied", f64::from(u8::from(self.tied))),
            ("rope_theta", self.rope_theta),
            ("eps", self.eps),
        ]
    }

    fn check(&self, place: &str) -> Result<()> {
        let whole = self.heads > 0 && self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        if !whole || self.head_dim == 0 || !self.head_dim.is_multiple_of(2) || self.layers == 0 {
            bail!(
                "{} layers, {} heads over {} key/value heads of width {}: the heads must divide and their width be even: {place}",
                self.layers,
                self.heads,
                self.kv_heads,
                self.head_dim
            );
        }
        Ok(())
    }
}

/// Sizes of the recipe beside weights are those of the weights.
fn same(key: &str, ours: &[(&str, f64)], theirs: &[(&str, f64)], folder: &Path) -> Result<()> {
    for ((name, ours), (_, theirs)) in ours.iter().zip(theirs) {
        if (ours - theirs).abs() > 1e-9 * ours.abs() {
            bail!(
                "{key}: {name} = {ours} contradicts {theirs} of the weights; leave the sizes out: {}",
                folder.display()
            );
        }
    }
    Ok(())
}

/// The rotary base, which newer files keep in `rope_parameters`; scaled rotary embeddings are refused.
fn rope_theta(fields: Fields<'_>) -> Result<f64> {
    let mut theta = fields.number("rope_theta")?;
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(json) = fields.json.get(key).filter(|v| !v.is_null()) else { continue };
        let inside = Fields { json, ..fields };
        let kind = json.get("rope_type").or_else(|| json.get("type")).filter(|v| !v.is_null());
        let plain = |field: &str| ["rope_type", "type", "rope_theta"].contains(&field);
        let whole = json.get("partial_rotary_factor").is_none_or(|v| v.is_null() || v.as_f64() == Some(1.0));
        let others = json.as_object().map(|o| o.keys().any(|k| !plain(k) && k != "partial_rotary_factor"));
        match kind.map_or(Some("default"), Value::as_str) {
            Some("default") if whole && others == Some(false) => {}
            _ => bail!("{key} = {json} is not supported (plain rotary positions are): {}", fields.path.display()),
        }
        theta = inside.number("rope_theta")?.or(theta);
    }
    Ok(theta.unwrap_or(10_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(json: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), json).unwrap();
        dir
    }

    #[test]
    fn a_nested_text_config_falls_back_to_the_7b_sizes() {
        let dir = folder(r#"{"model_type": "llava", "text_config": {"vocab_size": 32064, "rms_norm_eps": 1e-5}}"#);
        let shape = LanguageShape::from_folder(dir.path()).unwrap();
        assert_eq!((shape.vocabulary, shape.width, shape.layers, shape.ffn), (32064, 4096, 32, 11008));
        assert_eq!((shape.head_dim, shape.kv_heads), (128, 32));
    }

    #[test]
    fn a_plain_config_must_say_its_sizes_and_must_not_ask_for_what_is_missing() {
        let dir = folder(r#"{"model_type": "llama", "vocab_size": 10}"#);
        let error = LanguageShape::from_folder(dir.path()).unwrap_err().to_string();
        assert!(error.contains("hidden_size") && error.contains("config.json"), "{error}");
        let dir = folder(r#"{"model_type": "llava", "text_config": {"rope_scaling": {"rope_type": "llama3"}}}"#);
        let error = LanguageShape::from_folder(dir.path()).unwrap_err().to_string();
        assert!(error.contains("llama3"), "{error}");
    }
}
