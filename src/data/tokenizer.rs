//! The two tokenizers of a run: the language model's and the text encoder's, from `tokenizer.json` files or built in.

mod files;

pub use files::other_files;

use super::error::Result;
use super::scenes;
use files::{Beside, guarded, parse, read, wrong};
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizers::{Tokenizer, TruncationParams};

/// Both tokenizers.
#[derive(Clone, Debug)]
pub struct Tokenizers {
    /// The language model's.
    pub language: Arc<LanguageTokenizer>,
    /// The text encoder's.
    pub text: Arc<TextTokenizer>,
}

impl Tokenizers {
    /// Loads both. A path is a folder with `tokenizer.json`, the file itself, or `builtin:scenes`; context texts are
    /// cut at `context_length` tokens.
    ///
    /// # Errors
    /// A file is missing or is not a tokenizer; the language model's has no end token.
    pub fn load(language: &Path, text: &Path, context_length: usize) -> Result<Self> {
        Ok(Self {
            language: Arc::new(LanguageTokenizer::load(language)?),
            text: Arc::new(TextTokenizer::load(text, context_length)?),
        })
    }

    /// The built-in set's tokenizers.
    ///
    /// # Errors
    /// None in a sound build; the built-in files are parsed.
    pub fn scenes(context_length: usize) -> Result<Self> {
        let builtin = Path::new(crate::config::data::BUILTIN_SCENES);
        Self::load(builtin, builtin, context_length)
    }
}

/// The language model's tokenizer with its special tokens.
#[derive(Debug)]
pub struct LanguageTokenizer {
    inner: Tokenizer,
    path: PathBuf,
    fingerprint: [u8; 32],
    begin: Vec<u32>,
    adds_begin: Option<bool>,
    end: u32,
    end_text: String,
    pad: u32,
}

/// A token: its id and the bytes of the text it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub id: u32,
    pub span: Range<usize>,
}

/// End tokens by convention, for folders that name none.
const USUAL_END_TOKENS: [&str; 4] = ["</s>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>"];

impl LanguageTokenizer {
    /// Loads a tokenizer. Its end token is the folder's `eos_token` (`tokenizer_config.json`,
    /// `special_tokens_map.json`) or `eos_token_id` (`config.json`), else a usual one that it has.
    ///
    /// # Errors
    /// The file is missing or is not a tokenizer, or no end token can be found.
    pub fn load(path: &Path) -> Result<Self> {
        let (bytes, path) = read(path, scenes::LANGUAGE_TOKENIZER)?;
        let mut inner = parse(&bytes, &path)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| wrong(&path, e.to_string()))?;
        let beside = Beside::of(&inner, &path)?;
        let end =
            beside.end()?.or_else(|| USUAL_END_TOKENS.iter().find_map(|t| inner.token_to_id(t))).ok_or_else(|| {
                wrong(&path, "no end token; name one as \"eos_token\" in a tokenizer_config.json beside it".to_owned())
            })?;
        let pad = beside.token("pad_token", "pad_token_id").unwrap_or(end);
        let adds_begin = beside.adds_begin();
        let end_text = inner.id_to_token(end).ok_or_else(|| wrong(&path, format!("end token {end} is not in it")))?;
        let begin = guarded(&path, || begin_tokens(&inner))?;
        Ok(Self { inner, fingerprint: Sha256::digest(&bytes).into(), path, begin, adds_begin, end, end_text, pad })
    }

    /// Token ids and their places in `text`, without a begin token.
    pub(crate) fn pieces(&self, text: &str) -> Result<Vec<Piece>> {
        let encoding = guarded(&self.path, || self.inner.encode(text, false))?;
        let spans = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().zip(spans).map(|(&id, span)| Piece { id, span }).collect())
    }

    /// Token ids of `text`, without a begin token.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.pieces(text)?.into_iter().map(|p| p.id).collect())
    }

    /// Text of generated ids, without special tokens; a word's leading space is kept, so trim an answer before use. Ids outside of the vocabulary are skipped.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded(&self.path, || self.inner.decode(ids, true))
    }

    /// Text of one id as the vocabulary spells it.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether `id` is one of the tokens that stand apart from the text's own (`<s>`, `<|im_end|>`).
    #[must_use]
    pub fn stands_apart(&self, id: u32) -> bool {
        self.inner.get_added_tokens_decoder().contains_key(&id)
    }

    /// Id of a token by its spelling.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tokens that the tokenizer puts before every text (LLaMA: `<s>`; `SmolLM2`: none).
    #[must_use]
    pub fn begin(&self) -> &[u32] {
        &self.begin
    }

    /// Whether the settings beside it say that it puts its begin token before every text.
    #[must_use]
    pub fn adds_begin(&self) -> Option<bool> {
        self.adds_begin
    }

    /// Token that ends a turn.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Spelling of the token that ends a turn.
    #[must_use]
    pub fn end_text(&self) -> &str {
        &self.end_text
    }

    /// Token that fills up short rows of a batch.
    #[must_use]
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Size of the embedding table it needs: the largest id plus one.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        vocabulary(&self.inner)
    }

    /// How many tokens it has.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

/// The text encoder's tokenizer.
#[derive(Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
    path: PathBuf,
    fingerprint: [u8; 32],
}

impl TextTokenizer {
    /// Loads a tokenizer; texts are cut at `max_length` tokens, the special ones counted.
    ///
    /// # Errors
    /// The file is missing or is not a tokenizer.
    pub fn load(path: &Path, max_length: usize) -> Result<Self> {
        let (bytes, path) = read(path, scenes::TEXT_TOKENIZER)?;
        let mut inner = parse(&bytes, &path)?;
        inner.with_padding(None);
        let truncation = TruncationParams { max_length, ..TruncationParams::default() };
        inner.with_truncation(Some(truncation)).map_err(|e| wrong(&path, e.to_string()))?;
        Ok(Self { inner, fingerprint: Sha256::digest(&bytes).into(), path })
    }

    /// Token ids of `text`, with the special tokens (`[CLS] … [SEP]`).
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = guarded(&self.path, || self.inner.encode(text, true))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// What stands before and behind a text, as the vocabulary spells it.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn marks(&self) -> Result<[Option<String>; 2]> {
        let (with, without) =
            guarded(&self.path, || Ok((self.inner.encode("a", true)?, self.inner.encode("a", false)?)))?;
        let (with, bare) = (with.get_ids(), without.get_ids());
        let spelling = |id: Option<&u32>| id.and_then(|&id| self.inner.id_to_token(id));
        let first = with.first().filter(|id| Some(*id) != bare.first());
        let last = with.last().filter(|id| Some(*id) != bare.last());
        Ok([spelling(first), spelling(last)])
    }

    /// Text of one id as the vocabulary spells it.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the embedding table it needs.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        vocabulary(&self.inner)
    }

    /// How many tokens it has.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

fn vocabulary(inner: &Tokenizer) -> usize {
    inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
}

/// Ids that encoding with special tokens puts before the text.
fn begin_tokens(inner: &Tokenizer) -> tokenizers::Result<Vec<u32>> {
    let bare = inner.encode("a", false)?;
    let full = inner.encode("a", true)?;
    let first = full.get_ids().windows(bare.get_ids().len().max(1)).position(|w| w == bare.get_ids());
    Ok(full.get_ids()[..first.unwrap_or(0)].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::fixture;

    #[test]
    fn the_folder_names_the_special_tokens() {
        let llama = LanguageTokenizer::load(&fixture("llava")).unwrap();
        assert_eq!((llama.begin(), llama.end(), llama.end_text(), llama.pad()), (&[1][..], 2, "</s>", 0));
        assert_eq!(llama.vocabulary(), 480);
        assert_eq!(llama.decode(&[1, 317, 377, 435, 2]).unwrap(), " The circle.");
    }

    #[test]
    fn a_byte_level_tokenizer_without_a_begin_token_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": [{"id": 1, "content": "<|im_end|>", "special": true, "single_word": false, "lstrip": false,
                              "rstrip": false, "normalized": false}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                      "vocab": {"a": 0, "<|im_end|>": 1, "<|other|>": 2}, "merges": []}}"#;
        std::fs::write(dir.path().join("tokenizer.json"), json).unwrap();
        let tokenizer = LanguageTokenizer::load(dir.path()).unwrap();
        assert_eq!((tokenizer.begin(), tokenizer.end_text(), tokenizer.vocabulary()), (&[][..], "<|im_end|>", 3));
        std::fs::write(dir.path().join("config.json"), r#"{"eos_token_id": [2, 1]}"#).unwrap();
        assert_eq!(LanguageTokenizer::load(dir.path()).unwrap().end(), 2);
    }

    #[test]
    fn wrong_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = LanguageTokenizer::load(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer not found (") && error.ends_with("tokenizer.json"), "{error}");
        std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
        let error = TextTokenizer::load(dir.path(), 512).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer: not a tokenizer.json: ") && error.ends_with("tokenizer.json"), "{error}");
    }

    #[test]
    fn context_texts_are_cut_between_the_special_tokens() {
        let text = TextTokenizer::load(&fixture("bert"), 5).unwrap();
        let whole = TextTokenizer::load(&fixture("bert"), 512).unwrap();
        let sentence = "Which shape is larger, the circle or the square?";
        let (cut, ids) = (text.ids(sentence).unwrap(), whole.ids(sentence).unwrap());
        assert_eq!(cut.len(), 5);
        assert_eq!((cut[0], cut[4], &cut[1..4]), (ids[0], *ids.last().unwrap(), &ids[1..4]));
    }
}
