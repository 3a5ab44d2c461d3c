//! `covft-probe bench growth`: a step's time and peak memory against batch, tokens, layers and experts.

use super::step::{MethodName, SizeArgs};
use crate::cli::out::say;
use crate::cli::progress::bar;
use crate::experiment::growth::{Axis, Curve, Exponents, csv, markdown};
use anyhow::{Context, bail};
use clap::ValueEnum;
use covft_analyses::figures::{Format, Growth, GrowthPanel, Venue};
use covft_analyses::store::write_atomic;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe bench growth                                  all six, tiny sizes: growth.csv, growth-time and growth-memory
  covft-probe bench growth --axis batch,experts --rounds 5
  covft-probe bench growth --out docs/images --venue tmlr")]
pub(super) struct GrowthArgs {
    #[command(flatten)]
    sizes: SizeArgs,
    /// How the vision encoder is tuned.
    #[arg(long, value_enum, default_value = "covft")]
    method: MethodName,
    /// What grows; the others stay.
    #[arg(long, value_enum, value_delimiter = ',')]
    axis: Vec<AxisName>,
    /// Fresh processes a point.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Folder for growth.csv, growth-time and growth-memory (SVG and PNG).
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    out: PathBuf,
    /// Widths and type sizes of the figures.
    #[arg(long, default_value = "cvpr")]
    venue: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AxisName {
    Batch,
    ImageTokens,
    TextTokens,
    TowerLayers,
    LanguageLayers,
    Experts,
}

impl AxisName {
    fn axis(self) -> Axis {
        match self {
            Self::Batch => Axis::Batch,
            Self::ImageTokens => Axis::ImageTokens,
            Self::TextTokens => Axis::TextTokens,
            Self::TowerLayers => Axis::TowerLayers,
            Self::LanguageLayers => Axis::LanguageLayers,
            Self::Experts => Axis::Experts,
        }
    }
}

pub(super) fn run(args: &GrowthArgs) -> anyhow::Result<ExitCode> {
    let venue: Venue = args.venue.parse()?;
    let axes: Vec<Axis> =
        if args.axis.is_empty() { Axis::ALL.to_vec() } else { args.axis.iter().map(|a| a.axis()).collect() };
    if args.rounds == 0 || args.sizes.steps == 0 {
        bail!("--rounds and --steps are 1 at least");
    }
    if axes.contains(&Axis::Experts) && args.method != MethodName::Covft {
        bail!("experts grow with --method covft only; name the other axes with --axis");
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let base = args.sizes.bench(args.method);
    let (bar, _) = bar("{spinner} {msg}");
    bar.enable_steady_tick(Duration::from_millis(200));
    let measure = |axis: &Axis| {
        Curve::measure(*axis, base, args.rounds, |axis, value| bar.set_message(format!("{}: {value}", axis.title())))
    };
    let curves = axes.iter().map(measure).collect::<Result<Vec<Curve>, _>>()?;
    bar.finish_and_clear();
    say!("{}, {:?}; {} processes of {} steps a point\n", args.sizes.heading(), base.method, args.rounds, base.steps);
    crate::cli::out::text(&markdown(&curves));
    write(&args.out.join("growth.csv"), csv(&curves).as_bytes())?;
    let costs: [(&str, &str, fn(&Curve) -> Vec<(f64, f64)>); 2] = [
        ("growth-time", "ms a step", |curve| curve.time().into_iter().map(|p| (p.0, p.1 * 1e3)).collect()),
        ("growth-memory", "peak MiB", Curve::memory),
    ];
    for (name, cost, of) in costs {
        let figure = Growth {
            name: name.to_owned(),
            cost: cost.to_owned(),
            panels: curves.iter().map(|curve| panel(curve.axis, of(curve))).collect(),
        };
        for format in [Format::Svg, Format::Png] {
            let path = args.out.join(format!("{name}.{}", format.extension()));
            write(&path, &figure.draw(venue, format)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn panel(axis: Axis, points: Vec<(f64, f64)>) -> GrowthPanel {
    let Exponents { all, last } = Exponents::of(&points);
    GrowthPanel { title: axis.title().to_owned(), points, remark: format!("exponent {all:.2}, at the end {last:.2}") }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomic(path, |file| file.write_all(bytes))?;
    say!("{}", path.display());
    Ok(())
}
