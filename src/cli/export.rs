//! `covft-probe export RUN`.

use super::beside_manifest;
use super::out::tell;
use super::steps::Steps;
use super::table::{Table, thousands};
use covft_analyses::export::{ExportOptions, Format, export};
use covft_analyses::store::RunDir;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Formats:
  parquet       one file a stream, for pandas, polars, DuckDB
  csv           one file a stream; vectors as JSON lists
  npz           one NumPy archive a stream, one array a column; null is NaN or an empty string
  tensorboard   one event file: scalars of steps, layers, evaluations and routing, histograms of losses
  safetensors   vectors (contexts, routing, gradient sketches), and a CSV with the key of each row

Examples:
  covft-probe export runs/scenes --format csv --out exported
  covft-probe export runs/real-mini --format parquet --no-text --out numbers
  covft-probe export runs/scenes --format csv --spreadsheet --out for-excel --streams samples,predictions
  covft-probe export runs/scenes --format tensorboard --out tb/scenes && tensorboard --logdir tb")]
pub(super) struct Args {
    /// Run directory, live or finished.
    run: PathBuf,
    /// parquet, csv, npz, tensorboard or safetensors.
    #[arg(long)]
    format: Format,
    /// Folder to write into; a file that is there is not written over.
    #[arg(long)]
    out: PathBuf,
    /// Leave out questions, answers and generated texts.
    #[arg(long)]
    no_text: bool,
    /// Write numbers that are recorded in float16 (contexts, sketches) as float32, for programs that cannot read float16.
    #[arg(long)]
    float32: bool,
    /// In CSV, put an apostrophe before words that a spreadsheet would take for a formula (those that begin with = + - @, a
    /// tab or a line break and are no numbers).
    #[arg(long)]
    spreadsheet: bool,
    /// Write over files that are there.
    #[arg(long)]
    force: bool,
    /// Only these streams, separated by commas; `dataset` is one of them.
    #[arg(long, value_delimiter = ',')]
    streams: Vec<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.format == Format::TensorBoard && !args.streams.is_empty() {
        anyhow::bail!("--streams chooses files, and a TensorBoard export is a single one; leave it out");
    }
    if args.spreadsheet && args.format != Format::Csv {
        anyhow::bail!("--spreadsheet is about CSV; leave it out, or ask for --format csv");
    }
    if args.float32 && matches!(args.format, Format::Csv | Format::TensorBoard) {
        anyhow::bail!("--float32 is about parquet, npz and safetensors: no other format has float16; leave it out");
    }
    let run = RunDir::open(args.run.clone())?;
    let options = ExportOptions {
        no_text: args.no_text,
        streams: args.streams.clone(),
        float32: args.float32,
        spreadsheet: args.spreadsheet,
        force: args.force,
    };
    let progress = Steps::new();
    let made = export(&run, args.format, &options, &args.out, &mut |what, done, all| progress.show(what, done, all))
        .map_err(|error| beside_manifest(&run, error))?;
    drop(progress);
    let mut table = Table::new(&["file", "entries", "bytes"]);
    for file in &made.files {
        let bytes = std::fs::metadata(&file.path).map_or(0, |m| m.len());
        table.row([file.path.display().to_string(), thousands(file.entries as usize), thousands(bytes as usize)]);
    }
    table.print();
    for problem in &made.problems {
        tell!("warning: {problem}");
    }
    Ok(ExitCode::SUCCESS)
}
