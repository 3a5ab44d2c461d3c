//! `[[stage]]`: what a stage trains, on what, how long, and what it keeps.

mod check;

pub use check::{Length, Stage, Warmup, check_stages};

use super::model::Tuning;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One `[[stage]]` of the recipe, as written. Lengths in optimiser steps; one step is `accumulation` micro-batches of
/// `batch_size` samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Name, unique in the recipe: it stands in every record.
    pub name: String,
    /// Optimiser steps. Exactly one of `steps` and `epochs` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Passes over the stage's samples; may be a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Samples of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of an optimiser step.
    #[serde(default = "one")]
    pub accumulation: usize,
    /// Peak learning rate of every part without one of its own.
    pub learning_rate: f64,
    /// Decoupled weight decay per unit of learning rate; biases and norms are never decayed.
    #[serde(default)]
    pub weight_decay: f64,
    /// Decay of the first and of the second moment.
    #[serde(default = "default_betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "default_eps")]
    pub eps: f64,
    /// Type that the optimiser keeps both moments in. `bf16` halves them, is rounded by chance so that they are right on
    /// average, and is for cards only.
    #[serde(default, skip_serializing_if = "MomentType::is_f32")]
    pub moments: MomentType,
    /// How the learning rate goes after the warm-up.
    #[serde(default)]
    pub schedule: Schedule,
    /// Steps over which the learning rate rises linearly from 0. At most one of `warmup_steps` and `warmup_ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// The same as a share of the stage's steps, rounded up; 0.03 where neither is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// Largest global gradient norm, or `"none"` for no clipping.
    #[serde(default)]
    pub max_grad_norm: GradClip,
    /// Only samples of these tasks; all samples where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<String>>,
    /// Only those of them that have a partner: the sample of the same picture and object whose task stands at the same
    /// place in this list. Partners come at the same step in a run whose two lists are swapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paired_with: Option<Vec<String>>,
    /// Seed of this stage's data order, new parameters and dropout; the run's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Seed of this stage's data order alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_seed: Option<u64>,
    /// Steps between evaluations on the fixed subset; only the one at the end where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<u64>,
    /// Evaluate on the subset before the first step too.
    #[serde(default)]
    pub eval_at_start: bool,
    /// What the evaluation at the stage's end is over.
    #[serde(default)]
    pub eval_at_end: EvalAtEnd,
    /// Held-out samples of the fixed subset.
    #[serde(default = "default_eval_samples")]
    pub eval_samples: usize,
    /// Samples of an evaluation on the way that answers are generated for, to be scored; where left out nothing is
    /// generated, at the end neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate_samples: Option<usize>,
    /// The same for the evaluation at the stage's end; all held-out samples where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate_at_end: Option<usize>,
    /// Steps between checkpoints; only the one at the end where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<u64>,
    /// How many of the latest checkpoints stay.
    #[serde(default = "default_keep_last")]
    pub keep_last: usize,
    /// Whether the checkpoint with the lowest held-out loss stays too (and an evaluation that finds one writes one).
    #[serde(default = "super::yes")]
    pub keep_best: bool,
    /// Keep the end of this stage under `out` and load it in later runs that begin the same way (all stages before it
    /// must be kept too).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// Whether the stage's last checkpoint stays when later stages go on.
    #[serde(default = "super::yes")]
    pub keep_end: bool,
    /// Peak learning rates of parts that do not use `learning_rate`.
    #[serde(default, skip_serializing_if = "PartRates::is_empty")]
    pub learning_rates: PartRates,
    /// When a loss or a gradient norm is worth a warning.
    #[serde(default)]
    pub spikes: SpikeConfig,
    /// What trains and what is added to the model.
    pub tuning: Tuning,
}

/// Type of the optimiser's moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MomentType {
    /// Four bytes each.
    #[default]
    F32,
    /// Two bytes each.
    Bf16,
}

impl MomentType {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

fn one() -> usize {
    1
}
fn default_betas() -> [f64; 2] {
    [0.9, 0.999]
}
fn default_eps() -> f64 {
    1e-8
}
fn default_eval_samples() -> usize {
    64
}
fn default_keep_last() -> usize {
    2
}

/// `[stage.learning_rates]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartRates {
    /// Vision encoder with what the tuning method adds to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<f64>,
    /// Projector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projector: Option<f64>,
    /// Language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<f64>,
    /// Text encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<f64>,
}

impl PartRates {
    /// Whether no part has a rate of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The key and the rate of every part that has one.
    pub(super) fn given(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all =
            [("vision", self.vision), ("projector", self.projector), ("language", self.language), ("text", self.text)];
        all.into_iter().filter_map(|(key, rate)| rate.map(|r| (key, r)))
    }
}

/// What the evaluation at a stage's end is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvalAtEnd {
    /// All held-out samples.
    #[default]
    Whole,
    /// The fixed subset (stages that only prepare the next).
    Subset,
}

/// How the learning rate goes after the warm-up, in Hugging Face's forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine down to 0.
    #[default]
    Cosine,
    /// A line down to 0.
    Linear,
    /// Stays at the peak.
    Constant,
}

/// `max_grad_norm`: a positive number or `"none"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GradClip {
    /// Gradients are used as they are.
    Off,
    /// Gradients are scaled down to this global norm when theirs is larger.
    Norm(f64),
}

impl Default for GradClip {
    fn default() -> Self {
        Self::Norm(1.0)
    }
}

impl JsonSchema for GradClip {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GradClip".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [{ "type": "number" }, { "const": "none" }]
        })
    }
}

impl Serialize for GradClip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("none"),
            Self::Norm(norm) => serializer.serialize_f64(*norm),
        }
    }
}

impl<'de> Deserialize<'de> for GradClip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClipVisitor;

        impl Visitor<'_> for ClipVisitor {
            type Value = GradClip;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a positive number or \"none\"")
            }

            fn visit_f64<E: de::Error>(self, norm: f64) -> Result<GradClip, E> {
                Ok(GradClip::Norm(norm))
            }

            fn visit_i64<E: de::Error>(self, norm: i64) -> Result<GradClip, E> {
                i32::try_from(norm)
                    .map(|n| GradClip::Norm(f64::from(n)))
                    .map_err(|_too_large| E::invalid_value(de::Unexpected::Signed(norm), &self))
            }

            fn visit_u64<E: de::Error>(self, norm: u64) -> Result<GradClip, E> {
                i64::try_from(norm)
                    .map_err(|_too_large| E::invalid_value(de::Unexpected::Unsigned(norm), &self))
                    .and_then(|n| self.visit_i64(n))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<GradClip, E> {
                if word == "none" { Ok(GradClip::Off) } else { Err(E::invalid_value(de::Unexpected::Str(word), &self)) }
            }
        }

        deserializer.deserialize_any(ClipVisitor)
    }
}

/// `[stage.spikes]`: a robust rule over the last steps. A loss is a spike when it exceeds their median by
/// `loss_deviations` robust standard deviations (1.4826 times the median absolute deviation, at least 1 % of the
/// median); a gradient norm is one when it exceeds `gradient_factor` times their median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpikeConfig {
    /// Steps remembered. Nothing is judged before a quarter of them (at least 8) are there.
    #[serde(default = "default_window")]
    pub window: usize,
    /// Robust standard deviations above the median loss.
    #[serde(default = "default_loss_deviations")]
    pub loss_deviations: f64,
    /// Multiple of the median gradient norm.
    #[serde(default = "default_gradient_factor")]
    pub gradient_factor: f64,
}

fn default_window() -> usize {
    64
}
fn default_loss_deviations() -> f64 {
    8.0
}
fn default_gradient_factor() -> f64 {
    10.0
}

impl Default for SpikeConfig {
    fn default() -> Self {
        Self {
            window: default_window(),
            loss_deviations: default_loss_deviations(),
            gradient_factor: default_gradient_factor(),
        }
    }
}
