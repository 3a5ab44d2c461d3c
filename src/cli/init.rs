//! `covft-probe init NAME`.

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
];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Recipes: scenes, real-mini, real-mini-112, llava-1.5-7b

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
        let known: Vec<String> = RECIPES.iter().map(|(name, _, what)| format!("  {name:14} {what}")).collect();
        anyhow::bail!("there is no recipe called {}; there are\n{}", args.name, known.join("\n"));
    };
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = file.with_context(|| format!("cannot create {}", path.display()))?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}; train it with: covft-probe train --config {}", path.display(), path.display());
    Ok(ExitCode::SUCCESS)
}
