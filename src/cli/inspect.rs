//! `covft-probe inspect CONFIG`.

use super::out::say;
use super::recipe;
use super::table::{Table, bytes, duration, thousands};
use crate::experiment::estimate::{self, StageEstimate};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe inspect                                    the built-in recipe
  covft-probe inspect configs/real-mini.toml --tensors   every parameter by name
  covft-probe inspect configs/llava-1.5-7b/covft.toml")]
pub(super) struct Args {
    /// Recipe; the built-in one if left out.
    config: Option<PathBuf>,
    /// List every parameter tensor, not only the sums by part, layer and module.
    #[arg(long)]
    tensors: bool,
    /// Change any key of the recipe.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let recipe = recipe::read(args.config.as_deref(), &args.overrides)?;
    let found = estimate::stages(&recipe)?;
    for stage in &found {
        print(stage, args.tensors);
    }
    for line in estimate::weights(&recipe)? {
        say!("{line}");
    }
    let devices = recipe.devices();
    let each = if devices.members() == 1 { "" } else { " for each of its copies of the model" };
    let available = estimate::memory_of(&devices);
    let needed = found.iter().map(StageEstimate::total).max().unwrap_or(0);
    match available {
        Some(available) if needed > available => {
            say!(
                "does not fit: about {} needed{each}, {} there. Lower batch_size, set tuning.checkpointing = \"all\", or train less",
                bytes(needed),
                bytes(available)
            );
            Ok(ExitCode::FAILURE)
        }
        Some(available) => {
            say!("fits: about {} of {} memory{each}", bytes(needed), bytes(available));
            Ok(ExitCode::SUCCESS)
        }
        None => {
            say!("about {} of memory needed{each}; how much {} has is not known here", bytes(needed), recipe.device);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(stage: &StageEstimate, tensors: bool) {
    say!("stage {}: {}", stage.name, stage.method);
    let mut table = Table::new(&["part", "module", "tensors", "numbers", "trained", "frozen", "trained, unreached"]);
    for row in &stage.groups {
        table.row([
            row.part.to_string(),
            row.module.to_owned(),
            row.tensors.to_string(),
            thousands(row.numbers),
            thousands(row.trained),
            thousands(row.numbers - row.trained - row.unreached),
            thousands(row.unreached),
        ]);
    }
    table.print();
    say!(
        "  {} numbers, {} trained ({:.2} %), {} of them unreached by the loss",
        thousands(stage.numbers()),
        thousands(stage.trained() + stage.unreached()),
        100.0 * (stage.trained() + stage.unreached()) as f64 / stage.numbers().max(1) as f64,
        thousands(stage.unreached()),
    );
    if tensors {
        let mut table = Table::new(&["parameter", "shape", "layer", "state"]);
        for tensor in &stage.tensors {
            let layer = tensor.layer.map_or_else(|| "-".to_owned(), |l| l.to_string());
            table.row([tensor.name.clone(), format!("{:?}", tensor.shape), layer, tensor.state().to_owned()]);
        }
        table.print();
    }
    say!(
        "  memory about {}: weights {}, gradients {}, moments {}, activations {}",
        bytes(stage.total()),
        bytes(stage.weights),
        bytes(stage.gradients),
        bytes(stage.moments),
        bytes(stage.activations),
    );
    match stage.seconds {
        Some(seconds) => say!(
            "  about {:.0} GFLOP a step; {} a step, {} in all at this machine's measured rate\n",
            stage.flops / 1e9,
            duration(seconds),
            stage
                .steps
                .map_or_else(|| "the stage's length depends on the data".into(), |n| duration(seconds * n as f64)),
        ),
        None => say!("  about {:.0} GFLOP a step\n", stage.flops / 1e9),
    }
}
