//! The recipe that several commands take.

use crate::config::Recipe;
use crate::experiment::session::Premise;
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

/// What may differ from how a run or a study began when it goes on.
#[derive(Debug, clap::Args)]
pub(super) struct GoingOn {
    /// With --resume: go on though these changed since the run began; the manifest notes it. Any of recipe, data, tokenizers,
    /// weights, dispatch.
    #[arg(long, value_name = "PREMISE,...", value_delimiter = ',', value_parser = Premise::named, requires = "resume")]
    accept: Vec<Premise>,
    /// Short for --accept data.
    #[arg(long, requires = "resume")]
    data_changed: bool,
}

impl GoingOn {
    /// The premises whose change is accepted.
    pub(super) fn accepted(&self) -> Vec<Premise> {
        self.accept.iter().copied().chain(self.data_changed.then_some(Premise::Data)).collect()
    }
}

/// Reads a recipe file, or the built-in one.
pub(super) fn read(config: Option<&Path>, overrides: &[String]) -> anyhow::Result<Recipe> {
    Ok(match config {
        Some(path) => Recipe::read(path, overrides)?,
        None => Recipe::parse(super::init::RECIPES[0].1, Path::new("scenes (built in)"), overrides)?,
    })
}
