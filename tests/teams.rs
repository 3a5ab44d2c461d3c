//! Whole runs on several devices at once, here copies of the model on the CPU: the run that one device makes.

use crate::support::{assert_same_run, fail, last_checkpoint, program, rows, status, succeed, toy, train_toy};
use covft_analyses::store::{
    GradientRow, LayerRow, Manifest, PairRow, Record, RoutingRow, RunDir, SampleGradientRow, SampleRow, Status, StepRow,
};
use std::fmt::Debug;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Three micro-batches a step in both stages, all probes, the encoder frozen in the first stage and measured all the same.
const SETS: [&str; 8] = [
    "stage.base.accumulation=3",
    "stage.base.batch_size=2",
    "stage.base.tuning.vision={ type = \"freeze\" }",
    "stage.instruct.accumulation=3",
    "probe.samples_every=1",
    "probe.exact_steps=[2]",
    "probe.virtual_frozen=true",
    "probe.sketch_spaces=['shared', 'trainable']",
];

/// Arguments of a run of `steps` steps a stage on `device`.
fn args(device: &str, steps: u64) -> Vec<String> {
    let device = format!("device=\"{device}\"");
    let sets = SETS.iter().copied().chain([device.as_str()]).flat_map(|set| ["--set", set]);
    sets.map(str::to_owned).chain(["--steps".to_owned(), steps.to_string()]).collect()
}

fn train(run: &Path, device: &str, steps: u64) {
    let args = args(device, steps);
    train_toy(run, &args.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Starts such a run on three devices and kills it when the first checkpoint of the second stage is there.
fn train_and_kill(run: &Path, steps: u64) {
    let mut child = program();
    let child = child.args(toy(run)).args(args("cpu:3", steps));
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !run.join("checkpoints/step-000017").exists() {
        assert!(begun.elapsed() < Duration::from_mins(2), "no checkpoint came");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Rows of both runs side by side.
fn both<R: Record + Debug>(a: &Path, b: &Path) -> Vec<(R, R)> {
    let read = |path: &Path| rows::<R>(&RunDir::open(path.to_path_buf()).unwrap());
    let (a, b) = (read(a), read(b));
    assert_eq!(a.len(), b.len(), "numbers of {} differ", std::any::type_name::<R>());
    a.into_iter().zip(b).collect()
}

fn close(a: f64, b: f64, to: f64, what: &dyn Debug) {
    assert!((a - b).abs() <= to * a.abs().max(b.abs()), "{a} and {b}: {what:?}");
}

#[test]
fn several_devices_record_what_one_records() {
    let dir = tempfile::tempdir().unwrap();
    let [alone, together] = ["alone", "together"].map(|name| dir.path().join(name));
    train(&alone, "cpu", 4);
    train(&together, "cpu:2", 4);
    for (a, b) in both::<StepRow>(&alone, &together) {
        close(a.loss, b.loss, 1e-5, &b);
        close(a.grad_norm, b.grad_norm, 1e-4, &b);
        assert_eq!((a.step, a.labelled_tokens, a.sequence_tokens), (b.step, b.labelled_tokens, b.sequence_tokens));
    }
    for (a, b) in both::<SampleRow>(&alone, &together) {
        assert_eq!((&a.sample, a.step, a.micro, a.tokens), (&b.sample, b.step, b.micro, b.tokens));
        close(a.loss.unwrap(), b.loss.unwrap(), 1e-4, &b);
    }
    for (a, b) in both::<RoutingRow>(&alone, &together) {
        assert_eq!((&a.sample, a.step, &a.layer), (&b.sample, b.step, &b.layer));
        a.weights.iter().zip(&b.weights).for_each(|(x, y)| close(f64::from(*x), f64::from(*y), 1e-4, &b));
    }
    let mut virtually = 0;
    for (a, b) in both::<GradientRow>(&alone, &together) {
        assert_eq!((&a.layer, a.step, &a.space), (&b.layer, b.step, &b.space));
        close(a.norm, b.norm, 1e-4, &(&b.stage, b.step, &b.layer, &b.space));
        virtually += usize::from(a.stage == "base");
    }
    assert!(virtually > 0, "the frozen encoder's gradients were sketched");
    // Gate and extractor have gradients of nothing but rounding until the experts differ.
    let settled = |module: &str| !matches!(module, "gate" | "cve");
    for (a, b) in both::<LayerRow>(&alone, &together) {
        assert_eq!((&a.layer, &a.module, a.step), (&b.layer, &b.module, b.step));
        if settled(&a.module) {
            close(a.drift, b.drift, 1e-3, &b);
        }
    }
    for (a, b) in both::<SampleGradientRow>(&alone, &together) {
        assert_eq!((&a.sample, &a.layer, &a.module, a.step), (&b.sample, &b.layer, &b.module, b.step));
        if settled(&a.module) {
            close(a.norm.unwrap(), b.norm.unwrap(), 1e-3, &b);
        }
    }
    let pairs = both::<PairRow>(&alone, &together);
    assert!(pairs.iter().any(|(a, _)| a.mode == "exact"));
    for (a, b) in pairs {
        assert_eq!(
            (&a.sample_a, &a.sample_b, &a.layer, &a.module, &a.mode),
            (&b.sample_a, &b.sample_b, &b.layer, &b.module, &b.mode)
        );
        if let (Some(x), Some(y), true) = (a.cosine, b.cosine, settled(&a.module)) {
            assert!((x - y).abs() < 1e-3, "{a:?} {b:?}");
        }
    }
}

#[test]
fn several_devices_give_the_same_bytes_again_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, again, killed] = ["whole", "again", "killed"].map(|name| dir.path().join(name));
    train(&whole, "cpu:3", 12);
    train(&again, "cpu:3", 12);
    assert_same_run(&whole, &again);
    train_and_kill(&killed, 12);
    if status(&killed) != Status::Done {
        succeed(&["train", "--resume", killed.to_str().unwrap()]);
    }
    assert_same_run(&whole, &killed);
    assert!(!last_checkpoint(&whole).is_empty());
}

#[test]
fn a_run_goes_on_with_another_number_of_devices() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, moved] = ["whole", "moved"].map(|name| dir.path().join(name));
    train(&whole, "cpu", 20);
    train_and_kill(&moved, 20);
    // A step has three micro-batches.
    let refused = fail(&["train", "--resume", moved.to_str().unwrap(), "--device", "cpu:4"], 1);
    assert!(refused.contains("4 devices share the micro-batches"), "{refused}");
    succeed(&["train", "--resume", moved.to_str().unwrap(), "--device", "cpu:2"]);
    let manifest = Manifest::read(&RunDir::open(moved.clone()).unwrap()).unwrap();
    assert_eq!(manifest.device, "cpu:2");
    assert!(std::fs::read_to_string(moved.join("config.toml")).unwrap().contains("device = \"cpu:2\""));
    for (a, b) in both::<StepRow>(&whole, &moved) {
        close(a.loss, b.loss, 1e-4, &b);
    }
}

#[test]
fn devices_that_have_nothing_to_do_or_are_not_there_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let train = |device: &str| {
        let set = format!("device={device:?}");
        fail(&["train", "-c", "tests/fixtures/tiny.toml", "--out", out.to_str().unwrap(), "--set", &set], 1)
    };
    let error = train("cpu:2");
    assert!(error.contains("stage base: accumulation = 1: 2 devices share the micro-batches of a step"), "{error}");
    assert!(!error.contains("stage instruct"), "{error}");
    for device in ["cpu:0", "cuda:0,0", "tpu"] {
        let error = train(device);
        assert!(error.contains("device:") && error.contains(device), "{error}");
    }
    assert!(!out.exists());
}
