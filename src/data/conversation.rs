//! One entry of an instruction file: a conversation about at most one image.

use super::entry_keys;
use super::form::{self, Form};
use super::json::{Json, Object, field};
use super::placeholder;
use super::remark::Remark;
use std::sync::Arc;

pub use crate::config::data::IMAGE_PLACEHOLDER;

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

/// One entry, checked: turns alternate and begin with a human one; an image has exactly one placeholder, in a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Id, as text; `#` and the entry's number in its file where it has none.
    pub id: Arc<str>,
    /// Image file, relative to the image folder.
    pub image: Option<Arc<str>>,
    /// Task, where the file names one.
    pub task: Option<Arc<str>>,
    /// System message of its own, in place of the template's.
    pub system: Option<Arc<str>>,
    /// Turns.
    pub turns: Vec<Turn>,
    /// All accepted answers to the first question, where the file lists them (VQA: one an annotator).
    pub answers: Vec<String>,
    /// Words of all turns as written (LLaVA's length of a sample).
    pub words: u32,
    /// What it has that is not read, or not as its writer may think.
    pub remarks: Vec<Remark>,
}

/// Why an entry is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Line breaks between the entry's begin and the fault.
    pub lines: u64,
    /// The entry's id, where it has one that can be read.
    pub id: Option<String>,
    /// What is wrong and what to do.
    pub problem: String,
    /// The form of another tool that it has.
    pub form: Option<Form>,
}

impl Entry {
    /// Reads one JSON object, the `number`th of its file (from 0).
    ///
    /// # Errors
    /// What is wrong with it, in one sentence, and its id where that could be read.
    pub(crate) fn parse(json: &[u8], number: usize) -> Result<Self, Fault> {
        let json = Json::parse(json).map_err(|fault| Fault {
            lines: fault.lines,
            id: None,
            problem: fault.problem,
            form: None,
        })?;
        let Json::Object(fields) = json else {
            return Err(Fault {
                lines: 0,
                id: None,
                problem: format!("the entry is {json}, not an object"),
                form: None,
            });
        };
        let id = id(&fields);
        let known = id.as_ref().ok().cloned().flatten();
        id.and_then(|id| Self::read(&fields, id, number)).map_err(|problem| {
            let form = no_turns(&fields).then(|| Form::of(&fields)).flatten();
            Fault { lines: 0, id: known, problem, form }
        })
    }

    fn read(fields: &Object<'_>, id: Option<String>, number: usize) -> Result<Self, String> {
        let mut remarks = Vec::new();
        if id.is_none() {
            remarks.push(Remark::MadeId);
        }
        let turns = conversation(fields)?;
        entry_keys::of_entry(fields, &["conversations"], &mut remarks)?;
        let image = image(fields)?;
        let answers = answers(fields)?;
        let task = text(fields, "task")?.map(Into::into);
        let mut talk = Talk {
            has_image: image.is_some(),
            system: text(fields, "system")?.filter(|s| !s.is_empty()),
            ..Talk::default()
        };
        for (i, turn) in turns.iter().enumerate() {
            talk.add(i, turn, &mut remarks)?;
        }
        placeholder::in_system(talk.system.unwrap_or_default(), &mut remarks)?;
        let turns = talk.finish(image, &mut remarks)?;
        let words = u32::try_from(talk.words).map_err(|e| format!("too many words: {e}"))?;
        let id = id.map_or_else(|| format!("#{number}").into(), Into::into);
        let (image, system) = (image.map(Into::into), talk.system.map(Into::into));
        Ok(Self { id, image, task, system, turns, answers, words, remarks })
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

/// The id as text, where there is one.
fn id(fields: &Object<'_>) -> Result<Option<String>, String> {
    match field(fields, "id") {
        None => Ok(None),
        Some(Json::Text(text)) if !text.is_empty() => Ok(Some(text.to_string())),
        Some(Json::Number(n)) if n.is_i64() || n.is_u64() => Ok(Some(n.to_string())),
        Some(other) => Err(format!(
            "the id is {other}; write a text or a whole number, or leave the key out (one is made from the entry's place)"
        )),
    }
}

/// A key's text, where it has one.
fn text<'j>(fields: &'j Object<'_>, key: &str) -> Result<Option<&'j str>, String> {
    match field(fields, key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) if !text.is_empty() || key == "system" => Ok(Some(text)),
        Some(other) => Err(format!("{key:?} is {other}; write a text, or leave the key out")),
    }
}

/// The picture: `image`, or the only one of `images`.
fn image<'j>(fields: &'j Object<'_>) -> Result<Option<&'j str>, String> {
    let several = |key: &str, n: usize| {
        format!("{key:?} names {n} pictures, but an entry has one; leave the entry out, or keep one")
    };
    let own = match field(fields, "image") {
        Some(Json::List(items)) if items.len() > 1 => return Err(several("image", items.len())),
        Some(list @ Json::List(_)) => return Err(format!("\"image\" is {list}; write the file's name as a text")),
        _ => text(fields, "image")?,
    };
    match field(fields, "images") {
        None => Ok(own),
        Some(nothing) if nothing.is_nothing() => Ok(own),
        Some(_) if own.is_some() => Err("there are both \"image\" and \"images\"; keep one of them".into()),
        Some(Json::List(items)) => match items.as_slice() {
            [Json::Text(name)] if !name.is_empty() => Ok(Some(name)),
            [other] => Err(format!("\"images\" holds {other}; write a file's name as a text, under \"image\"")),
            items => Err(several("images", items.len())),
        },
        Some(other) => Err(format!("\"images\" is {other}; write a file's name as a text, under \"image\"")),
    }
}

fn answers(fields: &Object<'_>) -> Result<Vec<String>, String> {
    match field(fields, "answers") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::List(items)) => {
            let text = |(i, item): (usize, &Json<'_>)| {
                item.text().map(str::to_owned).ok_or_else(|| format!("answers[{i}] is {item}; write it as a text"))
            };
            items.iter().enumerate().map(text).collect()
        }
        Some(other) => Err(format!("\"answers\" is {other}; write a list of texts, or leave the key out")),
    }
}

/// The turns as written.
fn conversation<'j, 'a>(fields: &'j Object<'a>) -> Result<&'j [Json<'a>], String> {
    match field(fields, "conversations") {
        Some(Json::List(turns)) => Ok(turns),
        Some(other) => Err(format!("\"conversations\" is {other}; write a list of turns")),
        None => Err(without_conversation(fields)),
    }
}

fn without_conversation(fields: &Object<'_>) -> String {
    if let Some((key, _)) = fields.iter().find(|(key, _)| entry_keys::meant(key) == Some("conversations")) {
        return format!("{key:?} is not read; did you mean \"conversations\"?");
    }
    if let Some(advice) = form::wrapped(fields) {
        return advice;
    }
    let keys: Vec<_> = fields.iter().take(8).map(|(key, _)| format!("{key:?}")).collect();
    let has = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
    format!("there is no \"conversations\", the list of turns; the entry has {has}")
}

/// Whether an entry has no turns of `from` and `value` that could be meant.
fn no_turns(fields: &Object<'_>) -> bool {
    let Some(Json::List(turns)) = field(fields, "conversations") else { return true };
    turns.iter().any(|turn| match turn {
        Json::Object(turn) => {
            let from = field(turn, "from").and_then(Json::text);
            (from.is_none() && field(turn, "role").is_some()) || from.is_some_and(|f| OTHER_ANSWERERS.contains(&f))
        }
        _ => false,
    })
}

/// Speakers of ShareGPT's files whose turns are answers.
pub(super) const OTHER_ANSWERERS: [&str; 5] = ["chatgpt", "bing", "bard", "bot", "model"];

/// Speakers of other tools' files whose turns are neither question nor answer.
pub(super) const TOOL_SPEAKERS: [&str; 7] =
    ["function_call", "function_response", "observation", "tool", "tool_call", "tool_response", "function"];

/// Turns as they are put together.
#[derive(Default)]
struct Talk<'j> {
    has_image: bool,
    system: Option<&'j str>,
    turns: Vec<Turn>,
    /// Question that has the placeholder.
    placeholder: Option<usize>,
    words: usize,
}

impl<'j> Talk<'j> {
    fn add(&mut self, i: usize, turn: &'j Json<'_>, remarks: &mut Vec<Remark>) -> Result<(), String> {
        let Json::Object(turn) = turn else {
            return Err(format!("turn {i} is {turn}; write an object with \"from\" and \"value\""));
        };
        let part = |key: &str| match field(turn, key) {
            Some(Json::Text(text)) => Ok(&**text),
            Some(other) => Err(format!("turn {i}: {key:?} is {other}; write it as a text")),
            None => {
                let keys: Vec<_> = turn.iter().take(4).map(|(k, _)| format!("{k:?}")).collect();
                Err(format!("turn {i} has no {key:?}; it has {}", keys.join(", ")))
            }
        };
        let (from, value) = (part("from")?, part("value")?);
        entry_keys::of_turn(turn, i, &entry_keys::TURN, remarks)?;
        self.words += value.split_whitespace().count();
        let role = match from {
            "human" | "user" => Role::Human,
            "gpt" | "assistant" => Role::Assistant,
            "system" => return self.add_system(i, value),
            tool if TOOL_SPEAKERS.contains(&tool) => {
                return Err(format!(
                    "turn {i} is from {tool:?}; calls of tools are not trained: leave such entries out"
                ));
            }
            other => return Err(format!("turn {i} is from {other:?}; write human, user, gpt, assistant or system")),
        };
        // The published data has dialogues that begin with an answer; the published code skips it.
        if self.turns.is_empty() && role == Role::Assistant {
            if remarks.contains(&Remark::LeadingAnswer) {
                return Err(format!("turn {i} is from {from:?} and no question stands before it"));
            }
            remarks.push(Remark::LeadingAnswer);
            return Ok(());
        }
        if self.turns.last().is_some_and(|t| t.role == role) {
            return Err(format!("turns {} and {i} are both from {from:?}; they must alternate", i - 1));
        }
        let text = self.placed(i, role, value, remarks)?;
        self.turns.push(Turn { role, text });
        Ok(())
    }

    fn add_system(&mut self, i: usize, value: &'j str) -> Result<(), String> {
        if value.is_empty() {
            return Ok(());
        }
        if i > 0 {
            return Err(format!("turn {i} is from \"system\"; a system message stands before all turns"));
        }
        if self.system.replace(value).is_some() {
            return Err("there are both \"system\" and a turn from \"system\"; keep one of them".into());
        }
        Ok(())
    }

    /// A turn's text with the placeholder where it belongs.
    fn placed(&mut self, i: usize, role: Role, value: &str, remarks: &mut Vec<Remark>) -> Result<String, String> {
        placeholder::unfilled(value, format_args!("turn {i}"), role, self.has_image, remarks)?;
        if !self.has_image || !value.contains(IMAGE_PLACEHOLDER) {
            return Ok(value.to_owned());
        }
        if role == Role::Assistant {
            return Err(format!("turn {i}, an answer, has {IMAGE_PLACEHOLDER}; it belongs into a question"));
        }
        if let Some(first) = self.placeholder.replace(i) {
            return Err(format!("turns {first} and {i} both have {IMAGE_PLACEHOLDER}, but an entry has one picture"));
        }
        if !value.trim_start().starts_with(IMAGE_PLACEHOLDER) {
            remarks.push(Remark::ImageMoved);
        }
        placeholder::first(value, i)
    }

    fn finish(&mut self, image: Option<&str>, remarks: &mut Vec<Remark>) -> Result<Vec<Turn>, String> {
        let Some(last) = self.turns.last() else { return Err("\"conversations\" has no turn from human".into()) };
        if let (Some(image), None) = (image, self.placeholder) {
            return Err(format!(
                "no question has {IMAGE_PLACEHOLDER}, which says where the image {image:?} stands; put it at the front of the first"
            ));
        }
        let empty = |role| self.turns.iter().any(|t| t.role == role && t.text.is_empty());
        let found = [
            (last.role == Role::Human, Remark::NoLastAnswer),
            (empty(Role::Human), Remark::EmptyQuestion),
            (empty(Role::Assistant), Remark::EmptyAnswer),
            (self.system.is_some(), Remark::System),
        ];
        remarks.extend(found.into_iter().filter(|(is, _)| *is).map(|(_, remark)| remark));
        Ok(std::mem::take(&mut self.turns))
    }
}

/// The text of a turn after its placeholder.
fn without_placeholder(text: &str) -> &str {
    text.strip_prefix(IMAGE_PLACEHOLDER).map_or(text, |rest| rest.strip_prefix('\n').unwrap_or(rest))
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
