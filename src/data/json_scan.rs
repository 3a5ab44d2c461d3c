//! Finds the top-level objects of a JSON array, or of JSON Lines, in a stream, without holding more than one of them.

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
                    _ => Err(self.syntax("the file ends within the array (was it cut off?)")),
                };
            };
            match (self.state, byte) {
                (State::Start, b'[') => {
                    self.state = State::FirstInArray;
                    self.take(1, byte);
                }
                (State::AfterInArray, b',') => {
                    self.take(1, byte);
                    if self.skip_blanks()? != Some(b'{') {
                        return Err(self.syntax("after the comma an object must follow"));
                    }
                    return self.object(into).map(Some);
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
                (State::Start, _) => {
                    return Err(self.syntax("expected a JSON array of objects, or one object a line"));
                }
                (State::AfterInArray, _) => return Err(self.syntax("expected a comma or the end of the array")),
                (State::End, _) => return Err(self.syntax("there is more after the end of the array")),
                _ => return Err(self.syntax("expected an object")),
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
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        loop {
            let buffer = self.reader.fill_buf().map_err(ScanError::Io)?;
            if buffer.is_empty() {
                let problem = format!("the file ends within the object that begins on line {}", found.line);
                return Err(ScanError::Syntax { line: self.line, problem });
            }
            let mut used = 0;
            let mut lines = 0;
            let mut done = false;
            for &byte in buffer {
                used += 1;
                lines += u64::from(byte == b'\n');
                if in_string {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_string = false,
                        _ => {}
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
            if done {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn broken_files_name_the_line() {
        insta::assert_snapshot!(scan("", 9).unwrap_err(), @"line 1: the file is empty");
        insta::assert_snapshot!(scan("[{},\n{}", 9).unwrap_err(), @"line 2: the file ends within the array (was it cut off?)");
        insta::assert_snapshot!(scan("[{},\n{\n\"a", 9).unwrap_err(), @"line 3: the file ends within the object that begins on line 2");
        insta::assert_snapshot!(scan("[{},]", 9).unwrap_err(), @"line 1: after the comma an object must follow");
        insta::assert_snapshot!(scan("[{}\n{}]", 9).unwrap_err(), @"line 2: expected a comma or the end of the array");
        insta::assert_snapshot!(scan("[{}] x", 9).unwrap_err(), @"line 1: there is more after the end of the array");
        insta::assert_snapshot!(scan("id,text", 9).unwrap_err(), @"line 1: expected a JSON array of objects, or one object a line");
        insta::assert_snapshot!(scan("[1]", 9).unwrap_err(), @"line 1: expected an object");
    }
}
