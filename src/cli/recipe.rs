//! The recipe that several commands take.

use crate::config::Recipe;
use std::path::{Path, PathBuf};

/// `--config` and `--set`.
#[derive(Debug, clap::Args)]
pub(super) struct RecipeArgs {
    /// Recipe; the built-in `scenes` recipe if left out.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Change any key: data.max_length=128, stage.instruct.steps=40. May be given more than once.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) overrides: Vec<String>,
}

/// Reads a recipe file, or the built-in one.
pub(super) fn read(config: Option<&Path>, overrides: &[String]) -> anyhow::Result<Recipe> {
    Ok(match config {
        Some(path) => Recipe::read(path, overrides)?,
        None => Recipe::parse(super::init::RECIPES[0].1, Path::new("scenes (built in)"), overrides)?,
    })
}
