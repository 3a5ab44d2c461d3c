//! Finds the top-level objects of a JSON array, or of JSON Lines, in a stream, without holding more than one of them.

use super::form;
use std::io::BufRead;

/// One object as found: where it begins and its bytes.
#[derive(Debug)]
pub(crate) struct Found {
    /// Byte offset of its `{`.
    pub offset: u64,
    /// 1-based line of its `{`.
    pub line: u64,
}

/// Why a scan ended early.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// Reading failed.
    Io(std::io::Error),
    /// The file is not an array of objects or JSON Lines.
    Syntax { line: u64, problem: String },
}

/// Reads objects one after the other.
pub(crate) struct Scanner<R> {
    reader: R,
    offset: u64,
    line: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    FirstInArray,
    AfterInArray,
    Lines,
    End,
}

impl<R: BufRead> Scanner<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, offset: 0, line: 1, state: State::Start }
    }

    /// The reader, wherever it stands.
    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// Puts the next object's bytes into `into` (cleared first); `None` at the end of the file.
    pub(crate) fn next(&mut self, into: &mut Vec<u8>) -> Result<Option<Found>, ScanError> {
        loop {
            let Some(byte) = self.skip_blanks()? else {
                return match self.state {
                    State::Start => Err(self.syntax("the file is empty")),
                    State::Lines | State::End => Ok(None),
                    _ => Err(self.syntax(CUT_OFF)),
                };
            };
            match (self.state, byte) {
                (State::Start, b'[') => {
                    self.state = State::FirstInArray;
                    self.take(1, byte);
                }
                (State::AfterInArray, b',') => {
                    self.take(1, byte);
                    return match self.skip_blanks()? {
                        Some(b'{') => self.object(into).map(Some),
                        Some(b']') => Err(self.syntax("a comma stands before the end of the list; take it out")),
                        None => Err(self.syntax(CUT_OFF)),
                        Some(other) => Err(self.syntax(&unexpected(other, "after the comma an object must follow"))),
                    };
                }
                (State::FirstInArray | State::AfterInArray, b']') => {
                    self.state = State::End;
                    self.take(1, byte);
                }
                (State::Start | State::Lines, b'{') => {
                    self.state = State::Lines;
                    return self.object(into).map(Some);
                }
                (State::FirstInArray, b'{') => {
                    self.state = State::AfterInArray;
                    return self.object(into).map(Some);
                }
                (state, byte) => {
                    let expected = match state {
                        State::Start => "expected a JSON list of objects, or one object a line",
                        State::AfterInArray => "expected a comma or the end of the list",
                        State::End => {
                            "there is more after the end of the list; a file is one list, or one object a line"
                        }
                        State::Lines if byte == b',' => {
                            "a comma stands after an object; write one object a line, or all of them between [ and ]"
                        }
                        State::Lines if byte == b']' => "a ] without its [; was the file's begin cut off?",
                        State::FirstInArray | State::Lines => OBJECT,
                    };
                    return Err(self.syntax(&unexpected(byte, expected)));
                }
            }
        }
    }

    fn syntax(&self, problem: &str) -> ScanError {
        ScanError::Syntax { line: self.line, problem: problem.to_owned() }
    }

    fn take(&mut self, n: usize, last: u8) {
        self.reader.consume(n);
        self.offset += n as u64;
        self.line += u64::from(last == b'\n');
    }

    /// Next byte that is not white space (or the byte order mark), not consumed.
    fn skip_blanks(&mut self) -> Result<Option<u8>, ScanError> {
        loop {
            let Some(&byte) = self.reader.fill_buf().map_err(ScanError::Io)?.first() else { return Ok(None) };
            let mark = self.offset < 3 && matches!(byte, 0xEF | 0xBB | 0xBF);
            if !byte.is_ascii_whitespace() && !mark {
                return Ok(Some(byte));
            }
            self.take(1, byte);
        }
    }

    /// Copies bytes until the braces balance. The reader stands on `{`.
    fn object(&mut self, into: &mut Vec<u8>) -> Result<Found, ScanError> {
        let found = Found { offset: self.offset, line: self.line };
        into.clear();
        let (mut depth, mut in_string, mut escaped, mut broken) = (0_usize, false, false, false);
        loop {
            let buffer = self.reader.fill_buf().map_err(ScanError::Io)?;
            if buffer.is_empty() {
                return Err(ScanError::Syntax { line: found.line, problem: CUT_OFF_OBJECT.to_owned() });
            }
            let mut used = 0;
            let mut lines = 0;
            let mut done = false;
            for &byte in buffer {
                used += 1;
                lines += u64::from(byte == b'\n');
                if in_string {
                    match byte {
                        // Without this a quote that is not closed would swallow the rest of the file.
                        b'\n' => broken = true,
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_string = false,
                        _ => {}
                    }
                    if broken {
                        break;
                    }
                    continue;
                }
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    done = true;
                    break;
                }
            }
            into.extend_from_slice(&buffer[..used]);
            self.reader.consume(used);
            self.offset += used as u64;
            self.line += lines;
            if broken {
                let problem = "a text goes over the line's end; write \\n for a line break, or close the quote (was the line cut off?)";
                return Err(ScanError::Syntax { line: self.line - 1, problem: problem.to_owned() });
            }
            if done {
                return Ok(found);
            }
            if into.len() > LARGEST {
                let problem = format!(
                    "the object that begins here is larger than {} MiB; if it holds the list of entries, take that out: {}",
                    LARGEST >> 20,
                    form::unwrap_largest()
                );
                return Err(ScanError::Syntax { line: found.line, problem });
            }
        }
    }
}

/// Bytes of an object beyond which it is no entry.
const LARGEST: usize = 64 << 20;

const OBJECT: &str = "expected an object";
const CUT_OFF: &str = "the file ends within the list; it was cut off (fetch it again)";
const CUT_OFF_OBJECT: &str = "the file ends within the object that begins here; it was cut off (fetch it again)";

/// What is expected, unless what stands there has a name of its own.
fn unexpected(byte: u8, expected: &str) -> String {
    match byte {
        b'/' | b'#' => "a comment; JSON has none: take it out".to_owned(),
        b'"' => format!("{expected}; this is a text"),
        b'[' if expected == OBJECT => format!("{expected}; this is a list within the list"),
        _ => expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::document;
    use proptest::prelude::*;
    use std::io::BufReader;

    /// Objects with their line, read through a buffer of `capacity` bytes.
    fn scan(text: &str, capacity: usize) -> Result<Vec<(u64, String)>, String> {
        let mut scanner = Scanner::new(BufReader::with_capacity(capacity, text.as_bytes()));
        let (mut bytes, mut all) = (Vec::new(), Vec::new());
        loop {
            match scanner.next(&mut bytes) {
                Ok(None) => return Ok(all),
                Ok(Some(found)) => {
                    let at = usize::try_from(found.offset).unwrap();
                    assert_eq!(&text.as_bytes()[at..at + bytes.len()], &bytes[..]);
                    all.push((found.line, String::from_utf8(bytes.clone()).unwrap()));
                }
                Err(ScanError::Syntax { line, problem }) => return Err(format!("line {line}: {problem}")),
                Err(ScanError::Io(e)) => return Err(e.to_string()),
            }
        }
    }

    #[test]
    fn arrays_and_lines_for_every_buffer_size() {
        let one = r#"{"a": "}\"]{", "b": [{"c": 1}, 2]}"#;
        let two = "{\n\"é\": \"\\\\\"\n}";
        for capacity in [1, 2, 7, 4096] {
            let array = format!("\u{feff}[\n {one} ,\n{two}\n]\n");
            assert_eq!(scan(&array, capacity).unwrap(), [(2, one.to_owned()), (3, two.to_owned())]);
            let lines = format!("{one}\n\n{two}\n");
            assert_eq!(scan(&lines, capacity).unwrap(), [(1, one.to_owned()), (3, two.to_owned())]);
        }
        assert_eq!(scan("[]", 9).unwrap(), []);
    }

    proptest! {
        #[test]
        fn any_documents_come_out_as_they_went_in(values in proptest::collection::vec(document(), 0..6), lines in any::<bool>(), pretty in any::<bool>(), capacity in 1_usize..40) {
            let objects: Vec<_> = values.iter().map(|value| serde_json::json!({ "value": value })).collect();
            let written = |o: &serde_json::Value| if pretty { serde_json::to_string_pretty(o) } else { serde_json::to_string(o) }.unwrap();
            let texts: Vec<String> = objects.iter().map(written).collect();
            let file = if lines { texts.join("\n") } else { format!("[{}]", texts.join(" ,\n")) };
            if lines && texts.is_empty() {
                return Ok(());
            }
            let found: Vec<String> = scan(&file, capacity).unwrap().into_iter().map(|(_, text)| text).collect();
            prop_assert_eq!(found, texts);
        }
    }

    #[test]
    fn broken_files_name_the_line() {
        let shown = |text: &str| format!("{text:?} {}", scan(text, 9).unwrap_err());
        let texts = [
            "",
            " \n ",
            "[{},\n{}",
            "[{},\n",
            "[{},\n{\n\"a",
            "[{},]",
            "[{}\n{}]",
            "[{}] x",
            "[{}]\n[{}]",
            "id,text",
            "[1]",
            "[[{}]]",
            "{},\n{}",
            "{}]",
            "\"a\"",
            "[// one\n{}]",
            "[{} // one\n]",
            "{\"a\": \"x\n{\"a\": 1}",
        ];
        insta::assert_snapshot!(texts.map(shown).join("\n"), @r#"
        "" line 1: the file is empty
        " \n " line 2: the file is empty
        "[{},\n{}" line 2: the file ends within the list; it was cut off (fetch it again)
        "[{},\n" line 2: the file ends within the list; it was cut off (fetch it again)
        "[{},\n{\n\"a" line 2: the file ends within the object that begins here; it was cut off (fetch it again)
        "[{},]" line 1: a comma stands before the end of the list; take it out
        "[{}\n{}]" line 2: expected a comma or the end of the list
        "[{}] x" line 1: there is more after the end of the list; a file is one list, or one object a line
        "[{}]\n[{}]" line 2: there is more after the end of the list; a file is one list, or one object a line
        "id,text" line 1: expected a JSON list of objects, or one object a line
        "[1]" line 1: expected an object
        "[[{}]]" line 1: expected an object; this is a list within the list
        "{},\n{}" line 1: a comma stands after an object; write one object a line, or all of them between [ and ]
        "{}]" line 1: a ] without its [; was the file's begin cut off?
        "\"a\"" line 1: expected a JSON list of objects, or one object a line; this is a text
        "[// one\n{}]" line 1: a comment; JSON has none: take it out
        "[{} // one\n]" line 1: a comment; JSON has none: take it out
        "{\"a\": \"x\n{\"a\": 1}" line 1: a text goes over the line's end; write \n for a line break, or close the quote (was the line cut off?)
        "#);
        let large = format!("{{\"data\": [{}]}}", "{},".repeat(23 << 20));
        let error = scan(&large, 1 << 20).unwrap_err();
        assert!(error.starts_with("line 1: the object that begins here is larger than 64 MiB; "), "{error}");
    }
}
