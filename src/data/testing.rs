//! What the tests of the data path share.

use super::conversation::Entry;
use super::index::InstructFile;
use safetensors::{SafeTensors, tensor::TensorView};
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
        let values: Vec<i64> =
            view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
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
