//! Whole runs over pictures that cannot be read.

use crate::support::{fail, last_checkpoint, repository, run, status, succeed, text};
use covft_analyses::store::{Instead, Manifest, RunDir, Status};
use std::path::{Path, PathBuf};

/// The written built-in set, with the toy recipe's settings for it.
struct Set {
    dir: tempfile::TempDir,
}

impl Set {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        succeed(&["data", "scenes", "--out", dir.path().to_str().unwrap(), "--train", "3", "--val", "1"]);
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Pictures of the training set, sorted.
    fn pictures(&self) -> Vec<PathBuf> {
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(self.at("instruct.json")).unwrap()).unwrap();
        let name = |e: &serde_json::Value| self.at("images").join(e["image"].as_str().unwrap());
        let mut all: Vec<PathBuf> = json.as_array().unwrap().iter().map(name).collect();
        all.dedup();
        all
    }

    /// Arguments of `command` over the set.
    fn args(&self, command: &[&str], more: &[&str]) -> Vec<String> {
        let keys = [("out", "out"), ("data.train", "instruct.json"), ("data.images", "images")];
        let set = |(key, path): (&str, &str)| ["--set".to_owned(), format!("{key}=\"{}\"", self.at(path).display())];
        let words = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
        [words(command), keys.into_iter().flat_map(set).collect(), words(more)].concat()
    }

    fn train(&self, name: &str, more: &[&str]) -> Vec<String> {
        let recipe = repository("tests/fixtures/tiny.toml").display().to_string();
        let out = self.at(name).display().to_string();
        self.args(&["train", "-c", &recipe, "--out", &out, "--steps", "8"], more)
    }
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn manifest(run: &Path) -> Manifest {
    Manifest::read(&RunDir::open(run.to_path_buf()).unwrap()).unwrap()
}

#[test]
fn a_broken_picture_is_decided_before_step_0_and_every_choice_is_listed() {
    let set = Set::new();
    let pictures = set.pictures();
    std::fs::write(&pictures[1], b"").unwrap();
    std::fs::remove_file(&pictures[2]).unwrap();
    let error = fail(&strs(&set.train("refuse", &[])), 1);
    assert!(error.contains("1 of 3 images are missing") && error.contains("set data.broken to"), "{error}");
    assert!(!set.at("refuse").exists(), "nothing began");

    let output = run(&strs(&set.args(&["data", "check", "tests/fixtures/tiny.toml", "--images"], &[])));
    let said = text(&output.stdout);
    assert!(said.contains("broken image") && said.contains("the file is empty (0 bytes)"), "{said}");
    let quick = text(&run(&strs(&set.args(&["data", "check", "tests/fixtures/tiny.toml"], &[]))).stdout);
    assert!(quick.contains("not checked: whether the images can be decoded"), "{quick}");

    let begun = run(&strs(&set.train("drop", &["--broken", "drop"])));
    let said = text(&begun.stderr);
    assert!(begun.status.success() && said.contains("pictures (train): 16 of 24 samples dropped, first"), "{said}");
    let dropped = manifest(&set.at("drop"));
    assert_eq!((dropped.pictures.len(), dropped.dropped.len()), (16, 16));
    assert!(dropped.pictures.iter().all(|p| p.instead == Instead::Nothing && p.split == "train" && p.index >= 8));
    succeed(&strs(&set.train("blank", &["--set", "data.broken=\"blank\""])));
    let blank = manifest(&set.at("blank"));
    assert!(blank.pictures.len() == 16 && blank.pictures.iter().all(|p| p.instead == Instead::Blank));
    assert!(blank.dropped.is_empty());
}

#[test]
fn a_run_that_met_a_broken_picture_goes_on() {
    let set = Set::new();
    let picture = set.pictures()[1].clone();
    let good = std::fs::read(&picture).unwrap();
    std::fs::write(&picture, &good[..good.len() / 2]).unwrap();
    let error = fail(&strs(&set.train("run", &["--check", "lazily"])), 1);
    assert!(error.contains("sample ") && error.contains("--resume RUN --broken drop"), "{error}");
    assert!(matches!(status(&set.at("run")), Status::Failed { .. }));
    let run_at = set.at("run").display().to_string();
    // Again without a word: it ends at the same place.
    assert!(fail(&["train", "--resume", &run_at], 1).contains("--broken drop"));
    succeed(&["train", "--resume", &run_at, "--broken", "drop"]);
    assert_eq!(status(&set.at("run")), Status::Done);
    let met = manifest(&set.at("run")).pictures;
    assert!(!met.is_empty() && met.iter().all(|p| p.instead == Instead::NextSample), "{met:?}");
}

#[test]
fn a_run_goes_on_with_what_it_decided_although_the_picture_was_mended() {
    let set = Set::new();
    let picture = set.pictures()[0].clone();
    let good = std::fs::read(&picture).unwrap();
    std::fs::write(&picture, b"<html>404</html>").unwrap();
    let settings = ["--broken", "blank", "--set", "stage.instruct.checkpoint_every=3"];
    succeed(&strs(&set.train("whole", &settings)));
    succeed(&strs(&set.train("parts", &settings)));
    // Back to an earlier checkpoint.
    let parts = set.at("parts");
    let last = crate::support::list(&parts.join("checkpoints")).pop().unwrap();
    std::fs::remove_dir_all(last).unwrap();
    let mut running = manifest(&parts);
    running.finish(Status::Running);
    running.write(&RunDir::open(parts.clone()).unwrap()).unwrap();
    std::fs::write(&picture, good).unwrap();
    succeed(&["train", "--resume", parts.to_str().unwrap()]);
    assert_eq!(last_checkpoint(&set.at("whole")), last_checkpoint(&parts));
}
