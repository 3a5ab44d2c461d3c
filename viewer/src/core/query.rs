//! Search: plain words, `"several words"`, `/regular expressions/`, `column:value`, `loss:>2`, `-not this`.

use regex::{Regex, RegexBuilder};
use std::borrow::Cow;

/// Columns of words that a search may name.
pub(crate) const WORDS: [&str; 8] = ["id", "task", "split", "question", "answer", "prediction", "image", "stage"];
/// Columns of numbers that a search may name.
pub(crate) const NUMBERS: [&str; 9] =
    ["index", "loss", "tokens", "seen", "correct", "cluster", "expert", "conflict", "alignment"];

/// A sample, as the search sees it.
pub(crate) trait Fields {
    /// The words of a column of [`WORDS`].
    fn words(&self, column: &str) -> Option<Cow<'_, str>>;
    /// The number in a column of [`NUMBERS`].
    fn number(&self, column: &str) -> Option<f64>;
}

/// What words are held against.
#[derive(Clone, Debug)]
enum Test {
    /// Lower case.
    Contains(String),
    Matches(Regex),
    Compare(std::cmp::Ordering, bool, f64),
}

#[derive(Clone, Debug)]
struct Term {
    not: bool,
    column: Option<String>,
    test: Test,
}

/// A search; every term must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    terms: Vec<Term>,
}

/// Splits at spaces that are not within quotes or slashes.
fn split(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut within = None;
    for c in text.chars() {
        let last = terms.last().map_or("", String::as_str);
        let opens = last.is_empty() || last == "-" || last.ends_with(':');
        match (c, within) {
            ('"' | '/', None) if opens => within = Some(c),
            (c, Some(end)) if c == end && !last.ends_with('\\') => within = None,
            (c, None) if c.is_whitespace() => {
                terms.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(term) = terms.last_mut() {
            term.push(c);
        }
    }
    terms.retain(|t| !t.is_empty());
    terms
}

fn words(text: &str) -> Result<Test, String> {
    let strip = |with: char| text.strip_prefix(with).and_then(|t| t.strip_suffix(with));
    if let Some(pattern) = strip('/') {
        let built = RegexBuilder::new(pattern).case_insensitive(true).build();
        return built.map(Test::Matches).map_err(|e| format!("the regular expression is not valid: {e}"));
    }
    Ok(Test::Contains(strip('"').unwrap_or(text).to_lowercase()))
}

fn number(column: &str, text: &str) -> Result<Test, String> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let signs =
        [(">=", Greater, true), ("<=", Less, true), (">", Greater, false), ("<", Less, false), ("=", Equal, true)];
    let (sign, equal, rest) = signs
        .into_iter()
        .find_map(|(sign, order, equal)| text.strip_prefix(sign).map(|rest| (order, equal, rest)))
        .unwrap_or((Equal, true, text));
    let value = rest.parse().map_err(|_not_a_number| format!("`{column}` wants a number, as in `{column}:>2`"))?;
    Ok(Test::Compare(sign, equal, value))
}

impl Query {
    /// Reads a search.
    ///
    /// # Errors
    /// A regular expression that is not valid, or a number that is none; said in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for term in split(text) {
            let (not, rest) = match term.strip_prefix('-') {
                Some(rest) if !rest.is_empty() => (true, rest),
                _ => (false, term.as_str()),
            };
            let named = rest.split_once(':').filter(|(c, _)| WORDS.contains(c) || NUMBERS.contains(c));
            let (column, test) = match named {
                Some((column, value)) if NUMBERS.contains(&column) => (Some(column.to_owned()), number(column, value)?),
                Some((column, value)) => (Some(column.to_owned()), words(value)?),
                None => (None, words(rest)?),
            };
            terms.push(Term { not, column, test });
        }
        Ok(Self { terms })
    }

    /// Whether it asks for nothing, so that everything is found.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether the sample is found.
    pub(crate) fn finds(&self, sample: &impl Fields) -> bool {
        self.terms.iter().all(|term| {
            let holds = match (&term.test, &term.column) {
                (Test::Compare(order, equal, value), Some(column)) => sample
                    .number(column)
                    .and_then(|v| v.partial_cmp(value))
                    .is_some_and(|o| o == *order || (*equal && o.is_eq())),
                (test, Some(column)) => sample.words(column).is_some_and(|w| text_holds(test, &w)),
                (test, None) => WORDS.iter().filter_map(|c| sample.words(c)).any(|w| text_holds(test, &w)),
            };
            holds != term.not
        })
    }
}

fn text_holds(test: &Test, text: &str) -> bool {
    match test {
        Test::Contains(wanted) => text.to_lowercase().contains(wanted),
        Test::Matches(pattern) => pattern.is_match(text),
        Test::Compare(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl Fields for One {
        fn words(&self, column: &str) -> Option<Cow<'_, str>> {
            match column {
                "task" => Some("ocr".into()),
                "question" => Some("What does the Sign say?".into()),
                "id" => Some("val_7".into()),
                _ => None,
            }
        }

        fn number(&self, column: &str) -> Option<f64> {
            (column == "loss").then_some(2.5)
        }
    }

    #[test]
    fn terms() {
        for found in [
            "",
            "sign",
            "SIGN say",
            "\"the sign\"",
            "/s.gn/",
            "/what\\s+does/ task:ocr",
            "task:OCR",
            "loss:>2",
            "loss:2.5",
            "loss:<=2.5",
            "-counting",
            "-task:vqa sign",
            "task:/^oc/",
            "question:\"does the\"",
            "-loss:<1",
        ] {
            assert!(Query::parse(found).unwrap().finds(&One), "{found}");
        }
        for missed in
            ["horse", "\"sign the\"", "/^sign/", "task:vqa", "loss:>2.5", "loss:<2", "-sign", "seen:1", "answer:x"]
        {
            assert!(!Query::parse(missed).unwrap().finds(&One), "{missed}");
        }
        assert!(Query::parse(" ").unwrap().is_empty());
        assert!(Query::parse("/(/").unwrap_err().contains("not valid"));
        assert!(Query::parse("loss:high").unwrap_err().contains("wants a number"));
        assert!(!Query::parse("http://x").unwrap().finds(&One), "an unknown column is a word");
    }
}
