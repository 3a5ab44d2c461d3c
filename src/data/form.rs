//! Forms of instruction files that other tools read: told by an entry's keys, so that one error names the form.

use super::json::{Json, Object, field};
use std::path::Path;

/// A form that `data convert` turns into the one that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// LLaMA-Factory's: `instruction`, `input`, `output`, `history`, or turns of its `sharegpt` formatting; `images`.
    LlamaFactory,
    /// ms-swift's: `messages` of `role` and `content`, or `query`, `response`, `history`; `images`.
    Swift,
    /// ShareGPT's: `conversations` of `from` and `value`, from more speakers than `human` and `gpt`.
    ShareGpt,
}

impl Form {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::LlamaFactory, Self::Swift, Self::ShareGpt];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LlamaFactory => "llamafactory",
            Self::Swift => "swift",
            Self::ShareGpt => "sharegpt",
        }
    }

    /// What its entries look like, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::LlamaFactory => "the alpaca form (instruction, input, output), as LLaMA-Factory reads it",
            Self::Swift => "a form of role and content, or query and response, as ms-swift reads it",
            Self::ShareGpt => "ShareGPT's form, with speakers that LLaVA's does not have",
        }
    }

    /// The command that converts a file of this form.
    #[must_use]
    pub fn command(self, path: &Path) -> String {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let out = path.with_file_name(format!("{stem}-llava.json"));
        format!("covft-probe data convert --from {} {} --out {}", self.name(), path.display(), out.display())
    }

    /// The form of an entry that has no turns of `from` and `value`.
    pub(super) fn of(entry: &Object<'_>) -> Option<Self> {
        let has = |key: &str| field(entry, key).is_some_and(|value| !matches!(value, Json::Null));
        let turns = ["messages", "conversations", "conversation"].into_iter().find_map(|key| field(entry, key));
        if has("instruction") && has("output") {
            return Some(Self::LlamaFactory);
        }
        if has("query") && has("response") {
            return Some(Self::Swift);
        }
        let Some(Json::List(turns)) = turns else { return None };
        let Some(Json::Object(turn)) = turns.first() else { return None };
        let has = |key: &str| field(turn, key).is_some();
        if (has("role") && has("content")) || (has("human") && has("assistant")) {
            return Some(Self::Swift);
        }
        (has("from") && has("value")).then_some(Self::ShareGpt)
    }
}

/// Advice for an object that holds the entries in place of being one.
pub(super) fn wrapped(entry: &Object<'_>) -> Option<String> {
    let turn = |o: &Object<'_>| ["from", "role", "value", "content"].iter().any(|key| field(o, key).is_some());
    let objects = |items: &[Json<'_>]| matches!(items.first(), Some(Json::Object(first)) if !turn(first));
    let list = entry.iter().find(|(_, value)| matches!(value, Json::List(items) if objects(items)));
    if let Some((key, _)) = list {
        let take = format!("json.load(open(sys.argv[1]))[{:?}]", &**key).replace('"', "'");
        return Some(format!("the entries lie in a list under {key:?}; take it out: {}", python(&take)));
    }
    let by_id = entry.len() > 1 && entry.iter().all(|(_, value)| matches!(value, Json::Object(_)));
    by_id.then(|| {
        let take = "[{'id': k, **v} for k, v in json.load(open(sys.argv[1])).items()]";
        format!("the entries lie under their ids; make a list of them: {}", python(take))
    })
}

/// What to do where the whole file is one object too large to look into.
pub(super) fn unwrap_largest() -> String {
    python("max((v for v in json.load(open(sys.argv[1])).values() if isinstance(v, list)), key=len)")
}

fn python(expression: &str) -> String {
    format!("python3 -c \"import json,sys; json.dump({expression}, open(sys.argv[2], 'w'))\" FILE NEW")
}
