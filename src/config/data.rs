//! `[data]`: which instruction files and images a run reads and how they become token ids and pixels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Spelling of the built-in set in `train`, `val` and the tokenizer paths.
pub const BUILTIN_SCENES: &str = "builtin:scenes";

/// Marks where the image stands in a question.
pub const IMAGE_PLACEHOLDER: &str = "<image>";

/// `[data]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Training set: a JSON or JSON Lines file in the LLaVA conversation format, or `builtin:scenes`.
    #[serde(default = "builtin")]
    pub train: PathBuf,
    /// Held-out set, likewise. Left out: the built-in set's own held-out part, or none beside a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val: Option<PathBuf>,
    /// Folder that the entries' `image` paths are relative to; the training file's folder if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// Prompt template.
    #[serde(default)]
    pub template: Template,
    /// System message before the first turn; the template's own if left out, none if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// How an image that is not square becomes square.
    #[serde(default)]
    pub image_aspect: ImageAspect,
    /// What a rotation in a picture's EXIF block does.
    #[serde(default)]
    pub exif: Exif,
    /// What happens to samples whose picture is missing or cannot be read.
    #[serde(default)]
    pub broken: Broken,
    /// Longest sequence in tokens, the image's features counted; what is beyond is cut off.
    #[serde(default = "default_max_length")]
    pub max_length: usize,
    /// Longest context text in text-encoder tokens (never more than the encoder has positions).
    #[serde(default = "default_context_length")]
    pub context_length: usize,
    /// What follows the questions in the context text, in training and in evaluation alike.
    #[serde(default)]
    pub context_suffix: ContextSuffix,
    /// What happens to single samples without any labelled token.
    #[serde(default)]
    pub unlabelled: Unlabelled,
    /// Batches of samples of like length, with and without images apart (LLaVA's `group_by_modality_length`).
    #[serde(default)]
    pub group_by_modality_length: bool,
    /// Threads that prepare batches.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// Batches that each of these threads prepares ahead.
    #[serde(default = "default_prefetch")]
    pub prefetch: usize,
    /// The built-in set.
    #[serde(default)]
    pub scenes: ScenesConfig,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: builtin(),
            val: None,
            images: None,
            template: Template::default(),
            system: None,
            image_aspect: ImageAspect::default(),
            exif: Exif::default(),
            broken: Broken::default(),
            max_length: default_max_length(),
            context_length: default_context_length(),
            context_suffix: ContextSuffix::default(),
            unlabelled: Unlabelled::default(),
            group_by_modality_length: false,
            workers: default_workers(),
            prefetch: default_prefetch(),
            scenes: ScenesConfig::default(),
        }
    }
}

fn builtin() -> PathBuf {
    PathBuf::from(BUILTIN_SCENES)
}
fn default_max_length() -> usize {
    2048
}
fn default_context_length() -> usize {
    512
}
fn default_workers() -> usize {
    1
}
fn default_prefetch() -> usize {
    2
}

/// Whether a path means the built-in set.
#[must_use]
pub fn is_builtin_scenes(path: &Path) -> bool {
    path.as_os_str() == BUILTIN_SCENES
}

/// Prompt template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// Vicuna's: `{system} USER: {question} ASSISTANT: {answer}{end}`.
    #[default]
    V1,
    /// Image and caption alone: `<image>{caption}\n`; the question's text is left out.
    Plain,
    /// `SmolLM2`'s: `<|im_start|>user\n{question}{end}\n<|im_start|>assistant\n{answer}{end}\n`.
    #[serde(rename = "chatml")]
    ChatMl,
}

/// How an image that is not square becomes square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageAspect {
    /// Padded to a centred square with the mean colour, then resized.
    #[default]
    Pad,
    /// Shortest edge resized, then the centre cut out.
    Crop,
}

impl ImageAspect {
    /// What LLaVA's `image_aspect_ratio` calls it.
    #[must_use]
    pub fn llavas(self) -> &'static str {
        match self {
            Self::Pad => "pad",
            Self::Crop => "square",
        }
    }

    /// The one that LLaVA calls so.
    #[must_use]
    pub fn called(name: &str) -> Option<Self> {
        [Self::Pad, Self::Crop].into_iter().find(|aspect| aspect.llavas() == name)
    }
}

/// What a rotation in a picture's EXIF block does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exif {
    /// Nothing: pixels are taken as they are stored (LLaVA).
    #[default]
    Ignore,
    /// The picture is turned. Boxes in the texts are not.
    Apply,
}

/// What happens to samples whose picture is missing or cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// They end the run, before the first step where all pictures are checked then.
    #[default]
    Refuse,
    /// They are left out before the first step; one that is met later is replaced by the next sound sample.
    Drop,
    /// They are trained with a picture of the mean colour.
    Blank,
}

/// What follows the questions in the context text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextSuffix {
    /// Nothing (the published evaluation).
    #[default]
    None,
    /// The literal text `</s>` (the published training).
    End,
}

/// What happens to single samples without any labelled token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unlabelled {
    /// They are left out and listed before the first step.
    #[default]
    Drop,
    /// They end the run before the first step.
    Refuse,
}

/// `[data.scenes]`: the built-in set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenesConfig {
    /// Training scenes; each gives one sample of every task.
    #[serde(default = "default_train_scenes")]
    pub train: usize,
    /// Held-out scenes, none of which is a training scene.
    #[serde(default = "default_val_scenes")]
    pub val: usize,
    /// Seed of the scenes (not of the run: two runs with other seeds see the same scenes).
    #[serde(default)]
    pub seed: u64,
}

impl Default for ScenesConfig {
    fn default() -> Self {
        Self { train: default_train_scenes(), val: default_val_scenes(), seed: 0 }
    }
}

fn default_train_scenes() -> usize {
    1000
}
fn default_val_scenes() -> usize {
    100
}

/// A value of `[data]` that no run can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidData {
    /// Key within `[data]`.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl std::fmt::Display for InvalidData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "data.{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for InvalidData {}

impl DataConfig {
    /// Whether the training set is the built-in one.
    #[must_use]
    pub fn is_scenes(&self) -> bool {
        is_builtin_scenes(&self.train)
    }

    /// Folder of the images of an instruction file (`images`, or the file's own folder).
    #[must_use]
    pub fn image_folder(&self, file: &Path) -> PathBuf {
        self.images.clone().unwrap_or_else(|| file.parent().unwrap_or(Path::new("")).to_path_buf())
    }

    /// Checks what types alone cannot say.
    ///
    /// # Errors
    /// The first key whose value no run can have.
    pub fn check(&self) -> Result<(), InvalidData> {
        let refuse = |key, problem: &str| Err(InvalidData { key, problem: problem.to_owned() });
        if self.max_length < 2 {
            return refuse("max_length", "must be at least 2, or no token has a next one");
        }
        if self.context_length < 3 {
            return refuse("context_length", "must be at least 3: [CLS], a token, [SEP]");
        }
        if self.workers == 0 {
            return refuse("workers", "must be at least 1");
        }
        if self.prefetch == 0 {
            return refuse("prefetch", "must be at least 1");
        }
        if self.template == Template::Plain && self.system.as_ref().is_some_and(|text| !text.is_empty()) {
            return refuse("system", "the plain template has no place for a system message; leave the key out");
        }
        if self.system.as_ref().is_some_and(|text| text.contains(IMAGE_PLACEHOLDER)) {
            return refuse(
                "system",
                &format!("has {IMAGE_PLACEHOLDER}, which stands in a question alone; take it out"),
            );
        }
        if self.is_scenes() && self.scenes.train == 0 {
            return refuse("scenes.train", "must be at least 1");
        }
        for (key, path) in [("train", Some(&self.train)), ("val", self.val.as_ref())] {
            let text = path.map(|p| p.to_string_lossy()).unwrap_or_default();
            if text.starts_with("builtin:") && text != BUILTIN_SCENES {
                return refuse(key, &format!("there is no {text}; the only built-in set is {BUILTIN_SCENES}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default() {
        let config: DataConfig = toml::from_str("").unwrap();
        assert_eq!(config, DataConfig::default());
        assert!(config.is_scenes());
        assert!(config.check().is_ok());
    }

    #[test]
    fn survives_toml_and_refuses_unknown_keys() {
        let text = "train = 'a.json'\ntemplate = 'chatml'\nsystem = ''\nimage_aspect = 'crop'\nexif = 'apply'\nbroken = 'blank'\ncontext_suffix = 'end'\n\
                    unlabelled = 'refuse'\n[scenes]\ntrain = 5\nseed = 3\n";
        let config: DataConfig = toml::from_str(text).unwrap();
        assert_eq!((config.template, config.scenes.train, config.scenes.val), (Template::ChatMl, 5, 100));
        let again: DataConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(config, again);
        let error = toml::from_str::<DataConfig>("tran = 'x'").unwrap_err().to_string();
        assert!(error.contains("unknown field `tran`"), "{error}");
        assert!(toml::from_str::<DataConfig>("[scenes]\nsize = 3").is_err());
    }

    #[test]
    fn impossible_values_name_their_key() {
        let config = DataConfig { workers: 0, ..DataConfig::default() };
        assert_eq!(config.check().unwrap_err().to_string(), "data.workers: must be at least 1");
        let plain = |system: &str| DataConfig {
            template: Template::Plain,
            system: Some(system.to_owned()),
            ..DataConfig::default()
        };
        assert_eq!(
            plain("Be brief.").check().unwrap_err().to_string(),
            "data.system: the plain template has no place for a system message; leave the key out"
        );
        assert!(plain("").check().is_ok());
        let pictured = DataConfig { system: Some("Look at <image>.".to_owned()), ..DataConfig::default() };
        assert_eq!(
            pictured.check().unwrap_err().to_string(),
            "data.system: has <image>, which stands in a question alone; take it out"
        );
        let config = DataConfig { val: Some("builtin:scene".into()), ..DataConfig::default() };
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "data.val: there is no builtin:scene; the only built-in set is builtin:scenes"
        );
    }
}
