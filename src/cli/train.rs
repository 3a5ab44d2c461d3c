//! `covft-probe train`.

use super::out::{say, tell};
use super::progress::{self, Progress};
use super::recipe::{self, GoingOn, RecipeArgs};
use super::summary;
use crate::config::Recipe;
use crate::config::data::Broken;
use crate::experiment::session::{Ended, PictureCheck, Session};
use anyhow::Context;
use covft_analyses::store::RunDir;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ctrl-C finishes the step under way, saves and exits with 130; a second Ctrl-C stops at once.

Examples:
  covft-probe train --log-grads                          the built-in set, on the CPU
  covft-probe train -c configs/real-mini.toml --log-grads
  covft-probe train --set 'stage.instruct.tuning.vision={ type = \"full\" }' --out runs/scenes-full
  covft-probe train --steps 10                           no stage longer than 10 steps: a quick try
  covft-probe train --resume runs/scenes                 go on where a run was stopped or killed
  covft-probe train --resume runs/mine --data-changed    the same, though its data is not what it began with
  covft-probe train -c mine.toml --device cuda:0,1,2,3   four cards
  covft-probe train -c mine.toml --show-config           print the resolved recipe and stop")]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Run directory; <out>/<name> if left out, with a number behind it where that is taken.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// cpu, cuda:0, or several cards that share the micro-batches of a step: cuda:0,1. With --resume: go on there.
    #[arg(long)]
    device: Option<String>,
    /// Seed of every random draw.
    #[arg(long, conflicts_with = "resume")]
    seed: Option<u64>,
    /// No stage longer than this; schedules follow.
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    steps: Option<u64>,
    /// Go on with a run that was stopped or killed, from its last checkpoint.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "overrides"])]
    resume: Option<PathBuf>,
    /// What happens to samples whose picture is missing or broken: refuse, drop or blank. Short for data.broken; with
    /// --resume: from here on.
    #[arg(long, value_name = "HOW", value_parser = broken)]
    broken: Option<Broken>,
    /// When the training pictures are decoded for the first time: before (the first step) or lazily, in the background.
    #[arg(long, value_name = "WHEN", value_parser = ["before", "lazily"], default_value = "before")]
    check: String,
    #[command(flatten)]
    going_on: GoingOn,
    /// Record gradient norms and directions of the vision encoder.
    #[arg(long, conflicts_with = "resume")]
    log_grads: bool,
    /// Print the resolved recipe and stop.
    #[arg(long, conflicts_with = "resume")]
    show_config: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let command: Vec<String> = std::env::args().collect();
    let mut session = if let Some(run) = &args.resume {
        let mut session = Session::resume(run.clone(), args.device.as_deref(), command)?;
        session.accept = args.going_on.accepted();
        session
    } else {
        let mut recipe = resolve(args)?;
        if let Some(broken) = args.broken {
            recipe.data.broken = broken;
        }
        if args.show_config {
            super::out::text(&recipe.to_toml());
            return Ok(ExitCode::SUCCESS);
        }
        let path = args.out.clone().unwrap_or_else(|| free_name(&recipe.out.join(&recipe.name)));
        Session::create(recipe, path, command)?
    };
    if let Some(broken) = args.broken {
        session.set_broken(broken);
    }
    session.pictures = if args.check == "lazily" { PictureCheck::Lazily } else { PictureCheck::Before };
    session.progress = Some(progress::pictures);
    say!("run directory: {}", session.dir().path().display());
    stop_on_ctrl_c(&session.stop, true)?;
    let mut progress = Progress::new();
    let ended = session.run(&mut [&mut progress]);
    drop(progress);
    let dir = session.dir().path().to_path_buf();
    // Where nothing was recorded there is no run to name.
    let ended = if dir.exists() {
        ended.with_context(|| format!("the run stopped: {}", dir.display()))
    } else {
        ended.map_err(Into::into)
    };
    match ended? {
        Ended::Done => {
            summary::print(&RunDir::open(dir)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Ended::Stopped => {
            say!("stopped and saved; go on with: covft-probe train --resume {}", dir.display());
            Ok(ExitCode::from(130))
        }
    }
}

pub(super) fn broken(text: &str) -> Result<Broken, String> {
    match text {
        "refuse" => Ok(Broken::Refuse),
        "drop" => Ok(Broken::Drop),
        "blank" => Ok(Broken::Blank),
        _ => Err("refuse, drop or blank".to_owned()),
    }
}

fn resolve(args: &Args) -> anyhow::Result<Recipe> {
    let mut overrides = args.recipe.overrides.clone();
    // Flags are short for keys, so they go the same way.
    overrides.extend(args.device.as_ref().map(|d| format!("device={d:?}")));
    overrides.extend(args.seed.map(|s| format!("seed={s}")));
    if args.log_grads {
        overrides.push("probe.log_grads=true".into());
    }
    let mut recipe = recipe::read(args.recipe.config.as_deref(), &overrides)?;
    if let Some(limit) = args.steps {
        anyhow::ensure!(limit > 0, "--steps must be at least 1");
        for stage in &mut recipe.stages {
            (stage.steps, stage.epochs) = (Some(stage.steps.unwrap_or(limit).min(limit)), None);
        }
    }
    Ok(recipe)
}

/// `path`, or `path-2`, `path-3`, ... where it is taken.
pub(super) fn free_name(path: &Path) -> PathBuf {
    let numbered = (2..).map(|n| PathBuf::from(format!("{}-{n}", path.display())));
    std::iter::once(path.to_path_buf()).chain(numbered).find(|p| !p.exists()).unwrap_or_else(|| path.to_path_buf())
}

/// Ctrl-C sets `stop`, once more ends the program; `aloud` says so.
pub(super) fn stop_on_ctrl_c(stop: &Arc<AtomicBool>, aloud: bool) -> anyhow::Result<()> {
    let stop = Arc::clone(stop);
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::SeqCst) {
            // The second time they mean it; the last checkpoint is whole.
            quit(130);
        }
        if aloud {
            tell!("\nstopping after this step; once more stops at once");
        }
    })
    .context("cannot listen for Ctrl-C")
}

#[expect(clippy::exit, reason = "asked for twice, from a signal handler's thread")]
fn quit(code: i32) -> ! {
    std::process::exit(code)
}
