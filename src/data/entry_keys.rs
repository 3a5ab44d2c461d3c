//! The keys of an entry and of its turns: which are read, which would change what is learnt and are refused, and which
//! are passed over and counted.

use super::json::{Json, Object, field};
use super::remark::Remark;

/// Keys of an entry that are read.
pub(super) const ENTRY: [&str; 7] = ["id", "image", "images", "task", "answers", "system", "conversations"];

/// Keys of a turn that are read.
const TURN: [&str; 2] = ["from", "value"];

/// Keys that no entry may fill, and why.
const REFUSED: &[(&[&str], &str)] = &[
    (&["video", "videos"], "videos are not read; leave such entries out"),
    (&["audio", "audios"], "sound is not read; leave such entries out"),
    (&["tools", "functions"], "calls of tools are not trained; leave such entries out"),
    (
        &["messages", "history", "instruction", "input", "output", "query", "response", "role", "content"],
        "it says something beside \"conversations\", and only that is read; keep one of them",
    ),
    (&["chosen", "rejected", "rejected_response"], "preferences are not trained; leave such entries out"),
    (&["loss", "loss_scale", "loss_weight", "weight", "sample_weight"], "all entries are learnt alike; take it out"),
];

/// Keys that no turn may fill, and why.
const REFUSED_IN_TURN: &[(&[&str], &str)] = &[
    (
        &["loss", "loss_scale", "loss_weight", "weight", "train", "mask", "masked"],
        "all answers are learnt alike; take it out, or leave out entries with answers that are not to be learnt",
    ),
    (
        &["tool_calls", "tool_call_id", "function_call", "tools"],
        "calls of tools are not trained; leave such entries out",
    ),
    (
        &["image", "images", "video", "videos", "audio", "audios"],
        "a picture belongs to the entry, not to a turn; name it as the entry's \"image\"",
    ),
    (
        &["role", "content", "text"],
        "it says something beside \"from\" and \"value\", and only these are read; keep one of them",
    ),
];

/// Looks at the keys of an entry that are not read.
///
/// # Errors
/// A key would change what is learnt, or looks like a key that is read.
pub(super) fn of_entry(entry: &Object<'_>, remarks: &mut Vec<Remark>) -> Result<(), String> {
    let missing = |key: &str| field(entry, key).is_none_or(Json::is_nothing);
    let picture = !(missing("image") && missing("images"));
    for (key, value) in entry {
        if ENTRY.contains(&&**key) {
            continue;
        }
        refuse(REFUSED, key, value)?;
        if !value.is_nothing() {
            match meant(key) {
                Some("image") if key.bytes().any(|b| b.is_ascii_digit()) => {
                    return Err(format!(
                        "{key:?} is {value}; an entry has one picture, under \"image\": leave the entry out, or keep one"
                    ));
                }
                Some(known) if missing(known) => {
                    return Err(format!("{key:?} is not read; did you mean {known:?}?"));
                }
                _ if !picture && names_picture(value) => {
                    return Err(format!("{key:?} names a picture ({value}), but only \"image\" is read; call it so"));
                }
                _ => {}
            }
        }
        remarks.push(Remark::Key(key.to_string()));
    }
    Ok(())
}

/// Looks at the keys of a turn that are not read.
///
/// # Errors
/// A key would change what is learnt.
pub(super) fn of_turn(turn: &Object<'_>, i: usize, remarks: &mut Vec<Remark>) -> Result<(), String> {
    for (key, value) in turn {
        if TURN.contains(&&**key) {
            continue;
        }
        refuse(REFUSED_IN_TURN, key, value).map_err(|problem| format!("turn {i}: {problem}"))?;
        let remark = Remark::TurnKey(key.to_string());
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }
    Ok(())
}

fn refuse(table: &[(&[&str], &str)], key: &str, value: &Json<'_>) -> Result<(), String> {
    let lower = key.to_ascii_lowercase();
    match table.iter().find(|(keys, _)| keys.contains(&&*lower)) {
        Some((_, why)) if !value.is_nothing() => Err(format!("{key:?} is {value}; {why}")),
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

/// Whether a value is the name of a picture, or of several.
fn names_picture(value: &Json<'_>) -> bool {
    const ENDS: [&str; 8] = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"];
    match value {
        Json::Text(text) => {
            let lower = text.to_ascii_lowercase();
            lower.starts_with("data:image/") || ENDS.iter().any(|end| lower.ends_with(end))
        }
        Json::List(items) => !items.is_empty() && items.iter().all(names_picture),
        Json::Object(fields) => fields.iter().any(|(_, value)| names_picture(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Result<Vec<Remark>, String> {
        let Json::Object(fields) = Json::parse(json.as_bytes()).unwrap() else { unreachable!() };
        let mut remarks = Vec::new();
        of_entry(&fields, &mut remarks).map(|()| remarks)
    }

    #[test]
    fn keys_that_would_change_what_is_learnt_are_refused_unless_they_say_nothing() {
        for (keys, why) in REFUSED {
            for key in *keys {
                let problem =
                    entry(&format!(r#"{{"id": 1, "image": "a", "conversations": [1], {key:?}: [1]}}"#)).unwrap_err();
                assert_eq!(problem, format!("{key:?} is a list of 1; {why}"));
                let nothing = entry(&format!(r#"{{"id": 1, "conversations": [1], {key:?}: []}}"#)).unwrap();
                assert_eq!(nothing, [Remark::Key((*key).to_owned())], "passed over and counted");
            }
        }
        for (keys, _) in REFUSED_IN_TURN {
            for key in *keys {
                let turn = vec![((*key).into(), Json::Bool(true))];
                assert!(
                    of_turn(&turn, 1, &mut Vec::new()).unwrap_err().starts_with(&format!("turn 1: {key:?} is true; "))
                );
            }
        }
    }

    #[test]
    fn near_misses_are_asked_about() {
        for (key, known) in [
            ("Image", "image"),
            ("IMAGE", "image"),
            ("imgae", "image"),
            ("imag", "image"),
            ("conversation", "conversations"),
            ("Conversations", "conversations"),
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
        insta::assert_snapshot!(entry(r#"{"file_name": "b.JPG"}"#).unwrap_err(), @r#""file_name" names a picture (the text "b.JPG"), but only "image" is read; call it so"#);
        insta::assert_snapshot!(entry(r#"{"img": [{"path": "b.gif"}]}"#).unwrap_err(), @r#""img" names a picture (a list of 1), but only "image" is read; call it so"#);
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
        of_turn(&turn, 0, &mut remarks).unwrap();
        of_turn(&turn, 1, &mut remarks).unwrap();
        assert_eq!(remarks, [Remark::TurnKey("channel".to_owned())]);
    }
}
