//! Tokenizers, templates and tables of different models do not meet.

use super::tokens::{check, language_rows, text_rows};
use crate::config::data::{BUILTIN_SCENES, DataConfig, Template};
use crate::config::model::ModelConfig;
use crate::data::{LanguageTokenizer, TextTokenizer, Tokenizers};
use crate::models::shapes::ModelShapes;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/covft-tiny").join(name)
}

/// A fixture's folder with its tokenizer changed.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let read = |file: &str| std::fs::read_to_string(fixture(name).join(file)).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&read("tokenizer.json")).unwrap();
    change(&mut tokenizer);
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(dir.path().join("tokenizer_config.json"), read("tokenizer_config.json")).unwrap();
    dir
}

fn model() -> ModelConfig {
    serde_json::from_value(json!({
        "checkpoint": fixture("llava"),
        "vision": { "weights": fixture("clip") },
        "language": {},
        "text": { "weights": fixture("bert") },
    }))
    .unwrap()
}

fn says(template: Template, language: &Path, text: &Path) -> Result<Vec<String>, String> {
    let data = DataConfig { template, ..DataConfig::default() };
    let model = model();
    let shapes = ModelShapes::resolve(&model).unwrap();
    let tokenizers = Tokenizers::load(language, text, 64).map_err(|e| e.to_string())?;
    check(&data, &model, &shapes, &tokenizers).map_err(|e| e.to_string())
}

fn refused(template: Template, language: &Path, text: &Path) -> String {
    says(template, language, text).unwrap_err()
}

#[test]
fn a_models_own_tokenizers_fit() {
    assert_eq!(says(Template::V1, &fixture("llava"), &fixture("bert")), Ok(Vec::new()));
}

#[test]
fn a_token_without_a_row_is_refused() {
    let more = changed("llava", |json| {
        let token = json!({"id": 480, "content": "<extra>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true});
        json["added_tokens"].as_array_mut().unwrap().push(token);
    });
    let error = refused(Template::V1, more.path(), &fixture("bert"));
    assert!(error.contains("token 480 (<extra>)") && error.contains("table of 480"), "{error}");
    let error = refused(Template::V1, &fixture("llava"), &fixture("llava"));
    assert!(error.contains("text encoder's tokenizer has no row"), "{error}");
}

#[test]
fn a_table_is_never_made_for_an_id_far_beyond_the_others() {
    let with = |name: &str, id: u64| {
        changed(name, |json| {
            let token = json!({"id": id, "content": "<far>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true});
            json["added_tokens"].as_array_mut().unwrap().push(token);
            // An added token has the id of the vocabulary where that has one.
            if let Some(words) = json["model"]["vocab"].as_object_mut() {
                words.insert("<far>".into(), json!(id));
            }
        })
    };
    for id in [100_000, u64::from(u32::MAX)] {
        let far = [with("llava", id), with("bert", id)];
        let tokenizers = Tokenizers::load(far[0].path(), far[1].path(), 64).unwrap();
        for (error, model) in
            [language_rows(&tokenizers), text_rows(&tokenizers)].into_iter().zip(["language model", "text encoder"])
        {
            let error = error.unwrap_err().to_string();
            let said = format!("token {id} (<far>) of the {model}'s tokenizer asks for a table of {} rows", id + 1);
            assert!(error.starts_with(&said) && error.ends_with("tokenizer.json"), "{error}");
        }
    }
    let near = [with("llava", 600), with("bert", 600)];
    let tokenizers = Tokenizers::load(near[0].path(), near[1].path(), 64).unwrap();
    assert_eq!((language_rows(&tokenizers).unwrap(), text_rows(&tokenizers).unwrap()), (601, 601));
}

#[test]
fn a_tokenizer_that_fails_at_an_unknown_character_is_refused_before_the_texts_are_read() {
    let lacking = changed("bert", |json| json["model"]["unk_token"] = json!("[NONE]"));
    let error = refused(Template::V1, &fixture("llava"), lacking.path());
    assert!(error.starts_with("the text encoder's tokenizer fails at a character that it does not know ("), "{error}");
    assert!(error.ends_with("tokenizer.json") && !error.contains('\n'), "{error}");
}

#[test]
fn the_templates_tokens_must_be_tokens() {
    let error = refused(Template::ChatMl, &fixture("llava"), &fixture("bert"));
    assert!(error.contains("the chatml template needs <|im_start|> as one token"), "{error}");
    assert!(says(Template::Plain, &fixture("llava"), &fixture("bert")).is_ok());
    // An end token that is cut into pieces: in the vocabulary, and not among the added tokens.
    let cut = changed("llava", |json| json["added_tokens"].as_array_mut().unwrap().retain(|t| t["id"] != 2));
    let error = refused(Template::V1, cut.path(), &fixture("bert"));
    assert!(error.contains("the v1 template needs </s> as one token"), "{error}");
}

#[test]
fn another_familys_tokenizer_is_told_or_refused() {
    // The ids that config.json calls begin and end are words here.
    let words = changed("llava", |json| {
        json["added_tokens"].as_array_mut().unwrap().retain(|t| t["id"] != 1);
    });
    let error = refused(Template::Plain, words.path(), &fixture("bert"));
    assert!(error.contains("bos_token_id 1") && error.contains("no special token"), "{error}");
    let builtin = Path::new(BUILTIN_SCENES);
    let told = says(Template::Plain, builtin, &fixture("bert")).unwrap();
    assert!(told.is_empty(), "480 rows for 268 tokens is within a padded table: {told:?}");
    let unmarked = changed("bert", |json| json["post_processor"] = Value::Null);
    let error = refused(Template::V1, &fixture("llava"), unmarked.path());
    assert!(error.contains("[CLS] and [SEP]"), "{error}");
}

#[test]
fn other_tokenizer_formats_are_told_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.model"), "x").unwrap();
    let error = LanguageTokenizer::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("only tokenizer.model is") && error.contains("save_pretrained"), "{error}");
    std::fs::write(dir.path().join("tokenizer.json"), "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let error = TextTokenizer::load(dir.path(), 8).unwrap_err().to_string();
    assert!(error.contains("Git LFS pointer"), "{error}");
}

/// Every value of a tokenizer replaced by others, one at a time: an error or a tokenizer, never a panic.
#[test]
fn damage_inside_a_tokenizer_is_an_error_of_one_line() {
    fn places(json: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        match json {
            // Of vocabularies and merges the first few say enough.
            Value::Object(fields) => {
                fields.iter().take(12).for_each(|(key, value)| {
                    places(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
                });
            }
            Value::Array(list) => {
                list.iter().take(3).enumerate().for_each(|(i, value)| places(value, &format!("{at}/{i}"), found));
            }
            _ => {}
        }
    }
    let mut errors = 0;
    for name in ["llava", "bert"] {
        let whole: Value =
            serde_json::from_slice(&std::fs::read(fixture(name).join("tokenizer.json")).unwrap()).unwrap();
        let mut found = Vec::new();
        places(&whole, "", &mut found);
        let wrong = [json!(null), json!(4_000_000_000_u64), json!("x"), json!([]), json!({})];
        for (place, wrong) in found.iter().skip(1).flat_map(|place| wrong.iter().map(move |wrong| (place, wrong))) {
            let dir = changed(name, |json| *json.pointer_mut(place).unwrap() = wrong.clone());
            let result = if name == "llava" {
                LanguageTokenizer::load(dir.path()).and_then(|t| t.ids("Which shape is larger?").map(drop))
            } else {
                TextTokenizer::load(dir.path(), 8).and_then(|t| t.ids("Which shape is larger?").map(drop))
            };
            if let Err(error) = result {
                errors += 1;
                let error = error.to_string();
                assert!(!error.contains('\n') && error.ends_with("tokenizer.json"), "{place} = {wrong}: {error}");
            }
        }
    }
    assert!(errors > 50, "{errors} errors: the damage was none");
}

#[test]
fn what_stands_before_a_text_is_what_the_model_was_trained_with() {
    let says_7 = changed("llava", |json| json["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([7]));
    let error = refused(Template::V1, says_7.path(), &fixture("bert"));
    assert!(error.starts_with("the language model's tokenizer puts token 7 (") && error.contains("= [1]"), "{error}");
    let set = |folder: &TempDir, key: &str, value: Value| {
        let path = folder.path().join("tokenizer_config.json");
        let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        settings[key] = value;
        std::fs::write(&path, settings.to_string()).unwrap();
    };
    let bare = changed("llava", |json| json["post_processor"] = Value::Null);
    set(&bare, "add_bos_token", true.into());
    let plain = changed("llava", |_| ());
    set(&plain, "add_bos_token", false.into());
    for (folder, words) in
        [(&bare, "= true, and the tokenizer itself puts nothing"), (&plain, "= false, and the tokenizer")]
    {
        let lines = says(Template::V1, folder.path(), &fixture("bert")).unwrap();
        assert!(lines.len() == 1 && lines[0].contains(words), "{lines:?}");
    }
    set(&plain, "eos_token", "nope".into());
    let error = refused(Template::V1, plain.path(), &fixture("bert"));
    assert!(error.contains("eos_token is \"nope\", which the tokenizer does not have"), "{error}");
    for (text, words) in [("{", "not valid JSON"), ("version https://git-lfs.github.com/spec/v1", "Git LFS pointer")] {
        std::fs::write(plain.path().join("tokenizer_config.json"), text).unwrap();
        let error = refused(Template::V1, plain.path(), &fixture("bert"));
        assert!(error.contains(words) && error.ends_with("tokenizer_config.json"), "{error}");
    }
}

#[test]
fn a_tokenizer_that_cuts_at_random_is_refused() {
    let random = changed("llava", |json| json["model"]["dropout"] = json!(0.5));
    let error = refused(Template::V1, random.path(), &fixture("bert"));
    assert!(error.contains("model.dropout = 0.5 cuts texts at random"), "{error}");
    let never = changed("llava", |json| json["model"]["dropout"] = json!(0.0));
    assert_eq!(says(Template::V1, never.path(), &fixture("bert")), Ok(Vec::new()));
}
