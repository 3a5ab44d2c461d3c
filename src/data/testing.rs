//! What the tests of the data path share.

use super::conversation::Entry;
use super::dataset::Dataset;
use super::image::{CLIP_MEAN, CLIP_STD, ImageSpec};
use super::index::InstructFile;
use super::preparation::Preparation;
use super::tokenizer::Tokenizers;
use crate::config::data::{Broken, DataConfig, ScenesConfig, Template};
use proptest::prelude::*;
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A file of the published method's fixture.
pub(crate) fn fixture(name: &str) -> PathBuf {
    fixtures().join("covft-tiny").join(name)
}

/// A generated test image.
pub(crate) fn images(name: &str) -> PathBuf {
    fixtures().join("images").join(name)
}

/// The fixture's entries.
pub(crate) fn fixture_entries() -> Vec<Entry> {
    let file = InstructFile::open(&fixture("instruct.json")).unwrap();
    (0..file.len()).map(|i| file.entry(i).unwrap()).collect()
}

/// The fixture's collated batch, by rows.
pub(crate) struct FixtureBatch {
    pub ids: Vec<Vec<i64>>,
    pub labels: Vec<Vec<i64>>,
    pub mask: Vec<Vec<bool>>,
    pub pixels: Vec<f32>,
}

pub(crate) fn fixture_batch() -> FixtureBatch {
    let bytes = std::fs::read(fixture("expected/batch.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let rows = |name: &str| -> Vec<Vec<i64>> {
        let view: TensorView<'_> = tensors.tensor(name).unwrap();
        let values: Vec<i64> = view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
        values.chunks(view.shape()[1]).map(<[i64]>::to_vec).collect()
    };
    let mask = tensors.tensor("attention_mask").unwrap();
    let pixels = tensors.tensor("pixel_values").unwrap();
    FixtureBatch {
        ids: rows("input_ids"),
        labels: rows("labels"),
        mask: mask.data().chunks(mask.shape()[1]).map(|r| r.iter().map(|&m| m != 0).collect()).collect(),
        pixels: pixels.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
    }
}

/// A built-in training set, or held-out set where `val` is not 0.
pub(crate) fn scenes_dataset(train: usize, val: usize) -> Dataset {
    let config = DataConfig {
        template: Template::ChatMl,
        system: Some(String::new()),
        scenes: ScenesConfig { train, val, seed: 0 },
        ..DataConfig::default()
    };
    let preparation = Preparation::new(&config, Tokenizers::scenes(512).unwrap(), CLIP_64, 64);
    let set = Dataset::train(&config, preparation.clone()).unwrap();
    if val == 0 { set } else { Dataset::val(&config, preparation, set.tasks()).unwrap().unwrap() }
}

/// 64 pixels with CLIP's means.
pub(crate) const CLIP_64: ImageSpec =
    ImageSpec { size: 64, mean: CLIP_MEAN, std: CLIP_STD, aspect: crate::config::data::ImageAspect::Pad };

/// A set of this instruction file in a folder of its own, with the built-in tokenizers.
pub(crate) fn temporary_dataset(json: &str, image_tokens: usize) -> (tempfile::TempDir, Dataset) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("instruct.json");
    std::fs::write(&path, json).unwrap();
    let config = DataConfig { train: path, system: Some(String::new()), max_length: 60, ..DataConfig::default() };
    let preparation = Preparation::new(&config, Tokenizers::scenes(512).unwrap(), CLIP_64, image_tokens);
    let dataset = Dataset::train(&config, preparation).unwrap();
    (dir, dataset)
}

/// A set with a sample for each of these files of the test images, `id` its number; those that do not exist are
/// missing.
pub(crate) fn set_of_pictures(names: &[&str], broken: Broken) -> (tempfile::TempDir, Dataset) {
    let dir = tempfile::tempdir().unwrap();
    let entry = |(i, name): (usize, &&str)| {
        if images(name).exists() {
            std::fs::copy(images(name), dir.path().join(name)).unwrap();
        }
        let turns = r#"[{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "red"}]"#;
        format!(r#"{{"id": "{i}", "image": "{name}", "conversations": {turns}}}"#)
    };
    let path = dir.path().join("instruct.json");
    std::fs::write(&path, names.iter().enumerate().map(entry).collect::<Vec<_>>().join("\n")).unwrap();
    let config = DataConfig { train: path, system: Some(String::new()), broken, ..DataConfig::default() };
    let preparation = Preparation::new(&config, Tokenizers::scenes(512).unwrap(), CLIP_64, 4);
    let dataset = Dataset::train(&config, preparation).unwrap();
    (dir, dataset)
}

/// Any document, three levels deep.
pub(crate) fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e9_f64..1e9).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        "[\\\\\"{}\\[\\],:\n é]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}
