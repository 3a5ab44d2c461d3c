//! Studies: runs in lockstep are the runs that `train` makes, and nothing is lost to a kill.

use crate::support::{assert_same_run, fail, list, program, rows, succeed, text};
use covft_analyses::store::{ALL, DistanceRow, Manifest, RunDir, Study, StudyStatus};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const CONFLICT: &str = "study={ kind = \"conflict\", null = true }";
const METHODS: &str = "study={ kind = \"methods\", methods = [\"freeze\", \"bitfit\"], seeds = [0, 1] }";

/// Arguments of a toy study into `study`.
fn toy(kind: &str, study: &Path, table: &str) -> Vec<String> {
    let out = study.parent().unwrap().display();
    let sets = [
        table.to_owned(),
        format!("out=\"{out}\""),
        "probe.log_grads=true".into(),
        "probe.batch_sketches=false".into(),
        "stage.base.steps=4".into(),
        "stage.instruct.steps=15".into(),
        "stage.instruct.checkpoint_every=4".into(),
    ];
    let begin = ["experiment", kind, "-c", "tests/fixtures/tiny.toml", "--out"].map(str::to_owned);
    let sets = sets.into_iter().flat_map(|set| ["--set".to_owned(), set]);
    begin.into_iter().chain([study.display().to_string()]).chain(sets).collect()
}

fn run_toy(kind: &str, study: &Path, table: &str, more: &[&str]) -> String {
    let args: Vec<String> = toy(kind, study, table).into_iter().chain(more.iter().map(|s| (*s).to_owned())).collect();
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn distances(study: &Path) -> Vec<DistanceRow> {
    rows(&RunDir::of_study(study))
}

/// Starts a toy study and waits until the run `label` has a checkpoint.
fn start_until(kind: &str, study: &Path, table: &str, label: &str) -> Child {
    let args = toy(kind, study, table);
    let mut child = program().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let folder = study.join(label).join("checkpoints");
    let saved = || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.into_iter().any(|e| e.file_name().to_string_lossy().starts_with("step-"))
    };
    while !saved() {
        assert!(begun.elapsed() < Duration::from_mins(2), "no checkpoint came");
        assert!(child.try_wait().unwrap().is_none(), "the study ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn resume(kind: &str, study: &Path) {
    succeed(&["experiment", kind, "--resume", study.to_str().unwrap()]);
}

/// Trains the recipe of a run of a study by itself, which must make the same run.
fn assert_trains_alike(study: &Path, label: &str) {
    let alone = study.parent().unwrap().join(format!("alone-{label}"));
    let config = study.join(label).join("config.toml");
    succeed(&["train", "-c", config.to_str().unwrap(), "--out", alone.to_str().unwrap()]);
    assert_same_run(&study.join(label), &alone);
}

#[test]
fn runs_in_lockstep_are_the_runs_that_train_makes_and_their_distance_is_that_of_their_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let study = dir.path().join("study");
    let printed = run_toy("conflict", &study, CONFLICT, &["--method", "full"]);
    assert!(printed.contains("both / order") && printed.contains("Spearman rho"), "{printed}");
    let found = Study::read(&study).unwrap();
    assert_eq!(found.status, StudyStatus::Done);
    let labels: Vec<&str> = found.runs.iter().map(|run| run.label.as_str()).collect();
    assert_eq!(labels, ["grounding", "region_captioning", "grounding-order4", "region_captioning-order4"]);
    for label in ["grounding", "region_captioning-order4"] {
        assert_trains_alike(&study, label);
    }
    let measured = distances(&study);
    assert_eq!(
        measured.iter().filter(|r| r.layer == ALL && r.module == ALL).count(),
        15 * 6,
        "every step, every two runs"
    );
    // The learning rate is 0 at the first step.
    assert!(measured.iter().filter(|r| r.step == 0).all(|r| r.distance == 0.0));
    let last = |label: &str| list(&study.join(label).join("checkpoints")).pop().unwrap();
    let (a, b) = (last("grounding"), last("region_captioning"));
    let table = succeed(&["drift", a.to_str().unwrap(), b.to_str().unwrap()]);
    for layer in ["0", "1", "2"] {
        let own = measured.iter().find(|r| {
            (r.step, r.layer.as_str(), r.module.as_str()) == (14, layer, ALL)
                && (r.run_a.as_str(), r.run_b.as_str()) == ("grounding", "region_captioning")
        });
        let own = own.unwrap().distance;
        let line = table.lines().find(|l| l.split_whitespace().take(2).eq(["vision", layer])).unwrap();
        let of_files: f64 = line.split_whitespace().nth(4).unwrap().parse().unwrap();
        assert!(own > 0.0 && (own - of_files).abs() < 6e-5, "layer {layer}: {own} {of_files}");
    }
    let written = succeed(&["compare", study.to_str().unwrap(), "--format", "latex"]);
    assert!(written.contains("\\toprule"), "{written}");
}

#[test]
fn a_killed_and_a_stopped_conflict_study_end_like_one_that_went_through() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    run_toy("conflict", &whole, CONFLICT, &[]);
    let same = |study: &Path| {
        for run in Study::read(&whole).unwrap().runs {
            assert_same_run(&whole.join(&run.label), &study.join(&run.label));
        }
        assert_eq!(distances(&whole), distances(study));
        assert_eq!(Study::read(study).unwrap().status, StudyStatus::Done);
    };
    // Killed while one run has saved and the other may not have.
    let killed = dir.path().join("killed");
    let mut child = start_until("conflict", &killed, CONFLICT, "grounding");
    child.kill().unwrap();
    child.wait().unwrap();
    resume("conflict", &killed);
    same(&killed);

    let stopped = dir.path().join("stopped");
    let mut child = start_until("conflict", &stopped, CONFLICT, "region_captioning");
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let steps =
        |label: &str| list(&stopped.join(label).join("checkpoints")).pop().unwrap().file_name().unwrap().to_owned();
    assert_eq!(steps("grounding"), steps("region_captioning"), "the runs were saved at different steps");
    resume("conflict", &stopped);
    same(&stopped);
}

#[test]
fn the_same_instructions_in_the_same_order_stay_at_distance_zero() {
    let dir = tempfile::tempdir().unwrap();
    let study = dir.path().join("study");
    let table = "study={ kind = \"conflict\", pair = [[\"ocr\"], [\"ocr\"]] }";
    run_toy("conflict", &study, table, &["--method", "covft"]);
    let measured = distances(&study);
    assert!(measured.iter().any(|r| r.step == 14 && r.run_b == "ocr-twin"));
    assert!(measured.iter().all(|r| r.distance == 0.0), "two equal runs are apart");
}

#[test]
fn tasks_without_partners_are_an_error_before_the_base_is_trained() {
    let dir = tempfile::tempdir().unwrap();
    let study = dir.path().join("study");
    let table = "study={ kind = \"conflict\", pair = [[\"grounding\"], [\"dancing\"]] }";
    let args = toy("conflict", &study, table);
    let error = fail(&args.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    assert!(error.contains("no sample of grounding has a partner among dancing"), "{error}");
    assert!(!study.join("base").exists());
}

#[test]
fn a_methods_study_is_made_of_runs_that_train_makes_and_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let study = dir.path().join("study");
    let mut child = start_until("methods", &study, METHODS, "freeze-seed1");
    child.kill().unwrap();
    child.wait().unwrap();
    let manifest = |label: &str| Manifest::read(&RunDir::open(study.join(label)).unwrap()).unwrap();
    let finished = manifest("freeze-seed0");
    resume("methods", &study);
    assert_eq!(manifest("freeze-seed0"), finished, "a finished run was made again");
    assert_eq!(Study::read(&study).unwrap().status, StudyStatus::Done);
    for label in ["freeze-seed1", "bitfit-seed0"] {
        assert_trains_alike(&study, label);
    }
    let table = succeed(&["compare", study.to_str().unwrap()]);
    for part in
        ["(base)", "(without the picture)", "freeze", "bitfit", "wins over freeze", "peak MiB", "cosine to momentum"]
    {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let each = succeed(&["compare", study.to_str().unwrap(), "--each", "--format", "csv"]);
    assert!(each.contains("bitfit-seed1,"), "{each}");
    for file in ["scores.csv", "scores.md", "cost.tex"] {
        assert!(study.join("analysis").join(file).exists(), "{file} is missing");
    }
    let run = study.join("bitfit-seed0");
    let alone = succeed(&["compare", run.to_str().unwrap()]);
    assert!(alone.contains("bitfit-seed0"), "{alone}");
}

#[test]
fn a_run_that_fails_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let study = dir.path().join("study");
    let table = "study={ kind = \"methods\", methods = [{ type = \"covft\", start_layer = 3, end_layer = 2 }] }";
    let args = toy("methods", &study, table);
    let error = fail(&args.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    assert!(error.contains("covft-seed0 failed") && error.contains("--resume"), "{error}");
}

#[test]
fn recipes_of_runs_and_of_studies_say_what_they_are_for() {
    let error = fail(&["train", "-c", "configs/methods-scenes.toml"], 1);
    assert!(error.contains("covft-probe experiment methods"), "{error}");
    let error = fail(&["experiment", "conflict", "-c", "configs/methods-scenes.toml"], 1);
    assert!(error.contains("covft-probe experiment methods"), "{error}");
    let error = fail(&["experiment", "methods", "-c", "configs/scenes.toml"], 1);
    assert!(error.contains("covft-probe train"), "{error}");
    let shown = succeed(&["experiment", "methods", "--methods", "full,covft", "--seeds", "3,4", "--show-config"]);
    assert!(shown.contains("seeds = [") && shown.contains("covft") && !shown.contains("bitfit"), "{shown}");
    let output = program().args(["experiment", "methods", "--methods", "fuller", "--show-config"]).output().unwrap();
    assert!(text(&output.stderr).contains("there is no method fuller"), "{}", text(&output.stderr));
}
