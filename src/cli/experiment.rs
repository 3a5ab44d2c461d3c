//! `covft-probe experiment`: studies of several runs.

use super::out::say;
use super::recipe::GoingOn;
use super::train::{broken, free_name, stop_on_ctrl_c};
use super::watch::Watch;
use super::{compare, init};
use crate::config::Recipe;
use crate::config::data::Broken;
use crate::config::model::VisionMethod;
use crate::config::study::StudyConfig;
use crate::experiment::session::{Ended, Premise};
use crate::experiment::study::{Event, StudyDir, run as run_study, work};
use anyhow::Context;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// How far two sets of instructions over the same pictures pull one encoder apart.
    Conflict(ConflictArgs),
    /// What the tuning methods make of one base, over several seeds.
    Methods(MethodsArgs),
    /// One run of a study, for the process that leads it.
    #[command(hide = true)]
    Worker(WorkerArgs),
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Recipe with a [study]; the built-in one on scenes if left out.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the study; <out>/<name> if left out, with a number behind it where that is taken.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with a study that was stopped or killed. What is done stays.
    #[arg(long, value_name = "STUDY", conflicts_with_all = ["config", "overrides"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    going_on: GoingOn,
    /// What happens to samples whose picture is missing or broken: refuse, drop or blank. Short for data.broken; with
    /// --resume: from here on, in all runs.
    #[arg(long, value_name = "HOW", value_parser = broken)]
    broken: Option<Broken>,
    /// Change any key: study.null=true, stage.instruct.steps=40. May be given more than once.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print the resolved recipe and stop.
    #[arg(long, conflicts_with = "resume")]
    show_config: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Both runs begin from the same weights and see the same objects of the same pictures in the same order; only question and
answer are swapped. They advance step by step in one process, and the distance of their encoders is recorded exactly at
every step, by layer and module. Ctrl-C saves both at the same step and exits with 130.

Examples:
  covft-probe experiment conflict                                        scenes, on the CPU
  covft-probe experiment conflict -c configs/conflict-real.toml --method full
  covft-probe experiment conflict --null                                 with the same instructions in another order
  covft-probe experiment conflict --resume runs/conflict-scenes")]
struct ConflictArgs {
    #[command(flatten)]
    common: Common,
    /// Tuning method of the vision encoder: freeze, full, lora, bitfit, vpt, covft.
    #[arg(long, value_name = "METHOD", conflicts_with = "resume")]
    method: Option<String>,
    /// Seed of the order, of new parameters and of dropout; the base keeps the recipe's.
    #[arg(long, conflicts_with = "resume")]
    seed: Option<u64>,
    /// Train both sets in another order too: how far do two runs of the same instructions drift apart?
    #[arg(long, conflicts_with = "resume")]
    null: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The base is trained once; every method is then trained upon it with every seed, each run in a process of its own. Finished
runs are kept, a half one goes on from its last checkpoint.

Examples:
  covft-probe experiment methods --methods full,covft --seeds 0,1,2
  covft-probe experiment methods -c mine.toml --out runs/all-methods
  covft-probe experiment methods --resume runs/methods-scenes
  covft-probe compare runs/methods-scenes --format latex")]
struct MethodsArgs {
    #[command(flatten)]
    common: Common,
    /// Which methods; the recipe's if left out.
    #[arg(long, value_delimiter = ',', value_name = "METHOD,...", conflicts_with = "resume")]
    methods: Vec<String>,
    /// Seeds of order, new parameters and dropout; the recipe's if left out.
    #[arg(long, value_delimiter = ',', value_name = "SEED,...", conflicts_with = "resume")]
    seeds: Vec<u64>,
}

#[derive(Debug, clap::Args)]
struct WorkerArgs {
    study: PathBuf,
    label: String,
    /// As the leading process was told.
    #[arg(long, value_delimiter = ',', value_parser = Premise::named)]
    accept: Vec<Premise>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Conflict(args) => {
            lead(&args.common, "conflict", |recipe| conflict_flags(recipe, args), args.method.as_deref())
        }
        What::Methods(args) => lead(&args.common, "methods", |recipe| methods_flags(recipe, args), None),
        What::Worker(args) => worker(args),
    }
}

/// Runs a study to its end and prints what it found.
fn lead(
    common: &Common,
    kind: &str,
    flags: impl Fn(&mut Recipe) -> anyhow::Result<()>,
    suffix: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let mut dir = if let Some(path) = &common.resume {
        let mut dir = StudyDir::open(path)?;
        dir.accept = common.going_on.accepted();
        same_kind(dir.recipe(), kind)?;
        if let Some(broken) = common.broken {
            dir.set_broken(broken)?;
        }
        dir
    } else {
        let mut recipe = read(common.config.as_deref(), &common.overrides, kind)?;
        same_kind(&recipe, kind)?;
        flags(&mut recipe)?;
        if let Some(broken) = common.broken {
            recipe.data.broken = broken;
        }
        recipe.check(common.config.as_deref().unwrap_or(Path::new("(built in)")))?;
        if common.show_config {
            super::out::text(&recipe.to_toml());
            return Ok(ExitCode::SUCCESS);
        }
        let name = suffix.map_or_else(|| recipe.name.clone(), |suffix| format!("{}-{suffix}", recipe.name));
        let path = common.out.clone().unwrap_or_else(|| free_name(&recipe.out.join(name)));
        StudyDir::create(&recipe, &path, std::env::args().collect())?
    };
    let path = dir.path().to_path_buf();
    say!("study: {}", path.display());
    let stop: Arc<AtomicBool> = Arc::default();
    stop_on_ctrl_c(&stop, true)?;
    let mut watch = Watch::new();
    let accept = dir.accept.clone();
    let command = |label: &str| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["experiment", "worker"]).arg(&path).arg(label);
        for premise in &accept {
            command.args(["--accept", premise.name()]);
        }
        Ok(command)
    };
    let ended = run_study(&mut dir, &command, &stop, &mut |event| watch.hear(event));
    drop(watch);
    let resume = format!("covft-probe experiment {kind} --resume {}", path.display());
    match ended.with_context(|| format!("the study stopped (go on with: {resume})"))? {
        Ended::Done => {
            compare::print_study(&path)?;
            Ok(ExitCode::SUCCESS)
        }
        Ended::Stopped => {
            say!("stopped and saved; go on with: {resume}");
            Ok(ExitCode::from(130))
        }
    }
}

fn read(config: Option<&Path>, overrides: &[String], kind: &str) -> anyhow::Result<Recipe> {
    if let Some(path) = config {
        return Ok(Recipe::read(path, overrides)?);
    }
    let name = format!("{kind}-scenes");
    let text = init::RECIPES.iter().find(|(known, ..)| *known == name).map(|(_, text, _)| *text);
    let text = text.with_context(|| format!("there is no built-in recipe {name}; name one with -c"))?;
    Ok(Recipe::parse(text, Path::new(&format!("{name} (built in)")), overrides)?)
}

fn same_kind(recipe: &Recipe, kind: &str) -> anyhow::Result<()> {
    let Some(study) = &recipe.study else {
        anyhow::bail!("the recipe {} has no [study]; train it with: covft-probe train -c RECIPE", recipe.name);
    };
    let command = study.command();
    anyhow::ensure!(
        command.ends_with(kind),
        "the recipe {} is another kind of study; run it with: {command}",
        recipe.name
    );
    Ok(())
}

fn conflict_flags(recipe: &mut Recipe, args: &ConflictArgs) -> anyhow::Result<()> {
    let index = recipe.study.as_ref().and_then(|s| s.stage_index(&recipe.stages)).context("the study has no stage")?;
    let stage = &mut recipe.stages[index];
    if let Some(seed) = args.seed {
        stage.seed = Some(seed);
    }
    let own = stage.tuning.vision.clone();
    if let Some(StudyConfig::Conflict { method, null, .. }) = &mut recipe.study {
        *null |= args.null;
        if let Some(name) = &args.method {
            let known: Vec<VisionMethod> = method.iter().cloned().chain([own]).collect();
            *method = Some(method_called(name, &known)?);
        }
    }
    Ok(())
}

fn methods_flags(recipe: &mut Recipe, args: &MethodsArgs) -> anyhow::Result<()> {
    let own: Vec<VisionMethod> = recipe.stages.iter().rev().map(|s| s.tuning.vision.clone()).collect();
    if let Some(StudyConfig::Methods { methods, seeds, .. }) = &mut recipe.study {
        if !args.methods.is_empty() {
            let known: Vec<VisionMethod> = methods.iter().cloned().chain(own).collect();
            *methods = args.methods.iter().map(|name| method_called(name, &known)).collect::<Result<_, _>>()?;
        }
        if !args.seeds.is_empty() {
            seeds.clone_from(&args.seeds);
        }
    }
    Ok(())
}

/// The method with the settings that the recipe gives it anywhere, or its usual ones.
fn method_called(name: &str, known: &[VisionMethod]) -> anyhow::Result<VisionMethod> {
    let own = known.iter().find(|method| method.name() == name).cloned();
    own.or_else(|| VisionMethod::named(name))
        .with_context(|| format!("there is no method {name}; there are freeze, full, lora, bitfit, vpt, covft"))
}

/// Does one run, saying what happens as JSON, one line an event; ends when its input does.
fn worker(args: &WorkerArgs) -> anyhow::Result<ExitCode> {
    let stop: Arc<AtomicBool> = Arc::default();
    stop_on_ctrl_c(&stop, false)?;
    let ended = Arc::clone(&stop);
    std::thread::Builder::new().name("leash".into()).spawn(move || {
        // Nothing is ever written to it: it ends when the leading process is gone or wants a stop.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        ended.store(true, Ordering::SeqCst);
    })?;
    let mut tell = |event: Event| {
        if let Ok(line) = serde_json::to_string(&event) {
            // Nobody may listen any more: the run is saved all the same.
            say!("{line}");
        }
    };
    Ok(match work(&args.study, &args.label, &args.accept, &stop, &mut tell)? {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Stopped => ExitCode::from(130),
    })
}
