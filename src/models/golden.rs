//! Reads the numeric fixtures of `tests/fixtures/covft-tiny` (its README describes the folder) for the tests of the
//! models.

use crate::config::model::{Router, VisionConfig, VisionMethod};
use crate::models::checkpoint::Safetensors;
use crate::nn::TensorSource;
use candle_core::Tensor;
use std::path::PathBuf;

/// Tolerances of the fixtures' README, relative to the reference's largest entry.
pub(super) const FORWARD: f64 = 1e-5;

pub(super) fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/covft-tiny").join(relative)
}

pub(super) fn open(relative: &str) -> Safetensors {
    Safetensors::open(&path(relative)).unwrap()
}

/// The tensor `name` of `file`.
pub(super) fn tensor(file: &Safetensors, name: &str) -> Tensor {
    file.get(name).unwrap().unwrap_or_else(|| panic!("no {name} in {}", file.describe()))
}

/// `expected/meta.json`.
pub(super) fn meta() -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path("expected/meta.json")).unwrap()).unwrap()
}

/// `max |a - b| / max |b|`.
pub(super) fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let largest = |t: &Tensor| -> f64 {
        t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap().into()
    };
    largest(&(a - b).unwrap()) / largest(b)
}

/// The fixture's tower.
pub(super) fn clip() -> VisionConfig {
    VisionConfig::from_folder(path("clip"))
}

/// The fixture's methods: file name under `expected` and our configuration.
pub(super) fn methods() -> [(&'static str, VisionMethod); 6] {
    [
        ("freeze", VisionMethod::Freeze),
        ("fullft", VisionMethod::Full),
        ("bias", VisionMethod::BitFit),
        ("lora", VisionMethod::Lora { rank: 4, alpha: 8.0, dropout: 0.0 }),
        ("vpt", VisionMethod::Vpt { prompts: 5 }),
        (
            "context_moe_layernorm",
            VisionMethod::Covft { experts: 4, start_layer: Some(3), end_layer: None, router: Router::Dense },
        ),
    ]
}
