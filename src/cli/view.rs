//! `covft-probe view`.

use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe view                    runs found in runs/, newest first
  covft-probe view runs/scenes        one run, live or finished")]
pub(super) struct Args {
    /// Run directories; without any, those found in runs/.
    runs: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    covft_viewer::open(args.runs.clone()).context("the viewer could not be opened")?;
    Ok(ExitCode::SUCCESS)
}
