//! What an entry says that is not trained upon, or not as its writer may think: counted, never refused.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One thing to count, at most once an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Remark {
    /// A key of the entry that is not read.
    Key(String),
    /// A key of a turn that is not read.
    TurnKey(String),
    /// No id; one is made from the entry's place.
    MadeId,
    /// The conversation begins with an answer, which is skipped.
    LeadingAnswer,
    /// The conversation ends with a question.
    NoLastAnswer,
    /// A question without a word.
    EmptyQuestion,
    /// An answer without a word.
    EmptyAnswer,
    /// A system message of the entry's own.
    System,
    /// A placeholder that stands as a word in a text.
    Word(String),
    /// The end token stands within a text.
    EndToken(String),
    /// The plain template leaves the question's text out.
    QuestionLeftOut,
    /// `<image>` does not stand at the front of its question.
    ImageMoved,
    /// Cutting at the longest length took some of the picture, or all.
    PictureCut,
    /// A token that the language model or the text encoder has no embedding for.
    NoEmbedding {
        /// Which model.
        model: String,
        /// Its token.
        token: u32,
        /// The embeddings that it has.
        embeddings: usize,
    },
}

/// A remark over all entries of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// What.
    pub remark: Remark,
    /// How many entries.
    pub entries: usize,
    /// 1-based line of the first of them.
    pub line: u64,
    /// Its id.
    pub id: String,
}

impl Remark {
    /// Whether no training may begin with it.
    #[must_use]
    pub fn refuses(&self) -> bool {
        matches!(self, Self::NoEmbedding { .. })
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key passed over: {key:?}"),
            Self::TurnKey(key) => write!(f, "key of a turn passed over: {key:?}"),
            Self::MadeId => f.write_str("no id: one is made from the entry's place in the file, as #17"),
            Self::LeadingAnswer => f.write_str("begins with an answer, which is skipped as in LLaVA"),
            Self::NoLastAnswer => f.write_str("ends with a question, from which nothing is learnt"),
            Self::EmptyQuestion => f.write_str("a question is empty"),
            Self::EmptyAnswer => f.write_str("an answer is empty, from which nothing is learnt"),
            Self::System => f.write_str("a system message of its own, in place of the template's"),
            Self::Word(word) => write!(f, "{word} stands as a word in a text and is read as one"),
            Self::EndToken(token) => write!(f, "the end token {token} stands within a text"),
            Self::QuestionLeftOut => f.write_str("the question's text is left out, as the plain template does"),
            Self::ImageMoved => {
                f.write_str("<image> stands within or behind its question and is put at its front, as in LLaVA")
            }
            Self::PictureCut => f.write_str("data.max_length cuts the picture's tokens"),
            Self::NoEmbedding { model, token, embeddings } => {
                write!(f, "token {token} is beyond the {embeddings} embeddings of the {model}")
            }
        }
    }
}

/// Counts remarks.
#[derive(Debug, Default)]
pub(super) struct Tallies(BTreeMap<Remark, Tally>);

impl Tallies {
    pub(super) fn add(&mut self, remark: Remark, line: u64, id: &str) {
        if let Some(tally) = self.0.get_mut(&remark) {
            tally.entries += 1;
            return;
        }
        let first = Tally { remark: remark.clone(), entries: 1, line, id: id.to_owned() };
        self.0.insert(remark, first);
    }

    /// In the order of [`Remark`], the commoner of a kind first.
    pub(super) fn into_list(self) -> Vec<Tally> {
        let mut list: Vec<_> = self.0.into_values().collect();
        let kind = |t: &Tally| std::mem::discriminant(&t.remark);
        let kinds: Vec<_> = list.iter().map(kind).collect();
        list.sort_by_key(|t| (kinds.iter().position(|k| *k == kind(t)), std::cmp::Reverse(t.entries)));
        list
    }
}

/// A set's remarks, a line each; keys passed over share one.
#[must_use]
pub fn lines(tallies: &[Tally]) -> Vec<String> {
    let of_entry = keys("keys passed over", tallies, |r| if let Remark::Key(key) = r { Some(key) } else { None });
    let of_turns =
        keys("keys of turns passed over", tallies, |r| if let Remark::TurnKey(key) = r { Some(key) } else { None });
    let rest = tallies.iter().filter(|t| !matches!(t.remark, Remark::Key(_) | Remark::TurnKey(_)));
    let rest = rest.map(|t| format!("{} in {}, first line {} (id {:?})", t.remark, entries(t.entries), t.line, t.id));
    of_entry.into_iter().chain(of_turns).chain(rest).collect()
}

fn keys(front: &str, tallies: &[Tally], key: fn(&Remark) -> Option<&String>) -> Option<String> {
    let all: Vec<_> = tallies.iter().filter_map(|t| Some((key(&t.remark)?, t.entries))).collect();
    let shown: Vec<_> = all.iter().take(SHOWN).map(|(key, n)| format!("{key:?} in {}", entries(*n))).collect();
    let more = if all.len() > SHOWN { format!(" and {} more", all.len() - SHOWN) } else { String::new() };
    (!all.is_empty()).then(|| format!("{front}: {}{more}", shown.join(", ")))
}

/// Keys that are listed.
const SHOWN: usize = 12;

fn entries(n: usize) -> String {
    format!("{n} {}", if n == 1 { "entry" } else { "entries" })
}
