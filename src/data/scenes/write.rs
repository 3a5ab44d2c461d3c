//! The built-in set on disk, in the LLaVA format.

use super::{LANGUAGE_TOKENIZER, SceneSet, TEXT_TOKENIZER, generate};
use crate::config::data::ScenesConfig;
use crate::data::conversation::Role;
use crate::data::dataset::Split;
use crate::data::error::{DataError, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Writes `instruct.json`, `instruct_val.json`, the pictures under `images/` and the two tokenizers under
/// `tokenizers/`. Samples are those that `builtin:scenes` trains on.
///
/// # Errors
/// The folder cannot be written.
pub fn write(config: &ScenesConfig, folder: &Path) -> Result<()> {
    let images = folder.join("images");
    let tokenizers = folder.join("tokenizers");
    for made in [&images, &tokenizers] {
        fs::create_dir_all(made).map_err(DataError::io("make the folder", made))?;
    }
    for (split, name) in [(Split::Train, "instruct.json"), (Split::Val, "instruct_val.json")] {
        let set = generate(config, split);
        for (name, picture) in &set.pictures {
            let path = images.join(&**name);
            let saved = picture.save(&path);
            saved.map_err(|e| DataError::io("write the picture", &path)(std::io::Error::other(e)))?;
        }
        save(&folder.join(name), &instructions(&set))?;
    }
    save(&tokenizers.join("llm_tokenizer.json"), LANGUAGE_TOKENIZER)?;
    save(&tokenizers.join("text_tokenizer.json"), TEXT_TOKENIZER)
}

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(DataError::io("write", path))
}

/// One entry a line within an array.
fn instructions(set: &SceneSet) -> String {
    let lines: Vec<String> = set
        .entries
        .iter()
        .map(|e| {
            let turn = |t: &crate::data::Turn| -> Value {
                json!({"from": match t.role { Role::Human => "human", Role::Assistant => "gpt" }, "value": t.text})
            };
            let turns: Vec<Value> = e.turns.iter().map(turn).collect();
            json!({"id": &*e.id, "image": e.image.as_deref(), "task": e.task.as_deref(), "conversations": turns})
                .to_string()
        })
        .collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}
