//! The files of a tokenizer: `tokenizer.json`, and what lies beside it.

use super::super::error::{DataError, Result};
use crate::config::data::is_builtin_scenes;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokenizers::{ModelWrapper, Tokenizer};

pub(super) fn wrong(path: &Path, problem: String) -> DataError {
    DataError::Tokenizer { problem, path: path.to_path_buf() }
}

/// The file's bytes and its own path; `builtin` stands for `builtin:scenes`.
pub(super) fn read(path: &Path, builtin: &str) -> Result<(Vec<u8>, PathBuf)> {
    if is_builtin_scenes(path) {
        return Ok((builtin.as_bytes().to_vec(), path.to_path_buf()));
    }
    let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
    if !file.is_file() {
        return Err(match other_files(&file) {
            Some(name) => wrong(
                &file,
                format!(
                    "not there, only {name} is, which is not read: transformers' AutoTokenizer.from_pretrained and \
                     save_pretrained write tokenizer.json"
                ),
            ),
            None => DataError::NotFound { what: "tokenizer", path: file },
        });
    }
    let bytes = std::fs::read(&file).map_err(DataError::io("read the tokenizer", &file))?;
    Ok((bytes, file))
}

/// A file beside the missing `tokenizer.json` that holds a tokenizer in another format.
pub fn other_files(file: &Path) -> Option<&'static str> {
    // It stands for the language model's, never for the text encoder's inside a whole checkpoint.
    let folder = file.parent().filter(|_| file.file_name().is_some_and(|name| name == "tokenizer.json"))?;
    ["tokenizer.model", "spiece.model", "vocab.txt", "vocab.json"].into_iter().find(|name| folder.join(name).is_file())
}

fn refuse_pointer(bytes: &[u8], path: &Path) -> Result<()> {
    if !bytes.starts_with(b"version https://git-lfs") {
        return Ok(());
    }
    let pointer = "this is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`";
    Err(wrong(path, pointer.to_owned()))
}

pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Tokenizer> {
    refuse_pointer(bytes, path)?;
    let tokenizer =
        guarded(path, || Tokenizer::from_bytes(bytes).map_err(|e| format!("not a tokenizer.json: {e}").into()))?;
    if let ModelWrapper::BPE(model) = tokenizer.get_model()
        && let Some(dropout) = model.dropout.filter(|dropout| *dropout > 0.0)
    {
        let problem = format!(
            "model.dropout = {dropout} cuts texts at random, so that no two runs read the same; set it to null"
        );
        return Err(wrong(path, problem));
    }
    Ok(tokenizer)
}

thread_local! {
    /// Whether a panic on this thread is caught and told as an error.
    static CAUGHT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// What the tokenizer library makes of a file. A damaged one makes some of its parts panic: that is an error here, told
/// once.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !CAUGHT.get() {
                loud(panic);
            }
        }));
    });
    let before = CAUGHT.replace(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    CAUGHT.set(before);
    match result {
        Ok(done) => done.map_err(|e| wrong(path, e.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(wrong(path, format!("the file is damaged: {}", text.unwrap_or_default().replace('\n', " "))))
        }
    }
}

/// What the files beside a tokenizer say.
pub(super) struct Beside<'t> {
    inner: &'t Tokenizer,
    /// `tokenizer_config.json` and `special_tokens_map.json`, those that are there.
    named: Vec<(PathBuf, Value)>,
    /// The model's `config.json`.
    config: Option<Value>,
}

impl<'t> Beside<'t> {
    /// Reads the files in the folder of the tokenizer `path`; a built-in one has none.
    ///
    /// # Errors
    /// A file that is no JSON.
    pub(super) fn of(inner: &'t Tokenizer, path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|_| !is_builtin_scenes(path));
        let json = |name: &str| -> Result<Option<(PathBuf, Value)>> {
            let Some(file) = folder.map(|folder| folder.join(name)).filter(|file| file.exists()) else {
                return Ok(None);
            };
            let bytes = std::fs::read(&file).map_err(DataError::io("read the tokenizer's settings", &file))?;
            refuse_pointer(&bytes, &file)?;
            let value = serde_json::from_slice(&bytes).map_err(|e| wrong(&file, format!("not valid JSON ({e})")))?;
            Ok(Some((file, value)))
        };
        let named =
            ["tokenizer_config.json", "special_tokens_map.json"].into_iter().filter_map(|name| json(name).transpose());
        Ok(Self { inner, named: named.collect::<Result<_>>()?, config: json("config.json")?.map(|(_, value)| value) })
    }

    /// A special token by the key of its spelling or, in the model's description, of its id.
    pub(super) fn token(&self, spelling: &str, id: &str) -> Option<u32> {
        let spelled = self.spelled(spelling).find_map(|(_, token)| self.inner.token_to_id(token));
        spelled.or_else(|| {
            let number = self.config.as_ref()?.get(id).map(|v| v.get(0).unwrap_or(v))?;
            u32::try_from(number.as_u64()?).ok().filter(|&n| self.inner.id_to_token(n).is_some())
        })
    }

    /// The end token, where one is named.
    ///
    /// # Errors
    /// One that the tokenizer does not have.
    pub(super) fn end(&self) -> Result<Option<u32>> {
        match self.spelled("eos_token").find(|(_, token)| self.inner.token_to_id(token).is_none()) {
            Some((file, token)) => Err(wrong(
                file,
                format!("eos_token is {token:?}, which the tokenizer does not have; name the one it has"),
            )),
            None => Ok(self.token("eos_token", "eos_token_id")),
        }
    }

    /// Whether the settings say that a text begins with the begin token.
    pub(super) fn adds_begin(&self) -> Option<bool> {
        self.named.iter().find_map(|(_, value)| value.get("add_bos_token")?.as_bool())
    }

    fn spelled<'s>(&'s self, key: &'s str) -> impl Iterator<Item = (&'s Path, &'s str)> {
        // A token is a string or an object with "content".
        let token = move |value: &'s Value| value.get(key).map(|t| t.get("content").unwrap_or(t))?.as_str();
        self.named.iter().filter_map(move |(file, value)| Some((file.as_path(), token(value)?)))
    }
}
