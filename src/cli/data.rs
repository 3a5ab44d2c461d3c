//! `covft-probe data check`, `covft-probe data convert` and `covft-probe data scenes`.

use super::out::say;
use super::table::{Table, thousands};
use super::{progress, recipe};
use crate::config::data::{Broken, DataConfig, Exif, ScenesConfig};
use crate::config::model::ModelConfig;
use crate::data::picture::Kind;
use crate::data::shown;
use crate::data::{CheckReport, Converted, Form, Look, convert, remark, scenes};
use crate::experiment::session::{Checking, Setup};
use anyhow::Context;
use clap::Subcommand;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Scenes of a part of the built-in set at most, as `data.scenes` has it.
const SCENES: usize = 1 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Count samples, tasks, tokens and labelled tokens; list what is missing or teaches nothing.
    Check(CheckArgs),
    /// Convert an instruction file of another tool into the form that every recipe reads.
    Convert(ConvertArgs),
    /// Write the built-in set as instruct.json, instruct_val.json and images, in the format that every recipe reads.
    Scenes(ScenesArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe data check configs/real-mini.toml
  covft-probe data check configs/real-mini.toml --images")]
struct CheckArgs {
    /// Recipe; the built-in one if left out.
    config: Option<PathBuf>,
    /// Also decode every image.
    #[arg(long)]
    images: bool,
    /// Also write what was found of every picture to FILE, a line of JSON each: size, rotation, checksum of its pixels
    /// (CRC-32 of RGB), or what is wrong with it.
    #[arg(long, value_name = "FILE", requires = "images")]
    pictures: Option<PathBuf>,
    /// Change any key of the recipe.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  covft-probe data scenes --out data/scenes --train 1000 --val 100")]
struct ScenesArgs {
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    /// Training scenes.
    #[arg(long, default_value_t = 1000)]
    train: usize,
    /// Held-out scenes.
    #[arg(long, default_value_t = 100)]
    val: usize,
    /// Seed of the scenes.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe data convert --from swift train.jsonl --out data/train.json
  covft-probe data convert --from llamafactory alpaca.json --out data/alpaca.json --skip")]
struct ConvertArgs {
    /// The tool whose form the file has.
    #[arg(long, value_enum)]
    from: From,
    /// File to convert.
    input: PathBuf,
    /// File to write: JSON, or JSON Lines where the name ends in .jsonl.
    #[arg(long)]
    out: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
    /// Leave out entries that cannot be converted (several pictures, videos, calls of tools), and count them.
    #[arg(long)]
    skip: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum From {
    /// LLaMA-Factory's alpaca and sharegpt formats.
    Llamafactory,
    /// ms-swift's messages, or query, response and history.
    Swift,
    /// ShareGPT's conversations.
    Sharegpt,
}

impl From {
    fn form(self) -> Form {
        match self {
            Self::Llamafactory => Form::LlamaFactory,
            Self::Swift => Form::Swift,
            Self::Sharegpt => Form::ShareGpt,
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Check(args) => check(args),
        What::Convert(args) => {
            print_converted(&convert(&args.input, args.from.form(), &args.out, args.force, args.skip)?, &args.out);
            Ok(ExitCode::SUCCESS)
        }
        What::Scenes(args) => {
            let config = ScenesConfig { train: args.train, val: args.val, seed: args.seed };
            anyhow::ensure!(args.train.max(args.val) <= SCENES, "--train and --val: at most {SCENES} scenes");
            scenes::write(&config, &args.out)?;
            say!("wrote {} training and {} held-out scenes to {}", args.train, args.val, args.out.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let recipe = recipe::read(args.config.as_deref(), &args.overrides)?;
    let cache = recipe.out.join(".cache");
    let hear = progress::pictures;
    let checking = Checking { cache: Some(&cache), progress: Some(&hear), ..Checking::default() };
    let setup = Setup::unchecked(&recipe, &checking, [args.images; 2])?;
    for line in setup.told() {
        say!("{line}");
    }
    let mut good = true;
    for report in &setup.reports {
        print(report);
        print_pictures(report, &recipe.data);
        if let Err(error) = report.verdict(recipe.data.unlabelled, recipe.data.broken) {
            good = false;
            say!("  refused: {error}");
        }
    }
    // A verdict on the samples says more than that none is left.
    let refused = if good { setup.refused_stages(&recipe) } else { Vec::new() };
    for error in &refused {
        say!("refused: {error}");
    }
    good &= refused.is_empty();
    if let Some(path) = &args.pictures {
        write_list(&setup.reports, path)?;
    }
    if has_weights(&recipe.model) {
        say!(
            "not checked: what the weights hold; training reads them before step 0, and refuses tensors that are missing, do not fit or are not finite"
        );
    }
    say!("{}", if good { "this data can be trained on" } else { "this data cannot be trained on as it is" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the recipe names folders of weights.
fn has_weights(model: &ModelConfig) -> bool {
    let folders = [&model.checkpoint, &model.vision.weights, &model.language.weights, &model.text.weights];
    folders.into_iter().any(Option::is_some)
}

/// What was found of every picture.
fn write_list(reports: &[CheckReport], path: &Path) -> anyhow::Result<()> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        image: &'a str,
        #[serde(flatten)]
        look: &'a Look,
    }
    let looks = reports.iter().flat_map(|r| &r.looks);
    let lines: Result<Vec<_>, _> = looks.map(|(image, look)| serde_json::to_string(&Line { image, look })).collect();
    std::fs::write(path, lines?.join("\n") + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// What is to be said of the pictures, and what was not looked at.
fn print_pictures(report: &CheckReport, data: &DataConfig) {
    for (what, problems) in [("missing", Some(&report.missing)), ("broken", report.broken.as_ref())] {
        for problem in problems.into_iter().flatten() {
            say!(
                "  {what} image: sample {}: {}: {}",
                shown::line(&problem.sample),
                problem.problem,
                shown::path(&problem.path)
            );
        }
    }
    let samples = match report.unusable.len() {
        1 => "1 sample".to_owned(),
        n => format!("{n} samples"),
    };
    match data.broken {
        _ if report.unusable.is_empty() => {}
        Broken::Drop => say!("  to be dropped for such images (data.broken): {samples}"),
        Broken::Blank => say!("  to get a blank one for such images (data.broken): {samples}"),
        Broken::Refuse => {}
    }
    let of = |is: fn(&Look) -> bool| report.looks.iter().filter(|(_, look)| is(look)).count();
    let rotated = of(|look| look.has_rotation);
    if rotated > 0 {
        let what = match data.exif {
            Exif::Ignore => "is ignored, as LLaVA does; data.exif = \"apply\" turns them",
            Exif::Apply => "is applied; boxes in the texts are not turned",
        };
        say!("  {} with a rotation in the EXIF block, which {what}", images(rotated));
    }
    for ((is, ending), names) in misnamed(&report.looks) {
        let (n, first) = (names.len(), names[0]);
        say!("  {} named .{ending}, read as the {} that it is, first: {first}", images(n), is.name());
    }
    let flat: Vec<&str> =
        report.looks.iter().filter(|(_, l)| l.is_one_colour && l.problem.is_none()).map(|(n, _)| &**n).collect();
    if !flat.is_empty() {
        let more = if flat.len() > 3 { ", ..." } else { "" };
        let first = flat[..flat.len().min(3)].join(", ");
        say!("  warning: {} of one colour when decoded: {first}{more}", images(flat.len()));
    }
    if report.broken.is_none() && report.images > 0 {
        say!("  not checked: whether the images can be decoded; --images does that, and counts rotations and blanks");
    }
}

fn images(n: usize) -> String {
    format!("{} image{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// Pictures whose names end in another kind's ending, by what they are and the ending.
fn misnamed(looks: &[(String, Look)]) -> BTreeMap<(Kind, String), Vec<&str>> {
    let mut found: BTreeMap<(Kind, String), Vec<&str>> = BTreeMap::new();
    for (name, look) in looks {
        let Some(is) = look.kind.filter(|is| Kind::named(name).is_some_and(|named| named != *is)) else { continue };
        let ending = name.rsplit('.').next().unwrap_or_default().to_lowercase();
        found.entry((is, ending)).or_default().push(name);
    }
    found
}

fn print(report: &CheckReport) {
    let cached = if report.cached { ", texts as counted before" } else { "" };
    say!("{}: {} samples, {} images{cached}", report.path.display(), report.samples(), report.images);
    let mut table = Table::new(&["task", "image", "samples", "tokens", "labelled", "unlabelled", "cut"]);
    for kind in &report.findings.kinds {
        table.row([
            kind.task.clone().unwrap_or_else(|| "(none)".to_owned()),
            if kind.has_image { "yes" } else { "no" }.to_owned(),
            thousands(kind.samples),
            thousands(kind.tokens as usize),
            thousands(kind.labelled_tokens as usize),
            kind.unlabelled.to_string(),
            kind.truncated.to_string(),
        ]);
    }
    table.print();
    let dropped = report.findings.unlabelled.iter();
    list(
        dropped
            .map(|d| format!("no token to learn, dropped: line {}, sample {}: {}", d.line, shown::line(&d.id), d.why)),
    );
    if report.findings.repeated_ids > 0 {
        say!("  {} entries repeat the id of an earlier one", report.findings.repeated_ids);
    }
    list(remark::lines(&report.findings.tallies));
}

fn print_converted(done: &Converted, out: &Path) {
    let left_out: usize = done.left_out.values().map(|(entries, _)| entries).sum();
    say!("wrote {} entries, left out {left_out}: {}", thousands(done.written), out.display());
    list(done.left_out.iter().map(|(why, (n, first))| format!("left out: {n}, first {first}: {why}")));
    list(done.keys.iter().map(|(key, n)| format!("key not carried over: {key:?} in {n}")));
    if done.placed > 0 {
        say!("  <image> put in front of the first question: {} entries", done.placed);
    }
}

/// Lines under a set's table, the first twenty of them.
fn list(lines: impl IntoIterator<Item = String>) {
    let lines: Vec<String> = lines.into_iter().collect();
    for line in lines.iter().take(SHOWN) {
        say!("  {line}");
    }
    if lines.len() > SHOWN {
        say!("  and {} more", lines.len() - SHOWN);
    }
}

const SHOWN: usize = 20;
