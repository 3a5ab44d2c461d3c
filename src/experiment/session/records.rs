//! What a run writes beside its streams: recipe, samples, pictures.

use super::error::SessionError;
use super::setup::Setup;
use crate::config::Recipe;
use crate::config::data::is_builtin_scenes;
use crate::data::{Dataset, scenes};
use crate::train::{BoxError, TrainError};
use covft_analyses::store::{DatasetRow, Name, RunDir, write_atomic, write_dataset};
use std::error::Error;
use std::io::Write;
use std::path::Path;

pub(super) fn io<'p>(what: &'static str, path: &'p Path) -> impl FnOnce(std::io::Error) -> SessionError + 'p {
    move |source| SessionError::Io { what, source, path: path.to_path_buf() }
}

pub(super) fn write_recipe(dir: &RunDir, recipe: &Recipe) -> Result<(), SessionError> {
    Ok(write_atomic(&dir.config(), |file| file.write_all(recipe.to_toml().as_bytes()))?)
}

/// The recipe of a run, with other devices where some are named.
pub(super) fn read_recipe(dir: &RunDir, device: Option<&str>) -> Result<Recipe, SessionError> {
    let path = dir.config();
    let overrides: Vec<String> = device.map(|device| format!("device={device:?}")).into_iter().collect();
    Recipe::read(&path, &overrides).map_err(|error| SessionError::Io {
        what: "use the recipe of the run",
        source: std::io::Error::other(error),
        path,
    })
}

/// `dataset.parquet`, and the pictures of a built-in set: what the viewer shows of the samples.
pub(super) fn write_samples(dir: &RunDir, setup: &Setup) -> Result<(), SessionError> {
    let mut rows = Vec::new();
    for set in [Some(&setup.train), setup.val.as_ref()].into_iter().flatten() {
        for i in 0..set.len() {
            rows.push(row(set, i)?);
        }
        for (name, picture) in set.pictures() {
            let path = dir.images().join(name);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(io("make the folder", folder))?;
            }
            picture.save(&path).map_err(|error| SessionError::Io {
                what: "write",
                source: std::io::Error::other(error),
                path,
            })?;
        }
    }
    Ok(write_dataset(dir, &rows)?)
}

fn row(set: &Dataset, i: usize) -> Result<DatasetRow, SessionError> {
    let info = set.info(i)?;
    let builtin = is_builtin_scenes(set.path());
    let image = info.image.map(|path| {
        let shown = if builtin { Path::new("images").join(path) } else { std::path::absolute(&path).unwrap_or(path) };
        shown.display().to_string()
    });
    Ok(DatasetRow {
        sample: info.meta.id.to_string(),
        index: Some(info.meta.index as u64),
        split: info.split.name().into(),
        task: info.meta.task.map(Name::from),
        image,
        width: info.dimensions.map(|(w, _)| u64::from(w)),
        height: info.dimensions.map(|(_, h)| u64::from(h)),
        question: info.question,
        answer: info.answer,
    })
}

/// The bytes of a tokenizer file, for the checkpoint.
pub(super) fn tokenizer_bytes(name: &str, path: &Path) -> Result<Vec<u8>, SessionError> {
    if is_builtin_scenes(path) {
        let builtin = if name == "tokenizer.json" { scenes::LANGUAGE_TOKENIZER } else { scenes::TEXT_TOKENIZER };
        return Ok(AsRef::<[u8]>::as_ref(builtin).to_vec());
    }
    std::fs::read(path).map_err(io("read the tokenizer", path))
}

/// A directory in which nothing was recorded yet.
pub(super) fn remove_unborn(dir: &RunDir) {
    // What cannot be removed is in nobody's way: the next run takes another name.
    drop(std::fs::remove_dir_all(dir.path()));
}

/// The whole chain of an error in one line.
pub(super) fn one_line(error: &SessionError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

pub(super) fn hook_error(source: BoxError) -> SessionError {
    SessionError::Train(TrainError::Hook {
        at: crate::train::At { stage: "before the first step".into(), step: 0 },
        source,
    })
}
