//! Whole runs: same bytes after stopping, killing, and on any number of threads; probes change nothing.

use crate::support::{assert_same_run, fail, last_checkpoint, list, program, rows, status, succeed, toy, train_toy};
use covft_analyses::store::{
    self, ContextRow, EvalRow, GradientRow, LayerRow, OfSample, PairRow, RoutingRow, RunDir, SampleGradientRow,
    SampleRow, Status, StepRow,
};
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

/// LoRA, then a frozen encoder: the second stage begins from the merged weights, and says what it read.
#[test]
fn adapters_are_merged_between_stages_and_from_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("merged");
    let lora = "stage.base.tuning={ vision = { type = \"lora\", rank = 4, alpha = 8.0 }, text = \"tasks\" }";
    let frozen = "stage.instruct.tuning={ vision = { type = \"freeze\" } }";
    let short = ["--set", "stage.instruct.steps=2", "--set", "stage.instruct.generate_samples=1"];
    let more = ["--set", lora, "--set", frozen, "--set", "model.merge=true"];
    train_toy(&run, &[&more[..], &short[..]].concat());
    let checkpoint = |step: &str| run.join("checkpoints").join(step);
    let tensors = |step: &str| {
        let bytes = std::fs::read(checkpoint(step).join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |view: &safetensors::tensor::TensorView<'_>| {
            view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<f32>>()
        };
        file.tensors()
            .into_iter()
            .map(|(name, view)| (name, numbers(&view)))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let (before, after) = (tensors("step-000010"), tensors("step-000012"));
    assert!(!after.keys().any(|name| name.contains("lora")));
    let mut moved = 0;
    for (name, down) in before.iter().filter(|(name, _)| name.contains("lora_down")) {
        let stem = name.strip_suffix(".lora_down.weight").unwrap();
        let (up, weight) = (&before[&format!("{stem}.lora_up.weight")], &before[&format!("{stem}.weight")]);
        let merged = &after[&format!("{stem}.weight")];
        for (i, merged) in merged.iter().enumerate() {
            let (row, column) = (i / 32, i % 32);
            let product: f32 = (0..4).map(|r| up[row * 4 + r] * down[r * 32 + column]).sum();
            assert!((merged - weight[i] - 2.0 * product).abs() < 1e-6, "{name} {i}");
            moved += usize::from(product != 0.0);
        }
    }
    assert!(moved > 1000, "the adapters learnt something: {moved}");

    // The first stage's checkpoint in a run of its own.
    let from = format!("model.checkpoint={:?}", checkpoint("step-000010").display().to_string());
    let alone = dir.path().join("alone");
    let args = |merge: &'static str| {
        let first = "stage.base.tuning={ vision = { type = \"full\" } }";
        let then = "stage.instruct.tuning={ vision = { type = \"full\" } }";
        let args = ["--set", &from, "--set", first, "--set", then, "--set", "stage.base.steps=1", "--set", merge];
        toy(&alone).into_iter().chain(args.map(str::to_owned)).chain(short.map(str::to_owned)).collect::<Vec<_>>()
    };
    let refused = fail(&args("model.merge=false").iter().map(String::as_str).collect::<Vec<_>>(), 1);
    assert!(refused.contains("lora (rank 4, alpha 8)") && refused.contains("model.merge = true"), "{refused}");
    assert!(!alone.exists(), "nothing began");
    succeed(&args("model.merge=true").iter().map(String::as_str).collect::<Vec<_>>());
    let told = store::Manifest::read(&RunDir::open(alone).unwrap()).unwrap().weights;
    assert!(told[0].starts_with("checkpoint: ") && told[0].contains("merged into the weights"), "{told:?}");
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
    let more = ["probe.tracked=5", "probe.tracked_every=7", "probe.sketch_spaces=['trainable', 'shared']"];
    train_toy(&with, &more.iter().flat_map(|key| ["--set", key]).collect::<Vec<_>>());
    let off = ["probe.log_grads=false", "probe.drift=false", "probe.contexts=false", "probe.routing=false"];
    let sets: Vec<&str> = off.iter().flat_map(|key| ["--set", key]).collect();
    train_toy(&without, &sets);
    let model = |run: &Path| last_checkpoint(run).into_iter().find(|(name, _)| name == "model.safetensors").unwrap().1;
    assert!(model(&with) == model(&without), "the probes changed the model");
    let open = |path: &Path| RunDir::open(path.to_path_buf()).unwrap();
    let losses = |path: &Path| rows::<StepRow>(&open(path)).iter().map(|r| r.loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses(&with), losses(&without));

    tracked_samples_are_measured(&open(&with));
    gradients_are_those_before_clipping(&open(&with));
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

/// The same five at every interval, with gradients, in no row of the step's own.
fn tracked_samples_are_measured(run: &RunDir) {
    let contexts: Vec<ContextRow> = rows::<ContextRow>(run).into_iter().filter(|r| r.tracked).collect();
    let samples = |step: u64| {
        let of = contexts.iter().filter(|r| r.stage == "instruct" && r.step == step);
        of.map(|r| r.sample.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!((samples(0).len(), samples(35).len(), samples(1).len()), (5, 5, 0));
    assert_eq!(samples(0), samples(35));
    let held_out: Vec<_> = store::read_dataset(run).unwrap().into_iter().filter(|d| d.split == "val").collect();
    assert!(samples(0).iter().all(|id| held_out.iter().any(|d| d.sample == *id)), "{:?}", samples(0));
    assert!(contexts.iter().all(|r| held_out.iter().any(|d| r.place().is_some() && d.place() == r.place())));
    assert!(rows::<SampleRow>(run).iter().all(|r| r.place().is_some_and(|place| place.split() == "train")));
    assert_eq!(
        rows::<RoutingRow>(run).iter().filter(|r| r.tracked && r.step == 7).count(),
        contexts.iter().filter(|r| r.step == 7).count()
    );
    let pairs = rows::<PairRow>(run);
    let whole = |step| {
        let of = pairs.iter().filter(move |p| p.tracked && p.step == step && p.stage == "instruct");
        of.filter(|p| p.layer == "all" && p.module == "all" && p.space == "trainable").count()
    };
    assert_eq!((whole(0), whole(7), whole(8)), (10, 10, 0));
    let gradients = rows::<SampleGradientRow>(run);
    assert!(gradients.iter().any(|g| g.tracked && g.norm.is_some_and(|n| n > 0.0)));
    assert!(rows::<SampleRow>(run).iter().all(|s| !held_out.iter().any(|d| d.sample == s.sample)));
}

/// Two ways to the same norm: the sketch's, taken before clipping, and the optimiser's, taken after it and undone.
fn gradients_are_those_before_clipping(run: &RunDir) {
    assert!(rows::<StepRow>(run).iter().any(|s| s.clip_factor < 0.9), "nothing was clipped");
    let layers = rows::<LayerRow>(run);
    let mut compared = 0;
    for g in rows::<GradientRow>(run).iter().filter(|g| g.space == "trainable" && g.kind == "batch") {
        let same = |l: &&LayerRow| (&l.stage, l.step, &l.layer) == (&g.stage, g.step, &g.layer) && l.module == "all";
        let norm = layers.iter().find(same).unwrap().grad_norm.unwrap();
        assert!((norm / g.norm - 1.0).abs() < 1e-5, "{} step {} layer {}: {norm} {}", g.stage, g.step, g.layer, g.norm);
        // What the sketch says of it by itself.
        let square: f64 = g.sketch.iter().map(|v| f64::from(v.to_f32()).powi(2)).sum();
        assert!((square.sqrt() * f64::from(g.scale) / g.norm - 1.0).abs() < 0.15, "{}", square.sqrt());
        compared += 1;
    }
    assert!(compared > 100);
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
