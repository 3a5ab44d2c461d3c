//! The keys of an entry and of its turns: which are read, which would change what is learnt and are refused, and which
//! are passed over and counted.

use super::json::{Json, Object, field};
use super::media;
use super::remark::Remark;

/// Keys of an entry that are read wherever they stand.
pub(super) const SHARED: [&str; 6] = ["id", "image", "images", "task", "answers", "system"];

/// Keys of the turns in the form that is read.
pub(super) const TURN: [&str; 2] = ["from", "value"];

/// Keys, the values of theirs that change nothing, and why no other may stand there.
type Rule = (&'static [&'static str], fn(&Json<'_>) -> bool, &'static str);

/// Keys that no entry may fill where the form does not read them.
const REFUSED: &[Rule] = &[
    (&["video", "videos", "video_path", "video_file", "video_url", "frames"], nothing, VIDEOS),
    (
        &["audio", "audios", "audio_path", "audio_file", "audio_url"],
        nothing,
        "sound is not read; leave such entries out",
    ),
    (&["tools", "functions"], nothing, CALLS),
    (&["image_a", "image_b", "second_image", "other_image", "reference_image"], nothing, ONE_PICTURE),
    (&["crop", "crop_box"], nothing, "pictures are not cropped; write the part as a file of its own, or take it out"),
    (
        &[
            "messages",
            "conversation",
            "conversations",
            "history",
            "instruction",
            "input",
            "output",
            "query",
            "response",
            "role",
            "content",
        ],
        nothing,
        "it says something beside the turns that are read; keep one of them",
    ),
    (&["system_prompt", "system_message"], nothing, "a system message stands under \"system\"; call it so"),
    (
        &[
            "chosen",
            "rejected",
            "rejected_response",
            "rejected_conversations",
            "rejected_messages",
            "rejected_images",
            "positive_messages",
            "negative_messages",
        ],
        zero,
        "preferences are not trained; leave such entries out",
    ),
    (&["label", "kto_tag"], not_false, "answers that are not to be given are not trained upon; leave such entries out"),
    (
        &["loss", "loss_scale", "loss_weight", "loss_mask", "weight", "weights", "sample_weight", "train", "trainable"],
        one,
        ALIKE,
    ),
    (&["skip", "ignore", "no_loss"], zero, "all entries are learnt; leave this one out, or take the key out"),
    (&["mask"], nothing, ALIKE),
];

/// Keys that no turn may fill, likewise.
const REFUSED_IN_TURN: &[Rule] = &[
    (&["loss", "loss_scale", "loss_weight", "loss_mask", "weight", "train", "trainable", "chosen"], one, ANSWERS_ALIKE),
    (&["no_loss", "skip", "ignore", "masked", "mask_loss", "rejected"], zero, ANSWERS_ALIKE),
    (&["label"], not_false, ANSWERS_ALIKE),
    (&["mask"], nothing, ANSWERS_ALIKE),
    (&["tool_calls", "tool_call_id", "function_call", "tools"], nothing, CALLS),
    (
        &["image", "images", "video", "videos", "audio", "audios", "frames"],
        nothing,
        "a picture belongs to the entry, not to a turn; name it as the entry's \"image\"",
    ),
    (
        &["from", "value", "role", "content", "text", "human", "assistant"],
        nothing,
        "it says something beside what is read of the turn; keep one of them",
    ),
];

const VIDEOS: &str = "videos are not read; leave such entries out";
const CALLS: &str = "calls of tools are not trained; leave such entries out";
const ONE_PICTURE: &str = "an entry has one picture, under \"image\": leave the entry out, or keep one";
const ALIKE: &str = "all entries are learnt alike; take it out";
const ANSWERS_ALIKE: &str =
    "all answers are learnt alike; take it out, or leave out entries with answers that are not to be learnt";

fn nothing(value: &Json<'_>) -> bool {
    value.is_nothing()
}

/// A weight of one, or of each.
fn one(value: &Json<'_>) -> bool {
    match value {
        Json::Bool(is) => *is,
        Json::Number(number) => number.as_f64() == Some(1.0),
        Json::List(items) => items.iter().all(one),
        other => other.is_nothing(),
    }
}

/// A mark that is not set.
fn zero(value: &Json<'_>) -> bool {
    match value {
        Json::Bool(is) => !is,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::List(items) => items.iter().all(zero),
        other => other.is_nothing(),
    }
}

/// Also what names a class, as labels do.
fn not_false(value: &Json<'_>) -> bool {
    *value != Json::Bool(false)
}

/// Looks at the keys of an entry beside the [`SHARED`] ones and those of `turns`, which its form reads.
///
/// # Errors
/// A key would change what is learnt, or looks like a key that is read.
pub(super) fn of_entry(entry: &Object<'_>, turns: &[&str], remarks: &mut Vec<Remark>) -> Result<(), String> {
    let missing = |key: &str| field(entry, key).is_none_or(Json::is_nothing);
    let pictures: Vec<&Json<'_>> =
        ["image", "images"].iter().filter_map(|key| field(entry, key)).filter(|value| !value.is_nothing()).collect();
    for (key, value) in entry {
        if SHARED.contains(&&**key) || turns.contains(&&**key) {
            continue;
        }
        refuse(REFUSED, key, value)?;
        if !value.is_nothing() {
            match meant(key) {
                Some("image") if key.bytes().any(|b| b.is_ascii_digit()) => {
                    return Err(format!("{key:?} is {value}; {ONE_PICTURE}"));
                }
                Some(known) if missing(known) => {
                    return Err(format!("{key:?} is not read; did you mean {known:?}?"));
                }
                _ => media::beside(key, value, &pictures)?,
            }
        }
        remarks.push(Remark::Key(key.to_string()));
    }
    Ok(())
}

/// Looks at the keys of a turn beside those that its form reads.
///
/// # Errors
/// A key would change what is learnt.
pub(super) fn of_turn(turn: &Object<'_>, i: usize, read: &[&str], remarks: &mut Vec<Remark>) -> Result<(), String> {
    for (key, value) in turn {
        if read.contains(&&**key) {
            continue;
        }
        let fine = refuse(REFUSED_IN_TURN, key, value).and_then(|()| media::in_turn(key, value));
        fine.map_err(|problem| format!("turn {i}: {problem}"))?;
        let remark = Remark::TurnKey(key.to_string());
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }
    Ok(())
}

fn refuse(table: &[Rule], key: &str, value: &Json<'_>) -> Result<(), String> {
    let letters = |key: &str| key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let this = letters(key);
    match table.iter().find(|(keys, _, _)| keys.iter().any(|key| letters(key) == this)) {
        Some((_, changes_nothing, why)) if !value.is_nothing() && !changes_nothing(value) => {
            Err(format!("{key:?} is {value}; {why}"))
        }
        _ => Ok(()),
    }
}

/// The key that is read and that this one looks like.
pub(super) fn meant(key: &str) -> Option<&'static str> {
    let letters = |key: &str| -> String {
        let all: String = key.chars().filter(char::is_ascii_alphabetic).collect();
        all.to_ascii_lowercase().trim_end_matches('s').to_owned()
    };
    let this = letters(key);
    ["id", "image", "task", "system", "conversations"].into_iter().find(|known| {
        let known = letters(known);
        this == known || (known.len() > 4 && strsim::osa_distance(&this, &known) == 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Result<Vec<Remark>, String> {
        let Json::Object(fields) = Json::parse(json.as_bytes()).unwrap() else { unreachable!() };
        let mut remarks = Vec::new();
        of_entry(&fields, &["conversations"], &mut remarks).map(|()| remarks)
    }

    #[test]
    fn keys_that_would_change_what_is_learnt_are_refused_unless_what_they_say_changes_nothing() {
        for (keys, changes_nothing, why) in REFUSED {
            for key in keys.iter().filter(|key| **key != "conversations") {
                let value = if changes_nothing(&Json::Text("x".into())) { "false" } else { "\"x\"" };
                let with = |value: &str| {
                    entry(&format!(r#"{{"id": 1, "image": "a", "conversations": [1], {key:?}: {value}}}"#))
                };
                let problem = with(value).unwrap_err();
                assert!(
                    problem.starts_with(&format!("{key:?} is ")) && problem.ends_with(&format!("; {why}")),
                    "{problem}"
                );
                assert_eq!(with("[]").unwrap(), [Remark::Key((*key).to_owned())], "passed over and counted");
            }
        }
        for (keys, changes_nothing, _) in REFUSED_IN_TURN {
            for key in keys.iter().filter(|key| !TURN.contains(key)) {
                let value =
                    if changes_nothing(&Json::Text("x".into())) { Json::Bool(false) } else { Json::Text("x".into()) };
                let problem = of_turn(&vec![((*key).into(), value)], 1, &TURN, &mut Vec::new()).unwrap_err();
                assert!(problem.starts_with(&format!("turn 1: {key:?} is ")), "{problem}");
            }
        }
    }

    #[test]
    fn weights_of_one_and_marks_that_are_not_set_are_counted() {
        let turn = |json: &str| {
            let Json::Object(fields) = Json::parse(json.as_bytes()).unwrap() else { unreachable!() };
            of_turn(&fields, 0, &TURN, &mut Vec::new())
        };
        for same in [
            r#""loss": true"#,
            r#""weight": 1.0"#,
            r#""lossMask": 1"#,
            r#""skip": false"#,
            r#""rejected": 0"#,
            r#""label": "cat""#,
        ] {
            assert_eq!(entry(&format!(r#"{{"id": 1, {same}}}"#)).unwrap().len(), 1, "{same}");
            assert!(turn(&format!("{{{same}}}")).is_ok(), "{same}");
        }
        for other in [
            r#""loss": 0.5"#,
            r#""weight": 0"#,
            r#""loss-mask": [1, 0]"#,
            r#""skip": true"#,
            r#""rejected": 1"#,
            r#""label": false"#,
        ] {
            assert!(entry(&format!(r#"{{"id": 1, {other}}}"#)).is_err(), "{other}");
            assert!(turn(&format!("{{{other}}}")).is_err(), "{other}");
        }
    }

    #[test]
    fn near_misses_are_asked_about() {
        for (key, known) in [
            ("Image", "image"),
            ("IMAGE", "image"),
            ("imgae", "image"),
            ("imag", "image"),
            ("convesations", "conversations"),
            ("ID", "id"),
            ("_id", "id"),
            ("tasks", "task"),
            ("System", "system"),
        ] {
            let problem = entry(&format!(r#"{{{key:?}: "x"}}"#)).unwrap_err();
            assert_eq!(problem, format!("{key:?} is not read; did you mean {known:?}?"));
        }
        insta::assert_snapshot!(entry(r#"{"image": "a.png", "image_2": "b.png"}"#).unwrap_err(), @r#""image_2" is the text "b.png"; an entry has one picture, under "image": leave the entry out, or keep one"#);
    }

    #[test]
    fn what_changes_nothing_is_counted() {
        let keys = entry(
            r#"{"id": 1, "image": "a.png", "_id": 3, "image_id": 7, "file_name": "a.png", "model": "", "answer": "x"}"#,
        );
        let names = ["_id", "image_id", "file_name", "model", "answer"];
        assert_eq!(keys.unwrap(), names.map(|k| Remark::Key(k.to_owned())));
        assert_eq!(entry(r#"{"image_id": 7, "source": "coco"}"#).unwrap().len(), 2);
        let turn = vec![("channel".into(), Json::Null), ("from".into(), Json::Null)];
        let mut remarks = Vec::new();
        of_turn(&turn, 0, &TURN, &mut remarks).unwrap();
        of_turn(&turn, 1, &TURN, &mut remarks).unwrap();
        assert_eq!(remarks, [Remark::TurnKey("channel".to_owned())]);
    }
}
