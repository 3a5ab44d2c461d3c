//! What a published `config.json` says, field by field: it is read, or held to what this program computes, or without
//! influence on the numbers. A model of another family never passes for ours.

mod tables;
#[cfg(test)]
mod tests;

pub(super) use tables::{BERT, CLIP, DINOV2, LLAMA, PREPROCESSOR, PROJECTOR};

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Why a description cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// No such file.
    #[error(
        "there is no {file} in the folder: weights are read in Hugging Face layout, config.json beside them: {path}"
    )]
    Absent {
        /// The file's name.
        file: String,
        /// The folder.
        path: PathBuf,
    },
    /// A file where a folder should be.
    #[error("this is a file: name the folder that holds it and its config.json: {path}")]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// A file that is not what it should be.
    #[error("{reason}: {path}")]
    Unreadable {
        /// What is wrong.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// Another family.
    #[error("model_type {found} is not a {part} known here ({known}): {path}")]
    Family {
        /// What was looked for.
        part: &'static str,
        /// The file's `model_type`.
        found: String,
        /// The families known.
        known: String,
        /// The file.
        path: PathBuf,
    },
    /// A field whose value means other numbers.
    #[error("{field} = {found} is not supported in a {part} (supported: {allowed}): {path}")]
    Value {
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// The part it describes.
        part: &'static str,
        /// What it may be.
        allowed: String,
        /// The file.
        path: PathBuf,
    },
    /// A field that nobody here knows and that may change the numbers.
    #[error(
        "{field} = {found} is not known here and may change what this {part} computes; take the field out of the file if \
         it does not: {path}"
    )]
    Unknown {
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// The part it describes.
        part: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Weights of few bits.
    #[error(
        "the weights are quantised ({field} = {found}), which is not supported; fetch the unquantised ones: {path}"
    )]
    Quantised {
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// The recipe and the checkpoint disagree.
    #[error("{key} = {wanted} contradicts {field} = {found} of the checkpoint; set {key} = {found}: {path}")]
    Contradiction {
        /// Key of the recipe.
        key: &'static str,
        /// Its value.
        wanted: String,
        /// The file's field.
        field: String,
        /// Its value.
        found: String,
        /// The file.
        path: PathBuf,
    },
}

impl From<DescriptionError> for candle_core::Error {
    fn from(error: DescriptionError) -> Self {
        Self::Msg(error.to_string())
    }
}

/// The fields of one part's description.
#[derive(Debug)]
pub(super) struct Part {
    /// What the part is called in messages.
    pub(super) name: &'static str,
    /// Values of `model_type`.
    pub(super) families: &'static [&'static str],
    /// Fields that are read.
    pub(super) read: &'static [&'static str],
    /// Fields that must have one of the values of a JSON list; `null` and an absent field always do.
    pub(super) must: &'static [(&'static str, &'static str)],
    /// Fields without influence on the numbers, or that describe what is not computed here.
    pub(super) free: &'static [&'static str],
    /// Parts that may be described in the same object.
    pub(super) beside: &'static [&'static Self],
}

impl Part {
    fn knows(&self, field: &str) -> bool {
        let must = self.must.iter().any(|(name, _)| *name == field);
        must || self.read.contains(&field) || self.free.contains(&field)
    }

    /// Holds `json` to the table.
    ///
    /// # Errors
    /// The first field that asks for something else than is computed here.
    pub(super) fn check(&self, json: &Value, path: &Path) -> Result<Vec<String>, DescriptionError> {
        let Some(fields) = json.as_object() else {
            let reason = format!("the description of a {} is no JSON object", self.name);
            return Err(DescriptionError::Unreadable { reason, path: path.to_owned() });
        };
        let mut unknown = Vec::new();
        for (field, value) in fields {
            let (field, found, path) = (field.clone(), value.to_string(), path.to_owned());
            if tables::QUANTISED.contains(&field.as_str()) && !is_off(value) {
                return Err(DescriptionError::Quantised { field, found: brief(&found), path });
            }
            if let Some((_, allowed)) = self.must.iter().find(|(name, _)| *name == field) {
                if !allows(allowed, value) {
                    let allowed = Some(allowed.trim_matches(['[', ']'])).filter(|a| !a.is_empty());
                    let allowed = allowed.unwrap_or("only without this field").to_owned();
                    let found = brief(&found);
                    return Err(DescriptionError::Value { field, found, part: self.name, allowed, path });
                }
            } else if !(self.knows(&field) || tables::GENERAL.contains(&field.as_str()) || is_off(value)) {
                if self.beside.iter().any(|other| other.knows(&field)) {
                    continue;
                }
                if tables::is_telling(&field) {
                    return Err(DescriptionError::Unknown { field, found: brief(&found), part: self.name, path });
                }
                unknown.push(field);
            }
        }
        Ok(unknown)
    }

    /// Holds `model_type` to the families known; `otherwise` stands for an absent one.
    ///
    /// # Errors
    /// Another family.
    pub(super) fn family(&self, json: &Value, otherwise: &str, path: &Path) -> Result<String, DescriptionError> {
        let found = match json.get("model_type") {
            None | Some(Value::Null) => otherwise.to_owned(),
            Some(Value::String(found)) => found.clone(),
            Some(other) => other.to_string(),
        };
        if self.families.contains(&found.as_str()) {
            return Ok(found);
        }
        let found = if found.is_empty() { "(missing)".to_owned() } else { found };
        let known = self.families.join(", ");
        Err(DescriptionError::Family { part: self.name, found, known, path: path.to_owned() })
    }
}

/// A value that switches nothing on.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn allows(allowed: &str, value: &Value) -> bool {
    let allowed: Vec<Value> = serde_json::from_str(allowed).expect("the tables hold JSON lists");
    let near = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs(),
        _ => a == b,
    };
    match value {
        Value::Null => true,
        // One value a layer.
        Value::Array(list) => list.iter().all(|value| allowed.iter().any(|a| near(a, value))),
        _ => allowed.iter().any(|a| near(a, value)),
    }
}

/// A value as messages show it.
fn brief(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain("...".chars()).collect()
    }
}

/// Fields of a description, each of the type that it must have; an absent one and `null` are `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) json: &'a Value,
    pub(super) path: &'a Path,
}

impl<'a> Fields<'a> {
    fn typed<T>(
        self,
        key: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, DescriptionError> {
        let Some(value) = self.json.get(key).filter(|v| !v.is_null()) else { return Ok(None) };
        let reason = || format!("{key} = {} is not {what}", brief(&value.to_string()));
        let wrong = || DescriptionError::Unreadable { reason: reason(), path: self.path.to_owned() };
        read(value).map(Some).ok_or_else(wrong)
    }

    /// A positive integer.
    pub(super) fn size(self, key: &str) -> Result<Option<usize>, DescriptionError> {
        let read = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        self.typed(key, "a positive integer", read)
    }

    /// A positive number.
    pub(super) fn number(self, key: &str) -> Result<Option<f64>, DescriptionError> {
        self.typed(key, "a positive number", |v| v.as_f64().filter(|x| x.is_finite() && *x > 0.0))
    }

    /// `true` or `false`.
    pub(super) fn flag(self, key: &str) -> Result<Option<bool>, DescriptionError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// One token id or a list of them; empty where there is none.
    pub(super) fn tokens(self, key: &str) -> Result<Vec<u32>, DescriptionError> {
        let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let read = |v: &Value| match v.as_array() {
            Some(list) => list.iter().map(one).collect(),
            None => one(v).map(|id| vec![id]),
        };
        Ok(self.typed(key, "a token id or a list of them", read)?.unwrap_or_default())
    }
}

/// Reads `folder/name`.
///
/// # Errors
/// What is there instead of a JSON file, said as what it is.
pub(super) fn read_in(folder: &Path, name: &str) -> Result<Value, DescriptionError> {
    let path = folder.join(name);
    if folder.is_file() {
        return Err(DescriptionError::NoFolder { path: folder.to_owned() });
    }
    if !folder.exists() {
        let reason = "there is no such folder".to_owned();
        return Err(DescriptionError::Unreadable { reason, path: folder.to_owned() });
    }
    if !path.exists() {
        return Err(DescriptionError::Absent { file: name.to_owned(), path: folder.to_owned() });
    }
    read_json(&path)
}

/// Reads a JSON file; the error ends in the path.
pub(super) fn read_json(path: &Path) -> Result<Value, DescriptionError> {
    let unreadable = |reason: String| DescriptionError::Unreadable { reason, path: path.to_owned() };
    let bytes = std::fs::read(path).map_err(|e| unreadable(format!("cannot read the model's configuration ({e})")))?;
    if super::checkpoint::is_lfs_pointer(&bytes) {
        return Err(unreadable("this is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`".into()));
    }
    serde_json::from_slice(&bytes).map_err(|e| unreadable(format!("not valid JSON ({e})")))
}
