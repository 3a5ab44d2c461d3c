//! From a TOML text and `--set key=value` overrides to a checked [`Recipe`](super::Recipe).

use super::{Devices, Recipe};
use std::path::{Path, PathBuf};
use thiserror::Error;
use toml_edit::{DocumentMut, Item, Table, Value};

/// Why a recipe could not be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the recipe: {source}: {}", path.display())]
    Read {
        /// The recipe.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key or a value of the wrong type; the message carries line and column.
    #[error("{message}\nin the recipe {}", path.display())]
    Parse {
        /// The recipe.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// An override that names nothing or has no value.
    #[error("--set {text}: {reason}")]
    Override {
        /// The override as given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Values that do not go together, all of them at once.
    #[error("the recipe cannot be run:\n  - {}\nin the recipe {}", violations.join("\n  - "), path.display())]
    Invalid {
        /// The recipe.
        path: PathBuf,
        /// One line a violation.
        violations: Vec<String>,
    },
}

impl Recipe {
    /// Reads a recipe file and applies overrides.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text, path, overrides)
    }

    /// The same from a text; `path` is for messages.
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let parse_error = |message: String| ConfigError::Parse { path: path.to_path_buf(), message };
        // First as written, so that line and column are those of the file.
        let mut recipe: Self = toml::from_str(text).map_err(|e| parse_error(e.to_string().trim_end().to_owned()))?;
        if !overrides.is_empty() {
            let mut document: DocumentMut =
                text.parse().map_err(|e: toml_edit::TomlError| parse_error(e.to_string()))?;
            for text in overrides {
                apply(&mut document, text)?;
            }
            recipe = toml::from_str(&document.to_string()).map_err(|e| ConfigError::Override {
                text: overrides.join(" --set "),
                reason: e.message().to_owned(),
            })?;
        }
        recipe.check(path)?;
        Ok(recipe)
    }

    /// Whether it can be run, for a recipe that was made from another; `path` is for messages.
    pub fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let violations = self.violations();
        if violations.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { path: path.to_path_buf(), violations }) }
    }

    /// The resolved recipe as TOML; training from it repeats the run.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a recipe is made of tables, strings and numbers")
    }
}

/// `a.b.c=value`. `value` is TOML, or a plain string where it is not. A stage is named by its name or its position:
/// `stage.instruct.steps=100`.
fn apply(document: &mut DocumentMut, text: &str) -> Result<(), ConfigError> {
    let wrong = |reason: String| ConfigError::Override { text: text.to_owned(), reason };
    let (path, value) = text.split_once('=').ok_or_else(|| wrong("expected key=value".into()))?;
    let value = value.trim().parse::<Value>().unwrap_or_else(|_| Value::from(value.trim()));
    let keys: Vec<&str> = path.trim().split('.').collect();
    let (last, parents) = keys.split_last().expect("split yields at least one part");
    let mut at: &mut dyn toml_edit::TableLike = document.as_table_mut();
    let mut parents = parents.iter();
    while let Some(key) = parents.next() {
        let item = at.entry(key).or_insert(Item::Table(Table::new()));
        at = match item {
            Item::ArrayOfTables(tables) => {
                let names: Vec<String> = tables
                    .iter()
                    .map(|t| t.get("name").and_then(Item::as_str).unwrap_or_default().to_owned())
                    .collect();
                let which = parents.next().ok_or_else(|| wrong(format!("which {key}? one of {}", names.join(", "))))?;
                let index = which.parse().ok().or_else(|| names.iter().position(|n| n == which));
                let table = index.and_then(|i: usize| tables.get_mut(i));
                table.ok_or_else(|| wrong(format!("no {key} {which}; there are {}", names.join(", "))))?
            }
            other => other.as_table_like_mut().ok_or_else(|| wrong(format!("{key} is not a table")))?,
        };
    }
    at.insert(last, Item::Value(value));
    Ok(())
}

impl Recipe {
    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Err(mut wrong) = super::train::check_stages(&self.stages) {
            found.append(&mut wrong);
        }
        found.append(&mut self.losses());
        if let Some(study) = &self.study {
            found.append(&mut study.violations(&self.stages));
        }
        if self.data.group_by_modality_length && self.stages.iter().any(|s| s.paired_with.is_some()) {
            found.push("data.group_by_modality_length: orders partners (paired_with) differently; leave it out".into());
        }
        if let Err(wrong) = self.data.check() {
            found.push(wrong.to_string());
        }
        found.append(&mut self.probe.violations());
        let named = |name: &&String| self.stages.iter().any(|stage| stage.name == **name);
        if let Some(name) = self.probe.gradient_stages.iter().find(|name| !named(name)) {
            let stages = self.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ");
            found.push(format!("probe.gradient_stages: there is no stage {name:?}; there are {stages}"));
        }
        found.append(&mut self.device_violations());
        found.append(&mut self.beyond_limits());
        found
    }

    /// What a stage adds to the model and the stage after it would drop.
    fn losses(&self) -> Vec<String> {
        let mut found = Vec::new();
        for pair in self.stages.windows(2) {
            let over = pair[0].tuning.hand_over(&pair[1].tuning);
            let mut say = |part: &str, method: &str, way: &str| {
                let [before, after] = [&pair[0].name, &pair[1].name];
                found.push(format!(
                    "stage {after}: tuning.{part} would lose what {method} added in stage {before}: keep that method and its \
                     settings{way}"
                ));
            };
            over.lost.iter().for_each(|(part, method)| say(part, method, " (it cannot be merged)"));
            if !self.model.merge {
                let way = ", or set model.merge = true to add the factors to the weights between the stages";
                over.vision.iter().for_each(|_| say("vision", "lora", way));
                over.language.iter().for_each(|_| say("language", "lora", way));
            }
        }
        found
    }

    /// Where it computes.
    #[must_use]
    pub fn devices(&self) -> Devices {
        Devices::parse(&self.device).expect("a recipe is checked when it is read")
    }

    fn device_violations(&self) -> Vec<String> {
        let devices = match Devices::parse(&self.device) {
            Ok(devices) => devices,
            Err(wrong) => return vec![format!("device: {wrong}")],
        };
        let mut found = Vec::new();
        for stage in self.stages.iter().filter(|stage| stage.accumulation < devices.members()) {
            found.push(format!(
                "stage {}: accumulation = {}: {} devices share the micro-batches of a step; set it to {} or a multiple (a \
                 smaller batch_size keeps a step's samples)",
                stage.name,
                stage.accumulation,
                devices.members(),
                devices.members()
            ));
        }
        if devices.on_cpu() && self.dtype == super::Compute::Bf16 {
            found.push("dtype: the CPU computes in float32; leave dtype out or set device = \"cuda:0\"".into());
        }
        if !self.bf16_copies && self.dtype != super::Compute::Bf16 {
            found.push("bf16_copies: with dtype = \"f32\" there are none; leave it out".into());
        }
        if devices.on_cpu() && self.stages.iter().any(|s| s.moments == super::train::MomentType::Bf16) {
            found.push(
                "stage.moments: the CPU keeps moments in float32; leave moments out or set device = \"cuda:0\"".into(),
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(merge: bool, methods: [&str; 2]) -> Vec<String> {
        let text = std::fs::read_to_string("tests/fixtures/tiny.toml").unwrap();
        let overrides = [
            format!("model.merge={merge}"),
            format!("stage.base.tuning={}", methods[0]),
            format!("stage.instruct.tuning={}", methods[1]),
        ];
        match Recipe::parse(&text, Path::new("tiny.toml"), &overrides) {
            Ok(_) => Vec::new(),
            Err(ConfigError::Invalid { violations, .. }) => violations,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_stage_must_not_lose_what_the_one_before_added() {
        let lora = "{ vision = { type = \"lora\", rank = 4 } }";
        let (freeze, full) = ("{ vision = { type = \"freeze\" } }", "{ vision = { type = \"full\" } }");
        let (vpt, covft) = ("{ vision = { type = \"vpt\", prompts = 2 } }", "{ vision = { type = \"covft\" } }");
        let language = "{ language = { type = \"lora\", rank = 2, alpha = 4.0 } }";
        for after in [freeze, full, vpt, covft, "{ vision = { type = \"lora\", rank = 4, alpha = 64.0 } }"] {
            let found = stages(false, [lora, after]);
            assert!(found.len() == 1 && found[0].contains("would lose what lora added in stage base"), "{found:?}");
            assert!(found[0].contains("model.merge = true") && stages(true, [lora, after]).is_empty(), "{found:?}");
        }
        assert!(stages(false, [language, freeze])[0].contains("tuning.language would lose"));
        assert!(stages(false, [lora, "{ vision = { type = \"lora\", rank = 4, dropout = 0.5 } }"]).is_empty());
        for before in [vpt, covft] {
            for merge in [false, true] {
                assert!(stages(merge, [before, before]).is_empty());
                assert!(stages(merge, [before, freeze])[0].contains("(it cannot be merged)"));
            }
        }
        assert!(stages(false, [full, covft]).is_empty() && stages(false, [freeze, lora]).is_empty());
    }
}
