//! `covft-probe bench step`.

use crate::config::model::{Router, VisionMethod};
use crate::experiment::step_bench::{Preset, StepBench};
use clap::{Subcommand, ValueEnum};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Time one training step on random tokens; the sizes and the printed line are those of scripts/torch_step.py.
    Step(StepArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe bench step --preset tiny --method covft --batch 16
  scripts/step-time tiny covft 16          this and PyTorch in turn, with the ratio")]
struct StepArgs {
    /// Model sizes.
    #[arg(long, value_enum, default_value = "tiny")]
    preset: PresetName,
    /// How the vision encoder is tuned.
    #[arg(long, value_enum, default_value = "covft")]
    method: MethodName,
    /// Samples.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Text tokens after the image, all labelled.
    #[arg(long, default_value_t = 48)]
    text_len: usize,
    /// Tokens of the text encoder.
    #[arg(long, default_value_t = 16)]
    question_len: usize,
    /// Timed steps, after two that are not.
    #[arg(long, default_value_t = 8)]
    steps: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PresetName {
    Tiny,
    Real,
    #[value(name = "real-112")]
    Real112,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MethodName {
    Covft,
    Full,
    Freeze,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let What::Step(args) = &args.what;
    let preset = match args.preset {
        PresetName::Tiny => Preset::Tiny,
        PresetName::Real => Preset::Real,
        PresetName::Real112 => Preset::Real112,
    };
    let method = match args.method {
        MethodName::Covft => {
            VisionMethod::Covft { experts: 4, start_layer: None, end_layer: None, router: Router::Dense }
        }
        MethodName::Full => VisionMethod::Full,
        MethodName::Freeze => VisionMethod::Freeze,
    };
    let bench = StepBench {
        preset,
        method,
        batch: args.batch,
        text_len: args.text_len,
        question_len: args.question_len,
        steps: args.steps,
    };
    println!("{}", serde_json::to_string(&bench.run()?)?);
    Ok(ExitCode::SUCCESS)
}
