//! A reader that goes (`| head -1`) ends the printing, not the work.

use crate::support::{list, program, run, status, text, train_toy};
use covft_analyses::store::Status;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};

/// Runs a command whose output nobody reads beyond `lines`; its standard error is read to the end.
fn cut_after(lines: usize, args: &[&str]) {
    let mut child: Child = program().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let listener = std::thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        errors.read_to_end(&mut bytes).unwrap();
        text(&bytes)
    });
    let out = child.stdout.take().unwrap();
    let read = BufReader::new(out).lines().take(lines).count();
    let code = child.wait().unwrap().code();
    let told = listener.unwrap().join().unwrap();
    assert_eq!(code, Some(0), "{args:?} after {read} lines\n{told}");
    for word in ["error:", "panicked", "internal error", "Broken pipe", "report it"] {
        assert!(!told.contains(word), "{args:?} after {read} lines\n{told}");
    }
}

fn files(folder: &Path) -> Vec<(String, usize)> {
    list(folder)
        .into_iter()
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap().len()))
        .collect()
}

#[test]
fn every_command_that_prints_ends_quietly_when_its_reader_goes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let run = at("run");
    train_toy(Path::new(&run), &["--steps", "6"]);
    let checkpoint = list(&Path::new(&run).join("checkpoints")).pop().unwrap().display().to_string();
    let picture = list(&Path::new(&run).join("images")).remove(0).display().to_string();
    let tiny = "tests/fixtures/tiny.toml";
    let (csv, tables, figures) = (at("csv"), at("tables"), at("figures"));
    let scenes = at("scenes");
    let commands: [&[&str]; 13] = [
        &["--help"],
        &["train", "--help"],
        &["train", "-c", tiny, "--show-config"],
        &["analyze", &run, "--k", "2"],
        &["compare", &run, &run],
        &["compare", &run, &run, "--out", &tables, "--force"],
        &["plot", &run, "--format", "svg", "--out", &figures, "--force"],
        &["export", &run, "--format", "csv", "--out", &csv, "--force"],
        &["inspect", tiny],
        &["data", "check", tiny],
        &["data", "scenes", "--out", &scenes, "--train", "2", "--val", "1"],
        &["drift", &checkpoint, &checkpoint],
        &["generate", &checkpoint, "--prompt", "what?", "--image", &picture],
    ];
    for command in commands {
        for lines in [0, 1, 3] {
            cut_after(lines, command);
        }
    }
    cut_after(1, &["verify", "tests/fixtures/covft-tiny"]);

    // Everything is written all the same.
    let (whole, drawn) = (at("whole"), at("drawn"));
    crate::support::succeed(&["plot", &run, "--format", "svg", "--out", &drawn]);
    crate::support::succeed(&["export", &run, "--format", "csv", "--out", &whole]);
    let names = |folder: &str| files(Path::new(folder)).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&figures), names(&drawn));
    assert_eq!(files(Path::new(&csv)), files(Path::new(&whole)));
    assert_eq!(files(Path::new(&tables)).len(), 6);
}

#[test]
fn a_run_whose_reader_went_trains_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let mut args = crate::support::toy(&path);
    args.extend(["--steps".into(), "4".into()]);
    let mut child = program().args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Both ends: the progress goes to the standard error.
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(status(&path), Status::Done);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    const SHOW: [&str; 4] = ["train", "-c", "tests/fixtures/tiny.toml", "--show-config"];
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = program().args(SHOW).stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
    let output = output.unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("error: cannot write the output: ") && told.lines().count() == 1, "{told}");
    assert!(run(&SHOW).status.success());
}
