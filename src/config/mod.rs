//! One TOML is one run, or with a `[study]` one study. Raw serde types become checked ones; unknown keys are refused with line and column.

pub mod data;
mod devices;
mod hand_over;
pub mod keys;
mod limits;
mod load;
pub mod model;
pub mod probe;
mod schedule;
pub mod study;
pub mod train;

pub use devices::Devices;
pub use hand_over::HandOver;
pub use load::ConfigError;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A complete run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the run and of its directory under `out`.
    pub name: String,
    /// Seed of every random draw.
    #[serde(default)]
    pub seed: u64,
    /// `cpu`, `cuda:0`, or several cards that share the micro-batches of every step: `cuda:0,1`. (`cpu:2`: two copies of the
    /// model on the CPU, to try what several cards do.)
    #[serde(default = "default_device")]
    pub device: String,
    /// Number type of the forward and backward pass; master weights are always float32.
    #[serde(default)]
    pub dtype: Compute,
    /// With `dtype = "bf16"` on a card: keep a bfloat16 copy of every weight beside it (`true` if left out). `false` makes it anew at
    /// every use, which saves two bytes a number and costs a pass over the weights each time.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub bf16_copies: bool,
    /// Where run directories are made.
    #[serde(default = "default_out")]
    pub out: PathBuf,
    /// The networks.
    pub model: model::ModelConfig,
    /// The instructions and images.
    pub data: data::DataConfig,
    /// What is recorded.
    #[serde(default)]
    pub probe: probe::ProbeConfig,
    /// What makes the recipe a study of several runs (`covft-probe experiment`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study: Option<study::StudyConfig>,
    /// Stages in order.
    #[serde(rename = "stage")]
    pub stages: Vec<train::StageConfig>,
}

/// Number type of the forward and backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compute {
    /// float32.
    #[default]
    F32,
    /// bfloat16 on a device that has it; refused on the CPU.
    Bf16,
}

fn default_device() -> String {
    "cpu".into()
}

fn yes() -> bool {
    true
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_true(value: &bool) -> bool {
    *value
}
fn default_out() -> PathBuf {
    "runs".into()
}
