//! `covft-probe compare`: tables of runs and studies.

use anyhow::Context;
use covft_analyses::store::{Study, StudyKind};
use covft_analyses::tables::{Conflict, Table};
use std::path::Path;

/// What a finished study prints.
pub(super) fn print_study(path: &Path) -> anyhow::Result<()> {
    let study = Study::read(path)?;
    println!();
    for table in tables(path, &study)? {
        println!("{}", table.text());
    }
    let shown = path.display();
    println!("next:");
    println!("  covft-probe compare {shown} --format latex      the table for a paper; csv, markdown");
    println!("  covft-probe plot {shown}");
    println!("  covft-probe view {shown}/{}", study.runs.first().map_or("RUN", |run| &run.label));
    if study.kind == StudyKind::Conflict {
        println!("records are parquet: pandas.read_parquet(\"{shown}/records/distances\")");
    }
    Ok(())
}

fn tables(path: &Path, study: &Study) -> anyhow::Result<Vec<Table>> {
    match study.kind {
        StudyKind::Conflict => {
            let found =
                Conflict::read(path)?.with_context(|| format!("no step is measured yet: {}", path.display()))?;
            Ok(vec![found.table()])
        }
        StudyKind::Methods => Ok(Vec::new()),
    }
}
