//! A run goes on only under the premises it began with; what may change, changes nothing that is computed.

use crate::support::{assert_same_run, fail, list, program, run, status, succeed, text};
use covft_analyses::store::{Change, Manifest, RunDir, Status};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Data, tokenizers and weights on disk, and a run over them that was stopped in the middle of its second stage.
struct Stopped {
    dir: tempfile::TempDir,
}

impl Stopped {
    fn new(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        succeed(&["data", "scenes", "--out", &at("data"), "--train", "8", "--val", "2"]);
        let sets = [
            format!("out=\"{}\"", at("runs")),
            format!("data.train=\"{}\"", at("data/instruct.json")),
            format!("data.images=\"{}\"", at("data/images")),
            format!("data.val=\"{}\"", at("data/instruct_val.json")),
            format!("model.language.tokenizer=\"{}\"", at("data/tokenizers/llm_tokenizer.json")),
            format!("model.text.tokenizer=\"{}\"", at("data/tokenizers/text_tokenizer.json")),
            "stage.base.steps=3".into(),
            "stage.instruct.steps=12".into(),
            "stage.instruct.checkpoint_every=4".into(),
            "stage.instruct.keep_last=9".into(),
            "stage.instruct.eval_every=6".into(),
        ];
        let whole = at("whole");
        let mut args = vec!["train", "-c", "tests/fixtures/tiny.toml", "--out", &whole];
        args.extend(sets.iter().map(String::as_str).chain(more.iter().copied()).flat_map(|set| ["--set", set]));
        succeed(&args);
        let stopped = Self { dir };
        stopped.again("run");
        stopped
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The whole run as it was after seven steps, under `name`.
    fn again(&self, name: &str) -> String {
        let run = self.path(name);
        drop(std::fs::remove_dir_all(&run));
        copy(&self.path("whole"), &run);
        for checkpoint in list(&run.join("checkpoints")) {
            if checkpoint.file_name().unwrap().to_str().unwrap() > "step-000007" {
                std::fs::remove_dir_all(checkpoint).unwrap();
            }
        }
        let manifest = run.join("manifest.json");
        edit(&manifest, "\"status\": \"done\"", "\"status\": \"running\"");
        assert_eq!(status(&run), Status::Running);
        run.display().to_string()
    }

    fn entries(&self, change: impl FnOnce(&mut Vec<Value>)) {
        let path = self.path("data/instruct.json");
        let mut entries: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut entries);
        std::fs::write(path, serde_json::to_vec(&entries).unwrap()).unwrap();
    }

    /// `--resume` is refused; what it says.
    fn refused(&self) -> String {
        let error = fail(&["train", "--resume", self.path("run").to_str().unwrap()], 1);
        assert!(error.contains("cannot go on as it began"), "{error}");
        assert!(error.trim_end().ends_with("run"), "the message does not end in the run: {error}");
        error
    }

    /// Goes on with `flags`; what the manifest says of it.
    fn accepted(&self, flags: &[&str]) -> Vec<Change> {
        let run = self.path("run");
        succeed(&[&["train", "--resume", run.to_str().unwrap()], flags].concat());
        assert_eq!(status(&run), Status::Done);
        Manifest::read(&RunDir::open(run).unwrap()).unwrap().changed
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in list(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(path, target).unwrap();
        }
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_run_with_all_its_premises_goes_on_to_the_same_bytes() {
    let run = Stopped::new(&[]);
    // A file that is only written otherwise holds the same samples.
    let path = run.path("data/instruct.json");
    let entries: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::write(path, serde_json::to_vec_pretty(&entries).unwrap()).unwrap();
    assert_eq!(run.accepted(&[]), []);
    assert_same_run(&run.path("whole"), &run.path("run"));
}

#[test]
fn other_samples_are_refused_with_the_first_that_differs_and_go_on_when_accepted() {
    let run = Stopped::new(&[]);
    let path = run.path("data/instruct.json");
    let original = std::fs::read(&path).unwrap();
    run.entries(|entries| entries.truncate(30));
    let error = run.refused();
    assert!(error.contains("data.train: the run began with 64 samples (sha256 "), "{error}");
    assert!(error.contains("now it is 30 samples") && error.contains("all after sample 30 are gone"), "{error}");
    assert!(error.contains("--data-changed"), "{error}");

    std::fs::write(&path, &original).unwrap();
    run.entries(|entries| entries[7]["conversations"][1]["value"] = "something else".into());
    let error = run.refused();
    assert!(error.contains("1 are gone or changed, 1 are new or changed; the first that differs is line"), "{error}");
    assert!(error.contains("entry 7 (id "), "{error}");

    std::fs::write(&path, &original).unwrap();
    run.entries(|entries| entries[9]["system"] = "Answer in rhymes.".into());
    let error = run.refused();
    assert!(error.contains("1 are gone or changed, 1 are new or changed") && error.contains("entry 9 (id "), "{error}");

    std::fs::write(&path, &original).unwrap();
    run.entries(|entries| entries.reverse());
    let error = run.refused();
    assert!(error.contains("the same samples in another order; the first that differs is"), "{error}");
    let id = error.split("entry 0 (id \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(std::str::from_utf8(&original).unwrap().contains(id));

    // Fewer samples: epochs are shorter, and the run goes on at its step all the same.
    std::fs::write(&path, &original).unwrap();
    run.entries(|entries| entries.truncate(11));
    let changed = run.accepted(&["--data-changed"]);
    assert_eq!(changed.len(), 1, "{changed:?}");
    let change = &changed[0];
    assert_eq!((change.what.as_str(), change.accepted.as_deref(), change.step), ("data.train", Some("data"), 7));
    assert!(change.was.starts_with("64 samples") && change.is.starts_with("11 samples"), "{change:?}");

    // What was accepted is what the run stands on from then on.
    edit(&run.path("run/manifest.json"), "\"status\": \"done\"", "\"status\": \"running\"");
    let again = run.accepted(&[]);
    assert_eq!(again, changed);
}

#[test]
fn held_out_samples_and_pictures_are_premises_too() {
    let run = Stopped::new(&[]);
    edit(&run.path("data/instruct_val.json"), "\"from\":\"gpt\",\"value\":\"", "\"from\":\"gpt\",\"value\":\"no ");
    assert!(run.refused().contains("data.val: the run began with"));
    let run = Stopped::new(&[]);
    let picture = list(&run.path("data/images")).remove(0);
    std::fs::copy(list(&run.path("data/images")).pop().unwrap(), &picture).unwrap();
    let error = run.refused();
    assert!(error.contains("data.train, pictures: ") && error.contains("whose picture had"), "{error}");
    std::fs::remove_file(&picture).unwrap();
    let error = fail(&["train", "--resume", run.path("run").to_str().unwrap(), "--check", "lazily"], 1);
    assert!(error.contains("missing"), "{error}");
}

#[test]
fn other_tokenizers_are_refused() {
    let run = Stopped::new(&[]);
    let tokenizer = run.path("data/tokenizers/text_tokenizer.json");
    let mut bytes = std::fs::read(&tokenizer).unwrap();
    bytes.push(b'\n');
    std::fs::write(tokenizer, bytes).unwrap();
    let error = run.refused();
    assert!(
        error.contains("model.text.tokenizer: the run began with") && error.contains("--accept tokenizers"),
        "{error}"
    );
    let changed = run.accepted(&["--accept", "tokenizers"]);
    assert_eq!(changed[0].accepted.as_deref(), Some("tokenizers"));
}

#[test]
fn other_weights_are_refused() {
    let first = Stopped::new(&[]);
    let weights = first.path("weights");
    copy(&list(&first.path("whole/checkpoints")).remove(0), &weights);
    let key = format!("model.checkpoint=\"{}\"", weights.display());
    let run = Stopped::new(&[&key]);
    let model = weights.join("model.safetensors");
    let mut bytes = std::fs::read(&model).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(model, bytes).unwrap();
    let error = run.refused();
    assert!(error.contains("model.checkpoint, model.safetensors: the run began with"), "{error}");
    let changed = run.accepted(&["--accept", "weights"]);
    assert_eq!(changed[0].accepted.as_deref(), Some("weights"));
}

#[test]
fn every_key_that_trains_is_named_when_it_changed_and_others_are_noted() {
    let run = Stopped::new(&[]);
    let config = run.path("run/config.toml");
    let original = std::fs::read_to_string(&config).unwrap();
    for (from, to, line) in [
        ("batch_size = 2", "batch_size = 4", "stage.instruct.batch_size: the run began with 2, config.toml now says 4"),
        ("learning_rate = 0.001", "learning_rate = 0.002", "stage.base.learning_rate: the run began with 0.001"),
        ("seed = 3", "seed = 4", "  - seed: the run began with 3, config.toml now says 4"),
        ("steps = 12", "steps = 13", "stage.instruct.steps: the run began with 12, config.toml now says 13"),
        ("template = \"chatml\"", "template = \"v1\"", "data.template: the run began with \"chatml\""),
        ("max_length = 128", "max_length = 127", "data.max_length: the run began with 128, config.toml now says 127"),
    ] {
        edit(&config, from, to);
        let error = run.refused();
        assert!(error.contains(line) && error.contains("--accept recipe"), "{error}");
        std::fs::write(&config, &original).unwrap();
    }
    // All at once, each on its line.
    edit(&config, "batch_size = 2", "batch_size = 4");
    edit(&config, "schedule = \"cosine\"", "schedule = \"constant\"");
    assert_eq!(run.refused().matches("\n  - ").count(), 2);
    let changed = run.accepted(&["--accept", "recipe"]);
    assert_eq!(changed.iter().filter(|c| c.accepted.as_deref() == Some("recipe")).count(), 2, "{changed:?}");

    // What may change is noted, and changes nothing.
    run.again("run");
    edit(&config, "workers = 1", "workers = 2");
    edit(&config, "keep_last = 9", "keep_last = 8");
    let changed = run.accepted(&[]);
    let noted: Vec<_> = changed.iter().map(|c| (c.what.as_str(), c.was.as_str(), c.is.as_str(), &c.accepted)).collect();
    assert_eq!(noted, [("data.workers", "1", "2", &None), ("stage.instruct.keep_last", "9", "8", &None)]);
    assert_same_run(&run.path("whole"), &run.path("run"));
}

#[test]
fn another_dispatch_level_is_refused_and_another_version_is_told() {
    let stopped = Stopped::new(&[]);
    let path = stopped.path("run");
    let resume = |more: &[&str]| {
        let mut command = program();
        command.env("COVFT_SIMD", "baseline").args(["train", "--resume", path.to_str().unwrap()]).args(more);
        command.output().unwrap()
    };
    let output = resume(&[]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("dispatch level: the run began with avx") && error.contains("--accept dispatch"), "{error}");
    assert!(resume(&["--accept", "dispatch"]).status.success());
    let manifest = Manifest::read(&RunDir::open(&path).unwrap()).unwrap();
    assert_eq!((manifest.dispatch.as_str(), manifest.changed[0].accepted.as_deref()), ("baseline", Some("dispatch")));

    stopped.again("run");
    let version = format!("\"covft-probe\": \"{}\"", env!("CARGO_PKG_VERSION"));
    edit(&path.join("manifest.json"), &version, "\"covft-probe\": \"0.0.1\"");
    let output = run(&["train", "--resume", path.to_str().unwrap()]);
    let told = text(&output.stderr);
    assert!(output.status.success() && told.contains("begun by version 0.0.1 and goes on with"), "{told}");
    let manifest = Manifest::read(&RunDir::open(&path).unwrap()).unwrap();
    assert_eq!((manifest.changed[0].what.as_str(), manifest.changed[0].was.as_str()), ("version", "0.0.1"));
}

#[test]
fn a_run_without_a_record_of_its_premises_goes_on_and_says_so() {
    let stopped = Stopped::new(&[]);
    let path = stopped.path("run");
    std::fs::remove_file(path.join("premises.json")).unwrap();
    let output = run(&["train", "--resume", path.to_str().unwrap()]);
    let told = text(&output.stderr);
    assert!(output.status.success() && told.contains("no premises.json"), "{told}");
    assert!(path.join("premises.json").is_file(), "what it goes on with is not kept");
    stopped.again("run");
    std::fs::write(path.join("premises.json"), "{").unwrap();
    let error = fail(&["train", "--resume", path.to_str().unwrap()], 1);
    assert!(
        error.contains("cannot read what the run began with") && error.trim_end().ends_with("premises.json"),
        "{error}"
    );
    let error = fail(&["train", "--resume", path.to_str().unwrap(), "--accept", "weather"], 2);
    assert!(error.contains("recipe, data, tokenizers, weights, dispatch"), "{error}");
}

#[test]
fn a_study_goes_on_only_with_the_recipe_and_the_data_that_its_runs_began_with() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    succeed(&["data", "scenes", "--out", &at("data"), "--train", "4", "--val", "1"]);
    let sets = [
        "study={ kind = \"methods\", methods = [\"freeze\", \"bitfit\"], seeds = [0] }".to_owned(),
        format!("out=\"{}\"", at("runs")),
        format!("data.train=\"{}\"", at("data/instruct.json")),
        format!("data.images=\"{}\"", at("data/images")),
        "stage.base.steps=2".into(),
        "stage.instruct.steps=2".into(),
        "stage.instruct.generate_samples=1".into(),
    ];
    let study = at("study");
    let mut args = vec!["experiment", "methods", "-c", "tests/fixtures/tiny.toml", "--out", &study];
    args.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
    succeed(&args);
    let resume = ["experiment", "methods", "--resume", &study];
    std::fs::remove_dir_all(dir.path().join("study/bitfit-seed0")).unwrap();
    let config = dir.path().join("study/config.toml");
    let original = std::fs::read_to_string(&config).unwrap();
    edit(&config, "max_length = 128", "max_length = 127");
    let error = fail(&resume, 1);
    assert!(error.contains("base: data.max_length: the run began with 128, config.toml now says 127"), "{error}");
    std::fs::write(&config, original).unwrap();
    edit(&dir.path().join("data/instruct.json"), "\"from\":\"gpt\",\"value\":\"", "\"from\":\"gpt\",\"value\":\"no ");
    let error = fail(&resume, 1);
    assert!(error.contains("data.train: the run began with 32 samples"), "{error}");
    succeed(&[&resume[..], &["--data-changed"]].concat());
}
