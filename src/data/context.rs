//! The context text: what the text encoder reads of a conversation.

use super::conversation::{IMAGE_PLACEHOLDER, Role, Turn};
use crate::config::data::ContextSuffix;

/// All questions of a conversation, one after the other, without the placeholder and its line break; with
/// [`ContextSuffix::End`] the literal text `</s>` follows, as in the published training.
#[must_use]
pub fn context_text(turns: &[Turn], suffix: ContextSuffix) -> String {
    let mut text = String::new();
    for turn in turns.iter().filter(|t| t.role == Role::Human) {
        let question = turn.text.replace(&format!("{IMAGE_PLACEHOLDER}\n"), "");
        text.push_str(if question == IMAGE_PLACEHOLDER { "" } else { &question });
        text.push(' ');
    }
    let text = text.trim();
    match suffix {
        ContextSuffix::End if !text.ends_with("</s>") => format!("{text}</s>"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::conversation::Entry;
    use crate::data::testing::{fixture, fixture_entries};
    use crate::data::tokenizer::TextTokenizer;
    use serde_json::Value;

    #[test]
    fn texts_and_ids_equal_the_published_ones() {
        let meta = std::fs::read(fixture("expected/meta.json")).unwrap();
        let meta: Value = serde_json::from_slice(&meta).unwrap();
        let tokenizer = TextTokenizer::load(&fixture("bert"), 512).unwrap();
        let entries = fixture_entries();
        assert_eq!(entries.len(), 5);
        for (i, entry) in entries.iter().enumerate() {
            let text = context_text(&entry.turns, ContextSuffix::End);
            assert_eq!(text, meta["context_texts"][i].as_str().unwrap());
            let mask = meta["bert_attention_mask"][i].as_array().unwrap();
            let valid = mask.iter().filter(|m| m.as_u64() == Some(1)).count();
            let ids: Vec<u64> = tokenizer.ids(&text).unwrap().into_iter().map(u64::from).collect();
            let expected: Vec<u64> =
                meta["bert_input_ids"][i].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
            assert_eq!(ids, expected[..valid]);
        }
    }

    #[test]
    fn without_a_suffix_the_questions_stand_alone() {
        let json = br#"{"id": 1, "image": "a", "conversations": [{"from": "human", "value": "<image>"},
            {"from": "gpt", "value": "A."}, {"from": "human", "value": "Why?</s>"}]}"#;
        let turns = Entry::parse(json, 0).unwrap().turns;
        assert_eq!(context_text(&turns, ContextSuffix::None), "Why?</s>");
        assert_eq!(context_text(&turns, ContextSuffix::End), "Why?</s>");
        assert_eq!(context_text(&turns[..1], ContextSuffix::None), "");
    }
}
