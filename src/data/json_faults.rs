//! Why a text is not JSON, in words: what other programs write into files that they call JSON.

use super::shown::Shown;

/// The first thing that JSON does not know, with its byte offset. `None` where nothing is found (a parser's own words
/// must do).
pub(crate) fn find(bytes: &[u8]) -> Option<(usize, String)> {
    let mut at = 0;
    let mut comma = None;
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied().unwrap_or(0);
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'}' | b']' if comma.is_some() => {
                let what = if byte == b'}' { "an object" } else { "a list" };
                return comma.map(|at| (at, format!("a comma stands before the end of {what}; take it out")));
            }
            b'"' => match text(bytes, at) {
                Ok(end) => (at, comma) = (end, None),
                Err(fault) => return Some(fault),
            },
            b'-' | b'0'..=b'9' if !next.is_ascii_alphabetic() || matches!(next, b'e' | b'E') => {
                let end = end_of(bytes, at, |b| b.is_ascii_digit() || b"+-.eE".contains(&b));
                if let Some(problem) = number(&bytes[at..end]) {
                    return Some((at, problem));
                }
                (at, comma) = (end, None);
            }
            b'\'' => {
                return Some((at, "a text stands in single quotes; JSON's are double (json.dump writes them)".into()));
            }
            b'/' if matches!(next, b'/' | b'*') => return Some((at, "a comment; JSON has none: take it out".into())),
            b'#' => return Some((at, "a comment; JSON has none: take it out".into())),
            _ if byte == b'-' || byte == b'_' || byte.is_ascii_alphabetic() => {
                let end = end_of(bytes, at + 1, |b| b == b'_' || b.is_ascii_alphanumeric());
                let word = String::from_utf8_lossy(&bytes[at..end]);
                if !matches!(&*word, "true" | "false" | "null") {
                    return Some((at, unknown_word(&word)));
                }
                (at, comma) = (end, None);
            }
            0x80.. => return Some((at, outside(&bytes[at..]))),
            _ => {
                comma = (byte == b',').then_some(at);
                at += 1;
            }
        }
    }
    None
}

/// What is wrong with a number.
fn number(written: &[u8]) -> Option<String> {
    serde_json::from_slice::<serde_json::Number>(written).err()?;
    let word = Shown(&String::from_utf8_lossy(written)).to_string();
    let finite = std::str::from_utf8(written).ok().and_then(|w| w.parse::<f64>().ok()).is_none_or(f64::is_finite);
    Some(if finite {
        format!("{word} is not how JSON writes a number (no leading zeros, digits on both sides of a point)")
    } else {
        format!("the number {word} is larger than any that is held")
    })
}

fn end_of(bytes: &[u8], from: usize, inside: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|&b| !inside(b)).map_or(bytes.len(), |n| from + n)
}

fn unknown_word(word: &str) -> String {
    match word {
        "NaN" | "Infinity" | "-Infinity" | "-NaN" | "nan" | "inf" => {
            format!("{word} is not JSON (Python's json.dump writes it all the same); write null, or leave the key out")
        }
        "None" | "True" | "False" => {
            format!("{word} is Python's, not JSON's; write the file with json.dump, not with str()")
        }
        "undefined" => "undefined is not JSON; write null, or leave the key out".into(),
        word => format!("the word {word} stands without quotes; JSON has them around texts and keys"),
    }
}

fn outside(bytes: &[u8]) -> String {
    let char = std::str::from_utf8(&bytes[..bytes.len().min(4)])
        .or_else(|e| std::str::from_utf8(&bytes[..e.valid_up_to()]))
        .ok()
        .and_then(|text| text.chars().next());
    match char {
        Some(quote @ ('“' | '”' | '‘' | '’' | '„')) => format!("the quote {quote} is not JSON's; write \""),
        Some(char) => format!("the character {char:?} stands outside of a text"),
        None => not_utf8(bytes[0]),
    }
}

fn not_utf8(byte: u8) -> String {
    format!(
        "the byte 0x{byte:02X} is not UTF-8; if the file is in Latin-1, turn it: iconv -f LATIN1 -t UTF-8 FILE > NEW"
    )
}

/// Where the text that begins at `start` ends (after its quote).
fn text(bytes: &[u8], start: usize) -> Result<usize, (usize, String)> {
    let mut at = start + 1;
    let inside = loop {
        match bytes.get(at) {
            None => break &bytes[start + 1..],
            Some(b'"') => break &bytes[start + 1..at],
            Some(b'\\') => at += escape(&bytes[at..]).map_err(|problem| (at, problem))?,
            Some(b'\n') => {
                let problem = "a text has a line break in it; write \\n, or close the quote";
                return Err((at, problem.into()));
            }
            Some(byte @ 0..0x20) => {
                return Err((at, format!("a text has the control character 0x{byte:02X} in it; write \\u{byte:04x}")));
            }
            Some(_) => at += 1,
        }
    };
    match std::str::from_utf8(inside) {
        Ok(_) => Ok((at + 1).min(bytes.len())),
        Err(e) => Err((start + 1 + e.valid_up_to(), not_utf8(inside[e.valid_up_to()]))),
    }
}

/// Length of the escape at the front of `bytes`.
fn escape(bytes: &[u8]) -> Result<usize, String> {
    let unit = |at: usize| -> Option<u16> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    match bytes.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => match (unit(0), unit(6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => Ok(12),
            (Some(half @ 0xD800..=0xDFFF), _) => Err(format!(
                "\\u{half:04x} is half of a character (a lone surrogate: a text was cut within an emoji); take it out, or write the whole character"
            )),
            (Some(_), _) => Ok(6),
            (None, _) => Err("\\u wants four hexadecimal digits".into()),
        },
        Some(&other) => Err(format!("JSON has no escape \\{}; a backslash itself is \\\\", char::from(other))),
        None => Ok(1),
    }
}

#[cfg(test)]
mod tests {
    use crate::data::json::Json;

    #[test]
    fn what_is_nested_too_deep_is_said() {
        let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
        assert!(Json::parse(&deep).unwrap_err().problem.contains("more than 127 deep"));
    }

    #[test]
    fn what_others_write_is_told_as_what_it_is() {
        let show = |bytes: &[u8]| {
            let fault = Json::parse(bytes).unwrap_err();
            format!("+{} {}", fault.lines, fault.problem)
        };
        let shown: Vec<String> = [
            &br#"{"score": NaN}"#[..],
            b"{\"a\": 1,\n\"b\": -Infinity}",
            br#"{"a": None}"#,
            b"{'a': 1}",
            b"{\"a\": [1, 2,\n]}",
            b"{\"a\": 1,\n}",
            b"{\"a\": 1 // one\n}",
            b"{\n# one\n\"a\": 1}",
            b"{a: 1}",
            "{“a”: 1}".as_bytes(),
            br#"{"a": "\ud83d Red."}"#,
            br#"{"a": "\ude00\ud83d"}"#,
            b"{\"a\": \"C:\\data\"}",
            b"{\"a\": \"caf\xE9\"}",
            b"{\"a\": \"one\ntwo\"}",
            b"{\"a\": \"one\ttwo\"}",
            br#"{"a" 1}"#,
            br#"{"a": 1e999}"#,
            br#"{"a": 007}"#,
            br#"{"a": 1.}"#,
        ]
        .into_iter()
        .map(show)
        .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        +0 NaN is not JSON (Python's json.dump writes it all the same); write null, or leave the key out
        +1 -Infinity is not JSON (Python's json.dump writes it all the same); write null, or leave the key out
        +0 None is Python's, not JSON's; write the file with json.dump, not with str()
        +0 a text stands in single quotes; JSON's are double (json.dump writes them)
        +0 a comma stands before the end of a list; take it out
        +0 a comma stands before the end of an object; take it out
        +0 a comment; JSON has none: take it out
        +1 a comment; JSON has none: take it out
        +0 the word a stands without quotes; JSON has them around texts and keys
        +0 the quote “ is not JSON's; write "
        +0 \ud83d is half of a character (a lone surrogate: a text was cut within an emoji); take it out, or write the whole character
        +0 \ude00 is half of a character (a lone surrogate: a text was cut within an emoji); take it out, or write the whole character
        +0 JSON has no escape \d; a backslash itself is \\
        +0 the byte 0xE9 is not UTF-8; if the file is in Latin-1, turn it: iconv -f LATIN1 -t UTF-8 FILE > NEW
        +0 a text has a line break in it; write \n, or close the quote
        +0 a text has the control character 0x09 in it; write \u0009
        +0 expected `:`
        +0 the number "1e999" is larger than any that is held
        +0 "007" is not how JSON writes a number (no leading zeros, digits on both sides of a point)
        +0 "1." is not how JSON writes a number (no leading zeros, digits on both sides of a point)
        "#);
    }
}
