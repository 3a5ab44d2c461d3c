//! `covft-probe bench`: what a step costs, how that grows, and what probes add to it.

mod growth;
mod step;

use super::card_bench::{self, CardArgs};
use super::recipe::{self, RecipeArgs};
use crate::experiment::probe_bench;
use anyhow::Context;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Time one training step on random tokens: alone, by operation, or beside PyTorch's.
    Step(step::StepArgs),
    /// How time and peak memory of a step grow with batch, tokens, layers and experts: CSV and figures.
    Growth(growth::GrowthArgs),
    /// Time and weigh one training step on a card, in float32 or bfloat16.
    Card(CardArgs),
    /// What probes cost: the same steps without and with each level of them in turn, as a Markdown table.
    Probes(ProbesArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe bench probes                                    the built-in recipe's last stage
  covft-probe bench probes -c configs/real-mini.toml --steps 8
  covft-probe bench probes --write docs/overhead.md           keep the table, one section a recipe")]
struct ProbesArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Timed steps of each level, about.
    #[arg(long, default_value_t = 160)]
    steps: usize,
    /// Put the table into this file, in place of the recipe's section.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Step(args) => step::run(args),
        What::Growth(args) => growth::run(args),
        What::Card(args) => card_bench::run(args),
        What::Probes(args) => probes(args),
    }
}

fn probes(args: &ProbesArgs) -> anyhow::Result<ExitCode> {
    let recipe = recipe::read(args.recipe.config.as_deref(), &args.recipe.overrides)?;
    let folder = recipe.out.join(format!(".bench-{}", std::process::id()));
    let table = probe_bench::run(&recipe, args.steps, &folder)?.markdown();
    super::out::text(&table);
    if let Some(path) = &args.write {
        let old = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => overhead_head(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let new = with_section(&old, &recipe.name, &table);
        std::fs::write(path, new).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn overhead_head() -> String {
    format!(
        "# What probing costs\n\nWritten by `covft-probe bench probes -c RECIPE --write docs/overhead.md`, which anyone can \
         repeat: the recipe's last stage from its own weights, the same batches under every level of probes in turn, in one \
         process. Levels, each with what the one before has:\n\n{}",
        probe_bench::levels_markdown()
    )
}

/// `text` with the section of `name` replaced, or added at its end.
fn with_section(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let section = format!("{begin}{table}{end}");
    match (text.find(&begin), text.find(&end)) {
        (Some(from), Some(to)) if from < to => format!("{}{section}{}", &text[..from], &text[to + end.len()..]),
        _ => format!("{}\n\n{section}", text.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_has_one_section() {
        let one = with_section("# head\n", "a", "table\n");
        assert_eq!(one, "# head\n\n<!-- a -->\ntable\n<!-- /a -->\n");
        let two = with_section(&one, "b", "other\n");
        let again = with_section(&two, "a", "new\n");
        assert!(again.contains("<!-- a -->\nnew\n<!-- /a -->\n\n<!-- b -->\nother\n") && !again.contains("table"));
    }
}
