//! `covft-probe view`.

use crate::config::Recipe;
use crate::data::picture;
use anyhow::Context;
use covft_analyses::store::RunDir;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe view                    runs found in runs/, newest first
  covft-probe view runs/scenes        one run, live or finished
  covft-probe view runs/a runs/b      two runs: either beside the other in the view of drift

F1 in the window lists the keys; docs/viewer.md explains the views.")]
pub(super) struct Args {
    /// Run directories; without any, those found in runs/.
    runs: Vec<PathBuf>,
}

/// A picture as the run's training read it: any format, turned where its recipe says so.
fn read(run: &Path, path: &Path) -> Result<image::RgbImage, String> {
    // A run without a readable recipe may be another program's.
    let recipe = RunDir::open(run.to_owned()).ok().and_then(|dir| Recipe::read(&dir.config(), &[]).ok());
    let exif = recipe.map(|recipe| recipe.data.exif).unwrap_or_default();
    Ok(picture::open(path, exif)?.pixels)
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runs = if args.runs.is_empty() { vec![PathBuf::from("runs")] } else { args.runs.clone() };
    covft_viewer::open(runs, read).context("the viewer could not be opened")?;
    Ok(ExitCode::SUCCESS)
}
