//! `covft-probe drift BASE TUNED`.

use super::out::say;
use super::table::{Table, thousands};
use crate::experiment::checkpoint_drift::compare;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe drift weights/dinov2-small runs/real-mini/checkpoints/step-000200
  covft-probe drift runs/a/checkpoints/step-000300 runs/b/checkpoints/step-000300")]
pub(super) struct Args {
    /// The checkpoint drift is measured from: a safetensors file, or a folder with one or with shards and an index.
    base: PathBuf,
    /// The tuned checkpoint.
    tuned: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let found = compare(&args.base, &args.tuned)?;
    if found.layers.is_empty() {
        anyhow::bail!(
            "no tensor of {} is also in {}: are both checkpoints of the same model?",
            args.tuned.display(),
            args.base.display()
        );
    }
    let mut table = Table::new(&["part", "layer", "tensors", "elements", "L2 drift", "relative", "per element"]);
    for row in &found.layers {
        table.row([
            row.place.part.to_owned(),
            row.place.layer.map_or_else(|| "-".to_owned(), |l| l.to_string()),
            row.tensors.to_string(),
            thousands(row.elements),
            format!("{:.4}", row.distance),
            format!("{:.4e}", row.relative()),
            format!("{:.4e}", row.per_element()),
        ]);
    }
    table.print();
    for (what, names) in [
        ("only in the base", &found.only_base),
        ("only in the tuned checkpoint", &found.only_tuned),
        ("of another shape", &found.reshaped),
    ] {
        if let Some(first) = names.first() {
            say!("{} tensors {what}, not compared (first: {first})", names.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}
