//! The built-in set's tokenizers, made from its own text. The files under `assets/scenes` are what these functions
//! return; a test compares.

use super::questions;
use super::world::{COLOURS, LATTICE, Object, SHAPES, SIDE, SIZES, WORDS, coordinate};
use crate::config::data::Template;
use crate::data::conversation::{IMAGE_PLACEHOLDER, Role, Turn};
use crate::data::template::render;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

/// Pieces of the language model's tokenizer: a coordinate with what stands before it, a word with its space, a digit, a
/// sign, a blank.
const PIECES: &str = r"(?: ?\[|, )?\d\.\d\d| ?[A-Za-z]+|\d| ?[^\sA-Za-z\d]|\s";

/// Special tokens of the language model's tokenizer, by id.
const LANGUAGE_SPECIAL: [&str; 5] = ["<unk>", "<s>", "</s>", "<pad>", "<|im_start|>"];

/// Special tokens of the text encoder's tokenizer, by id.
const TEXT_SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Every form of question and answer with every word and coordinate that the set can draw.
fn corpus() -> Vec<questions::Pair> {
    let mut pairs = Vec::new();
    for shape in 0..SHAPES.len() {
        for colour in 0..COLOURS.len() {
            for size in 0..SIZES.len() {
                let object = Object { left: 0, top: 0, size, colour, shape };
                pairs.extend([
                    questions::captioning(&[object, object]),
                    questions::grounding(&object),
                    questions::region_captioning(&object),
                    questions::colour_of(&object),
                    questions::shape_of(&object),
                    questions::size_of(&object, true),
                    questions::size_of(&object, false),
                    questions::side_of(&object),
                ]);
                for (beside, swap) in [(true, true), (true, false), (false, true), (false, false)] {
                    pairs.push(questions::related(&object, &object, beside, swap));
                }
            }
            pairs.push(questions::is_there(true, colour, true));
            pairs.push(questions::is_there(false, shape, false));
            pairs.push(questions::count_colour(colour, colour));
        }
        pairs.push(questions::count_shape(shape, shape));
    }
    pairs.extend(WORDS.iter().map(|w| questions::ocr(w)));
    let coordinates = (0..=SIDE / LATTICE).map(|i| coordinate(i * LATTICE));
    pairs.extend(coordinates.map(|v| (format!("at [{v}, {v}]"), format!("[{v}, {v}]"))));
    pairs
}

/// The corpus as the language model reads it in both chat templates, cut at special tokens and images.
fn rendered() -> Vec<String> {
    let mut chunks = Vec::new();
    for (question, answer) in corpus() {
        let turns = [
            Turn { role: Role::Human, text: format!("{IMAGE_PLACEHOLDER}\n{question}") },
            Turn { role: Role::Assistant, text: answer },
        ];
        // Twice, so that what follows an end token is there too.
        let turns = [turns.clone(), turns].concat();
        for template in [Template::V1, Template::ChatMl] {
            let text = render(&turns, template, None, "</s>").expect("both templates take any conversation").text;
            let text = text.replace("<|im_start|>", "</s>").replace(IMAGE_PLACEHOLDER, "</s>");
            chunks.extend(text.split("</s>").filter(|c| !c.is_empty()).map(str::to_owned));
        }
    }
    chunks
}

/// Printable ASCII.
fn ascii() -> impl Iterator<Item = String> {
    (b' '..=b'~').map(|b| char::from(b).to_string())
}

/// Entries in order: the special ones, then the others sorted.
fn numbered(special: &[&str], others: BTreeSet<String>) -> Map<String, Value> {
    let all = special.iter().map(|s| (*s).to_owned()).chain(others);
    all.enumerate().map(|(i, token)| (token, json!(i))).collect()
}

fn added(special: &[&str]) -> Vec<Value> {
    let token = |(id, content): (usize, &&str)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    special.iter().enumerate().map(token).collect()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// `tokenizer.json` of the language model: a LLaMA-like tokenizer whose pieces are whole words with their space and
/// coordinates with their comma; other words fall apart into letters. `<s>` begins every text.
#[must_use]
pub fn language_tokenizer() -> String {
    let pattern = SplitPattern::Regex(PIECES.to_owned());
    let split =
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("the pattern is a regular expression");
    let mut others: BTreeSet<String> = ascii().chain(["\n".to_owned()]).collect();
    for chunk in rendered() {
        let mut text = PreTokenizedString::from(chunk.as_str());
        split.pre_tokenize(&mut text).expect("splitting by a pattern cannot fail");
        let pieces = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
        others.extend(pieces.into_iter().map(|(piece, _, _)| piece.to_owned()));
    }
    pretty(&json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added(&LANGUAGE_SPECIAL),
        "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Isolated", "invert": false},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
        },
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
                  "vocab": numbered(&LANGUAGE_SPECIAL, others), "merges": []}
    }))
}

/// `tokenizer.json` of the text encoder: BERT's word pieces, the questions' words whole, other words letter by letter.
#[must_use]
pub fn text_tokenizer() -> String {
    let mut others = BTreeSet::new();
    for letter in ascii().filter(|c| !c.chars().any(|c| c.is_ascii_uppercase() || c == ' ')) {
        if letter.chars().all(char::is_alphanumeric) {
            others.insert(format!("##{letter}"));
        }
        others.insert(letter);
    }
    for (question, _) in corpus() {
        let words = question.to_lowercase();
        others.extend(words.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned));
    }
    let special = |token: &str, id: usize| json!({"id": token, "ids": [id], "tokens": [token]});
    pretty(&json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added(&TEXT_SPECIAL),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {"[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3)}
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": numbered(&TEXT_SPECIAL, others)}
    }))
}
