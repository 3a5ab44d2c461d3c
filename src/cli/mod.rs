//! The command line: one file a command. The only place that prints, draws progress bars or names `anyhow`.

mod analyze;
mod bench;
mod card_bench;
mod compare;
mod data;
mod drift;
mod experiment;
mod export;
mod generate;
mod init;
mod inspect;
mod out;
mod plot;
mod progress;
mod recipe;
mod sample_list;
mod steps;
mod summary;
mod table;
mod train;
mod verify;
#[cfg(feature = "viewer")]
mod view;
mod watch;

use anyhow::Context;
use clap::{Parser, Subcommand};
use covft_analyses::store::{Manifest, RunDir};
use out::tell;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "covft-probe", version, about, max_term_width = 110)]
#[command(after_help = "\
Examples:
  covft-probe train --log-grads                  the built-in set, from nothing, on the CPU
  covft-probe view                               look at the runs made so far
  covft-probe plot runs/scenes                   paper figures of a run
  covft-probe analyze runs/scenes                clusters of context vectors, tasks, routing
  covft-probe export runs/scenes --format csv --out tables
  covft-probe init real-mini                     a commented recipe to start from
  covft-probe inspect configs/real-mini.toml     what trains, what is frozen, memory and time
  covft-probe verify tests/fixtures/covft-tiny   every number of the published implementation")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a recipe and record what happens to the vision encoder.
    Train(train::Args),
    /// Studies of several runs: `conflict` of instructions, `methods` of tuning.
    Experiment(experiment::Args),
    /// Write a commented recipe to start from.
    Init(init::Args),
    /// Parameter table, memory and time of a recipe; refuses what cannot fit.
    Inspect(inspect::Args),
    /// Check instruction data, or write the built-in set.
    Data(data::Args),
    /// Ask a checkpoint a question about an image; prints the routing by layer too.
    Generate(generate::Args),
    /// Per-layer distance of two checkpoints.
    Drift(drift::Args),
    /// Tables of runs and studies: losses, scores beside chance, gradient direction, drift, cost.
    Compare(compare::Args),
    /// Check every number of a reference folder against this implementation.
    Verify(verify::Args),
    /// Time a training step, alone or beside PyTorch, how it grows, or what probes add to it.
    Bench(bench::Args),
    /// Draw figures of runs and studies as SVG, PDF and PNG, with the plotted numbers beside them.
    Plot(plot::Args),
    /// Cluster a run's context vectors, and compare them with tasks and routing.
    Analyze(analyze::Args),
    /// Write a run's records as parquet, CSV, NumPy archives, TensorBoard events or safetensors.
    Export(export::Args),
    /// Open the explorer on runs, live or finished.
    #[cfg(feature = "viewer")]
    View(view::Args),
}

/// Parses the command line, runs the command, prints its error once, and says how it ended:
/// 0 done, 1 failed, 2 usage, 130 stopped by Ctrl-C after saving.
#[must_use]
pub fn main() -> ExitCode {
    // Before any thread is there: the tensor library's own threads would spin beside ours.
    crate::kernels::quiet_tensor_threads();
    let cli = Cli::parse();
    start_logging();
    std::panic::set_hook(Box::new(out::fault));
    // Building and dropping a graph of thousands of nodes recurses: give it room.
    let work = move || match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Experiment(args) => experiment::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Drift(args) => drift::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Plot(args) => plot::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Export(args) => export::run(&args),
        #[cfg(feature = "viewer")]
        Command::View(args) => view::run(&args),
    };
    #[cfg(feature = "viewer")]
    let main_thread = std::env::args().nth(1).is_some_and(|c| c == "view");
    #[cfg(not(feature = "viewer"))]
    let main_thread = false;
    let result = if main_thread { work() } else { on_deep_stack(work) };
    let result = result.and_then(|code| out::finish().map(|()| code).context("cannot write the output"));
    match result {
        Ok(code) => code,
        Err(error) => {
            tell!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn on_deep_stack(work: impl FnOnce() -> anyhow::Result<ExitCode> + Send + 'static) -> anyhow::Result<ExitCode> {
    let thread = std::thread::Builder::new().name("trainer".into()).stack_size(crate::train::STACK);
    let thread = thread.spawn(|| {
        crate::kernels::compute_on_this_thread();
        work()
    })?;
    match thread.join() {
        Ok(result) => result,
        // The panic's own message is already on stderr.
        Err(_) => anyhow::bail!("covft-probe stopped at the internal error above; please report it"),
    }
}

/// The same error, after what is wrong with the run's manifest: a run without records may be a broken one.
fn beside_manifest(run: &RunDir, error: impl Into<anyhow::Error>) -> anyhow::Error {
    let error = error.into();
    match Manifest::read(run) {
        Ok(_) => error,
        Err(broken) => error.context(broken),
    }
}

/// The causes, each said once: many of our messages already hold their cause's words.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}

fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("COVFT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| out::Log).without_time();
    let logging = logging.with_ansi(out::colours());
    // A second call (tests) keeps the first subscriber.
    drop(logging.try_init());
}
