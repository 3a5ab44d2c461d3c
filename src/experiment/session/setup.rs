//! What a run needs before its first stage: sizes, tokenizers, data, all checked.

use super::error::SessionError;
use super::pictures::{self, Checking, PictureCheck};
use super::tokens;
use crate::config::Recipe;
use crate::config::data::{BUILTIN_SCENES, Broken, ImageAspect, is_builtin_scenes};
use crate::config::model::{ModelConfig, TextMethod};
use crate::data::{
    CheckOptions, CheckReport, Dataset, Embeddings, ImageSpec, Preparation, TaskTable, TextTokenizer, Tokenizers,
    check, other_files, remark,
};
use crate::models::account::{Account, account};
use crate::models::shapes::{self, ModelShapes};
use crate::models::source::open_source;
use crate::models::towers::TowerSizes;
use covft_analyses::store::PictureDecision;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything that the stages share.
#[derive(Debug)]
pub struct Setup {
    /// The model's part of the recipe, vocabularies filled in from the tokenizers.
    pub model: ModelConfig,
    /// Resolved sizes.
    pub shapes: ModelShapes,
    /// Training samples, without those that the check dropped.
    pub train: Dataset,
    /// Held-out samples.
    pub val: Option<Dataset>,
    /// Tasks of the training samples, by number.
    pub tasks: TaskTable,
    /// What the check found, training set first.
    pub reports: Vec<CheckReport>,
    /// Samples that were left out since their picture is missing or broken.
    pub left_out: Vec<PictureDecision>,
    /// What was found of the weights that the recipe names, folder by folder.
    pub accounts: Vec<Account>,
    /// What is to be told of the models' descriptions and the tokenizers, one line each.
    pub remarks: Vec<String>,
    /// Where the tokenizers lie: the language model's and the text encoder's (`builtin:scenes` for the built-in ones).
    pub tokenizer_files: [PathBuf; 2],
}

impl Setup {
    /// Reads and checks what `recipe` names.
    ///
    /// # Errors
    /// A file or folder that is missing or damaged, a kind of sample without any labelled token, pictures that cannot
    /// be read and are not to be done without.
    pub fn new(recipe: &Recipe, checking: &Checking<'_>) -> Result<Self, SessionError> {
        let before = checking.decided.is_none();
        let decode = [before && checking.pictures == PictureCheck::Before, before];
        let found = Self::unchecked(recipe, checking, decode)?;
        // What was decided before is not judged again; what else is broken is met in training.
        let broken = if before { recipe.data.broken } else { Broken::Blank };
        for report in &found.reports {
            report.verdict(recipe.data.unlabelled, broken)?;
            for line in remark::lines(&report.findings.tallies) {
                tracing::warn!("{line}: {}", report.path.display());
            }
        }
        Ok(found)
    }

    /// The same without judging what the check found (`data check` prints it); `decode` says whether the pictures of
    /// the training set and of the held-out set are decoded.
    ///
    /// # Errors
    /// A file or folder that is missing or damaged.
    pub fn unchecked(recipe: &Recipe, checking: &Checking<'_>, decode: [bool; 2]) -> Result<Self, SessionError> {
        missing_folders(recipe)?;
        let tokenizer_files = tokenizer_files(&recipe.model)?;
        let [language, text] = &tokenizer_files;
        let mut tokenizers = Tokenizers::load(language, text, recipe.data.context_length)?;
        let model = with_vocabularies(&recipe.model, &tokenizers)?;
        let shapes = ModelShapes::resolve(&model)?;
        // Folders that hold no weights are told before the data are read.
        drop(open_source(&model)?);
        // Never longer than the encoder has positions.
        if shapes.text.positions < recipe.data.context_length {
            tokenizers.text = Arc::new(TextTokenizer::load(text, shapes.text.positions)?);
        }
        let mut remarks = tokens::check(&recipe.data, &model, &shapes, &tokenizers)?;
        remarks.extend(other_aspect(&model, recipe.data.image_aspect)?);
        let image = image_spec(&shapes.vision, recipe.data.image_aspect);
        let preparation = Preparation::new(&recipe.data, tokenizers, image, shapes.vision.patches());
        let train = Dataset::train(&recipe.data, preparation.clone())?;
        let tasks = train.tasks().clone();
        remarks.extend(strange_tasks(recipe, tasks.names()));
        let first = &recipe.stages[0].tuning;
        let classes = if first.text == TextMethod::Tasks { tasks.names().len() } else { 0 };
        let accounts = account(&model, first, classes)?;
        remarks.extend(shapes::remarks(&model)?);
        let val = Dataset::val(&recipe.data, preparation, &tasks)?;
        let embeddings = Embeddings { language: shapes.language.vocabulary, text: shapes.text.vocabulary };
        let options = |decode_images| CheckOptions {
            decode_images,
            cache: checking.cache,
            progress: checking.progress,
            embeddings: Some(embeddings),
        };
        let mut reports = vec![check::check(&train, options(decode[0]))?];
        if let Some(val) = &val {
            reports.push(check::check(val, options(decode[1]))?);
        }
        let mut left_out = Vec::new();
        let mut kept = |set: &Dataset, report: &CheckReport| {
            let (set, dropped) = match checking.decided {
                Some(decided) => pictures::repeat(set, decided),
                None => pictures::decide(set, report, recipe.data.broken),
            };
            left_out.extend(dropped);
            set.without_entries(&report.findings.unlabelled.iter().map(|d| d.index).collect::<Vec<_>>())
        };
        let train = kept(&train, &reports[0]);
        let val = val.map(|val| kept(&val, &reports[1]));
        Ok(Self { model, shapes, train, val, tasks, reports, left_out, accounts, remarks, tokenizer_files })
    }
}

impl Setup {
    /// What was read of the weights, and what else is to be told of the models; one line each.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        self.accounts.iter().map(ToString::to_string).chain(self.remarks.iter().cloned()).collect()
    }
}

/// How a tower wants its images.
#[must_use]
pub fn image_spec(tower: &TowerSizes, aspect: ImageAspect) -> ImageSpec {
    ImageSpec {
        size: tower.image_size as u32,
        aspect,
        mean: tower.image_mean.map(|x| x as f32),
        std: tower.image_std.map(|x| x as f32),
    }
}

/// Tasks of stages that no sample has: a name that is misspelt leaves samples out.
fn strange_tasks(recipe: &Recipe, known: &[Arc<str>]) -> Vec<String> {
    let mut lines = Vec::new();
    for stage in super::checked(recipe) {
        let named = stage.tasks.iter().chain(&stage.paired_with).flatten();
        let strange: Vec<&str> =
            named.map(String::as_str).filter(|task| known.iter().all(|known| **known != **task)).collect();
        if !strange.is_empty() {
            lines.push(format!(
                "warning: stage {}: no training sample has the task {}",
                stage.name,
                strange.join(", ")
            ));
        }
    }
    lines
}

/// Pictures that become square in another way than those that the checkpoint was trained with. LLaVA itself does so between
/// its stages, so it is told and not refused.
fn other_aspect(model: &ModelConfig, ours: ImageAspect) -> Result<Option<String>, SessionError> {
    let Some(folder) = &model.checkpoint else { return Ok(None) };
    let theirs = shapes::image_aspect_ratio(folder)?;
    let theirs = theirs.filter(|name| ImageAspect::called(name) != Some(ours));
    Ok(theirs.map(|theirs| {
        format!(
            "warning: the checkpoint's pictures became square by image_aspect_ratio = {theirs:?}, and data.image_aspect now \
             says {:?} in its words: {}",
            ours.llavas(),
            folder.join("config.json").display()
        )
    }))
}

/// The model's part of a recipe with every vocabulary known: those that it leaves open are the tokenizers'.
///
/// # Errors
/// A tokenizer that is needed is not named, or cannot be read.
pub fn known_vocabularies(recipe: &Recipe) -> Result<ModelConfig, SessionError> {
    let model = &recipe.model;
    let language = model.language.sizes.as_ref().is_some_and(|s| s.vocabulary.is_none());
    let text = model.text.sizes.as_ref().is_some_and(|s| s.vocabulary.is_none());
    if !language && !text {
        return Ok(model.clone());
    }
    let [language, text] = tokenizer_files(model)?;
    with_vocabularies(model, &Tokenizers::load(&language, &text, recipe.data.context_length)?)
}

fn with_vocabularies(model: &ModelConfig, tokenizers: &Tokenizers) -> Result<ModelConfig, SessionError> {
    let mut model = model.clone();
    let open = [
        model.language.sizes.as_mut().map(|sizes| &mut sizes.vocabulary),
        model.text.sizes.as_mut().map(|sizes| &mut sizes.vocabulary),
    ];
    for (vocabulary, rows) in open.into_iter().zip([tokens::language_rows, tokens::text_rows]) {
        if let Some(vocabulary @ None) = vocabulary {
            *vocabulary = Some(rows(tokenizers)?);
        }
    }
    Ok(model)
}

/// One error for everything that is not there, before anything is read: recipes name folders that are not part of the
/// repository.
fn missing_folders(recipe: &Recipe) -> Result<(), SessionError> {
    let model = &recipe.model;
    let weights = [&model.checkpoint, &model.vision.weights, &model.language.weights, &model.text.weights];
    let data = [Some(&recipe.data.train), recipe.data.val.as_ref(), recipe.data.images.as_ref()];
    let missing = |paths: Vec<&PathBuf>| -> Vec<PathBuf> {
        paths.into_iter().filter(|p| !is_builtin_scenes(p) && !p.exists()).cloned().collect()
    };
    let weights = missing(weights.into_iter().flatten().collect());
    let data = missing(data.into_iter().flatten().collect());
    if weights.is_empty() && data.is_empty() { Ok(()) } else { Err(SessionError::Missing { weights, data }) }
}

/// Where the two tokenizers lie.
fn tokenizer_files(model: &ModelConfig) -> Result<[PathBuf; 2], SessionError> {
    let choose = |own: &Option<PathBuf>, weights: &Option<PathBuf>, checkpoint_file: &str, key: &'static str| {
        if let Some(path) = own {
            return Ok(path.clone());
        }
        let beside = weights.as_ref().map(|w| w.join("tokenizer.json"));
        let inside = model.checkpoint.as_ref().map(|c| c.join(checkpoint_file));
        // Another format in its place is told as such when it is to be read.
        let told = |p: &PathBuf| p.exists() || other_files(p).is_some();
        let found = beside.into_iter().chain(inside).find(told);
        found.ok_or(SessionError::NoTokenizer { key, example: BUILTIN_SCENES })
    };
    Ok([
        choose(&model.language.tokenizer, &model.language.weights, "tokenizer.json", "model.language.tokenizer")?,
        choose(&model.text.tokenizer, &model.text.weights, "context_tokenizer.json", "model.text.tokenizer")?,
    ])
}
