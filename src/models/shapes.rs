//! Sizes of the parts: from a checkpoint's `config.json`, or from the recipe.

use super::towers::TowerSizes;
use crate::config::model::{LanguageConfig, ModelConfig, TextConfig};
use candle_core::{Error, Result, bail};
use serde_json::Value;
use std::path::Path;

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
        let mut vision = config.vision.clone();
        if let (None, Some(folder)) = (&vision.weights, checkpoint)
            && read_json(&folder.join("config.json"))?.get("vision_config").is_some()
        {
            vision.weights = Some(folder.to_owned());
        }
        Ok(Self {
            vision: TowerSizes::resolve(&vision).map_err(Error::wrap)?,
            language: LanguageShape::resolve(&config.language, checkpoint)?,
            text: TextShape::resolve(&config.text, checkpoint)?,
        })
    }
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
    /// Ids that end a text, from `config.json`.
    pub eos: Vec<u32>,
}

/// Sizes of a BERT.
#[derive(Clone, Debug, PartialEq)]
pub struct TextShape {
    /// Rows of the word table.
    pub vocabulary: usize,
    /// Width, also of the context vector.
    pub width: usize,
    /// Width inside the feed-forward network.
    pub ffn: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads.
    pub heads: usize,
    /// Longest text; longer ones lose their middle (their last token stays).
    pub positions: usize,
    /// Rows of the token type table.
    pub types: usize,
    /// Epsilon of the layer norms.
    pub eps: f64,
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
                eos: Vec::new(),
            };
            shape.check("model.language.sizes")?;
            return Ok(shape);
        }
        let Some(folder) = config.weights.as_deref().or(checkpoint) else {
            bail!("model.language has neither weights nor sizes: give one of them");
        };
        Self::from_folder(folder)
    }

    /// From `folder/config.json`: a LLaMA's, LLaVA's, or llava-hf's (sizes under `text_config`).
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let file = read_json(&path)?;
        // llava-hf leaves out what equals LLaMA-7B; a file of its own must say its sizes.
        let (json, nested) = match file.get("text_config") {
            Some(text) => (text, true),
            None => (&file, false),
        };
        let size = |key: &str, seven_b: usize| match integer(json, key) {
            Some(n) => Ok(n),
            None if nested => Ok(seven_b),
            None => bail!("{key} is missing or not a positive integer: {}", path.display()),
        };
        refuse(json, &path)?;
        let (width, heads) = (size("hidden_size", 4096)?, size("num_attention_heads", 32)?);
        let rope = json.get("rope_parameters").and_then(|r| r.get("rope_theta")).or_else(|| json.get("rope_theta"));
        let tied = json.get("tie_word_embeddings").or_else(|| file.get("tie_word_embeddings"));
        let eos = json.get("eos_token_id").or_else(|| file.get("eos_token_id"));
        let shape = Self {
            vocabulary: size("vocab_size", 32_000)?,
            width,
            ffn: size("intermediate_size", 11_008)?,
            layers: size("num_hidden_layers", 32)?,
            heads,
            kv_heads: integer(json, "num_key_value_heads").unwrap_or(heads),
            head_dim: integer(json, "head_dim").unwrap_or(width / heads.max(1)),
            tied: tied.and_then(Value::as_bool).unwrap_or(false),
            rope_theta: rope.and_then(Value::as_f64).unwrap_or(10_000.0),
            eps: json.get("rms_norm_eps").and_then(Value::as_f64).unwrap_or(1e-6),
            positions: integer(json, "max_position_embeddings").unwrap_or(2048),
            eos: eos.map(token_ids).unwrap_or_default(),
        };
        shape.check(&path.display().to_string())?;
        Ok(shape)
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

impl TextShape {
    /// The recipe's sizes, else those of `config.json` in the weights' folder, else those of `checkpoint`'s
    /// `context_embedding_config`.
    ///
    /// # Errors
    /// Neither is there, a size is missing, or the heads do not divide the width.
    pub fn resolve(config: &TextConfig, checkpoint: Option<&Path>) -> Result<Self> {
        if let Some(s) = &config.sizes {
            let Some(vocabulary) = s.vocabulary else {
                bail!("model.text.sizes.vocabulary is not known: set it, or fill it in from the tokenizer");
            };
            let shape = Self {
                vocabulary,
                width: s.width,
                ffn: s.ffn,
                layers: s.layers,
                heads: s.heads,
                positions: s.positions,
                types: 2,
                eps: 1e-12,
            };
            shape.check("model.text.sizes")?;
            return Ok(shape);
        }
        if let Some(folder) = &config.weights {
            let path = folder.join("config.json");
            return Self::from_json(&read_json(&path)?, &path);
        }
        if let Some(folder) = checkpoint {
            let path = folder.join("config.json");
            if let Some(json) = read_json(&path)?.get("context_embedding_config") {
                return Self::from_json(json, &path);
            }
        }
        bail!("model.text has neither weights nor sizes: give one of them");
    }

    fn from_json(json: &Value, path: &Path) -> Result<Self> {
        let size = |key: &str| match integer(json, key) {
            Some(n) => Ok(n),
            None => bail!("{key} is missing or not a positive integer: {}", path.display()),
        };
        let activation = json.get("hidden_act").and_then(Value::as_str).unwrap_or("gelu");
        let positions = json.get("position_embedding_type").and_then(Value::as_str).unwrap_or("absolute");
        if activation != "gelu" || positions != "absolute" {
            bail!(
                "a text encoder with hidden_act {activation} and {positions} positions is not supported: {}",
                path.display()
            );
        }
        let shape = Self {
            vocabulary: size("vocab_size")?,
            width: size("hidden_size")?,
            ffn: size("intermediate_size")?,
            layers: size("num_hidden_layers")?,
            heads: size("num_attention_heads")?,
            positions: size("max_position_embeddings")?,
            types: integer(json, "type_vocab_size").unwrap_or(2),
            eps: json.get("layer_norm_eps").and_then(Value::as_f64).unwrap_or(1e-12),
        };
        shape.check(&path.display().to_string())?;
        Ok(shape)
    }

    fn check(&self, place: &str) -> Result<()> {
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) || self.positions < 2 {
            bail!(
                "width {} over {} heads, {} positions: the heads must divide the width, and a text has at least two tokens: {place}",
                self.width,
                self.heads,
                self.positions
            );
        }
        Ok(())
    }
}

/// Reads a JSON file; the error ends in the path.
pub(super) fn read_json(path: &Path) -> Result<Value> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => bail!("cannot read the model's configuration ({e}): {}", path.display()),
    };
    match serde_json::from_str(&text) {
        Ok(value) => Ok(value),
        Err(e) => bail!("not valid JSON ({e}): {}", path.display()),
    }
}

fn integer(json: &Value, key: &str) -> Option<usize> {
    json.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0)
}

fn token_ids(value: &Value) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match value.as_array() {
        Some(list) => list.iter().filter_map(one).collect(),
        None => one(value).into_iter().collect(),
    }
}

/// What a LLaMA file may ask for that would silently give other numbers here.
fn refuse(json: &Value, path: &Path) -> Result<()> {
    for key in ["attention_bias", "mlp_bias"] {
        if json.get(key).and_then(Value::as_bool) == Some(true) {
            bail!("{key} = true is not supported: {}", path.display());
        }
    }
    if let Some(act) = json.get("hidden_act").and_then(Value::as_str).filter(|a| *a != "silu") {
        bail!("hidden_act {act} is not supported in a language model (silu is): {}", path.display());
    }
    let kind = |r: &Value| r.get("rope_type").or_else(|| r.get("type")).and_then(Value::as_str).map(str::to_owned);
    for key in ["rope_scaling", "rope_parameters"] {
        if let Some(kind) = json.get(key).and_then(kind).filter(|k| k != "default") {
            bail!("rotary embedding scaled by {kind} is not supported: {}", path.display());
        }
    }
    Ok(())
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
        let dir = folder(r#"{"text_config": {"vocab_size": 32064, "rms_norm_eps": 1e-5}}"#);
        let shape = LanguageShape::from_folder(dir.path()).unwrap();
        assert_eq!((shape.vocabulary, shape.width, shape.layers, shape.ffn), (32064, 4096, 32, 11008));
        assert_eq!((shape.head_dim, shape.kv_heads), (128, 32));
    }

    #[test]
    fn a_plain_config_must_say_its_sizes_and_must_not_ask_for_what_is_missing() {
        let dir = folder(r#"{"vocab_size": 10}"#);
        let error = LanguageShape::from_folder(dir.path()).unwrap_err().to_string();
        assert!(error.contains("hidden_size") && error.contains("config.json"), "{error}");
        let dir = folder(r#"{"text_config": {"rope_scaling": {"rope_type": "llama3"}}}"#);
        let error = LanguageShape::from_folder(dir.path()).unwrap_err().to_string();
        assert!(error.contains("llama3"), "{error}");
    }
}
