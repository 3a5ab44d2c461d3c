//! Running the program and looking at what it left.

use covft_analyses::store::{
    ContextRow, EvalRow, GradientRow, LayerRow, Manifest, NoiseRow, PairRow, PredictionRow, Record, RoutingRow, RunDir,
    SampleGradientRow, SampleRow, Status, StepRow, read_records,
};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The program, to be run in the repository.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_covft-probe"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).env_remove("COVFT_LOG");
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    program().args(args).output().expect("the program starts")
}

/// Runs the program, which must succeed; what it printed.
pub(crate) fn succeed(args: &[&str]) -> String {
    let output = run(args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{args:?} failed\n{out}\n{err}");
    out
}

/// Runs the program, which must fail with `code`; its error.
pub(crate) fn fail(args: &[&str], code: i32) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Arguments that train the toy recipe into `run`, with nothing kept outside of it.
pub(crate) fn toy(run: &Path) -> Vec<String> {
    let out = run.parent().unwrap().display();
    ["train", "--log-grads", "-c", "tests/fixtures/tiny.toml", "--out"]
        .into_iter()
        .map(str::to_owned)
        .chain([run.display().to_string(), "--set".into(), format!("out=\"{out}\"")])
        .collect()
}

/// Trains the toy recipe to its end with further arguments.
pub(crate) fn train_toy(run: &Path, more: &[&str]) {
    let args: Vec<String> = toy(run).into_iter().chain(more.iter().map(|s| (*s).to_owned())).collect();
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
}

/// The last checkpoint's files, byte by byte.
pub(crate) fn last_checkpoint(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut folders: Vec<PathBuf> = list(&run.join("checkpoints"));
    folders.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("step-")));
    let last = folders.pop().expect("a checkpoint");
    list(&last)
        .into_iter()
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(p).unwrap()))
        .collect()
}

pub(crate) fn list(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Every record of every stream but times and memory, as text.
pub(crate) fn records(run: &Path) -> Vec<String> {
    let run = RunDir::open(run.to_path_buf()).unwrap();
    let mut all = Vec::new();
    let steps = rows::<StepRow>(&run).into_iter().map(|row| StepRow {
        ms_data: 0.0,
        ms_forward: 0.0,
        ms_backward: 0.0,
        ms_optimizer: 0.0,
        ms_total: 0.0,
        ms_probe: 0.0,
        peak_memory: None,
        ..row
    });
    all.extend(debug(steps));
    all.extend(debug(rows::<LayerRow>(&run)));
    all.extend(debug(rows::<SampleRow>(&run)));
    // Of runs that log gradients alone.
    if run.stream("gradients").exists() {
        all.extend(debug(rows::<GradientRow>(&run)));
    }
    if run.stream("pairs").exists() {
        all.extend(debug(rows::<PairRow>(&run)));
        all.extend(debug(rows::<SampleGradientRow>(&run)));
        all.extend(debug(rows::<NoiseRow>(&run)));
    }
    // Of methods with routing alone.
    if run.stream("routing").exists() {
        all.extend(debug(rows::<ContextRow>(&run)));
        all.extend(debug(rows::<RoutingRow>(&run)));
    }
    all.extend(debug(rows::<EvalRow>(&run)));
    all.extend(debug(rows::<PredictionRow>(&run)));
    all
}

fn debug<T: Debug>(rows: impl IntoIterator<Item = T>) -> Vec<String> {
    rows.into_iter().map(|row| format!("{row:?}")).collect()
}

/// All rows of a stream, none damaged, at least one.
pub(crate) fn rows<R: Record + Debug>(run: &RunDir) -> Vec<R> {
    let read = read_records::<R>(run).unwrap();
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    assert!(!read.rows.is_empty(), "no {} were recorded", std::any::type_name::<R>());
    read.rows
}

/// How a run ended, or that it did not.
pub(crate) fn status(run: &Path) -> Status {
    Manifest::read(&RunDir::open(run.to_path_buf()).unwrap()).unwrap().status
}

/// Two runs that must be one and the same.
pub(crate) fn assert_same_run(a: &Path, b: &Path) {
    for ((name, one), (_, other)) in last_checkpoint(a).iter().zip(&last_checkpoint(b)) {
        // The recipe names its own output folder.
        if name != "recipe.toml" {
            assert!(one == other, "{name} of the last checkpoints differ");
        }
    }
    let (one, other) = (records(a), records(b));
    assert_eq!(one.len(), other.len(), "numbers of records differ");
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one, other);
    }
}
