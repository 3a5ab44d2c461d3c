//! Sizes of the text encoder.

use super::same;
use crate::config::model::TextConfig;
use crate::models::description::{BERT, Fields, read_in};
use candle_core::{Result, bail};
use serde_json::Value;
use std::path::Path;

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
            let Some((theirs, folder)) = Self::described(config, checkpoint)? else { return Ok(shape) };
            same("model.text.sizes", &shape.numbers(), &theirs.numbers(), folder)?;
            return Ok(theirs);
        }
        match Self::described(config, checkpoint)? {
            Some((shape, _)) => Ok(shape),
            None => bail!("model.text has neither weights nor sizes: give one of them"),
        }
    }

    /// The sizes that a folder's `config.json` names, and the folder.
    fn described<'a>(config: &'a TextConfig, checkpoint: Option<&'a Path>) -> Result<Option<(Self, &'a Path)>> {
        if let Some(folder) = &config.weights {
            let file = read_in(folder, "config.json")?;
            return Ok(Some((Self::from_json(text_of(&file), &folder.join("config.json"))?, folder)));
        }
        let Some(folder) = checkpoint else { return Ok(None) };
        let file = read_in(folder, "config.json")?;
        let json = file.get("context_embedding_config").filter(|v| v.is_object());
        json.map(|json| Ok((Self::from_json(json, &folder.join("config.json"))?, folder))).transpose()
    }

    /// What the recipe's sizes and a file's must agree on.
    fn numbers(&self) -> [(&'static str, f64); 8] {
        [
            ("vocabulary", self.vocabulary as f64),
            ("width", self.width as f64),
            ("ffn", self.ffn as f64),
            ("layers", self.layers as f64),
            ("heads", self.heads as f64),
            ("positions", self.positions as f64),
            ("types", self.types as f64),
            ("eps", self.eps),
        ]
    }

    fn from_json(json: &Value, path: &Path) -> Result<Self> {
        BERT.family(json, "", path)?;
        BERT.check(json, path)?;
        let fields = Fields { json, path };
        let size = |key: &str| match fields.size(key)? {
            Some(n) => Ok(n),
            None => bail!("{key} is missing: {}", path.display()),
        };
        let shape = Self {
            vocabulary: size("vocab_size")?,
            width: size("hidden_size")?,
            ffn: size("intermediate_size")?,
            layers: size("num_hidden_layers")?,
            heads: size("num_attention_heads")?,
            positions: size("max_position_embeddings")?,
            types: fields.size("type_vocab_size")?.unwrap_or(2),
            eps: fields.number("layer_norm_eps")?.unwrap_or(1e-12),
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

/// The text encoder's object: the file's own, or that of a checkpoint with one inside.
pub(super) fn text_of(file: &Value) -> &Value {
    file.get("context_embedding_config").filter(|v| v.is_object()).unwrap_or(file)
}
