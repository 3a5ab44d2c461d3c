//! Tests of reading entries.

use super::*;

fn parse(json: &str) -> Result<Entry, Fault> {
    Entry::parse(json.as_bytes(), 17)
}

/// What is wrong with an entry of these fields beside its id.
fn problem(fields: &str) -> String {
    let fault = parse(&format!(r#"{{"id": "x", {fields}}}"#)).unwrap_err();
    assert_eq!(fault.id.as_deref(), Some("x"));
    match fault.form {
        Some(form) => form.name().to_owned(),
        None => fault.problem,
    }
}

/// What is wrong with these turns beside an image.
fn turns(conversations: &str) -> String {
    problem(&format!(r#""image": "a", "conversations": {conversations}"#))
}

const TALK: &str = r#""conversations": [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]"#;

#[test]
fn reads_all_spellings_and_moves_the_placeholder() {
    let entry = parse(
        r#"{"id": 7, "image": "a.png", "extra": 1, "conversations": [
            {"from": "user", "value": " Where is it?\n<image> "}, {"from": "assistant", "value": " There. "}]}"#,
    )
    .unwrap();
    assert_eq!((&*entry.id, entry.image.as_deref(), entry.task.as_deref()), ("7", Some("a.png"), None));
    assert_eq!(entry.turns[0].text, "<image>\nWhere is it?");
    assert_eq!(entry.turns[1].text, " There. ");
    assert_eq!((entry.question(), entry.answer(), entry.words), ("Where is it?", " There. ", 5));
    assert_eq!(entry.remarks, [Remark::Key("extra".into()), Remark::ImageMoved]);
}

#[test]
fn text_only_entries_keep_the_word_and_a_leading_answer_is_skipped() {
    let entry = parse(
        r#"{"id": "x", "image": null, "conversations": [{"from": "gpt", "value": "Hi"},
            {"from": "human", "value": "What is <image>?"}, {"from": "gpt", "value": "A tag."}]}"#,
    )
    .unwrap();
    assert_eq!(entry.turns.len(), 2);
    assert_eq!(entry.turns[0].text, "What is <image>?");
    assert_eq!(entry.words, 6);
    assert_eq!(entry.remarks, [Remark::LeadingAnswer, Remark::Word("<image>".into())]);
}

#[test]
fn an_only_picture_of_images_is_the_picture() {
    let entry = parse(&format!(r#"{{"id": "x", "images": ["a.png"], {TALK}}}"#)).unwrap();
    assert_eq!(entry.image.as_deref(), Some("a.png"));
    assert!(entry.remarks.is_empty());
    let images = |value: &str| problem(&format!(r#""images": {value}, {TALK}"#));
    insta::assert_snapshot!(images(r#"["a", "b"]"#), @r#""images" names 2 pictures, but an entry has one; leave the entry out, or keep one"#);
    insta::assert_snapshot!(images(r#""a""#), @r#""images" is the text "a"; write a file's name as a text, under "image""#);
    insta::assert_snapshot!(images(r#"[{"path": "a"}]"#), @r#""images" holds an object with "path"; write a file's name as a text, under "image""#);
    insta::assert_snapshot!(images("[]"), @r#"turn 0 has <image>, but the entry has no "image"; name the file, or take <image> out"#);
    insta::assert_snapshot!(images(r#"["a"], "image": "b""#), @r#"there are both "image" and "images"; keep one of them"#);
    let image = |value: &str| problem(&format!(r#""image": {value}, {TALK}"#));
    insta::assert_snapshot!(image(r#"["a", "b"]"#), @r#""image" names 2 pictures, but an entry has one; leave the entry out, or keep one"#);
    insta::assert_snapshot!(image(r#"["a"]"#), @r#""image" is a list of 1; write the file's name as a text"#);
    insta::assert_snapshot!(image(r#""""#), @r#""image" is an empty text; write a text, or leave the key out"#);
    insta::assert_snapshot!(image("3"), @r#""image" is the number 3; write a text, or leave the key out"#);
    insta::assert_snapshot!(image("null"), @r#"turn 0 has <image>, but the entry has no "image"; name the file, or take <image> out"#);
}

#[test]
fn an_id_is_a_text_or_a_whole_number_or_made_from_the_place() {
    let entry = parse(r#"{"conversations": [{"from": "human", "value": "q"}]}"#).unwrap();
    assert_eq!(&*entry.id, "#17");
    assert_eq!(entry.remarks, [Remark::MadeId, Remark::NoLastAnswer]);
    let id = |value: &str| {
        let fault = parse(&format!(r#"{{"id": {value}, "conversations": []}}"#)).unwrap_err();
        assert_eq!(fault.id, None);
        fault.problem
    };
    insta::assert_snapshot!(id("1.5"), @"the id is the number 1.5; write a text or a whole number, or leave the key out (one is made from the entry's place)");
    for (value, is) in [
        ("null", "null"),
        ("\"\"", "an empty text"),
        ("true", "true"),
        ("[1]", "a list of 1"),
        ("{\"$oid\": \"a\"}", "an object with \"$oid\""),
        ("123456789012345678901234567890", "the number 1.2345678901234568e+29"),
    ] {
        assert!(id(value).starts_with(&format!("the id is {is}; ")), "{}", id(value));
    }
    for (value, id) in [("-3", "-3"), ("18446744073709551615", "18446744073709551615"), ("\"é\"", "é")] {
        let entry =
            parse(&format!(r#"{{"id": {value}, "conversations": [{{"from": "human", "value": "q"}}]}}"#)).unwrap();
        assert_eq!(&*entry.id, id);
    }
}

#[test]
fn a_system_message_of_its_own_is_a_key_or_the_first_turn() {
    let one = |fields: &str| parse(&format!("{{\"id\": 1, {fields}}}")).unwrap();
    let key =
        one(r#""system": "S.", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]"#);
    let turn = one(
        r#""conversations": [{"from": "system", "value": "S."}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]"#,
    );
    assert_eq!((key.system.as_deref(), turn.system.as_deref()), (Some("S."), Some("S.")));
    assert_eq!((key.turns.len(), &key.turns, &key.remarks), (2, &turn.turns, &vec![Remark::System]));
    let none =
        one(r#""system": "", "conversations": [{"from": "system", "value": ""}, {"from": "human", "value": "q"}]"#);
    assert_eq!((none.system.as_deref(), none.remarks), (None, vec![Remark::NoLastAnswer]));
    insta::assert_snapshot!(problem(r#""system": "S.", "conversations": [{"from": "system", "value": "T."}, {"from": "human", "value": "q"}]"#), @r#"there are both "system" and a turn from "system"; keep one of them"#);
    insta::assert_snapshot!(problem(r#""conversations": [{"from": "human", "value": "q"}, {"from": "system", "value": "T."}]"#), @r#"turn 1 is from "system"; a system message stands before all turns"#);
    insta::assert_snapshot!(problem(&format!(r#""image": "a.png", "system": "See <image>", {TALK}"#)), @"the system message has <image>, which stands in a question alone; take it out");
    insta::assert_snapshot!(problem(r#""conversations": [{"from": "system", "value": "<image>"}, {"from": "human", "value": "q"}]"#), @"the system message has <image>, which stands in a question alone; take it out");
    insta::assert_snapshot!(problem(r#""system": "<img>a.png</img>", "conversations": [{"from": "human", "value": "q"}]"#), @r#"the system message has <img>a.png</img>, which is not read; name the file as the entry's "image" and write <image> in its place (data convert does so)"#);
    let word = one(
        r#""system": "<video> is a tag.", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]"#,
    );
    assert_eq!(word.remarks, [Remark::Word("<video>".into()), Remark::System]);
}

#[test]
fn wrong_turns_say_what_is_wrong() {
    let shown: Vec<String> = [
        "[]",
        "3",
        "[3]",
        r#"[{"from": "bot_7", "value": ""}]"#,
        r#"[{"from": "human", "value": "<image>"}, {"from": "function_call", "value": "{}"}]"#,
        r#"[{"from": "human", "value": null}]"#,
        r#"[{"from": "human", "value": 3}]"#,
        r#"[{"from": "human"}]"#,
        r#"[{"from": "human", "value": "<image>"}, {"from": "user", "value": ""}]"#,
        r#"[{"from": "gpt", "value": "a"}, {"from": "gpt", "value": "a"}]"#,
        r#"[{"from": "gpt", "value": "a"}]"#,
        r#"[{"from": "human", "value": "a"}]"#,
        r#"[{"from": "human", "value": "<image> and <image>"}]"#,
        r#"[{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a"}, {"from": "human", "value": "<image>"}]"#,
        r#"[{"from": "human", "value": "q"}, {"from": "gpt", "value": "<image>"}]"#,
        r#"[{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a", "loss": false}]"#,
    ]
    .into_iter()
    .map(turns)
    .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
        "conversations" has no turn from human
        "conversations" is the number 3; write a list of turns
        turn 0 is the number 3; write an object with "from" and "value"
        turn 0 is from "bot_7"; write human, user, gpt, assistant or system
        turn 1 is from "function_call"; calls of tools are not trained: leave such entries out
        turn 0: "value" is null; write it as a text
        turn 0: "value" is the number 3; write it as a text
        turn 0 has no "value"; it has "from"
        turns 0 and 1 are both from "user"; they must alternate
        turn 1 is from "gpt" and no question stands before it
        "conversations" has no turn from human
        no question has <image>, which says where the image "a" stands; put it at the front of the first
        turn 0 has <image> 2 times, but an entry has one picture; keep one, or leave the entry out
        turns 0 and 2 both have <image>, but an entry has one picture
        turn 1, an answer, has <image>; it belongs into a question
        turn 1: "loss" is false; all answers are learnt alike; take it out, or leave out entries with answers that are not to be learnt
        "#);
    insta::assert_snapshot!(problem(TALK), @r#"turn 0 has <image>, but the entry has no "image"; name the file, or take <image> out"#);
    insta::assert_snapshot!(problem(r#""answers": [1], "conversations": []"#), @"answers[0] is the number 1; write it as a text");
    insta::assert_snapshot!(problem(r#""task": 3, "conversations": []"#), @r#""task" is the number 3; write a text, or leave the key out"#);
}

#[test]
fn other_tools_forms_are_told_as_such() {
    let talk = r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#;
    assert_eq!(problem(&format!(r#""messages": {talk}"#)), "swift");
    assert_eq!(problem(&format!(r#""conversations": {talk}"#)), "swift");
    assert_eq!(problem(r#""conversation": [{"human": "q", "assistant": "a"}]"#), "swift");
    assert_eq!(problem(r#""query": "q", "response": "a", "history": []"#), "swift");
    assert_eq!(problem(r#""instruction": "q", "input": "", "output": "a""#), "llamafactory");
    assert_eq!(
        problem(r#""conversations": [{"from": "human", "value": "q"}, {"from": "chatgpt", "value": "a"}]"#),
        "sharegpt"
    );
    insta::assert_snapshot!(problem(r#""Conversations": []"#), @r#""Conversations" is not read; did you mean "conversations"?"#);
    insta::assert_snapshot!(problem(r#""text": "a""#), @r#"there is no "conversations", the list of turns; the entry has "id", "text""#);
    insta::assert_snapshot!(problem(r#""messages": [{"role": "user", "content": "q"}], "conversations": [{"from": "human", "value": "q"}]"#), @r#""messages" is a list of 1; it says something beside the turns that are read; keep one of them"#);
}
