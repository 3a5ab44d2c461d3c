//! Which keys of two recipes differ, and which of them may.

use super::{Difference, Premise};
use crate::config::Recipe;
use toml::{Table, Value};

/// Keys that a run may go on with changed, each with all below it, as the table of keys writes them. They move files,
/// change the time and what is looked at, never what is computed. What lies at a path is compared by what it holds.
const FREE: [&str; 30] = [
    "name",
    "device",
    "bf16_copies",
    "out",
    "probe",
    "study",
    "model.checkpoint",
    "model.vision.weights",
    "model.language.weights",
    "model.language.tokenizer",
    "model.text.weights",
    "model.text.tokenizer",
    "data.train",
    "data.val",
    "data.images",
    "data.unlabelled",
    "data.workers",
    "data.prefetch",
    "data.scenes.val",
    "stage[].eval_every",
    "stage[].eval_at_start",
    "stage[].eval_at_end",
    "stage[].eval_samples",
    "stage[].generate_samples",
    "stage[].generate_at_end",
    "stage[].checkpoint_every",
    "stage[].keep_last",
    "stage[].keep_best",
    "stage[].keep_end",
    "stage[].spikes",
];

/// How a run goes on that met a broken picture. It changes what is trained from then on, so a kept stage hangs on it.
const DECISION: &str = "data.broken";

/// Changes nothing either, but is nothing that a run looks at again.
const REUSE: &str = "stage[].reuse";

fn is_free(pattern: &str) -> bool {
    let covers = |key: &&str| pattern.strip_prefix(*key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    FREE.iter().chain([&REUSE]).any(covers)
}

/// Every key that differs, in the order of the recipe.
pub(super) fn differences(was: &Recipe, is: &Recipe) -> Vec<Difference> {
    let (was, is) = (Value::Table(table(was)), Value::Table(table(is)));
    let mut found = Vec::new();
    walk("", "", Some(&was), Some(&is), &mut found);
    found
}

/// The recipe as far as it changes what is computed, with the stages up to `last`.
pub(in crate::experiment::session) fn that_trains(recipe: &Recipe, last: usize) -> Table {
    let mut begun = recipe.clone();
    begun.stages.truncate(last + 1);
    let mut all = table(&begun);
    strip("", &mut all);
    all
}

fn table(recipe: &Recipe) -> Table {
    Table::try_from(recipe).expect("a recipe is made of tables, strings and numbers")
}

fn strip(prefix: &str, table: &mut Table) {
    table.retain(|key, _| !is_free(&joined(prefix, key)));
    for (key, value) in table.iter_mut() {
        let pattern = joined(prefix, key);
        match value {
            Value::Table(inner) => strip(&pattern, inner),
            Value::Array(items) => {
                for item in items {
                    if let Value::Table(inner) = item {
                        strip(&format!("{pattern}[]"), inner);
                    }
                }
            }
            _ => {}
        }
    }
}

fn joined(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// `key` names the place for people (`stage.instruct.steps`), `pattern` for the list above (`stage[].steps`).
fn walk(key: &str, pattern: &str, was: Option<&Value>, is: Option<&Value>, found: &mut Vec<Difference>) {
    match (was, is) {
        (was, is) if was == is => {}
        (Some(Value::Table(was)), Some(Value::Table(is))) => {
            let new = is.keys().filter(|name| !was.contains_key(*name));
            for name in was.keys().chain(new) {
                walk(&joined(key, name), &joined(pattern, name), was.get(name), is.get(name), found);
            }
        }
        (Some(Value::Array(was)), Some(Value::Array(is))) if pattern == "stage" => stages(was, is, found),
        (was, is) => found.push(Difference {
            premise: (!is_free(pattern) && pattern != DECISION).then_some(Premise::Recipe),
            what: key.to_owned(),
            was: shown(was),
            is: shown(is),
            more: String::new(),
        }),
    }
}

/// Stages go by their names; others, or in another order, are one difference.
fn stages(was: &[Value], is: &[Value], found: &mut Vec<Difference>) {
    let names = |stages: &[Value]| stages.iter().map(name_of).collect::<Vec<_>>();
    let (before, now) = (names(was), names(is));
    if before != now {
        let list = |names: Vec<String>| names.join(", ");
        let (was, is) = (list(before), list(now));
        let what = "stage".to_owned();
        found.push(Difference { premise: Some(Premise::Recipe), what, was, is, more: String::new() });
        return;
    }
    for ((name, was), is) in before.iter().zip(was).zip(is) {
        walk(&format!("stage.{name}"), "stage[]", Some(was), Some(is), found);
    }
}

fn name_of(stage: &Value) -> String {
    stage.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string().replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;
    use std::path::Path;

    fn tiny(overrides: &[&str]) -> Recipe {
        let text = include_str!("../../../../tests/fixtures/tiny.toml");
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        Recipe::parse(text, Path::new("tiny.toml"), &overrides).unwrap()
    }

    fn changed(overrides: &[&str]) -> Vec<String> {
        differences(&tiny(&[]), &tiny(overrides)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_key_that_trains_is_named_with_what_it_was_and_is() {
        for (key, value, line) in [
            ("seed", "4", "seed: the run began with 3, config.toml now says 4"),
            ("data.template", "'v1'", "data.template: the run began with \"chatml\", config.toml now says \"v1\""),
            ("data.max_length", "64", "data.max_length: the run began with 128, config.toml now says 64"),
            ("stage.base.batch_size", "2", "stage.base.batch_size: the run began with 4, config.toml now says 2"),
            ("stage.instruct.steps", "50", "stage.instruct.steps: the run began with 40, config.toml now says 50"),
            (
                "stage.instruct.schedule",
                "'linear'",
                "stage.instruct.schedule: the run began with \"cosine\", config.toml now says \"linear\"",
            ),
            (
                "stage.instruct.learning_rate",
                "2e-3",
                "stage.instruct.learning_rate: the run began with 0.001, config.toml now says 0.002",
            ),
            (
                "stage.instruct.tuning.vision.experts",
                "3",
                "stage.instruct.tuning.vision.experts: the run began with 2, config.toml now says 3",
            ),
            (
                "stage.instruct.order_seed",
                "9",
                "stage.instruct.order_seed: the run began with nothing, config.toml now says 9",
            ),
        ] {
            let set = format!("{key}={value}");
            assert_eq!(changed(&[&set]), [line]);
            assert_eq!(differences(&tiny(&[]), &tiny(&[&set]))[0].premise, Some(Premise::Recipe), "{key}");
        }
        assert_eq!(changed(&[]), Vec::<String>::new());
        assert_eq!(
            changed(&["stage.base.name='other'"]),
            ["stage: the run began with base, instruct, config.toml now says other, instruct"]
        );
    }

    #[test]
    fn what_may_change_is_told_and_is_no_premise() {
        for set in [
            "data.workers=3",
            "stage.instruct.keep_last=9",
            "probe.every=5",
            "data.broken='drop'",
            "device='cpu:2'",
            "out='x'",
        ] {
            let sets = [set, "stage.base.accumulation=2", "stage.instruct.accumulation=2"];
            let found = differences(&tiny(&sets[1..]), &tiny(&sets));
            assert_eq!((found.len(), found[0].premise), (1, None), "{found:?}");
        }
        assert_eq!(that_trains(&tiny(&[]), 1), that_trains(&tiny(&["out='x'", "stage.base.eval_every=2"]), 1));
        assert_ne!(that_trains(&tiny(&[]), 1), that_trains(&tiny(&["stage.base.batch_size=2"]), 1));
        assert_eq!(that_trains(&tiny(&[]), 0), that_trains(&tiny(&["stage.instruct.batch_size=1"]), 0));
    }

    #[test]
    fn the_list_names_keys_that_there_are() {
        let keys: Vec<String> = keys::keys().into_iter().map(|key| key.path).collect();
        for free in FREE.iter().chain([&REUSE, &DECISION]) {
            assert!(keys.iter().any(|key| key == free), "{free} is no key");
        }
    }
}
