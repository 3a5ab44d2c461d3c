//! `[study]`: what makes a recipe several runs that answer one question. The rest of the recipe is what they share.

use super::model::VisionMethod;
use super::train::StageConfig;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// `[study]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum StudyConfig {
    /// How far two sets of instructions over the same pictures pull one encoder apart (`covft-probe experiment conflict`).
    Conflict {
        /// The stage that the question is about; those before it are the base, trained once. The last if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<String>,
        /// The two sets of tasks; the first task of one is paired with the first of the other, and so on.
        #[serde(default = "grounding_against_captioning")]
        pair: [Vec<String>; 2],
        /// Tuning method of the vision encoder; the stage's own if left out.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_method")]
        method: Option<VisionMethod>,
        /// Also train both sets in another order (`--null`): how far two runs of the same instructions drift apart.
        #[serde(default)]
        null: bool,
    },
    /// What the tuning methods make of one base (`covft-probe experiment methods`).
    Methods {
        /// The stage that the methods differ in; those before it are the base, trained once. The last if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<String>,
        /// The methods, by name or with their settings.
        #[serde(deserialize_with = "all_methods")]
        methods: Vec<VisionMethod>,
        /// Seeds of the stage's data order, new parameters and dropout; every method is trained with each.
        #[serde(default = "one_seed")]
        seeds: Vec<u64>,
    },
}

fn grounding_against_captioning() -> [Vec<String>; 2] {
    [vec!["grounding".into()], vec!["region_captioning".into()]]
}
fn one_seed() -> Vec<u64> {
    vec![0]
}

/// A method as people write it: `"full"`, or a table with its settings.
struct Written(VisionMethod);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a method such as \"full\" or { type = \"lora\", rank = 4 }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Written, E> {
                let unknown =
                    || E::invalid_value(de::Unexpected::Str(name), &"freeze, full, lora, bitfit, vpt or covft");
                VisionMethod::named(name).map(Written).ok_or_else(unknown)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                VisionMethod::deserialize(MapAccessDeserializer::new(map)).map(Written)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

fn some_method<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<VisionMethod>, D::Error> {
    Written::deserialize(deserializer).map(|written| Some(written.0))
}

fn all_methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<VisionMethod>, D::Error> {
    Ok(Vec::<Written>::deserialize(deserializer)?.into_iter().map(|written| written.0).collect())
}

impl StudyConfig {
    /// The command that runs it.
    #[must_use]
    pub fn command(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "covft-probe experiment conflict",
            Self::Methods { .. } => "covft-probe experiment methods",
        }
    }

    /// Index of the stage that it is about.
    #[must_use]
    pub fn stage_index(&self, stages: &[StageConfig]) -> Option<usize> {
        let (Self::Conflict { stage, .. } | Self::Methods { stage, .. }) = self;
        match stage {
            Some(name) => stages.iter().position(|s| s.name == *name),
            None => stages.len().checked_sub(1),
        }
    }

    /// What is wrong with it, each beginning with its key.
    pub(super) fn violations(&self, stages: &[StageConfig]) -> Vec<String> {
        let mut found = Vec::new();
        let names: Vec<&str> = stages.iter().map(|s| s.name.as_str()).collect();
        match self.stage_index(stages) {
            None => found.push(format!("study.stage: there is no such stage; there are {}", names.join(", "))),
            Some(index) if index + 1 < stages.len() => {
                found.push(format!("study.stage: stages come after {}; a study ends with its stage", names[index]));
            }
            Some(_) => {}
        }
        match self {
            Self::Conflict { pair: [a, b], .. } => {
                if a.is_empty() || a.len() != b.len() {
                    found.push("study.pair: two lists of equally many tasks".into());
                }
            }
            Self::Methods { methods, seeds, .. } => {
                let distinct: BTreeSet<&str> = methods.iter().map(VisionMethod::name).collect();
                if methods.is_empty() || distinct.len() < methods.len() {
                    found.push("study.methods: at least one, each once".into());
                }
                if seeds.is_empty() || seeds.iter().collect::<BTreeSet<_>>().len() < seeds.len() {
                    found.push("study.seeds: at least one, each once".into());
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StudyConfig, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn methods_are_names_or_tables() {
        let text = "kind = 'methods'\nmethods = ['full', { type = 'lora', rank = 2 }]\nseeds = [0, 1]";
        let study = read(text).unwrap();
        let StudyConfig::Methods { methods, seeds, .. } = &study else { panic!("{study:?}") };
        assert_eq!(methods.iter().map(VisionMethod::name).collect::<Vec<_>>(), ["full", "lora"]);
        assert!(matches!(methods[1], VisionMethod::Lora { rank: 2, .. }) && seeds == &[0, 1]);
        let again = read(&toml::to_string(&study).unwrap()).unwrap();
        assert_eq!(again, study);
        assert!(read("kind = 'methods'\nmethods = ['fully']").unwrap_err().contains("freeze, full, lora"));
        assert!(read("kind = 'methods'\nmethods = ['full']\nseedz = [1]").unwrap_err().contains("seedz"));
        assert!(read("kind = 'conflict'\nmethods = ['full']").unwrap_err().contains("methods"));
    }

    #[test]
    fn impossible_studies_name_their_key() {
        let wrong = |text: &str| read(text).unwrap().violations(&[]).join("; ");
        assert!(wrong("kind = 'conflict'\npair = [['a', 'b'], ['c']]").contains("study.pair"));
        assert!(wrong("kind = 'methods'\nmethods = []").contains("study.methods"));
        assert!(wrong("kind = 'methods'\nmethods = ['full']\nseeds = [1, 1]").contains("study.seeds"));
        assert!(wrong("kind = 'conflict'\nstage = 'x'").contains("study.stage"));
    }

    #[test]
    fn every_method_has_its_name() {
        for name in ["freeze", "full", "lora", "bitfit", "vpt", "covft"] {
            assert_eq!(VisionMethod::named(name).unwrap().name(), name);
        }
        assert!(VisionMethod::named("none").is_none());
    }
}
