//! `[probe]`: what is measured while training.

pub use super::schedule::{PerDecade, Schedule};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[probe]`. Losses, learning rates, evaluations and predictions are recorded in any case. A schedule is a number n (every
/// n-th step from step 0 on), a list of steps, or `{ per_decade = n }`: steps that lie further and further apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Gradient norms, directions and sketches of the vision encoder (`--log-grads`).
    pub log_grads: bool,
    /// Stages in which gradients are sketched, of steps and of samples; none named = all.
    pub gradient_stages: Vec<String>,
    /// Drift and update size of the vision encoder by layer and module.
    pub drift: bool,
    /// When drift, gradient norms and `momentum` are measured.
    pub every: Schedule,
    /// With `log_grads`: sketches of each step's exact gradient, from which directions are computed afterwards.
    pub batch_sketches: bool,
    /// When batch sketches are taken.
    pub sketches_every: Schedule,
    /// Numbers of a batch sketch; a cosine then has a standard error of about `1 / sqrt(n)`.
    pub sketch_buckets: usize,
    /// Which parameters batch sketches are over; see docs/instruments.md.
    pub sketch_spaces: Vec<Space>,
    /// Layers that are sketched (`"0"`, `"embeddings"`, `"final_norm"`); none named = all.
    pub sketch_layers: Vec<String>,
    /// Modules that are sketched (`"attention"`, `"experts"`, ...); none named = all.
    pub sketch_modules: Vec<String>,
    /// Largest share of a step's time that gradient probes may take: they then skip scheduled steps. It reads the clock, so
    /// two runs may skip different steps; stream `budget` says which. Left out = measure whenever scheduled.
    pub budget: Option<f64>,
    /// Samples that are measured again and again without training on them (held-out ones where there are any).
    pub tracked: usize,
    /// When the tracked samples are measured.
    pub tracked_every: Schedule,
    /// Context vectors.
    pub contexts: bool,
    /// When context vectors of the last `CoMoE` layer are kept.
    pub contexts_every: Schedule,
    /// When context vectors of all `CoMoE` layers are kept.
    pub contexts_all_every: Schedule,
    /// Routing logits and weights of all `CoMoE` layers, at every step.
    pub routing: bool,
    /// Sketches of every sample's gradient of the vision encoder, and from them cosines between samples, their alignment
    /// with the step and the gradient noise; with `log_grads`.
    pub sample_sketches: bool,
    /// When gradients of samples are measured.
    pub samples_every: Schedule,
    /// Random projections of each side of a linear layer's gradient, both halves together: more of them, smaller errors.
    pub sketch_k: SketchK,
    /// Steps of each stage at which inner products between samples are also computed exactly (slow, and both factors of
    /// every layer's gradient are kept in memory).
    pub exact_steps: Vec<u64>,
    /// Over which parameters: `trainable` (each method's own), `shared` (attention, layer norms and feed-forward layers,
    /// experts added up, frozen ones too).
    pub sample_spaces: Vec<Space>,
    /// Only these modules, as the spaces name them (`attention`, `mlp`, `layer_norm`, `experts`, `cve`, `gate`, ...); all of
    /// them if empty.
    pub sample_modules: Vec<String>,
    /// What `pairs` and `sample_gradients` have rows for; the stream `conflict` counts every module of every layer anyway.
    pub sample_rows: SampleRows,
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

/// How finely pairs of samples are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SampleRows {
    /// The whole encoder, every layer whole, every module over all layers.
    #[default]
    Layers,
    /// Every module of every layer as well: about three times as many.
    Modules,
}

/// Which parameters gradients are compared over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// What the method trains.
    Trainable,
    /// Attention, layer norms and feed-forward layers (summed over experts), whether they train or not.
    Shared,
}

impl Space {
    /// `trainable` or `shared`, as records name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trainable => "trainable",
            Self::Shared => "shared",
        }
    }
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            log_grads: false,
            gradient_stages: Vec::new(),
            drift: true,
            every: Schedule::every(1),
            batch_sketches: true,
            sketches_every: Schedule::every(1),
            sketch_buckets: 4096,
            sketch_spaces: vec![Space::Trainable],
            sketch_layers: Vec::new(),
            sketch_modules: Vec::new(),
            budget: None,
            tracked: 0,
            tracked_every: Schedule::every(10),
            contexts: true,
            contexts_every: Schedule::every(1),
            contexts_all_every: Schedule::every(10),
            routing: true,
            sample_sketches: true,
            samples_every: Schedule::every(10),
            sketch_k: SketchK::default(),
            exact_steps: Vec::new(),
            sample_spaces: vec![Space::Trainable, Space::Shared],
            sample_modules: Vec::new(),
            sample_rows: SampleRows::default(),
            virtual_frozen: false,
            sample_gradients: false,
        }
    }
}

impl ProbeConfig {
    /// Whether gradients are sketched in `stage`.
    #[must_use]
    pub fn sketches_in(&self, stage: &str) -> bool {
        self.log_grads && (self.gradient_stages.is_empty() || self.gradient_stages.iter().any(|named| named == stage))
    }

    /// What does not go together, one line each.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !(64..=1 << 20).contains(&self.sketch_buckets) {
            let given = self.sketch_buckets;
            found.push(format!("probe.sketch_buckets: {given} is not within 64..=1048576; 4096 is usual"));
        }
        if let Some(share) = self.budget.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            found.push(format!("probe.budget: {share} is no share of a step's time; 0.05 lets probes take 5 %"));
        }
        let layer = |name: &str| name == "embeddings" || name == "final_norm" || name.parse::<usize>().is_ok();
        if let Some(name) = self.sketch_layers.iter().find(|name| !layer(name)) {
            found.push(format!(
                "probe.sketch_layers: {name:?} is no layer; they are \"0\", \"1\", ..., \"embeddings\", \"final_norm\""
            ));
        }
        if self.log_grads && self.batch_sketches && self.sketch_spaces.is_empty() {
            found.push(
                "probe.sketch_spaces: name \"trainable\", \"shared\" or both, or set batch_sketches = false".into(),
            );
        }
        if self.log_grads && self.sample_sketches && self.sample_spaces.is_empty() {
            found.push(
                "probe.sample_spaces: name \"trainable\", \"shared\" or both, or set sample_sketches = false".into(),
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_refusals() {
        let config: ProbeConfig = toml::from_str("log_grads = true\nevery = 5").unwrap();
        assert!(config.log_grads && config.drift && config.every == Schedule::every(5));
        assert_eq!(config.contexts_all_every, Schedule::every(10));
        assert!(toml::from_str::<ProbeConfig>("every = 0").is_err());
        let message = toml::from_str::<ProbeConfig>("evry = 1").unwrap_err().to_string();
        assert!(message.contains("evry") && message.contains("line 1"), "{message}");
        assert_eq!(ProbeConfig::default().violations(), Vec::<String>::new());
        let wrong: ProbeConfig = toml::from_str(
            "log_grads = true\nsketch_buckets = 1\nbudget = 2.0\nsketch_layers = ['x']\nsketch_spaces = []",
        )
        .unwrap();
        assert_eq!(wrong.violations().len(), 4);
    }
}
