//! `covft-probe bench card`.

use super::out::say;
use crate::config::model::{Checkpointing, Router, VisionMethod};
use crate::config::train::MomentType;
use crate::experiment::card_bench::{CardBench, CardPreset};
use crate::experiment::session::device_named;
use crate::experiment::step_bench::Preset;
use candle_core::DType;
use clap::ValueEnum;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe bench card --preset clip-l --llm-layers 8 --method covft --batch 4
  covft-probe bench card --device cpu --dtype f32 --preset tiny
The sizes, the random input and the printed line are those of scripts/torch_step.py with the same options.")]
pub(super) struct CardArgs {
    /// cuda:0, or cpu (with --dtype f32).
    #[arg(long, default_value = "cuda:0")]
    device: String,
    /// Model sizes.
    #[arg(long, value_enum, default_value = "clip-l")]
    preset: PresetName,
    /// Blocks of the language model, to cut it short.
    #[arg(long)]
    llm_layers: Option<usize>,
    /// How the vision encoder is tuned.
    #[arg(long, value_enum, default_value = "covft")]
    method: MethodName,
    /// Type of the activations.
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: TypeName,
    /// Type of the optimiser's moments.
    #[arg(long, value_enum, default_value = "f32")]
    moments: TypeName,
    /// Make bfloat16 copies of weights anew at every use: two bytes a number less.
    #[arg(long)]
    no_copies: bool,
    /// Run every block again backward instead of keeping what is inside it.
    #[arg(long)]
    checkpoint: bool,
    /// Samples.
    #[arg(long, default_value_t = 4)]
    batch: usize,
    /// Text tokens after the image, all labelled.
    #[arg(long, default_value_t = 48)]
    text_len: usize,
    /// Tokens of the text encoder.
    #[arg(long, default_value_t = 16)]
    question_len: usize,
    /// Timed steps, after two that are not.
    #[arg(long, default_value_t = 5)]
    steps: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PresetName {
    Tiny,
    Real,
    #[value(name = "clip-l")]
    ClipL,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MethodName {
    Covft,
    Full,
    Freeze,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TypeName {
    F32,
    Bf16,
}

pub(super) fn run(args: &CardArgs) -> anyhow::Result<ExitCode> {
    let device = device_named(&args.device)?;
    if device.is_cpu() && (args.dtype, args.moments) != (TypeName::F32, TypeName::F32) {
        anyhow::bail!("the CPU computes in float32: add --dtype f32 --moments f32, or name a card with --device");
    }
    let bench = CardBench {
        preset: match args.preset {
            PresetName::Tiny => CardPreset::Small(Preset::Tiny),
            PresetName::Real => CardPreset::Small(Preset::Real),
            PresetName::ClipL => CardPreset::ClipL,
        },
        language_layers: args.llm_layers,
        method: match args.method {
            MethodName::Covft => {
                VisionMethod::Covft { experts: 4, start_layer: None, end_layer: None, router: Router::Dense }
            }
            MethodName::Full => VisionMethod::Full,
            MethodName::Freeze => VisionMethod::Freeze,
        },
        dtype: if args.dtype == TypeName::F32 { DType::F32 } else { DType::BF16 },
        moments: if args.moments == TypeName::F32 { MomentType::F32 } else { MomentType::Bf16 },
        bf16_copies: !args.no_copies,
        checkpointing: if args.checkpoint { Checkpointing::All } else { Checkpointing::None },
        batch: args.batch,
        text_len: args.text_len,
        question_len: args.question_len,
        steps: args.steps,
    };
    say!("{}", serde_json::to_string(&bench.run(&device)?)?);
    Ok(ExitCode::SUCCESS)
}
