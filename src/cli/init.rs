//! `covft-probe init NAME`.

use super::out::say;
use crate::config::Recipe;
use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;

/// Name, text and what it is for.
pub(super) const RECIPES: &[(&str, &str, &str)] = &[
    (
        "scenes",
        include_str!("../../configs/scenes.toml"),
        "the built-in set, everything from nothing, 2 to 3 minutes on a CPU",
    ),
    (
        "real-mini",
        include_str!("../../configs/real-mini.toml"),
        "DINOv2-S, SmolLM2-135M and MiniLM on real photographs",
    ),
    ("real-mini-112", include_str!("../../configs/real-mini-112.toml"), "the same at 112 pixels, about twice as fast"),
    (
        "llava-1.5-7b",
        include_str!("../../configs/llava-1.5-7b/covft.toml"),
        "the paper's recipe: CLIP-L/336 and Vicuna-7B",
    ),
    (
        "conflict-scenes",
        include_str!("../../configs/conflict-scenes.toml"),
        "a study: grounding against region captioning over the same pictures",
    ),
    ("conflict-real", include_str!("../../configs/conflict-real.toml"), "the same study on real photographs"),
    (
        "methods-scenes",
        include_str!("../../configs/methods-scenes.toml"),
        "a study: every tuning method upon one base, over seeds",
    ),
];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Recipes: scenes, real-mini, real-mini-112, llava-1.5-7b
Studies: conflict-scenes, conflict-real, methods-scenes

Examples:
  covft-probe init scenes                      writes scenes.toml
  covft-probe init real-mini --out mine.toml
  covft-probe train --config mine.toml --log-grads")]
pub(super) struct Args {
    /// Which recipe to start from.
    name: String,
    /// Where to write it; NAME.toml if left out. An existing file is never overwritten.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some((name, text, _)) = RECIPES.iter().find(|(name, ..)| *name == args.name) else {
        let known: Vec<String> = RECIPES.iter().map(|(name, _, what)| format!("  {name:15} {what}")).collect();
        anyhow::bail!("there is no recipe called {}; there are\n{}", args.name, known.join("\n"));
    };
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = file.with_context(|| format!("cannot create {}", path.display()))?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    let study = Recipe::parse(text, &path, &[])?.study;
    let command = study.map_or("covft-probe train", |study| study.command());
    say!("wrote {}; run it with: {command} --config {}", path.display(), path.display());
    Ok(ExitCode::SUCCESS)
}
