//! `covft-probe plot`.

use super::out::{say, tell};
use super::sample_list;
use super::steps::{self, Steps};
use anyhow::bail;
use covft_analyses::analysis::{FIT, RESTARTS};
use covft_analyses::figures::{ColorBy, FigureError, FigureId, Fonts, Format, Inputs, Measure, Options, Plot, Venue};
use covft_analyses::store::{RunDir, check_free};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Several runs come into one figure (loss, drift, overhead, gradient-cosine), or get one figure each.
A study's folder stands for its runs; conflict-over-steps and conflict-by-layer are drawn from studies alone.

Examples:
  covft-probe plot runs/scenes                               every figure, into runs/scenes/figures
  covft-probe plot runs/methods --figure gradient-cosine     one colour a run of the study
  covft-probe plot runs/scenes --figure drift --venue neurips --format pdf --out paper/figures
  covft-probe plot runs/scenes --figure drift --measure relative --steps 0..99
  covft-probe plot runs/scenes --figure context-clusters --color-by task --samples \"odd ones\"
  covft-probe plot --from paper/figures/drift.json           the same figure again, from its sidecar alone

A figure that cannot take an option refuses it; with --figure all, each takes what it can.")]
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
    /// Where to write; the figures folder of the run or study if left out, and beside the sidecar with --from: there,
    /// figures are drawn anew in place of those of before. In a folder that is named, no file is written over.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write over files that are there.
    #[arg(long)]
    force: bool,
    /// Draw a figure again from its sidecar `<figure>.json`, without the run.
    #[arg(long, conflicts_with_all = ["runs", "figure", "stage", "steps", "layer", "module", "samples", "tracked", "own",
        "measure", "color_by", "axes", "direction", "space", "mode", "clusters", "fit", "restarts", "seed", "most"])]
    from: Option<PathBuf>,
    /// Stage; the last that has what the figure needs if left out.
    #[arg(long)]
    stage: Option<String>,
    /// Steps A..B of the stage, both included; if left out, all of them, and for contexts and routing the last one with
    /// tracked samples or else the later half, as in `analyze`.
    #[arg(long, value_parser = steps::range::<u64>)]
    steps: Option<(u64, u64)>,
    /// Layer of context figures (the last but one with context vectors if left out), of routing figures (all), of
    /// task-conflict and gradient-cosine (`all`).
    #[arg(long)]
    layer: Option<String>,
    /// Module of drift and task-conflict; `all` if left out.
    #[arg(long)]
    module: Option<String>,
    /// Show these samples alone: a file with an id a line, a CSV with a column `sample` (`split` and `index` tell apart what
    /// shares an id), the explorer's list of ids, or the name of a selection kept in RUN/analysis/view.json.
    #[arg(long, value_name = "FILE|NAME")]
    samples: Option<String>,
    /// Show the tracked samples; they are shown where the steps have any if left out (contexts), or the steps' own (pairs).
    #[arg(long)]
    tracked: bool,
    /// Show the steps' own samples.
    #[arg(long, conflicts_with = "tracked")]
    own: bool,
    /// What is stated of layers: distance, relative, per-element; in drift also update, gradient-norm, momentum.
    #[arg(long, default_value = "distance")]
    measure: Measure,
    /// Colours of context-clusters: cluster, task, expert, entropy, step, split, loss, stage, seen,
    /// tokens, correct.
    #[arg(long, default_value = "cluster")]
    color_by: ColorBy,
    /// Principal components across and up, from 1.
    #[arg(long, value_parser = axes, default_value = "1,2", value_name = "X,Y")]
    axes: (usize, usize),
    /// Dominant gradient direction: mean, mean_raw, svd, momentum; mean where sketches were logged if left out.
    #[arg(long)]
    direction: Option<String>,
    /// Space of gradients: trainable or shared.
    #[arg(long, default_value = "trainable")]
    space: String,
    /// How pairs of samples were measured: sketch or exact; sketched ones if there are any if left out.
    #[arg(long)]
    mode: Option<String>,
    /// Clusters of context vectors.
    #[arg(long, default_value_t = 10)]
    clusters: usize,
    /// Samples that clusters and components are found from at most.
    #[arg(long, default_value_t = FIT, value_parser = steps::samples)]
    fit: usize,
    /// Beginnings of k-means.
    #[arg(long, default_value_t = RESTARTS as u64, value_parser = clap::value_parser!(u64).range(1..))]
    restarts: u64,
    /// Seed of clusters, samples and intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Tasks, clusters, experts or runs that have a look or a row of their own, the largest; the others go together.
    /// As many as are told apart if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    most: Option<u16>,
    /// A font (TTF, OTF; FILE#N for the Nth of a TTC) for what the built-in one lacks; several are asked in their order.
    #[arg(long = "font", value_name = "FILE")]
    fonts: Vec<PathBuf>,
}

/// `X,Y`.
fn axes(text: &str) -> Result<(usize, usize), String> {
    let both = text.split_once(',').and_then(|(x, y)| Some((x.trim().parse().ok()?, y.trim().parse().ok()?)));
    both.filter(|(x, y)| *x > 0 && *y > 0 && x != y)
        .ok_or_else(|| "write two different components, the first is 1: 1,2".to_owned())
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
    fn options(&self, inputs: &Inputs) -> anyhow::Result<Options> {
        let runs: Vec<&RunDir> = inputs.runs.iter().map(|source| &source.run).collect();
        let samples = self.samples.as_deref().map(|asked| sample_list::read(asked, &self.runs, &runs)).transpose()?;
        Ok(Options {
            stage: self.stage.clone(),
            steps: self.steps,
            layer: self.layer.clone(),
            module: self.module.clone(),
            samples,
            tracked: (self.tracked || self.own).then_some(self.tracked),
            measure: self.measure,
            color_by: self.color_by,
            axes: self.axes,
            direction: self.direction.clone(),
            space: self.space.clone(),
            mode: self.mode.clone(),
            clusters: self.clusters,
            fit: self.fit,
            restarts: self.restarts as usize,
            seed: self.seed,
            most: self.most.map(usize::from),
        })
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
        say!("not begun, left out: {}", path.display());
    }
    let options = args.options(&inputs)?;
    let fonts = Fonts::open(&args.fonts)?;
    let warnings = RefCell::new(Vec::new());
    let progress = Steps::new();
    let draw = |id: FigureId, number: usize, all: usize| {
        progress.show(id.name(), number, all);
        // Of all figures, each takes what it can.
        let options = if all > 1 { options.of_figure(id) } else { options.clone() };
        let plots = Plot::load(id, &inputs, &options)?;
        let plots = plots.into_iter().map(|plot| plot.with_fonts(Arc::clone(&fonts)));
        save(plots, args, venue, (&out, &command), &progress, &mut warnings.borrow_mut())
    };
    let drawn = match args.figure {
        Which::One(id) => draw(id, 0, 1),
        Which::All => all(draw, &progress),
    };
    drop(progress);
    // Before an error: what is damaged may be why something is lacking.
    for problem in inputs.problems().into_iter().chain(warnings.into_inner()) {
        tell!("warning: {problem}");
    }
    let drawn = drawn?;
    if drawn == 0 {
        bail!("no figure could be drawn: {}", args.runs[0].display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Every figure that the runs have the records for; of the others, why not.
fn all(draw: impl Fn(FigureId, usize, usize) -> anyhow::Result<usize>, progress: &Steps) -> anyhow::Result<usize> {
    let mut drawn = 0;
    for (number, id) in FigureId::ALL.into_iter().enumerate() {
        match draw(id, number, FigureId::ALL.len()) {
            Ok(files) => drawn += files,
            Err(error) => match error.downcast_ref::<FigureError>() {
                Some(FigureError::Lacks { what, option, .. }) => {
                    progress.say(&format!("no {id}: needs {what}, logged by {option}"));
                }
                Some(FigureError::Data { why, .. }) => progress.say(&format!("no {id}: {why}")),
                Some(refused @ FigureError::Option { .. }) => progress.say(&format!("no {id}: {refused}")),
                _ => return Err(error),
            },
        }
    }
    Ok(drawn)
}

fn save(
    plots: impl Iterator<Item = Plot>,
    args: &Args,
    venue: Venue,
    (out, command): (&Path, &[String]),
    progress: &Steps,
    warnings: &mut Vec<String>,
) -> anyhow::Result<usize> {
    let mut files = 0;
    for plot in plots {
        for line in plot.left_out() {
            progress.say(&format!("{}: {line}", plot.name()));
        }
        for line in write(&plot, args, venue, out, command)? {
            progress.say(&line);
            files += 1;
        }
        warnings.extend(plot.warnings(venue));
    }
    Ok(files)
}

/// Writes a figure; its files in words. Where nothing says where, figures are drawn anew in place of those of before, and that
/// is said; elsewhere a file that is there stays, unless --force is given.
fn write(plot: &Plot, args: &Args, venue: Venue, out: &Path, command: &[String]) -> anyhow::Result<Vec<String>> {
    let files = plot.files(&args.format, out);
    check_free(&files, args.force || args.out.is_none())?;
    let before: Vec<bool> = files.iter().map(|file| file.exists()).collect();
    plot.save(venue, &args.format, out, command)?;
    let word = |(file, before): (PathBuf, bool)| format!("{}{}", file.display(), if before { " (anew)" } else { "" });
    Ok(files.into_iter().zip(before).map(word).collect())
}

fn again(args: &Args, path: &Path) -> anyhow::Result<ExitCode> {
    let (mut plot, sidecar) = Plot::from_sidecar(path)?;
    if !args.fonts.is_empty() {
        plot = plot.with_fonts(Fonts::open(&args.fonts)?);
    }
    let venue = args.venue.map_or_else(|| sidecar.venue.parse(), Ok)?;
    let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let out = args.out.as_deref().unwrap_or(beside);
    for line in write(&plot, args, venue, out, &sidecar.command)? {
        say!("{line}");
    }
    for warning in plot.warnings(venue) {
        tell!("warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_two_components() {
        assert_eq!(axes("1,3"), Ok((1, 3)));
        assert!(["0,1", "2", "1,1"].iter().all(|text| axes(text).is_err()));
    }
}
