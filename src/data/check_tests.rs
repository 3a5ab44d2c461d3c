//! Tests of the check.

use super::*;
use crate::data::BatchPosition;
use crate::data::testing::{images, scenes_dataset, temporary_dataset};

const DECODE: CheckOptions<'_> = CheckOptions { decode_images: true, cache: None, progress: None, embeddings: None };

fn entry(id: &str, task: &str, image: Option<&str>, answer: &str) -> String {
    let (image, mark) = match image {
        Some(name) => (format!(r#""image": "{name}", "#), r"<image>\n"),
        None => (String::new(), ""),
    };
    format!(
        r#"{{"id": "{id}", {image}"task": "{task}", "conversations": [{{"from": "human", "value": "{mark}What color?"}}, {{"from": "gpt", "value": "{answer}"}}]}}"#
    )
}

fn plain(report: &Result<()>, dir: &tempfile::TempDir) -> String {
    report.as_ref().unwrap_err().to_string().replace(&*dir.path().to_string_lossy(), "DIR")
}

#[test]
fn counts_samples_tokens_and_images() {
    let lines = [
        entry("a", "color", Some("x.png"), "red"),
        entry("b", "color", Some("x.png"), "red"),
        entry("b", "talk", None, "a red circle"),
    ];
    let (dir, dataset) = temporary_dataset(&lines.join("\n"), 4);
    std::fs::copy(images("rgb.png"), dir.path().join("x.png")).unwrap();
    let report = check(&dataset, DECODE).unwrap();
    assert!(report.verdict(Unlabelled::Refuse, Broken::Refuse).is_ok());
    assert_eq!((report.samples(), report.images, report.findings.repeated_ids), (3, 1, 1));
    assert_eq!((report.missing.len(), report.broken.as_ref().map(Vec::len)), (0, Some(0)));
    // " red</s>" and " a red circle</s>".
    let labelled: Vec<_> = report.findings.kinds.iter().map(|k| (k.task.as_deref(), k.labelled_tokens)).collect();
    assert_eq!(labelled, [(Some("color"), 4), (Some("talk"), 4)]);
    let batch = dataset.batch(&[0, 1, 2], BatchPosition::default()).unwrap();
    let tokens: usize =
        batch.input_ids.iter().map(|r| r.iter().map(|&i| if i < 0 { 4 } else { 1 }).sum::<usize>()).sum();
    assert_eq!((report.tokens(), report.labelled_tokens()), (tokens as u64, batch.labelled_tokens() as u64));
}

#[test]
fn missing_and_broken_images_are_listed_and_refused() {
    let lines = [entry("a", "t", Some("no.png"), "red"), entry("b", "t", Some("cut.jpg"), "red")];
    let (dir, dataset) = temporary_dataset(&lines.join("\n"), 4);
    let bytes = std::fs::read(images("420.jpg")).unwrap();
    std::fs::write(dir.path().join("cut.jpg"), &bytes[..bytes.len() - 40]).unwrap();
    let report = check(&dataset, DECODE).unwrap();
    insta::assert_snapshot!(plain(&report.verdict(Unlabelled::Drop, Broken::Refuse), &dir),
        @r#"1 of 2 images are missing: DIR/no.png (sample "a"); mend them, or set data.broken to "drop" or "blank": DIR/instruct.json"#);
    std::fs::copy(images("rgb.png"), dir.path().join("no.png")).unwrap();
    let report = check(&dataset, DECODE).unwrap();
    insta::assert_snapshot!(plain(&report.verdict(Unlabelled::Drop, Broken::Refuse), &dir),
        @r#"1 of 2 images are broken: DIR/cut.jpg (sample "b"): cannot read the picture (JPEG): the file is cut off; mend them, or set data.broken to "drop" or "blank": DIR/instruct.json"#);
    let quick = check(&dataset, CheckOptions::default()).unwrap();
    assert_eq!(quick.broken, None);
    assert!(quick.verdict(Unlabelled::Drop, Broken::Refuse).is_ok());
}

#[test]
fn single_unlabelled_samples_are_dropped_or_refused_and_whole_kinds_always_refused() {
    let long = "red ".repeat(70);
    let question = format!(
        r#"{{"id": "long", "task": "t", "conversations": [{{"from": "human", "value": "{long}"}}, {{"from": "gpt", "value": "b"}}]}}"#
    );
    let lines = [entry("a", "t", None, "red"), entry("empty", "t", None, ""), question];
    let (dir, dataset) = temporary_dataset(&lines.join("\n"), 4);
    let report = check(&dataset, CheckOptions::default()).unwrap();
    assert!(report.verdict(Unlabelled::Drop, Broken::Refuse).is_ok());
    assert_eq!(report.findings.kinds[0].truncated, 1);
    insta::assert_snapshot!(plain(&report.verdict(Unlabelled::Refuse, Broken::Refuse), &dir),
        @r#"2 of 3 samples have no token to learn and data.unlabelled is "refuse": line 2 (id "empty"), line 3 (id "long"): DIR/instruct.json"#);
    let dropped: Vec<usize> = report.dropped().iter().map(|d| d.index).collect();
    let rest = dataset.without_entries(&dropped);
    assert_eq!((rest.len(), rest.index(0)), (1, 0));

    let lines = [entry("a", "t", None, "red"), entry("b", "none", None, "")];
    let (dir, dataset) = temporary_dataset(&lines.join("\n"), 4);
    let report = check(&dataset, CheckOptions::default()).unwrap();
    insta::assert_snapshot!(plain(&report.verdict(Unlabelled::Drop, Broken::Refuse), &dir),
        @r#"none of the 1 samples of task "none" without an image has a token to learn; give them answers, or raise data.max_length (60): DIR/instruct.json"#);
    let (dir, dataset) = temporary_dataset("[]", 4);
    let report = check(&dataset, CheckOptions::default()).unwrap();
    insta::assert_snapshot!(plain(&report.verdict(Unlabelled::Drop, Broken::Refuse), &dir), @"there is no sample in it: DIR/instruct.json");
}

#[test]
fn findings_are_kept_under_the_files_hash() {
    let (dir, dataset) = temporary_dataset(&entry("a", "t", Some("x.png"), "red"), 4);
    let cache = dir.path().join("cache");
    let options = CheckOptions { cache: Some(&cache), ..CheckOptions::default() };
    let first = check(&dataset, options).unwrap();
    let second = check(&dataset, options).unwrap();
    assert_eq!((first.cached, second.cached), (false, true));
    assert_eq!(first.findings, second.findings);
    // A missing image is seen either way.
    assert_eq!(second.missing.len(), 1);
    let names = || std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(names().len(), 1);
    std::fs::write(&names()[0], "{").unwrap();
    assert!(!check(&dataset, options).unwrap().cached, "a spoilt file is made again");
    assert!(check(&dataset, options).unwrap().cached);
}

#[test]
fn the_built_in_set_passes() {
    let report = check(&scenes_dataset(20, 0), DECODE).unwrap();
    assert!(report.verdict(Unlabelled::Refuse, Broken::Refuse).is_ok());
    assert_eq!((report.samples(), report.findings.kinds.len(), report.images), (160, 8, 20));
}

#[test]
fn all_samples_of_a_broken_picture_are_found_and_drop_and_blank_let_them_pass() {
    let picture = |id: &str, name: &str| entry(id, "t", Some(name), "red");
    let lines = [
        picture("a", "x.png"),
        picture("b", "no.png"),
        picture("c", "x.png"),
        picture("d", "lfs.jpg"),
        picture("e", "no.png"),
    ];
    let (dir, dataset) = temporary_dataset(&lines.join("\n"), 4);
    std::fs::copy(images("rgb.png"), dir.path().join("x.png")).unwrap();
    std::fs::write(dir.path().join("lfs.jpg"), "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let report = check(&dataset, DECODE).unwrap();
    let unusable: Vec<_> = report.unusable.iter().map(|u| (u.index, u.id.as_str())).collect();
    assert_eq!(unusable, [(1, "b"), (3, "d"), (4, "e")]);
    assert!(report.unusable[1].why.contains("Git LFS pointer"), "{}", report.unusable[1].why);
    assert_eq!((report.missing.len(), report.broken.as_ref().map(Vec::len), report.looks.len()), (1, Some(1), 2));
    for broken in [Broken::Drop, Broken::Blank] {
        assert!(report.verdict(Unlabelled::Drop, broken).is_ok());
    }
    let (_dir, none) = temporary_dataset(&picture("b", "no.png"), 4);
    let report = check(&none, DECODE).unwrap();
    assert!(
        report.verdict(Unlabelled::Drop, Broken::Drop).is_err()
            && report.verdict(Unlabelled::Drop, Broken::Blank).is_ok()
    );
}

#[test]
fn what_only_tokens_tell_is_counted_and_missing_embeddings_are_refused() {
    let lines = [
        entry("a", "t", Some("x.png"), "red"),
        r#"{"id": "b", "task": "t", "conversations": [{"from": "human", "value": "red"}, {"from": "gpt", "value": "red</s> red"}]}"#.to_owned(),
        entry("c", "t", None, ""),
    ];
    let tallies = |image_tokens: usize, embeddings| {
        let (dir, dataset) = temporary_dataset(&lines.join("\n"), image_tokens);
        std::fs::copy(images("rgb.png"), dir.path().join("x.png")).unwrap();
        let report = check(&dataset, CheckOptions { embeddings, ..CheckOptions::default() }).unwrap();
        let refusal = report.verdict(Unlabelled::Drop, Broken::Refuse).err().map(|e| e.to_string());
        let dropped: Vec<_> = report.dropped().iter().map(|d| format!("{}: {}", d.id, d.why)).collect();
        (crate::data::remark::lines(&report.findings.tallies), refusal, dropped)
    };
    let (dir, dataset) = temporary_dataset(&lines.join("\n"), 4);
    drop(dir);
    let end = dataset.preparation().tokenizers.language.end_text();
    let (language, text) = (&dataset.preparation().tokenizers.language, &dataset.preparation().tokenizers.text);
    let enough = Embeddings { language: language.vocabulary(), text: text.vocabulary() };
    let (found, _, dropped) = tallies(4, Some(enough));
    assert!(
        found.iter().any(|l| l.starts_with("an answer is empty") && l.ends_with("in 1 entry, first line 3 (id \"c\")")),
        "{found:?}"
    );
    assert_eq!(found.iter().any(|l| l.starts_with("the end token")), end == "</s>", "{found:?}");
    assert!(!found.iter().any(|l| l.contains("data.max_length cuts") || l.contains("embeddings")), "{found:?}");
    assert_eq!(dropped, ["c: it has no answer"]);
    let (found, _, dropped) = tallies(80, None);
    assert!(
        found.iter().any(|l| l == "data.max_length cuts the picture's tokens in 1 entry, first line 1 (id \"a\")"),
        "{found:?}"
    );
    assert_eq!(dropped, ["a: data.max_length cuts all of its answers", "c: it has no answer"]);
    for (embeddings, model) in [
        (Embeddings { language: 5, ..enough }, "beyond the 5 embeddings of the language model"),
        (Embeddings { text: 5, ..enough }, "beyond the 5 embeddings of the text encoder"),
    ] {
        let (found, refusal, _) = tallies(4, Some(embeddings));
        assert!(found.iter().any(|l| l.contains(model)), "{found:?}");
        let refusal = refusal.unwrap();
        assert!(
            refusal.contains(model) && refusal.contains("use the tokenizer that belongs to the model"),
            "{refusal}"
        );
    }
}

#[test]
fn a_system_message_of_its_own_is_what_is_said_first() {
    let line = r#"{"id": "a", "system": "A red circle.", "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "red"}]}"#;
    let (_dir, dataset) = temporary_dataset(line, 4);
    let language = &dataset.preparation().tokenizers.language;
    let said = |ids: &[i64]| language.decode(&ids.iter().map(|&i| i as u32).collect::<Vec<_>>()).unwrap();
    let encoded = dataset.encode(0, &dataset.entry(0).unwrap()).unwrap();
    let whole = said(&encoded.ids);
    let system = said(&language.ids("A red circle. ").unwrap().into_iter().map(i64::from).collect::<Vec<_>>());
    assert!(whole.trim_start().starts_with(system.trim()), "{whole:?} does not begin with {system:?}");
    let prompt = said(&dataset.eval_item(0).unwrap().prompt_ids);
    assert!(whole.starts_with(&prompt) && prompt.len() > system.len(), "{prompt:?}");
}
