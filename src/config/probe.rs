//! `[probe]`: what is measured while training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// `[probe]`. Losses, learning rates, evaluations and predictions are recorded in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Gradient norms and directions of the vision encoder (`--log-grads`).
    pub log_grads: bool,
    /// Drift and update size of the vision encoder by layer and module.
    pub drift: bool,
    /// Drift and gradients are measured at every n-th step, from step 0 on.
    pub every: NonZeroU64,
    /// Context vectors.
    pub contexts: bool,
    /// Context vectors of the last `CoMoE` layer are kept at every n-th step.
    pub contexts_every: NonZeroU64,
    /// Context vectors of all `CoMoE` layers are kept at every n-th step.
    pub contexts_all_every: NonZeroU64,
    /// Routing logits and weights of all `CoMoE` layers, at every step.
    pub routing: bool,
    /// Sketches of every sample's gradient of the vision encoder, and from them cosines between samples, their alignment
    /// with the step and the gradient noise; with `log_grads`.
    pub sample_sketches: bool,
    /// Gradients of samples are measured at every n-th step, from step 0 on.
    pub samples_every: NonZeroU64,
    /// Random projections of each side of a linear layer's gradient, both halves together: more of them, smaller errors.
    pub sketch_k: SketchK,
    /// Steps of each stage at which inner products between samples are also computed exactly (slow, and both factors of
    /// every layer's gradient are kept in memory).
    pub exact_steps: Vec<u64>,
    /// Over which parameters: `trainable` (each method's own), `shared` (attention, layer norms and feed-forward layers,
    /// experts added up, frozen ones too).
    pub sample_spaces: Vec<SampleSpace>,
    /// Only these modules, as the spaces name them (`attention`, `mlp`, `layer_norm`, `experts`, `cve`, `gate`, ...); all of
    /// them if empty.
    pub sample_modules: Vec<String>,
    /// Where nothing of the vision encoder trains, run it backward all the same for gradients of samples over `shared`. This
    /// costs a backward pass of the encoder.
    pub virtual_frozen: bool,
    /// The samples' sketches themselves, as rows of kind `sample` in the stream `gradients`.
    pub sample_gradients: bool,
}

/// Number of projections of a sketch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "usize", into = "usize")]
#[schemars(with = "usize")]
pub enum SketchK {
    /// 16.
    #[default]
    K16,
    /// 32.
    K32,
    /// 64.
    K64,
}

impl SketchK {
    /// The number.
    #[must_use]
    pub fn rows(self) -> usize {
        match self {
            Self::K16 => 16,
            Self::K32 => 32,
            Self::K64 => 64,
        }
    }
}

impl TryFrom<usize> for SketchK {
    type Error = String;

    fn try_from(k: usize) -> Result<Self, String> {
        match k {
            16 => Ok(Self::K16),
            32 => Ok(Self::K32),
            64 => Ok(Self::K64),
            _ => Err(format!("sketch_k = {k}: choose 16, 32 or 64")),
        }
    }
}

impl From<SketchK> for usize {
    fn from(k: SketchK) -> Self {
        k.rows()
    }
}

/// A set of parameters that gradients of samples are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SampleSpace {
    /// What each method trains.
    Trainable,
    /// What all methods have, with virtual gradients of what is frozen.
    Shared,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        let ten = NonZeroU64::MIN.saturating_add(9);
        Self {
            log_grads: false,
            drift: true,
            every: NonZeroU64::MIN,
            contexts: true,
            contexts_every: NonZeroU64::MIN,
            contexts_all_every: ten,
            routing: true,
            sample_sketches: true,
            samples_every: ten,
            sketch_k: SketchK::default(),
            exact_steps: Vec::new(),
            sample_spaces: vec![SampleSpace::Trainable, SampleSpace::Shared],
            sample_modules: Vec::new(),
            virtual_frozen: false,
            sample_gradients: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_refusals() {
        let config: ProbeConfig = toml::from_str("log_grads = true\nevery = 5").unwrap();
        assert!(config.log_grads && config.drift && config.every.get() == 5 && config.contexts_all_every.get() == 10);
        assert!(toml::from_str::<ProbeConfig>("every = 0").is_err());
        let message = toml::from_str::<ProbeConfig>("evry = 1").unwrap_err().to_string();
        assert!(message.contains("evry") && message.contains("line 1"), "{message}");
    }
}
