//! Whether tokenizers, prompt template and embedding tables are of the same models, before the first step.

use crate::config::data::{DataConfig, Template};
use crate::config::model::ModelConfig;
use crate::data::{DataError, LanguageTokenizer, TextTokenizer, Tokenizers};
use crate::models::shapes::ModelShapes;
use std::path::{Path, PathBuf};

/// Why they are not.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A token without a row in the table.
    #[error(
        "token {id} ({token}) of the {model}'s tokenizer has no row in its embedding table of {rows}: the tokenizer is of \
         another model: {path}"
    )]
    Outside {
        /// `language model` or `text encoder`.
        model: &'static str,
        /// The largest id.
        id: usize,
        /// Its spelling.
        token: String,
        /// Rows of the table.
        rows: usize,
        /// The tokenizer.
        path: PathBuf,
    },
    /// An id far beyond the others, where the table is to be made as large as the tokenizer asks for.
    #[error(
        "token {id} ({token}) of the {model}'s tokenizer asks for a table of {rows} rows, and it has {tokens} tokens: mend \
         the id, or set model.{part}.sizes.vocabulary = {rows}: {path}"
    )]
    Far {
        /// `language model` or `text encoder`.
        model: &'static str,
        /// Its part of the recipe.
        part: &'static str,
        /// The largest id.
        id: usize,
        /// Its spelling.
        token: String,
        /// Rows of the table.
        rows: usize,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// The tokenizer.
        path: PathBuf,
    },
    /// A text that the tokenizer cannot cut.
    #[error(
        "the {model}'s tokenizer fails at a character that it does not know ({why}), which texts may have: it lacks its \
         unknown token: {path}"
    )]
    Unknown {
        /// `language model` or `text encoder`.
        model: &'static str,
        /// What it says.
        why: String,
        /// The tokenizer.
        path: PathBuf,
    },
    /// The template writes a token that the tokenizer does not have.
    #[error(
        "the {template} template needs {token} as one token, and the tokenizer makes {found} of it; set data.template to \
         the one the language model was trained with: {path}"
    )]
    Template {
        /// The template.
        template: &'static str,
        /// The token.
        token: String,
        /// In how many it is cut.
        found: usize,
        /// The tokenizer.
        path: PathBuf,
    },
    /// An id that the model's description gives a meaning.
    #[error(
        "{field} {id} of the language model's config.json is {token} in the tokenizer, which is no special token: the \
         tokenizer is of another model: {path}"
    )]
    Foreign {
        /// The field.
        field: &'static str,
        /// The id.
        id: u32,
        /// What the tokenizer has there.
        token: String,
        /// The tokenizer.
        path: PathBuf,
    },
    /// Texts begin otherwise than the model's description says.
    #[error(
        "the language model's tokenizer puts token {id} ({token}) before a text, and its config.json says bos_token_id = \
         {bos:?}: the tokenizer's post_processor is damaged, or it is of another model: {path}"
    )]
    Begin {
        /// The token before a text.
        id: u32,
        /// Its spelling.
        token: String,
        /// What the description says.
        bos: Vec<u32>,
        /// The tokenizer.
        path: PathBuf,
    },
    /// A text encoder's tokenizer that is not BERT's.
    #[error(
        "the text encoder's tokenizer puts {marks} around a text, a BERT [CLS] and [SEP]: the tokenizer is of another model \
         or lacks its post_processor: {path}"
    )]
    Marks {
        /// Tokens around a text.
        marks: String,
        /// The tokenizer.
        path: PathBuf,
    },
    /// The tokenizer fails.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Rows of the language model's table where it is made for its tokenizer.
pub(super) fn language_rows(tokenizers: &Tokenizers) -> Result<usize, TokenError> {
    let t = &tokenizers.language;
    near(["language model", "language"], t.vocabulary(), t.tokens(), |id| t.token(id), t.path())
}

/// Rows of the text encoder's table where it is made for its tokenizer.
pub(super) fn text_rows(tokenizers: &Tokenizers) -> Result<usize, TokenError> {
    let t = &tokenizers.text;
    near(["text encoder", "text"], t.vocabulary(), t.tokens(), |id| t.token(id), t.path())
}

/// Ids may leave gaps, but a damaged one must not become a table that fills the memory.
fn near(
    [model, part]: [&'static str; 2],
    rows: usize,
    tokens: usize,
    spelling: impl Fn(u32) -> Option<String>,
    path: &Path,
) -> Result<usize, TokenError> {
    if rows <= 2 * tokens + SPARE {
        return Ok(rows);
    }
    let id = rows - 1;
    let token = u32::try_from(id).ok().and_then(spelling).unwrap_or_default();
    Err(TokenError::Far { model, part, id, token, rows, tokens, path: path.to_path_buf() })
}

/// Rows that small tables may have beside twice their tokens.
const SPARE: usize = 1024;

/// Checks both tokenizers; what is merely unusual comes back as lines.
pub(super) fn check(
    data: &DataConfig,
    model: &ModelConfig,
    shapes: &ModelShapes,
    tokenizers: &Tokenizers,
) -> Result<Vec<String>, TokenError> {
    let (language, text) = (&tokenizers.language, &tokenizers.text);
    let mut lines = Vec::new();
    let tables = [
        ("language model", language.vocabulary(), shapes.language.vocabulary, language.path()),
        ("text encoder", text.vocabulary(), shapes.text.vocabulary, text.path()),
    ];
    for (model, tokens, rows, path) in tables {
        if tokens > rows {
            let id = tokens - 1;
            let spelled = u32::try_from(id)
                .ok()
                .and_then(|id| if model == "language model" { language.token(id) } else { text.token(id) });
            let (token, path) = (spelled.unwrap_or_default(), path.to_path_buf());
            return Err(TokenError::Outside { model, id, token, rows, path });
        }
        // Tables are padded to round numbers, not to twice their size.
        if rows >= 2 * tokens {
            let path = path.display();
            lines.push(format!(
                "the {model}'s table has {rows} rows, its tokenizer {tokens} tokens: is it its own? {path}"
            ));
        }
    }
    // A letter of cuneiform: hardly a tokenizer has it among its words, and none cleans it away.
    let strange = "a \u{12345}";
    let unknown = |model, path: &Path, error: DataError| {
        let DataError::Tokenizer { problem: why, .. } = error else { return error.into() };
        TokenError::Unknown { model, why, path: path.to_path_buf() }
    };
    drop(language.ids(strange).map_err(|e| unknown("language model", language.path(), e))?);
    drop(text.ids(strange).map_err(|e| unknown("text encoder", text.path(), e))?);
    template(data.template, language, &mut lines)?;
    described(shapes, language, &mut lines)?;
    // An encoder from nothing learns whatever marks it is given.
    if model.text.sizes.is_none() {
        marks(text)?;
    }
    Ok(lines)
}

/// The tokens that the template writes must be tokens.
fn template(template: Template, language: &LanguageTokenizer, lines: &mut Vec<String>) -> Result<(), TokenError> {
    let (name, header) = match template {
        Template::Plain => return Ok(()),
        Template::V1 => ("v1", None),
        Template::ChatMl => ("chatml", Some("<|im_start|>")),
    };
    let whole = |token: &str| -> Result<(), TokenError> {
        let (with, without) = (language.ids(&format!("a{token}"))?, language.ids("a")?);
        let found = with.len().saturating_sub(without.len());
        if found == 1 && with.last().copied() == language.id_of(token) {
            return Ok(());
        }
        let path = language.path().to_path_buf();
        Err(TokenError::Template { template: name, token: token.to_owned(), found, path })
    };
    header.map_or(Ok(()), whole)?;
    whole(language.end_text())?;
    if template == Template::ChatMl && language.end_text() != "<|im_end|>" && language.id_of("<|im_end|>").is_some() {
        let (end, path) = (language.end_text(), language.path().display());
        lines.push(format!("turns end with {end}, the tokenizer's end token, and not with its <|im_end|>: {path}"));
    }
    Ok(())
}

/// The ids that the model's own description names must be special to the tokenizer.
fn described(shapes: &ModelShapes, language: &LanguageTokenizer, lines: &mut Vec<String>) -> Result<(), TokenError> {
    let (bos, eos) = (&shapes.language.bos, &shapes.language.eos);
    if let Some(&id) = language.begin().last().filter(|id| !bos.is_empty() && !bos.contains(id)) {
        let (token, path) = (language.token(id).unwrap_or_default(), language.path().to_path_buf());
        return Err(TokenError::Begin { id, token, bos: bos.clone(), path });
    }
    if let Some(says) = language.adds_begin().filter(|says| *says == language.begin().is_empty()) {
        let does = if says { "puts nothing" } else { "puts a begin token" };
        let path = language.path().display();
        lines.push(format!(
            "warning: tokenizer_config.json says add_bos_token = {says}, and the tokenizer itself {does} before a text, \
             which is followed: {path}"
        ));
    }
    for (field, id) in bos.iter().map(|id| ("bos_token_id", *id)).chain(eos.iter().map(|id| ("eos_token_id", *id))) {
        if !language.stands_apart(id) {
            let token = language.token(id).map_or_else(|| "no token".to_owned(), |t| format!("{t:?}"));
            return Err(TokenError::Foreign { field, id, token, path: language.path().to_path_buf() });
        }
    }
    if !eos.is_empty() && !eos.contains(&language.end()) {
        let (end, path) = (language.end_text(), language.path().display());
        lines.push(format!(
            "config.json ends texts with {eos:?}, the tokenizer with {} ({end}): {path}",
            language.end()
        ));
    }
    Ok(())
}

fn marks(text: &TextTokenizer) -> Result<(), TokenError> {
    let [first, last] = text.marks()?;
    let marks = match (first.as_deref(), last.as_deref()) {
        (Some("[CLS]"), Some("[SEP]")) => return Ok(()),
        (None, None) => "nothing".to_owned(),
        (first, last) => format!("{} and {}", first.unwrap_or("nothing"), last.unwrap_or("nothing")),
    };
    Err(TokenError::Marks { marks, path: text.path().to_path_buf() })
}
