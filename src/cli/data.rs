//! `covft-probe data check` and `covft-probe data scenes`.

use super::recipe;
use super::table::{Table, thousands};
use crate::config::data::ScenesConfig;
use crate::data::{CheckReport, scenes};
use crate::experiment::session::Setup;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Count samples, tasks, tokens and labelled tokens; list what is missing or teaches nothing.
    Check(CheckArgs),
    /// Write the built-in set as instruct.json, instruct_val.json and images, in the format that every recipe reads.
    Scenes(ScenesArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe data check configs/real-mini.toml
  covft-probe data check configs/real-mini.toml --images")]
struct CheckArgs {
    /// Recipe; the built-in one if left out.
    config: Option<PathBuf>,
    /// Also decode every image.
    #[arg(long)]
    images: bool,
    /// Change any key of the recipe.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  covft-probe data scenes --out data/scenes --train 1000 --val 100")]
struct ScenesArgs {
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    /// Training scenes.
    #[arg(long, default_value_t = 1000)]
    train: usize,
    /// Held-out scenes.
    #[arg(long, default_value_t = 100)]
    val: usize,
    /// Seed of the scenes.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Check(args) => check(args),
        What::Scenes(args) => {
            let config = ScenesConfig { train: args.train, val: args.val, seed: args.seed };
            scenes::write(&config, &args.out)?;
            println!("wrote {} training and {} held-out scenes to {}", args.train, args.val, args.out.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let recipe = recipe::read(args.config.as_deref(), &args.overrides)?;
    let setup = Setup::unchecked(&recipe, Some(&recipe.out.join(".cache")), args.images)?;
    let mut good = true;
    for report in &setup.reports {
        print(report);
        if let Err(error) = report.verdict(recipe.data.unlabelled) {
            good = false;
            println!("  refused: {error}");
        }
        if report.broken.as_ref().is_some_and(|b| !b.is_empty()) {
            good = false;
        }
    }
    println!("{}", if good { "this data can be trained on" } else { "this data cannot be trained on as it is" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &CheckReport) {
    let cached = if report.cached { ", texts as counted before" } else { "" };
    println!("{}: {} samples, {} images{cached}", report.path.display(), report.samples(), report.images);
    let mut table = Table::new(&["task", "image", "samples", "tokens", "labelled", "unlabelled", "cut"]);
    for kind in &report.findings.kinds {
        table.row([
            kind.task.clone().unwrap_or_else(|| "(none)".to_owned()),
            if kind.has_image { "yes" } else { "no" }.to_owned(),
            thousands(kind.samples),
            thousands(kind.tokens as usize),
            thousands(kind.labelled_tokens as usize),
            kind.unlabelled.to_string(),
            kind.truncated.to_string(),
        ]);
    }
    table.print();
    for dropped in &report.findings.unlabelled {
        println!("  no labelled token, dropped: line {}, sample {}", dropped.line, dropped.id);
    }
    for (what, problems) in [("missing", Some(&report.missing)), ("broken", report.broken.as_ref())] {
        for problem in problems.into_iter().flatten() {
            println!("  {what} image: sample {}: {}: {}", problem.sample, problem.problem, problem.path.display());
        }
    }
    if report.findings.repeated_ids > 0 {
        println!("  {} entries repeat the id of an earlier one", report.findings.repeated_ids);
    }
}
