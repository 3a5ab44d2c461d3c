//! Every figure from made runs: files whole, text in sight and large enough, fonts inside, numbers in the sidecars.

mod files;
mod fonts;
mod made;
mod many;
mod robust;

use super::*;
use crate::store::RunDir;
use made::{Made, WHOLE};
use std::path::PathBuf;
use tempfile::TempDir;

/// A made run and a made conflict study.
fn scene() -> (TempDir, Inputs) {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    made::run(&dir, WHOLE);
    std::fs::create_dir(root.path().join("study")).unwrap();
    made::conflict_study(&root.path().join("study"));
    let inputs = Inputs::of_run(&dir).unwrap();
    (root, inputs)
}

fn run_of(made: Made) -> (TempDir, RunDir, Inputs) {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    made::run(&dir, made);
    let inputs = Inputs::of_run(&dir).unwrap();
    (root, dir, inputs)
}

/// Every figure: those of conflict studies from the study, the rest from the run.
fn plots() -> (TempDir, Vec<Plot>) {
    let (root, run) = scene();
    let study = Inputs::open(&[root.path().join("study")]).unwrap();
    let of = |id: FigureId| {
        let from = if matches!(id, FigureId::ConflictOverSteps | FigureId::ConflictByLayer) { &study } else { &run };
        Plot::load(id, from, &Options { clusters: 5, ..Options::default() }.of_figure(id)).unwrap().remove(0)
    };
    let plots = FigureId::ALL.map(of).into();
    (root, plots)
}

/// COVFT_FIGURES=folder keeps the files, to look at them.
fn kept(out: PathBuf) -> PathBuf {
    std::env::var_os("COVFT_FIGURES").map_or(out, PathBuf::from)
}
