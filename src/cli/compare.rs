//! `covft-probe compare`: tables of runs and studies.

use super::out::say;
use super::steps::Steps;
use crate::experiment::study::blind;
use anyhow::Context;
use covft_analyses::store::{RunDir, Study, StudyKind, StudyStatus, check_free};
use covft_analyses::tables::{Chance, Comparison, Conflict, RunNumbers, Table};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A study's runs share a row where they differ in seed alone; those that are not finished do not count. Runs that are named
themselves count as far as they have come, and a note says which are not finished.

Examples:
  covft-probe compare runs/methods-scenes
  covft-probe compare runs/methods-scenes --each              one row a run
  covft-probe compare runs/scenes runs/scenes-full --format latex
  covft-probe compare runs/conflict-scenes --out paper/tables")]
pub(super) struct Args {
    /// A study, or runs.
    #[arg(required = true, value_name = "RUN|STUDY")]
    paths: Vec<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
    /// One row a run of a study, not one a method.
    #[arg(long)]
    each: bool,
    /// Write CSV, Markdown and LaTeX into this folder too.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write over files that are there.
    #[arg(long, requires = "out")]
    force: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    Text,
    Markdown,
    Csv,
    Latex,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let progress = Steps::new();
    progress.show("reading", 0, 1);
    let tables = match args.paths.as_slice() {
        [path] if Study::path(path).exists() => study_tables(path, args.each)?,
        paths => {
            if let Some(study) = paths.iter().find(|path| Study::path(path).exists()) {
                anyhow::bail!("a study is compared by itself: {}", study.display());
            }
            let runs = paths.iter().map(|path| RunDir::open(path.clone())).collect::<Result<Vec<_>, _>>()?;
            both(&Comparison::of_runs(&runs, chance)?)
        }
    };
    drop(progress);
    for (_, table) in &tables {
        let text = match args.format {
            Form::Text => table.text(),
            Form::Markdown => table.markdown(),
            Form::Csv => table.csv(),
            Form::Latex => table.latex(),
        };
        say!("{text}");
    }
    if let Some(folder) = &args.out {
        for path in write(&tables, folder, args.force)? {
            say!("{}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a finished study prints; the tables are written into its `analysis` folder too.
pub(super) fn print_study(path: &Path) -> anyhow::Result<()> {
    let study = Study::read(path)?;
    let tables = study_tables(path, false)?;
    say!("");
    for (_, table) in &tables {
        say!("{}", table.text());
    }
    let folder = path.join("analysis");
    write(&tables, &folder, true)?;
    let shown = path.display();
    say!("the same as CSV, Markdown and LaTeX: {}", folder.display());
    say!("next:");
    match study.kind {
        StudyKind::Conflict => {
            let end = |label: &str| format!("{shown}/{label}/checkpoints/...");
            let [a, b] = [0, 1].map(|i| study.runs.get(i).map(|run| end(&run.label)).unwrap_or_default());
            say!("  covft-probe plot {shown}");
            say!("  covft-probe drift {a} {b}");
        }
        StudyKind::Methods => {
            say!("  covft-probe compare {shown} --each");
            say!("  covft-probe plot {shown}");
        }
    }
    say!("  covft-probe view {shown}/{}", study.runs.first().map_or("RUN", |run| &run.label));
    if study.kind == StudyKind::Conflict {
        say!("records are parquet: pandas.read_parquet(\"{shown}/records/distances\")");
    }
    Ok(())
}

/// Tables with the names of their files.
type Named = Vec<(&'static str, Table)>;

fn study_tables(path: &Path, each: bool) -> anyhow::Result<Named> {
    let study = Study::read(path)?;
    if study.kind == StudyKind::Methods {
        return Ok(both(&Comparison::of_study(path, each, chance)?));
    }
    let found = Conflict::read(path)?.with_context(|| format!("no step is measured yet: {}", path.display()))?;
    let mut tables = vec![("conflict", found.table())];
    if study.status == StudyStatus::Done {
        // Whether the runs learnt anything at all: a distance between runs that did not says little.
        tables.push(("scores", Comparison::of_study(path, true, chance)?.learnt()));
    }
    Ok(tables)
}

fn both(found: &Comparison) -> Named {
    vec![("scores", found.learnt()), ("cost", found.cost())]
}

/// What a run's held-out answers score without the pictures; nothing where its samples cannot be read.
fn chance(run: &RunDir, numbers: &RunNumbers) -> Chance {
    blind(run, &numbers.scored).unwrap_or_else(|error| {
        tracing::warn!("no chance level: {error}");
        Chance::new()
    })
}

fn write(tables: &Named, folder: &Path, force: bool) -> anyhow::Result<Vec<PathBuf>> {
    let place = |name: &str, ending: &str| folder.join(format!("{name}.{ending}"));
    check_free(tables.iter().flat_map(|(name, _)| ["csv", "md", "tex"].map(|ending| place(name, ending))), force)?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut written = Vec::new();
    for (name, table) in tables {
        for (ending, text) in [("csv", table.csv()), ("md", table.markdown()), ("tex", table.latex())] {
            let path = place(name, ending);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            written.push(path);
        }
    }
    Ok(written)
}
