//! Whole runs: same bytes after stopping, killing, and on any number of threads; probes change nothing.

use crate::support::{assert_same_run, last_checkpoint, list, program, rows, succeed, toy, train_toy};
use covft_analyses::store::{EvalRow, LayerRow, Manifest, RunDir, Status, StepRow};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Starts the toy run and waits until it has kept `checkpoints` of them.
fn start_until(run: &Path, checkpoints: usize) -> std::process::Child {
    let mut child = program().args(toy(run)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let folder = run.join("checkpoints");
    let seen = || {
        let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        names.filter(|e| e.file_name().to_string_lossy().starts_with("step-")).count()
    };
    while seen() < checkpoints {
        assert!(begun.elapsed() < Duration::from_mins(2), "no checkpoint came");
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn status(run: &Path) -> Status {
    Manifest::read(&RunDir::open(run.to_path_buf()).unwrap()).unwrap().status
}

#[test]
fn a_stopped_run_and_a_killed_run_end_in_the_same_bytes_as_one_that_went_through() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    train_toy(&whole, &[]);
    assert_eq!(status(&whole), Status::Done);

    // Ctrl-C: the step is finished, saved, and the exit code says so.
    let stopped = dir.path().join("stopped");
    let mut child = start_until(&stopped, 1);
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    succeed(&["train", "--resume", stopped.to_str().unwrap()]);
    assert_same_run(&whole, &stopped);

    // kill -9, twice, at whatever moment it is.
    let killed = dir.path().join("killed");
    let mut child = start_until(&killed, 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut again = program();
    let again = again.args(["train", "--resume", killed.to_str().unwrap()]);
    let mut child = again.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(150));
    child.kill().unwrap();
    child.wait().unwrap();
    if status(&killed) != Status::Done {
        succeed(&["train", "--resume", killed.to_str().unwrap()]);
    }
    assert_same_run(&whole, &killed);
}

#[test]
fn one_two_and_three_threads_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let runs: Vec<_> = (1..=3).map(|n| dir.path().join(format!("threads-{n}"))).collect();
    for (threads, run) in (1..=3).zip(&runs) {
        let output = program()
            .args(toy(run))
            .args(["--steps", "8"])
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", crate::support::text(&output.stderr));
    }
    assert_same_run(&runs[0], &runs[1]);
    assert_same_run(&runs[0], &runs[2]);
}

#[test]
fn probes_change_nothing_and_losses_fall() {
    let dir = tempfile::tempdir().unwrap();
    let (with, without) = (dir.path().join("with"), dir.path().join("without"));
    train_toy(&with, &[]);
    let off = ["probe.log_grads=false", "probe.drift=false", "probe.contexts=false", "probe.routing=false"];
    let sets: Vec<&str> = off.iter().flat_map(|key| ["--set", key]).collect();
    train_toy(&without, &sets);
    let model = |run: &Path| last_checkpoint(run).into_iter().find(|(name, _)| name == "model.safetensors").unwrap().1;
    assert!(model(&with) == model(&without), "the probes changed the model");
    let open = |path: &Path| RunDir::open(path.to_path_buf()).unwrap();
    let losses = |path: &Path| rows::<StepRow>(&open(path)).iter().map(|r| r.loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses(&with), losses(&without));

    let steps = rows::<StepRow>(&open(&with));
    assert_eq!(steps.len(), 50);
    assert!(steps[9].loss < steps[0].loss, "the base stage did not learn");
    // The learning rate is 0 at a stage's first step: nothing moves yet.
    let layers = rows::<LayerRow>(&open(&with));
    let whole = |step: u64| {
        layers.iter().find(|l| l.stage == "instruct" && l.step == step && l.layer == "all" && l.module == "all")
    };
    assert_eq!(whole(0).unwrap().drift, 0.0);
    assert!(whole(39).unwrap().drift > 0.0);
    assert!(whole(0).unwrap().momentum.is_none() && whole(1).unwrap().momentum.is_some());
    let evals = rows::<EvalRow>(&open(&with));
    assert!(evals.iter().any(|e| e.stage == "instruct" && e.split == "val" && e.task == "all" && e.scored > 0));
}

fn hidden(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for path in list(folder) {
        if path.file_name().unwrap().to_string_lossy().starts_with('.') {
            found.push(path.clone());
        }
        if path.is_dir() {
            found.extend(hidden(&path));
        }
    }
    found
}

#[test]
fn the_parts_of_a_run_directory_are_there_and_nothing_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train_toy(&run, &["--steps", "4"]);
    for name in ["manifest.json", "config.toml", "dataset.parquet", "images", "records", "checkpoints"] {
        assert!(run.join(name).exists(), "{name} is missing");
    }
    assert_eq!(hidden(&run), Vec::<std::path::PathBuf>::new());
    // The same configuration trains the same model again.
    let again = dir.path().join("again");
    let config = run.join("config.toml");
    succeed(&["train", "-c", config.to_str().unwrap(), "--out", again.to_str().unwrap()]);
    assert_same_run(&run, &again);
}

#[test]
fn a_finished_stage_is_reused_and_gives_the_same_end() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let keep = ["--set", "stage.base.reuse=true", "--steps", "5"];
    train_toy(&first, &keep);
    assert_eq!(list(&dir.path().join(".stages")).len(), 1);
    train_toy(&second, &keep);
    let open = |path: &Path| RunDir::open(path.to_path_buf()).unwrap();
    assert!(rows::<StepRow>(&open(&second)).iter().all(|r| r.stage == "instruct"), "the base stage was trained again");
    let model = |run: &Path| last_checkpoint(run).into_iter().find(|(name, _)| name == "model.safetensors").unwrap().1;
    assert!(model(&first) == model(&second));
}
