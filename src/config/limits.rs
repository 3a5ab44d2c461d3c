//! Numbers that no machine can do anything with: refused by their key, before memory is asked for them.

use super::Recipe;
use toml::{Table, Value};

/// Key, as the table of keys writes it (of a study's method as of a stage's), and the most that it can be.
const LIMITS: [(&str, i64); 31] = [
    ("data.workers", 1024),
    ("data.prefetch", 4096),
    ("data.max_length", 1 << 22),
    ("data.context_length", 1 << 22),
    ("data.scenes.train", 1 << 20),
    ("data.scenes.val", 1 << 20),
    ("model.vision.image_size", 1 << 14),
    ("model.vision.patch_size", 1 << 14),
    ("model.vision.width", 1 << 17),
    ("model.vision.ffn", 1 << 19),
    ("model.vision.layers", 1024),
    ("model.vision.heads", 1024),
    ("model.language.sizes.width", 1 << 17),
    ("model.language.sizes.ffn", 1 << 19),
    ("model.language.sizes.layers", 1024),
    ("model.language.sizes.heads", 1024),
    ("model.language.sizes.kv_heads", 1024),
    ("model.language.sizes.vocabulary", 1 << 24),
    ("model.text.sizes.width", 1 << 17),
    ("model.text.sizes.ffn", 1 << 19),
    ("model.text.sizes.layers", 1024),
    ("model.text.sizes.heads", 1024),
    ("model.text.sizes.vocabulary", 1 << 24),
    ("model.text.sizes.positions", 1 << 22),
    ("stage[].batch_size", 1 << 20),
    ("stage[].accumulation", 1 << 20),
    ("stage[].spikes.window", 1 << 20),
    ("stage[].tuning.vision.rank", 1 << 16),
    ("stage[].tuning.vision.prompts", 1 << 16),
    ("stage[].tuning.vision.experts", 1024),
    ("stage[].tuning.language.rank", 1 << 16),
];

impl Recipe {
    /// Every key that is beyond its limit.
    pub(super) fn beyond_limits(&self) -> Vec<String> {
        let mut found = Vec::new();
        // What is no TOML cannot have been read from one.
        if let Ok(table) = Table::try_from(self) {
            walk("", "", &table, &mut found);
        }
        found
    }
}

/// `key` names the place for people, `pattern` for the list.
fn walk(key: &str, pattern: &str, table: &Table, found: &mut Vec<String>) {
    let below = |prefix: &str, name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
    for (name, value) in table {
        let (key, pattern) = (below(key, name), below(pattern, name));
        match value {
            Value::Table(inner) => walk(&key, &pattern, inner, found),
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    if let Value::Table(inner) = item {
                        walk(&format!("{key}[{i}]"), &format!("{pattern}[]"), inner, found);
                    }
                }
            }
            Value::Integer(number) => {
                let limit = LIMITS.iter().find(|(limited, _)| *limited == pattern).map(|(_, limit)| *limit);
                if let Some(limit) = limit.filter(|limit| number > limit) {
                    found.push(format!("{key}: {number} is more than any machine can do; at most {limit}"));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;
    use std::path::Path;

    #[test]
    fn absurd_numbers_are_refused_by_their_key() {
        let text = include_str!("../../tests/fixtures/tiny.toml");
        for (set, line) in [
            ("data.workers=99999999", "data.workers: 99999999 is more than any machine can do; at most 1024"),
            ("data.prefetch=9999999999999", "data.prefetch: 9999999999999 is more"),
            ("model.vision.layers=99999999999", "model.vision.layers: 99999999999 is more"),
            ("data.scenes.train=99999999999999", "data.scenes.train: 99999999999999 is more"),
            ("stage.instruct.tuning.vision.experts=9999999999", "stage[1].tuning.vision.experts: 9999999999 is more"),
        ] {
            let error = Recipe::parse(text, Path::new("tiny.toml"), &[set.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn the_list_names_keys_that_there_are() {
        let keys: Vec<String> = keys::keys().into_iter().map(|key| key.path).collect();
        for (limited, _) in LIMITS {
            assert!(keys.iter().any(|key| key == limited), "{limited} is no key");
        }
    }
}
