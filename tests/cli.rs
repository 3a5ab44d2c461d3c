//! The commands as people use them: what they print, how they fail.

use crate::support::{fail, list, repository, succeed, train_toy};
use std::path::PathBuf;

fn recipes() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in list(&repository("configs")) {
        if path.is_dir() {
            found.extend(list(&path));
        } else {
            found.push(path);
        }
    }
    assert!(found.len() >= 6, "{found:?}");
    found
}

#[test]
fn every_recipe_is_read_and_its_resolved_form_is_the_same_recipe() {
    let dir = tempfile::tempdir().unwrap();
    for recipe in recipes() {
        let shown = succeed(&["train", "-c", recipe.to_str().unwrap(), "--show-config"]);
        let copy = dir.path().join("copy.toml");
        std::fs::write(&copy, &shown).unwrap();
        assert_eq!(shown, succeed(&["train", "-c", copy.to_str().unwrap(), "--show-config"]), "{}", recipe.display());
    }
}

#[test]
fn overrides_reach_any_key_and_say_what_is_wrong() {
    let shown = succeed(&[
        "train",
        "--set",
        "stage.instruct.steps=7",
        "--set",
        "stage.0.batch_size=3",
        "--set",
        "stage.instruct.tuning.vision={ type = \"lora\", rank = 2 }",
        "--seed",
        "9",
        "--show-config",
    ]);
    for line in ["seed = 9", "steps = 7", "batch_size = 3", "rank = 2"] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let error = fail(&["train", "--set", "stage.instruct.stepz=7"], 1);
    assert!(error.contains("--set stage.instruct.stepz=7: unknown field `stepz`"), "{error}");
    let error = fail(&["train", "--set", "stage.nothing.steps=7"], 1);
    assert!(error.contains("no stage nothing; there are base"), "{error}");
    let error = fail(&["train", "--set", "data.workers=0", "--set", "stage.0.batch_size=0"], 1);
    assert!(error.contains("data.workers") && error.contains("batch_size"), "both violations are told: {error}");
}

#[test]
fn a_broken_manifest_is_told_where_records_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("manifest.json"), "{ \"schema\": 1, \"na").unwrap();
    let (run, out) = (dir.path().to_str().unwrap(), dir.path().join("out"));
    let calls: [&[&str]; 2] = [&["analyze", run], &["export", run, "--format", "csv", "--out", out.to_str().unwrap()]];
    for call in calls {
        let error = fail(call, 1);
        assert!(error.contains("not valid JSON") && error.contains("records"), "{call:?}: {error}");
    }
}

#[test]
fn an_unknown_key_is_told_with_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrong.toml");
    let text = std::fs::read_to_string(repository("configs/scenes.toml")).unwrap();
    std::fs::write(&path, text.replace("max_length", "max_lenght")).unwrap();
    let error = fail(&["train", "-c", path.to_str().unwrap()], 1);
    assert!(error.contains("max_lenght") && error.contains("line") && error.contains("column"), "{error}");
    assert!(error.trim_end().ends_with("wrong.toml"), "{error}");
    fail(&["train", "--nonsense"], 2);
}

#[test]
fn missing_folders_are_one_error_that_says_how_to_fill_them() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let set = ["data.train=\"no/such.json\"", "data.images=\"no/images\"", "model.vision.weights=\"no/weights\""];
    let sets = set.iter().flat_map(|s| ["--set", s]);
    let args: Vec<&str> = ["train", "--out", out.to_str().unwrap()].into_iter().chain(sets).collect();
    let error = fail(&args, 1);
    for part in ["no/such.json", "no/images", "no/weights", "fetch-weights"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    assert!(!out.exists(), "a run that never began left a directory");
}

#[test]
fn the_reference_numbers_hold() {
    for folder in ["tests/fixtures/covft-tiny", "tests/fixtures/covft-odd"] {
        let table = succeed(&["verify", folder]);
        for method in ["context_moe_layernorm", "fullft", "freeze", "bias", "lora", "vpt", "llama-gqa", "towers/dinov2"]
        {
            assert!(table.contains(method), "{method} was not checked in {folder}");
        }
        assert!(table.contains("passed:"), "{table}");
    }
}

#[test]
fn a_wrong_reference_number_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("wrong");
    copy(&repository("tests/fixtures/covft-odd"), &folder);
    let path = folder.join("expected/meta.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut meta: serde_json::Value = serde_json::from_str(&text).unwrap();
    meta["train"]["lora"]["losses"][2] = serde_json::json!(9.0);
    std::fs::write(&path, meta.to_string()).unwrap();
    let output = crate::support::run(&["verify", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAIL"));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in list(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn inspect_counts_what_trains() {
    let table = succeed(&["inspect", "--tensors"]);
    for part in ["stage instruct", "experts", "cve", "gate", "trained, unreached", "fits:"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let error = fail(&["inspect", "--set", "stage.instruct.batch_size=1048576"], 1);
    assert!(error.is_empty(), "the refusal is in the table's verdict: {error}");
}

#[test]
fn init_writes_a_recipe_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    let path = path.to_str().unwrap();
    succeed(&["init", "real-mini", "--out", path]);
    succeed(&["train", "-c", path, "--show-config"]);
    assert!(fail(&["init", "scenes", "--out", path], 1).contains("mine.toml"));
    assert!(fail(&["init", "nothing"], 1).contains("real-mini"));
}

#[test]
fn data_scenes_writes_a_set_that_data_check_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("scenes");
    let out = folder.to_str().unwrap();
    succeed(&["data", "scenes", "--out", out, "--train", "5", "--val", "2"]);
    let sets = [
        format!("data.train=\"{out}/instruct.json\""),
        format!("data.val=\"{out}/instruct_val.json\""),
        format!("data.images=\"{out}/images\""),
        format!("out=\"{out}\""),
    ];
    let args: Vec<&str> =
        ["data", "check", "--images"].into_iter().chain(sets.iter().flat_map(|s| ["--set", s.as_str()])).collect();
    let table = succeed(&args);
    assert!(table.contains("40 samples, 5 images") && table.contains("16 samples, 2 images"), "{table}");
    // A picture that is gone and one that is no picture.
    let pictures = list(&folder.join("images"));
    std::fs::remove_file(&pictures[0]).unwrap();
    std::fs::write(&pictures[1], b"not a picture").unwrap();
    let output = crate::support::run(&args);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.contains("missing image") && table.contains("broken image"), "{table}");
}

#[test]
fn a_checkpoint_answers_draws_its_figures_and_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train_toy(&run, &["--steps", "9"]);
    let checkpoints = list(&run.join("checkpoints"));
    let (first, last) = (checkpoints.first().unwrap().to_str().unwrap(), checkpoints.last().unwrap().to_str().unwrap());
    let image = list(&run.join("images")).remove(0);
    let args = ["generate", last, "--image", image.to_str().unwrap(), "--prompt", "How many circles are there?"];
    let answer = succeed(&args);
    assert!(answer.contains("routing by layer") && answer.contains("expert 1"), "{answer}");
    assert_eq!(answer, succeed(&args), "greedy answers repeat");
    let table = succeed(&["drift", first, last]);
    assert!(table.contains("vision") && table.contains("relative"), "{table}");
    let figures = succeed(&["plot", run.to_str().unwrap()]);
    for figure in ["loss.svg", "drift.svg", "drift.png", "drift.csv", "routing-by-task.svg"] {
        assert!(figures.contains(figure), "{figure} is not in {figures}");
    }
    let error = fail(&["generate", dir.path().to_str().unwrap(), "--prompt", "x"], 1);
    assert!(error.contains("config.json"), "{error}");
}

#[test]
fn damaged_and_finished_runs_are_refused_with_their_path() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train_toy(&run, &["--steps", "3"]);
    let path = run.to_str().unwrap();
    let error = fail(&["train", "--resume", path], 1);
    assert!(error.contains("finished") && error.trim_end().ends_with("run"), "{error}");
    let error = fail(&["train", "--resume", dir.path().join("nothing").to_str().unwrap()], 1);
    assert!(error.contains("nothing"), "{error}");
    let checkpoint = list(&run.join("checkpoints")).pop().unwrap();
    let model = checkpoint.join("model.safetensors");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    let error = fail(&["drift", checkpoint.to_str().unwrap(), checkpoint.to_str().unwrap()], 1);
    assert!(error.contains("model.safetensors"), "{error}");
}
