//! Instruction files as people have them: what is read, what is refused with which words, what is converted.

use crate::support::{fail, repository, run, succeed, text};
use std::path::Path;

/// Arguments of `command` on the toy recipe with the instruction file `file` and the pictures of its folder.
fn with_file(command: &[&str], file: &Path) -> Vec<String> {
    let folder = file.parent().unwrap().display();
    let sets = [
        format!("data.train=\"{}\"", file.display()),
        format!("data.images=\"{folder}\""),
        format!("out=\"{folder}/out\""),
        "data.max_length=64".to_owned(),
        // The sets name no tasks, which the toy recipe's text encoder learns to tell apart.
        "stage.base.tuning.text=\"freeze\"".to_owned(),
    ];
    command.iter().map(|s| (*s).to_owned()).chain(sets.into_iter().flat_map(|s| ["--set".to_owned(), s])).collect()
}

fn check(file: &Path) -> Vec<String> {
    with_file(&["data", "check", "tests/fixtures/tiny.toml"], file)
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn turns(texts: &[&str]) -> String {
    let turn = |(i, t): (usize, &&str)| {
        serde_json::json!({ "from": if i.is_multiple_of(2) { "human" } else { "gpt" }, "value": t }).to_string()
    };
    format!("[{}]", texts.iter().enumerate().map(turn).collect::<Vec<_>>().join(", "))
}

/// The peculiarities of LLaVA's set of 665,000, each at least once.
fn peculiar(folder: &Path) -> std::path::PathBuf {
    for (from, to) in [("rgb.png", "rgb.png"), ("420.jpg", "000000000420.jpg"), ("first.gif", "ocr.jpg")] {
        std::fs::copy(repository("tests/fixtures/images").join(from), folder.join(to)).unwrap();
    }
    let said = |fields: &str, texts: &[&str]| format!("{{{fields}\"conversations\": {}}}", turns(texts));
    let mut entries = vec![
        // The same picture and the same id many times.
        said(r#""id": "000000000420", "image": "000000000420.jpg", "#, &["<image>\nWhat color is the circle?", "red"]),
        said(
            r#""id": "000000000420", "image": "000000000420.jpg", "#,
            &["How many circles are there?\n<image>", "two"],
        ),
        said(
            r#""id": "000000000420", "image": "000000000420.jpg", "#,
            &["In this <image> what is left?", "a circle", "And right?", "a square"],
        ),
        // Ids that are numbers, no id at all.
        said(r#""id": 420, "image": "rgb.png", "#, &["<image>\nWhat shape is it?", "a square"]),
        said(r#""image": "rgb.png", "#, &["<image>\nWhat shape is it?", "a circle"]),
        // A GIF that is named .jpg, as about 900 of OCR-VQA are.
        said(r#""id": "ocr", "image": "ocr.jpg", "#, &["<image>\nWhat color is it?", "red"]),
        // Texts alone, from ShareGPT: a model's name, no picture, a word that looks like the mark.
        said(
            r#""id": "wNBG8Gp_0", "model": "", "#,
            &["What does <image> mean in a page?", "a picture", "And a circle?"],
        ),
        said(r#""id": "wNBG8Gp_1", "model": "", "#, &["What is a circle?", "red"]),
    ];
    // A dialogue that begins with an answer.
    entries.push(format!(
        r#"{{"id": "wNBG8Gp_2", "model": "", "conversations": [{{"from": "gpt", "value": "a circle"}}, {}]}}"#,
        turns(&["Which color?", "blue"]).trim_matches(['[', ']'])
    ));
    // An answer without a word beside one with.
    entries.push(said(r#""id": "e", "#, &["Which color?", "", "Which color?", "green"]));
    let path = folder.join("mix.json");
    std::fs::write(&path, format!("[{}]", entries.join(",\n"))).unwrap();
    path
}

#[test]
fn the_peculiarities_of_llavas_set_are_read_counted_and_trained_upon() {
    let dir = tempfile::tempdir().unwrap();
    let file = peculiar(dir.path());
    let table = succeed(&strs(&check(&file)));
    for part in [
        "10 samples, 3 images",
        "2 entries repeat the id of an earlier one",
        "keys passed over: \"model\" in 3 entries",
        "no id: one is made from the entry's place in the file, as #17 in 1 entry, first line 5 (id \"#4\")",
        "begins with an answer, which is skipped as in LLaVA in 1 entry, first line 9 (id \"wNBG8Gp_2\")",
        "<image> stands as a word in a text and is read as one in 1 entry, first line 7 (id \"wNBG8Gp_0\")",
        "<image> stands within or behind its question and is put at its front, as in LLaVA in 2 entries, first line 2",
        "ends with a question, from which nothing is learnt in 1 entry",
        "an answer is empty, from which nothing is learnt in 1 entry, first line 10 (id \"e\")",
        "not checked: whether the images can be decoded; --images does that",
        "this data can be trained on",
    ] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let images: Vec<String> = check(&file).into_iter().chain(["--images".to_owned()]).collect();
    let table = succeed(&strs(&images));
    assert!(!table.contains("not checked"), "{table}");
    assert!(table.contains("1 image named .jpg, read as the GIF that it is, first: ocr.jpg"), "{table}");
    let out = dir.path().join("run");
    let train = ["train", "-c", "tests/fixtures/tiny.toml", "--steps", "2", "--out", out.to_str().unwrap()];
    succeed(&strs(&with_file(&train, &file)));
}

#[test]
fn what_is_no_instruction_file_is_one_line_that_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let talk = turns(&["What color?", "red"]);
    let good = format!(r#"{{"id": "a", "conversations": {talk}}}"#);
    let utf16: Vec<u8> = format!("\u{feff}[{good}]").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin1: Vec<u8> = format!("[{}]", good.replace("red", "caf\u{e9}")).chars().map(|c| c as u8).collect();
    let files: Vec<(&str, Vec<u8>, &str)> = vec![
        ("utf16", utf16, "this is text in UTF-16"),
        ("gzip", b"\x1F\x8B\x08\0".to_vec(), "this is packed with gzip"),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "git lfs pull"),
        ("empty", Vec::new(), "this is empty (0 bytes)"),
        ("csv", b"id,text\n1,a\n".to_vec(), "this is a table"),
        ("latin1", latin1, "the byte 0xE9 is not UTF-8"),
        (
            "nan",
            format!("[{}]", good.replace("\"id\"", "\"score\": NaN, \"id\"")).into_bytes(),
            "line 1, entry 0: NaN is not JSON",
        ),
        ("half", format!("[{}]", good.replace("red", "\\ud83d")).into_bytes(), "\\ud83d is half of a character"),
        (
            "wrapped",
            format!("{{\"data\": [{good}]}}").into_bytes(),
            "the entries lie in a list under \"data\"; take it out: python3",
        ),
        ("comma", format!("[{good},\n]").into_bytes(), "line 2: a comma stands before the end of the list"),
        (
            "cut",
            format!("[{good},\n{}", &good[..30]).into_bytes(),
            "line 2: the file ends within the object that begins here; it was cut off",
        ),
        (
            "twice",
            format!("[{}]", good.replace("\"id\"", "\"id\": 1, \"id\"")).into_bytes(),
            "the key \"id\" stands twice",
        ),
        (
            "images",
            format!("[{}]", good.replace("\"id\"", "\"images\": [\"a\", \"b\"], \"id\"")).into_bytes(),
            "\"images\" names 2 pictures",
        ),
        (
            "case",
            format!("[{}]", good.replace("\"id\"", "\"Image\": \"a\", \"id\"")).into_bytes(),
            "did you mean \"image\"?",
        ),
    ];
    for (name, bytes, expected) in files {
        let path = dir.path().join(format!("{name}.json"));
        std::fs::write(&path, bytes).unwrap();
        let error = fail(&strs(&check(&path)), 1);
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{name}: {error}");
        assert!(error.trim_end().ends_with(&format!("{name}.json")), "{name}: {error}");
        assert_eq!(error.matches("line ").count().max(1), 1, "{name}: one line number: {error}");
    }
}

#[test]
fn a_file_of_another_tool_is_told_with_the_command_that_converts_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.jsonl");
    let entries = [
        r#"{"messages": [{"role": "user", "content": "<image>What color?"}, {"role": "assistant", "content": "red"}], "images": ["rgb.png"]}"#,
        r#"{"messages": [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "red"}], "images": ["a", "b"]}"#,
    ];
    std::fs::write(&path, entries.join("\n")).unwrap();
    std::fs::copy(repository("tests/fixtures/images/rgb.png"), dir.path().join("rgb.png")).unwrap();
    let error = fail(&strs(&check(&path)), 1);
    let command = error.split("covft-probe ").nth(1).unwrap().split(": ").next().unwrap();
    let command: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(command[..4], ["data", "convert", "--from", "swift"], "{error}");
    let refused = fail(&command, 1);
    assert!(refused.contains("line 2, entry 1") && refused.contains("several pictures"), "{refused}");
    let output = run(&[&command[..], &["--skip"]].concat());
    let out = text(&output.stdout);
    assert!(out.contains("wrote 1 entries, left out 1") && out.contains("first line 2"), "{out}");
    let converted = dir.path().join("train-llava.json");
    assert!(succeed(&strs(&check(&converted))).contains("1 samples, 1 images"));
    assert!(fail(&command, 1).contains("the file is there already"));
}

#[test]
fn a_stage_without_samples_is_found_by_the_check_and_a_misspelt_task_is_told() {
    let tiny = "tests/fixtures/tiny.toml";
    let none = run(&["data", "check", tiny, "--set", "stage.instruct.tasks=[\"nope\"]"]);
    let said = text(&none.stdout);
    assert!(
        !none.status.success()
            && said.contains("refused: stage instruct: no training sample has one of its tasks: nope"),
        "{said}"
    );
    let some = succeed(&["data", "check", tiny, "--set", "stage.instruct.tasks=[\"counting\", \"nope\"]"]);
    assert!(some.contains("warning: stage instruct: no training sample has the task nope"), "{some}");
}
