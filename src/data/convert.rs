//! Other tools' instruction files to the form that is read: an entry at a time, and only what keeps its meaning.

use super::conversation::{Entry, Fault, IMAGE_PLACEHOLDER, OTHER_ANSWERERS, TOOL_SPEAKERS};
use super::entry_keys;
use super::error::{DataError, Result};
use super::file_kind;
use super::form::Form;
use super::index::{refused, syntax};
use super::json::{Json, Object, field};
use super::json_scan::Scanner;
use super::media::elements;
use super::remark::Remark;
use super::shown::Shown;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

/// What a conversion did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Entries written.
    pub written: usize,
    /// Entries left out: why, how many, and the place of the first.
    pub left_out: BTreeMap<String, (usize, String)>,
    /// Keys that are not carried over, with the number of entries that have them.
    pub keys: BTreeMap<String, usize>,
    /// Entries whose picture had no `<image>`, which went to the front of the first question.
    pub placed: usize,
}

/// Converts `from`, which has `form`, into the new file `to` (JSON, or JSON Lines where its name ends in `.jsonl`).
/// With `skip`, entries that cannot be converted are left out and counted.
///
/// # Errors
/// The file cannot be read; `to` is there and `force` is not given; an entry cannot be converted and `skip` is not
/// given. `to` is then as it was.
pub fn convert(from: &Path, form: Form, to: &Path, force: bool, skip: bool) -> Result<Converted> {
    file_kind::refuse_others(from)?;
    let refuse = |problem: &str| Err(DataError::Refused { problem: problem.to_owned(), path: to.to_path_buf() });
    if to.exists() && !force {
        return refuse("the file is there already; --force writes it anew");
    }
    if fs::canonicalize(from).ok().is_some_and(|from| fs::canonicalize(to).is_ok_and(|to| from == to)) {
        return refuse("a file cannot be converted into itself; write another one");
    }
    let part = to.with_file_name(format!("{}.part", to.file_name().unwrap_or_default().to_string_lossy()));
    let done = File::create(&part).map_err(DataError::io("write the converted file", &part)).and_then(|file| {
        let lines = to.extension().is_some_and(|e| e == "jsonl");
        write_all(from, form, &mut Out { file: BufWriter::new(file), lines, written: 0 }, skip, &part)
    });
    let done = done.and_then(|done| {
        fs::rename(&part, to).map_err(DataError::io("write the converted file", to))?;
        Ok(done)
    });
    if done.is_err() {
        // The first error is the one to tell.
        drop(fs::remove_file(&part));
    }
    done
}

struct Out {
    file: BufWriter<File>,
    lines: bool,
    written: usize,
}

impl Out {
    fn entry(&mut self, entry: &Value) -> std::io::Result<()> {
        let front = match (self.lines, self.written) {
            (true, _) => "",
            (false, 0) => "[\n",
            (false, _) => ",\n",
        };
        self.file.write_all(front.as_bytes())?;
        serde_json::to_writer(&mut self.file, entry)?;
        self.file.write_all(if self.lines { b"\n" } else { b"" })?;
        self.written += 1;
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        if !self.lines {
            self.file.write_all(if self.written == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}

fn write_all(from: &Path, form: Form, out: &mut Out, skip: bool, part: &Path) -> Result<Converted> {
    let file = File::open(from).map_err(DataError::io("open the instruction file", from))?;
    let mut scanner = Scanner::new(BufReader::with_capacity(1 << 20, file));
    let (mut bytes, mut number, mut done) = (Vec::new(), 0, Converted::default());
    while let Some(found) = scanner.next(&mut bytes).map_err(|e| syntax(from, e))? {
        match one(&bytes, form, number, &mut done) {
            Ok(entry) => out.entry(&entry).map_err(DataError::io("write the converted file", part))?,
            Err(fault) if skip => {
                let id = fault.id.as_ref().map_or_else(String::new, |id| format!(" (id {})", Shown(id)));
                let first = || (0, format!("line {}{id}", found.line + fault.lines));
                done.left_out.entry(fault.problem.clone()).or_insert_with(first).0 += 1;
            }
            Err(fault) => {
                let problem = format!("{}; --skip leaves such entries out", fault.problem);
                return Err(refused(from, number, found.line, Fault { problem, ..fault }));
            }
        }
        number += 1;
    }
    out.end().map_err(DataError::io("write the converted file", part))?;
    done.written = out.written;
    Ok(done)
}

/// One entry, which is read as training will read it before it is written.
fn one(bytes: &[u8], form: Form, number: usize, done: &mut Converted) -> std::result::Result<Value, Fault> {
    let fault = |id: Option<&Json<'_>>, problem: String| {
        let id = id.filter(|id| !matches!(id, Json::List(_) | Json::Object(_))).map(plain);
        Fault {
            lines: 0,
            id: id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
            problem,
            form: None,
        }
    };
    let json = Json::parse(bytes).map_err(|f| Fault { lines: f.lines, id: None, problem: f.problem, form: None })?;
    let Json::Object(entry) = &json else { return Err(fault(None, format!("the entry is {json}, not an object"))) };
    let id = field(entry, "id");
    let mut talk = Talk::default();
    talk.read(entry, form).map_err(|problem| fault(id, problem))?;
    let dropped = talk.dropped(entry);
    let (written, placed) = talk.written(entry, form).map_err(|problem| fault(id, problem))?;
    let text = written.to_string();
    Entry::parse(text.as_bytes(), number).map_err(|f| Fault { lines: 0, form: None, ..f })?;
    done.placed += usize::from(placed);
    for key in dropped {
        *done.keys.entry(key).or_default() += 1;
    }
    Ok(written)
}

/// Turns as they are read from another form.
#[derive(Default)]
struct Talk {
    system: Option<String>,
    turns: Vec<(&'static str, String)>,
    remarks: Vec<Remark>,
}

impl Talk {
    fn read(&mut self, entry: &Object<'_>, form: Form) -> std::result::Result<(), String> {
        // What ms-swift puts into the texts from there has no place in the form that is read.
        if let Some(value) = field(entry, "objects").filter(|value| form == Form::Swift && !value.is_nothing()) {
            return Err(format!("\"objects\" is {value}, which is not read; leave the entry out"));
        }
        let first = |keys: &[&'static str]| keys.iter().copied().find(|key| field(entry, key).is_some());
        let turns: Option<&[&'static str]> = match form {
            Form::LlamaFactory if first(&["instruction"]).is_some() => {
                Some(&["instruction", "output", "input", "history"])
            }
            Form::Swift if first(&["query"]).is_some() => Some(&["query", "response", "history"]),
            _ => None,
        };
        let list = first(&["messages", "conversations", "conversation"]);
        let keys = turns.unwrap_or(list.as_slice());
        let Some((key, value)) = keys.first().and_then(|key| Some((key, field(entry, key)?))) else {
            return Err(format!("there are no turns as {} has them; is --from another?", form.name()));
        };
        // What training would refuse beside the turns is refused here too: it would be lost.
        entry_keys::of_entry(entry, keys, &mut self.remarks)?;
        self.system = said(entry, "system")?.map(str::to_owned);
        match (turns, value) {
            (Some([question, answer, ..]), _) => self.read_pairs(entry, question, answer),
            (_, Json::List(turns)) => turns.iter().enumerate().try_for_each(|(i, turn)| self.read_turn(i, turn)),
            (_, other) => Err(format!("{key:?} is {other}; a list of turns is wanted")),
        }
    }

    /// The keys that say something and are not carried over.
    fn dropped(&self, entry: &Object<'_>) -> Vec<String> {
        let says = |key: &String| field(entry, key).is_some_and(|value| !value.is_nothing());
        let key = |remark: &Remark| match remark {
            Remark::Key(key) if says(key) => Some(key.clone()),
            Remark::TurnKey(key) => Some(format!("{key} (of turns)")),
            _ => None,
        };
        self.remarks.iter().filter_map(key).collect()
    }

    /// `history`, then one question and its answer.
    fn read_pairs(&mut self, entry: &Object<'_>, question: &str, answer: &str) -> std::result::Result<(), String> {
        match field(entry, "history") {
            None | Some(Json::Null) => {}
            Some(Json::List(pairs)) => {
                for (i, pair) in pairs.iter().enumerate() {
                    let Json::List(pair) = pair else {
                        return Err(format!("history[{i}] is {pair}; a pair is wanted"));
                    };
                    let [Json::Text(question), Json::Text(answer)] = pair.as_slice() else {
                        return Err(format!("history[{i}] is not a question and an answer"));
                    };
                    self.turns.extend([("human", question.to_string()), ("gpt", answer.to_string())]);
                }
            }
            Some(other) => return Err(format!("\"history\" is {other}; a list of pairs is wanted")),
        }
        let words = [said(entry, question)?, if question == "instruction" { said(entry, "input")? } else { None }];
        let words: Vec<&str> = words.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        let Some(answer) = said(entry, answer)? else { return Err(format!("there is no {answer:?}")) };
        self.turns.extend([("human", words.join("\n")), ("gpt", answer.to_owned())]);
        Ok(())
    }

    fn read_turn(&mut self, i: usize, turn: &Json<'_>) -> std::result::Result<(), String> {
        let Json::Object(turn) = turn else { return Err(format!("turn {i} is {turn}; an object is wanted")) };
        if let (Some(Json::Text(question)), Some(Json::Text(answer))) = (field(turn, "human"), field(turn, "assistant"))
        {
            entry_keys::of_turn(turn, i, &["human", "assistant"], &mut self.remarks)?;
            self.turns.extend([("human", question.to_string()), ("gpt", answer.to_string())]);
            return Ok(());
        }
        let either = |a: &'static str, b: &'static str| if field(turn, a).is_some() { a } else { b };
        let (speaker, words) = (either("from", "role"), either("value", "content"));
        entry_keys::of_turn(turn, i, &[speaker, words], &mut self.remarks)?;
        let Some(Json::Text(from)) = field(turn, speaker) else {
            return Err(format!("turn {i} does not say who speaks"));
        };
        let text = match field(turn, words) {
            Some(Json::Text(text)) => text.to_string(),
            Some(other) => return Err(format!("what turn {i} says is {other}; a text is wanted")),
            None => return Err(format!("turn {i} says nothing")),
        };
        let from = match &**from {
            "human" | "user" => "human",
            "gpt" | "assistant" => "gpt",
            other if OTHER_ANSWERERS.contains(&other) => "gpt",
            "system" if i == 0 && self.system.as_ref().is_none_or(String::is_empty) => {
                self.system = Some(text);
                return Ok(());
            }
            tool if TOOL_SPEAKERS.contains(&tool) => {
                return Err(format!("a turn is from {tool:?}; calls of tools are not trained"));
            }
            other => return Err(format!("a turn is from {other:?}, which is neither question nor answer")),
        };
        self.turns.push((from, text));
        Ok(())
    }

    /// The entry's picture, also one that a question names in an element (`<img>a.png</img>`), which becomes `<image>`.
    fn pictured(&mut self, image: Option<String>) -> std::result::Result<Option<String>, String> {
        let mut found = self.turns.iter().enumerate().flat_map(|(i, (_, text))| {
            let pictures = elements(text).into_iter().filter(|element| element.is_picture);
            pictures.map(move |element| (i, element.place, element.name.to_owned()))
        });
        let Some((i, place, name)) = found.next() else { return Ok(image) };
        if found.next().is_some() || image.is_some_and(|image| image != name) {
            return Err(SEVERAL.to_owned());
        }
        drop(found);
        let (from, text) = &mut self.turns[i];
        if *from == "gpt" {
            return Err(format!("turn {i}, an answer, has a picture ({name:?}); it belongs into a question"));
        }
        text.replace_range(place, IMAGE_PLACEHOLDER);
        Ok(Some(name))
    }

    /// The entry in the form that is read, and whether `<image>` was put in front.
    fn written(mut self, entry: &Object<'_>, form: Form) -> std::result::Result<(Value, bool), String> {
        let mut out = Map::new();
        for key in ["id", "task", "answers"] {
            if let Some(value) = field(entry, key).filter(|value| !matches!(value, Json::Null)) {
                out.insert(key.to_owned(), plain(value));
            }
        }
        let image = self.pictured(picture(entry)?)?;
        let mut placed = false;
        if let Some(image) = image {
            out.insert("image".to_owned(), image.into());
            // ms-swift puts the mark that is missing in front; LLaMA-Factory refuses such an entry.
            let marked = self.turns.iter().any(|(_, text)| text.contains(IMAGE_PLACEHOLDER));
            if let (Form::Swift, false, Some((_, text))) =
                (form, marked, self.turns.iter_mut().find(|(from, _)| *from == "human"))
            {
                *text = format!("{IMAGE_PLACEHOLDER}\n{text}");
                placed = true;
            }
        }
        if let Some(system) = self.system.filter(|system| !system.is_empty()) {
            out.insert("system".to_owned(), system.into());
        }
        let turns: Vec<Value> =
            self.turns.into_iter().map(|(from, value)| json!({ "from": from, "value": value })).collect();
        out.insert("conversations".to_owned(), turns.into());
        Ok((out.into(), placed))
    }
}

/// The picture of an entry: `image`, or the only one of `images`, as a name or as an object that has one.
fn picture(entry: &Object<'_>) -> std::result::Result<Option<String>, String> {
    let found: Vec<&Json<'_>> = ["image", "images"]
        .into_iter()
        .filter_map(|key| field(entry, key).filter(|value| !value.is_nothing()))
        .flat_map(|value| if let Json::List(items) = value { items.iter().collect() } else { vec![value] })
        .collect();
    let name = |value: &Json<'_>| match value {
        Json::Text(name) => Some(name.to_string()),
        Json::Object(fields) => field(fields, "path").and_then(Json::text).map(str::to_owned),
        _ => None,
    };
    match found.as_slice() {
        [] => Ok(None),
        [one] => name(one).map(Some).ok_or_else(|| format!("the picture is {one}; a file's name is wanted")),
        _ => Err(SEVERAL.to_owned()),
    }
}

const SEVERAL: &str = "there are several pictures, but an entry has one";

/// A key's text; null says nothing.
fn said<'j>(entry: &'j Object<'_>, key: &str) -> std::result::Result<Option<&'j str>, String> {
    match field(entry, key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(other) => Err(format!("{key:?} is {other}; a text is wanted")),
    }
}

fn plain(json: &Json<'_>) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => (*b).into(),
        Json::Number(n) => n.clone().into(),
        Json::Text(t) => t.to_string().into(),
        Json::List(items) => items.iter().map(plain).collect(),
        Json::Object(fields) => fields.iter().map(|(k, v)| (k.to_string(), plain(v))).collect(),
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
