//! Tests of the conversions.

use super::*;
use crate::data::InstructFile;
use crate::data::conversation::Role;

fn converted(form: Form, text: &str, skip: bool) -> (tempfile::TempDir, Result<Converted>) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.json"), dir.path().join("b.json"));
    fs::write(&from, text).unwrap();
    let done = convert(&from, form, &to, false, skip);
    assert!(!dir.path().join("b.json.part").exists());
    assert_eq!(to.exists(), done.is_ok(), "a file is whole or not there");
    (dir, done)
}

/// The entries of one file, read as training reads them: id, image, system, and what is said.
fn read(form: Form, text: &str) -> Vec<String> {
    let (dir, done) = converted(form, text, false);
    done.unwrap();
    let file = InstructFile::open(&dir.path().join("b.json")).unwrap();
    let show = |i| {
        let entry = file.entry(i).unwrap();
        let said = entry.turns.iter().map(|t| format!("{}{}", if t.role == Role::Human { '?' } else { '!' }, t.text));
        let parts = [&*entry.id, entry.image.as_deref().unwrap_or("-"), entry.system.as_deref().unwrap_or("-")];
        parts.into_iter().map(str::to_owned).chain(said).collect::<Vec<_>>().join(" | ").replace('\n', "/")
    };
    (0..file.len()).map(show).collect()
}

/// Why an entry is refused.
fn refusal(form: Form, entry: &str) -> String {
    let (dir, done) = converted(form, &format!("[\n{entry}]"), false);
    done.unwrap_err().to_string().replace(&*dir.path().to_string_lossy(), "DIR")
}

#[test]
fn llama_factory() {
    let alpaca = r#"[
        {"instruction": "<image>What?", "input": "In short.", "output": "Red.", "images": ["a.png"], "system": "S.", "extra": 1},
        {"instruction": "b", "input": "", "output": "c", "history": [["q", "r"], ["s", "t"]], "images": [], "system": ""}]"#;
    insta::assert_snapshot!(read(Form::LlamaFactory, alpaca).join("\n"), @r#"
        #0 | a.png | S. | ?<image>/What?/In short. | !Red.
        #1 | - | - | ?q | !r | ?s | !t | ?b | !c
        "#);
    let sharegpt = r#"{"conversations": [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "a"}], "images": ["a.png"], "tools": ""}
        {"id": 7, "messages": [{"role": "system", "content": "S."}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#;
    insta::assert_snapshot!(read(Form::LlamaFactory, sharegpt).join("\n"), @r#"
        #0 | a.png | - | ?<image>/q | !a
        7 | - | S. | ?q | !a
        "#);
    insta::assert_snapshot!(refusal(Form::LlamaFactory, r#"{"id": "x", "instruction": "<image><image>q", "output": "a", "images": ["a", "b"]}"#), @r#"line 2, entry 0 (id "x"): there are several pictures, but an entry has one; --skip leaves such entries out: DIR/a.json"#);
    insta::assert_snapshot!(refusal(Form::LlamaFactory, r#"{"instruction": "q", "output": "a", "images": ["a"]}"#), @r#"line 2, entry 0: no question has <image>, which says where the image "a" stands; put it at the front of the first; --skip leaves such entries out: DIR/a.json"#);
    insta::assert_snapshot!(refusal(Form::LlamaFactory, r#"{"instruction": "q", "output": "a", "videos": ["a"]}"#), @r#"line 2, entry 0: "videos" is a list of 1; videos are not read; leave such entries out; --skip leaves such entries out: DIR/a.json"#);
}

#[test]
fn swift() {
    let text = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "images": ["a.png"]}
        {"messages": [{"role": "user", "content": "q <image>"}, {"role": "assistant", "content": "a"}], "images": [{"bytes": null, "path": "a.png"}]}
        {"query": "q", "response": "a", "history": [["b", "c"]], "system": "S."}
        {"system": null, "conversation": [{"human": "q", "assistant": "a"}, {"human": "r", "assistant": "b"}]}"#;
    insta::assert_snapshot!(read(Form::Swift, text).join("\n"), @r#"
        #0 | a.png | - | ?<image>/q | !a
        #1 | a.png | - | ?<image>/q | !a
        #2 | - | S. | ?b | !c | ?q | !a
        #3 | - | - | ?q | !a | ?r | !b
        "#);
    let (_dir, done) = converted(Form::Swift, text, false);
    assert_eq!(done.unwrap().placed, 1);
    insta::assert_snapshot!(refusal(Form::Swift, r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "loss": false}]}"#), @r#"line 2, entry 0: turn 1: "loss" is false; all answers are learnt alike; take it out, or leave out entries with answers that are not to be learnt; --skip leaves such entries out: DIR/a.json"#);
    insta::assert_snapshot!(refusal(Form::Swift, r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]}"#), @"line 2, entry 0: what turn 0 says is a list of 1; a text is wanted; --skip leaves such entries out: DIR/a.json");
    insta::assert_snapshot!(refusal(Form::Swift, r#"{"instruction": "q", "output": "a"}"#), @"line 2, entry 0: there are no turns as swift has them; is --from another?; --skip leaves such entries out: DIR/a.json");
}

#[test]
fn sharegpt() {
    let text = r#"[{"id": "QWJhYvA_0", "model": "x", "conversations": [{"from": "human", "value": "q"}, {"from": "chatgpt", "value": "a"}]},
        {"id": "i", "conversations": [{"from": "system", "value": "S."}, {"from": "user", "value": "q"}, {"from": "bing", "value": "a"}]}]"#;
    insta::assert_snapshot!(read(Form::ShareGpt, text).join("\n"), @r#"
        QWJhYvA_0 | - | - | ?q | !a
        i | - | S. | ?q | !a
        "#);
    insta::assert_snapshot!(refusal(Form::ShareGpt, r#"{"id": 3, "conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{}"}]}"#), @r#"line 2, entry 0 (id "3"): a turn is from "function_call"; calls of tools are not trained; --skip leaves such entries out: DIR/a.json"#);
}

#[test]
fn what_training_would_refuse_beside_the_turns_is_not_lost_in_silence() {
    let talk = r#""conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]"#;
    let beside = |key: &str, value: &str| refusal(Form::ShareGpt, &format!("{{{talk}, {key:?}: {value}}}"));
    insta::assert_snapshot!(beside("history", r#"[["a", "b"]]"#), @r#"line 2, entry 0: "history" is a list of 1; it says something beside the turns that are read; keep one of them; --skip leaves such entries out: DIR/a.json"#);
    insta::assert_snapshot!(beside("label", "false"), @r#"line 2, entry 0: "label" is false; answers that are not to be given are not trained upon; leave such entries out; --skip leaves such entries out: DIR/a.json"#);
    insta::assert_snapshot!(beside("img", r#""b.png""#), @r#"line 2, entry 0: "img" names a picture (the text "b.png"), but only "image" is read; call it so; --skip leaves such entries out: DIR/a.json"#);
    for (key, value) in [
        ("response", "\"z\""),
        ("instruction", "\"z\""),
        ("conversation", "[1]"),
        ("weight", "0"),
        ("loss", "false"),
        ("sample_weight", "0.5"),
        ("mask", "[1]"),
        ("image_2", "\"b.png\""),
        ("frames", "[\"b\"]"),
        ("kto_tag", "false"),
        ("system_prompt", "\"S.\""),
    ] {
        assert!(beside(key, value).contains(&format!("{key:?} is ")), "{key}: {}", beside(key, value));
    }
    for (key, value) in
        [("image", "\"b.png\""), ("content", "\"z\""), ("role", "\"user\""), ("loss_mask", "0"), ("file", "\"b.png\"")]
    {
        let entry = format!(
            r#"{{"conversations": [{{"from": "human", "value": "q"}}, {{"from": "gpt", "value": "a", {key:?}: {value}}}]}}"#
        );
        assert!(refusal(Form::ShareGpt, &entry).contains(&format!("turn 1: {key:?} ")), "{key}");
    }
    let fine = r#"{"query": "q", "response": "a", "label": true, "weight": 1, "source": "coco", "note": null}"#;
    let (_dir, done) = converted(Form::Swift, fine, false);
    assert_eq!(done.unwrap().keys.keys().collect::<Vec<_>>(), ["label", "source", "weight"]);
    assert!(
        refusal(Form::Swift, r#"{"query": "q", "response": "a", "messages": [1]}"#)
            .contains("\"messages\" is a list of 1; ")
    );
    let turn = r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "channel": "x"}]}"#;
    assert_eq!(
        converted(Form::ShareGpt, turn, false).1.unwrap().keys.keys().collect::<Vec<_>>(),
        ["channel (of turns)"]
    );
}

#[test]
fn a_picture_that_a_question_names_is_the_picture() {
    let text = r#"{"query": "<img>a/b.png</img>What?", "response": "a"}
        {"image": "c.png", "conversations": [{"from": "user", "value": "Picture 1: <img>c.png</img>\nq"}, {"from": "assistant", "value": "a"}]}
        {"query": "<img src='x.png'> is HTML", "response": "a"}"#;
    insta::assert_snapshot!(read(Form::Swift, text).join("\n"), @r"
        #0 | a/b.png | - | ?<image>/What? | !a
        #1 | c.png | - | ?<image>/Picture 1: /q | !a
        #2 | - | - | ?<img src='x.png'> is HTML | !a
        ");
    for entry in [
        r#"{"query": "<img>a.png</img><img>b.png</img>q", "response": "a"}"#,
        r#"{"query": "<img>a.png</img>q", "response": "a", "image": "b.png"}"#,
    ] {
        assert!(refusal(Form::Swift, entry).contains("there are several pictures"), "{entry}");
    }
    assert!(
        refusal(Form::Swift, r#"{"query": "q", "response": "<img>a.png</img>"}"#)
            .contains("turn 1, an answer, has a picture")
    );
    assert!(
        refusal(Form::Swift, r#"{"query": "<video>a.mp4</video>q", "response": "a"}"#)
            .contains("leave entries with video or sound out")
    );
}

#[test]
fn what_is_left_out_is_counted_with_its_place() {
    let text = r#"[
        {"id": "a", "query": "q", "response": "a", "model": "x"},
        {"id": "b", "query": "q", "response": "a", "videos": ["v"]},
        {"id": "c", "query": "q", "response": "a", "videos": ["v"]},
        {"id": "d", "query": "q", "response": "a", "score": NaN}]"#;
    let (_dir, done) = converted(Form::Swift, text, true);
    let done = done.unwrap();
    assert_eq!((done.written, &done.keys), (1, &BTreeMap::from([("model".to_owned(), 1)])));
    let left_out: Vec<_> = done.left_out.values().cloned().collect();
    assert!(left_out.contains(&(2, "line 3 (id \"b\")".to_owned())), "{left_out:?}");
    assert!(left_out.contains(&(1, "line 5".to_owned())), "{left_out:?}");
}

#[test]
fn files_are_written_over_only_when_asked_and_as_lines_where_their_name_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.json"), dir.path().join("b.jsonl"));
    fs::write(&from, r#"[{"query": "q", "response": "a"}, {"query": "r", "response": "b"}]"#).unwrap();
    fs::write(&to, "kept").unwrap();
    let error = convert(&from, Form::Swift, &to, false, false).unwrap_err().to_string();
    assert!(error.starts_with("the file is there already; --force writes it anew: "), "{error}");
    assert_eq!(fs::read_to_string(&to).unwrap(), "kept");
    convert(&from, Form::Swift, &to, true, false).unwrap();
    assert_eq!(fs::read_to_string(&to).unwrap().lines().count(), 2);
    assert_eq!(InstructFile::open(&to).unwrap().len(), 2);
    let error = convert(&from, Form::Swift, &from, true, false).unwrap_err().to_string();
    assert!(error.starts_with("a file cannot be converted into itself"), "{error}");
    fs::write(&from, "[]").unwrap();
    let to = dir.path().join("c.json");
    assert_eq!(convert(&from, Form::Swift, &to, false, false).unwrap().written, 0);
    assert!(InstructFile::open(&to).unwrap().is_empty());
}
