//! One entry of an instruction file: a conversation about at most one image.

use serde::Deserialize;
use std::sync::Arc;

/// Marks where the image stands in a turn.
pub const IMAGE_PLACEHOLDER: &str = "<image>";

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `human` or `user`.
    Human,
    /// `gpt` or `assistant`.
    Assistant,
}

/// One turn. In an entry with an image, `<image>` stands at its front, followed by a line break, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// One entry, checked: turns alternate and begin with a human one; an image has exactly one placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Id, as text.
    pub id: Arc<str>,
    /// Image file, relative to the image folder.
    pub image: Option<Arc<str>>,
    /// Task, where the file names one.
    pub task: Option<Arc<str>>,
    /// Turns.
    pub turns: Vec<Turn>,
    /// All accepted answers to the first question, where the file lists them (VQA: one an annotator).
    pub answers: Vec<String>,
    /// Words of all turns as written (LLaVA's length of a sample).
    pub words: u32,
}

#[derive(Deserialize)]
struct RawEntry {
    id: RawId,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    task: Option<String>,
    conversations: Vec<RawTurn>,
    #[serde(default)]
    answers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "the id must be a string or an integer")]
enum RawId {
    Text(String),
    Integer(i64),
}

#[derive(Deserialize)]
struct RawTurn {
    from: String,
    value: String,
}

impl Entry {
    /// Reads one JSON object.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence, and its id where that could be read.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, (String, Option<String>)> {
        match serde_json::from_slice::<RawEntry>(json) {
            Ok(raw) => {
                let id = raw.id.into_text();
                Self::check(&id, raw.image, raw.task, raw.conversations, raw.answers).map_err(|e| (e, Some(id)))
            }
            Err(e) => Err((e.to_string(), id_of(json))),
        }
    }

    fn check(
        id: &str,
        image: Option<String>,
        task: Option<String>,
        conversations: Vec<RawTurn>,
        answers: Vec<String>,
    ) -> Result<Self, String> {
        let words = conversations.iter().map(|t| t.value.split_whitespace().count()).sum::<usize>();
        let mut turns = Vec::with_capacity(conversations.len());
        for (i, raw) in conversations.into_iter().enumerate() {
            let role = match raw.from.as_str() {
                "human" | "user" => Role::Human,
                "gpt" | "assistant" => Role::Assistant,
                other => {
                    return Err(format!("turn {i} is from {other:?}; write human, user, gpt or assistant"));
                }
            };
            // The published data has dialogues that begin with an answer; the published code skips it.
            if turns.is_empty() && role == Role::Assistant {
                if i == 0 {
                    continue;
                }
                return Err(format!("turn {i} is from {:?} and no question stands before it", raw.from));
            }
            if turns.last().is_some_and(|t: &Turn| t.role == role) {
                return Err(format!("turns {} and {i} are both from {:?}; they must alternate", i - 1, raw.from));
            }
            let text = if image.is_some() { placeholder_first(&raw.value) } else { raw.value };
            turns.push(Turn { role, text });
        }
        if turns.is_empty() {
            return Err("\"conversations\" has no turn from human".into());
        }
        if image.is_some() {
            let placeholders = turns.iter().filter(|t| t.text.starts_with(IMAGE_PLACEHOLDER)).count();
            if placeholders != 1 {
                return Err(format!(
                    "{placeholders} turns have {IMAGE_PLACEHOLDER}, but an entry with an image needs exactly one"
                ));
            }
        }
        let words = u32::try_from(words).map_err(|e| format!("too many words: {e}"))?;
        Ok(Self { id: id.into(), image: image.map(Into::into), task: task.map(Into::into), turns, answers, words })
    }

    /// First question, without the placeholder.
    #[must_use]
    pub fn question(&self) -> &str {
        self.turns.first().map_or("", |t| without_placeholder(&t.text))
    }

    /// First answer, or nothing where no answer follows.
    #[must_use]
    pub fn answer(&self) -> &str {
        self.turns.get(1).map_or("", |t| t.text.as_str())
    }
}

impl RawId {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Integer(number) => number.to_string(),
        }
    }
}

/// The id of an entry that is otherwise wrong.
fn id_of(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: RawId,
    }
    serde_json::from_slice::<OnlyId>(json).ok().map(|e| e.id.into_text())
}

/// LLaVA's rule: a turn that has the placeholder anywhere gets one at its front, a line break, and the rest trimmed.
fn placeholder_first(text: &str) -> String {
    if !text.contains(IMAGE_PLACEHOLDER) {
        return text.to_owned();
    }
    let rest = text.replace(IMAGE_PLACEHOLDER, "");
    format!("{IMAGE_PLACEHOLDER}\n{}", rest.trim()).trim().to_owned()
}

/// The text of a turn after its placeholder.
fn without_placeholder(text: &str) -> &str {
    text.strip_prefix(IMAGE_PLACEHOLDER).map_or(text, |rest| rest.strip_prefix('\n').unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Entry, (String, Option<String>)> {
        Entry::parse(json.as_bytes())
    }

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
    }

    #[test]
    fn an_image_alone_is_a_turn() {
        assert_eq!(placeholder_first("<image>\n"), "<image>");
        assert_eq!(without_placeholder("<image>"), "");
    }

    #[test]
    fn wrong_entries_say_what_is_wrong_and_keep_their_id() {
        let case = |conversations: &str| {
            let (problem, id) =
                parse(&format!(r#"{{"id": "x", "image": "a", "conversations": {conversations}}}"#)).unwrap_err();
            assert_eq!(id.as_deref(), Some("x"));
            problem
        };
        insta::assert_snapshot!(case("[]"), @r#""conversations" has no turn from human"#);
        insta::assert_snapshot!(case(r#"[{"from": "bot", "value": ""}]"#), @r#"turn 0 is from "bot"; write human, user, gpt or assistant"#);
        insta::assert_snapshot!(
            case(r#"[{"from": "human", "value": ""}, {"from": "user", "value": ""}]"#),
            @r#"turns 0 and 1 are both from "user"; they must alternate"#);
        insta::assert_snapshot!(
            case(r#"[{"from": "human", "value": "a"}]"#),
            @"0 turns have <image>, but an entry with an image needs exactly one");
        insta::assert_snapshot!(case("3"), @"invalid type: integer `3`, expected a sequence at line 1 column 44");
        let (problem, id) = parse(r#"{"id": 1.5, "conversations": []}"#).unwrap_err();
        assert_eq!(id, None);
        assert!(problem.starts_with("the id must be a string or an integer at line 1 column "), "{problem}");
        insta::assert_snapshot!(parse(r#"{"conversations": []}"#).unwrap_err().0, @"missing field `id` at line 1 column 21");
    }
}
