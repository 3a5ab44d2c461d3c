//! `covft-probe verify DIR`.

use super::out::say;
use super::table::Table;
use crate::experiment::session::device_named;
use crate::verify::{self, real_weights};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe verify tests/fixtures/covft-tiny
  covft-probe verify tests/fixtures/covft-tiny --device cuda:0
  covft-probe verify tests/fixtures/real-weights.json --weights weights")]
pub(super) struct Args {
    /// A folder of reference numbers of the published implementation; with --weights, a JSON file of outputs of real
    /// pretrained models.
    reference: PathBuf,
    /// Folder with dinov2-small, smollm2-135m and minilm-l6 (scripts/fetch-weights.sh fills it).
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Where the models lie: cpu or cuda:0.
    #[arg(long, default_value = "cpu", conflicts_with = "weights")]
    device: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.weights {
        Some(weights) => real(weights, &args.reference),
        None => folder(&args.reference, &args.device),
    }
}

fn folder(path: &Path, device: &str) -> anyhow::Result<ExitCode> {
    let report = verify::verify(path, &device_named(device)?)?;
    let mut table = Table::new(&["", "what", "max rel. difference", "tolerance", "note"]);
    for row in &report.rows {
        let mark = if row.pass { "ok" } else { "FAIL" };
        let (worst, tolerance) = (format!("{:.1e}", row.max_rel), format!("{:.0e}", row.tolerance));
        table.row([mark.to_owned(), row.what.clone(), worst, tolerance, row.note.clone()]);
    }
    table.print();
    for line in &report.skipped {
        say!("skipped: {line}");
    }
    let failed = report.rows.iter().filter(|r| !r.pass).count();
    Ok(verdict(report.rows.len(), failed, report.passed()))
}

fn real(weights: &Path, expected: &Path) -> anyhow::Result<ExitCode> {
    let rows = real_weights::check(weights, expected).map_err(anyhow::Error::from_boxed)?;
    let mut table = Table::new(&["", "what", "max difference", "tolerance"]);
    for row in &rows {
        let mark = if row.passes() { "ok" } else { "FAIL" };
        let (worst, tolerance) = (format!("{:.1e}", row.worst), format!("{:.0e}", row.tolerance));
        table.row([mark.to_owned(), row.what.clone(), worst, tolerance]);
    }
    table.print();
    let failed = rows.iter().filter(|r| !r.passes()).count();
    Ok(verdict(rows.len(), failed, failed == 0))
}

fn verdict(checks: usize, failed: usize, passed: bool) -> ExitCode {
    if passed {
        say!("passed: {checks} checks within their tolerances");
        ExitCode::SUCCESS
    } else {
        say!("FAILED: {failed} of {checks} checks are over their tolerances");
        ExitCode::FAILURE
    }
}
