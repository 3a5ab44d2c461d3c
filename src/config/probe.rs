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
