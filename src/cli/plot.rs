//! `covft-probe plot`.

use anyhow::Context;
use covft_analyses::figures::{FigureId, Venue, draw};
use covft_analyses::store::RunDir;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Figures: loss, drift, routing-by-task, gradient-cosine

Examples:
  covft-probe plot runs/scenes                               every figure, into runs/scenes/figures
  covft-probe plot runs/scenes --figure drift --venue neurips --out paper/figures")]
pub(super) struct Args {
    /// Run directories.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Which figure; all that the run has the records for if left out.
    #[arg(long)]
    figure: Option<FigureId>,
    /// Whose column width.
    #[arg(long, default_value = "cvpr")]
    venue: Venue,
    /// Where to write; the run's figures folder if left out.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let command: Vec<String> = std::env::args().collect();
    for path in &args.runs {
        let run = RunDir::open(path.clone())?;
        let out = args.out.clone().unwrap_or_else(|| run.figures());
        if let Some(figure) = args.figure {
            for file in draw(figure, &run, args.venue, &out, &command)? {
                println!("{}", file.display());
            }
        } else {
            let mut drawn = 0;
            for figure in FigureId::ALL {
                match draw(figure, &run, args.venue, &out, &command) {
                    Ok(files) => {
                        drawn += 1;
                        for file in files {
                            println!("{}", file.display());
                        }
                    }
                    Err(error) => println!("no {figure}: {error}"),
                }
            }
            if drawn == 0 {
                return Err(anyhow::anyhow!("nothing to draw in {}", path.display()))
                    .context("no figure could be drawn");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
