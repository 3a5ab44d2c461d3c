//! `covft-probe plot`.

use super::steps::Steps;
use anyhow::bail;
use covft_analyses::figures::{FigureError, FigureId, Format, Inputs, Measure, Options, Plot, Venue};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Several runs come into one figure (loss, drift, overhead, gradient-cosine), or get one figure each.
A study's folder stands for its runs; conflict-over-steps and conflict-by-layer are drawn from studies alone.

Examples:
  covft-probe plot runs/scenes                               every figure, into runs/scenes/figures
  covft-probe plot runs/methods --figure gradient-cosine     one colour a run of the study
  covft-probe plot runs/scenes --figure drift --venue neurips --format pdf --out paper/figures
  covft-probe plot --from paper/figures/drift.json           the same figure again, from its sidecar alone")]
pub(super) struct Args {
    /// Run directories and study directories.
    #[arg(required_unless_present = "from")]
    runs: Vec<PathBuf>,
    /// Which figure, or `all` that the runs have the records for.
    #[arg(long, default_value = "all")]
    figure: Which,
    /// Whose column width and type size: cvpr, neurips, icml, iclr, eccv, aaai, tmlr, slides [default: cvpr, or the
    /// sidecar's].
    #[arg(long)]
    venue: Option<Venue>,
    /// File formats: svg, pdf, png.
    #[arg(long, value_delimiter = ',', default_value = "svg,pdf,png")]
    format: Vec<Format>,
    /// Where to write; the figures folder of the run or study if left out, and beside the sidecar with --from.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Draw a figure again from its sidecar `<figure>.json`, without the run.
    #[arg(long, conflicts_with_all = ["runs", "figure", "stage", "layer", "measure", "direction", "space", "clusters", "seed"])]
    from: Option<PathBuf>,
    /// Stage; the last that has what the figure needs if left out.
    #[arg(long)]
    stage: Option<String>,
    /// Layer of context figures (the last but one with context vectors if left out) and of task-conflict (`all`).
    #[arg(long)]
    layer: Option<String>,
    /// How distances are stated: distance, relative, per-element.
    #[arg(long, default_value = "distance")]
    measure: Measure,
    /// Dominant gradient direction: mean, mean_raw, svd, momentum; mean where sketches were logged if left out.
    #[arg(long)]
    direction: Option<String>,
    /// Space of gradients: trainable or shared.
    #[arg(long, default_value = "trainable")]
    space: String,
    /// Clusters of context vectors.
    #[arg(long, default_value_t = 10)]
    clusters: usize,
    /// Seed of clusters, samples and intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// One figure, or all.
#[derive(Clone, Copy, Debug)]
enum Which {
    All,
    One(FigureId),
}

impl std::str::FromStr for Which {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self, FigureError> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::One) }
    }
}

impl Args {
    fn options(&self) -> Options {
        Options {
            stage: self.stage.clone(),
            layer: self.layer.clone(),
            measure: self.measure,
            direction: self.direction.clone(),
            space: self.space.clone(),
            clusters: self.clusters,
            seed: self.seed,
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.from {
        return again(args, path);
    }
    let inputs = Inputs::open(&args.runs)?;
    let out = args.out.clone().unwrap_or_else(|| args.runs[0].join("figures"));
    let command: Vec<String> = std::env::args().collect();
    let venue = args.venue.unwrap_or(Venue::Cvpr);
    for path in &inputs.missing {
        println!("not begun, left out: {}", path.display());
    }
    let progress = Steps::new();
    let draw = |id: FigureId, number: usize, all: usize| {
        progress.show(id.name(), number, all);
        draw(args, &inputs, id, venue, &out, &command, &progress)
    };
    let drawn = match args.figure {
        Which::One(id) => draw(id, 0, 1)?,
        Which::All => {
            let mut drawn = 0;
            for (number, id) in FigureId::ALL.into_iter().enumerate() {
                match draw(id, number, FigureId::ALL.len()) {
                    Ok(files) => drawn += files,
                    Err(error) => match error.downcast_ref::<FigureError>() {
                        Some(FigureError::Lacks { what, option, .. }) => {
                            progress.say(&format!("no {id}: needs {what}, logged by {option}"));
                        }
                        Some(FigureError::Data { why, .. }) => progress.say(&format!("no {id}: {why}")),
                        _ => return Err(error),
                    },
                }
            }
            drawn
        }
    };
    drop(progress);
    for problem in inputs.problems() {
        eprintln!("warning: {problem}");
    }
    if drawn == 0 {
        bail!("no figure could be drawn: {}", args.runs[0].display());
    }
    Ok(ExitCode::SUCCESS)
}

fn draw(
    args: &Args,
    inputs: &Inputs,
    id: FigureId,
    venue: Venue,
    out: &Path,
    command: &[String],
    progress: &Steps,
) -> anyhow::Result<usize> {
    let mut files = 0;
    for plot in Plot::load(id, inputs, &args.options())? {
        for file in plot.save(venue, &args.format, out, command)? {
            progress.say(&file.display().to_string());
            files += 1;
        }
    }
    Ok(files)
}

fn again(args: &Args, path: &Path) -> anyhow::Result<ExitCode> {
    let (plot, sidecar) = Plot::from_sidecar(path)?;
    let venue = args.venue.map_or_else(|| sidecar.venue.parse(), Ok)?;
    let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let out = args.out.as_deref().unwrap_or(beside);
    for file in plot.save(venue, &args.format, out, &sidecar.command)? {
        println!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}
