//! `covft-probe view`.

use anyhow::Context;
use std::path::PathBuf;
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

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let here = || vec![PathBuf::from("runs")];
    covft_viewer::open(if args.runs.is_empty() { here() } else { args.runs.clone() }).context("the viewer could not be opened")?;
    Ok(ExitCode::SUCCESS)
}
