//! From stages as written to stages that make sense; every violation of a recipe is reported at once.

use super::super::model::{LanguageMethod, TextMethod, Tuning, VisionMethod};
use super::{EvalAtEnd, GradClip, MomentType, PartRates, Schedule, SpikeConfig, StageConfig};
use std::collections::BTreeSet;

/// A stage whose values were checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Name, unique in the recipe.
    pub name: String,
    /// How long it trains.
    pub length: Length,
    /// Samples of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of an optimiser step.
    pub accumulation: usize,
    /// Peak learning rate of parts without one of their own.
    pub learning_rate: f64,
    /// Peak learning rates of parts.
    pub learning_rates: PartRates,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Type of the moments.
    pub moments: MomentType,
    /// Shape after the warm-up.
    pub schedule: Schedule,
    /// Warm-up.
    pub warmup: Warmup,
    /// Clipping.
    pub clip: GradClip,
    /// Only these tasks.
    pub tasks: Option<Vec<String>>,
    /// Only samples that have a partner in these tasks.
    pub paired_with: Option<Vec<String>>,
    /// Seed of the stage, where it is not the run's.
    pub seed: Option<u64>,
    /// Seed of the data order, where it is not `seed`.
    pub order_seed: Option<u64>,
    /// Steps between evaluations.
    pub eval_every: Option<u64>,
    /// Evaluate before the first step.
    pub eval_at_start: bool,
    /// What the evaluation at the end is over.
    pub eval_at_end: EvalAtEnd,
    /// Samples of the fixed subset.
    pub eval_samples: usize,
    /// Samples to generate for.
    pub generate_samples: Option<usize>,
    /// Samples to generate for at the end.
    pub generate_at_end: Option<usize>,
    /// Whether the end of the stage is kept for later runs.
    pub reuse: bool,
    /// Steps between checkpoints.
    pub checkpoint_every: Option<u64>,
    /// Latest checkpoints kept.
    pub keep_last: usize,
    /// Whether the best is kept.
    pub keep_best: bool,
    /// Whether the stage's last is kept.
    pub keep_end: bool,
    /// Spike thresholds.
    pub spikes: SpikeConfig,
    /// What trains.
    pub tuning: Tuning,
}

/// Length of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// Optimiser steps.
    Steps(u64),
    /// Passes over the samples.
    Epochs(f64),
}

impl Length {
    /// Optimiser steps, when one pass over the samples takes `steps_per_epoch`; rounded up, at least 1.
    #[must_use]
    pub fn steps(self, steps_per_epoch: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(epochs) => ((epochs * steps_per_epoch as f64).ceil() as u64).max(1),
        }
    }
}

/// Length of the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warmup {
    /// Optimiser steps.
    Steps(u64),
    /// Share of the stage's steps, rounded up.
    Ratio(f64),
}

impl Warmup {
    /// Warm-up steps of a stage of `steps`.
    #[must_use]
    pub fn steps(self, steps: u64) -> u64 {
        match self {
            Self::Steps(warmup) => warmup,
            Self::Ratio(ratio) => (steps as f64 * ratio).ceil() as u64,
        }
    }
}

/// Warm-up share where none is given (LLaVA's).
const DEFAULT_WARMUP: Warmup = Warmup::Ratio(0.03);

/// Checks all stages of a recipe.
///
/// # Errors
/// Every violation, each beginning with its key.
pub fn check_stages(stages: &[StageConfig]) -> Result<Vec<Stage>, Vec<String>> {
    let mut report = Report::default();
    if stages.is_empty() {
        report.add("stage", "a recipe needs at least one [[stage]]");
    }
    let mut names = BTreeSet::new();
    for (index, stage) in stages.iter().enumerate() {
        report.prefix = format!("stage[{index}]");
        if !names.insert(stage.name.as_str()) {
            report.add("name", &format!("another stage is called {:?} too", stage.name));
        }
        check_name(stage, &mut report);
        check_sizes(stage, &mut report);
        check_optimizer(stage, &mut report);
        check_tuning(stage, &mut report);
    }
    if report.violations.is_empty() { Ok(stages.iter().map(resolve).collect()) } else { Err(report.violations) }
}

#[derive(Default)]
struct Report {
    prefix: String,
    violations: Vec<String>,
}

impl Report {
    fn add(&mut self, key: &str, what: &str) {
        let dot = if self.prefix.is_empty() { "" } else { "." };
        self.violations.push(format!("{}{dot}{key}: {what}", self.prefix));
    }

    fn need(&mut self, holds: bool, key: &str, what: &str) {
        if !holds {
            self.add(key, what);
        }
    }

    fn positive(&mut self, value: f64, key: &str) {
        self.need(value.is_finite() && value > 0.0, key, &format!("must be a positive number, not {value}"));
    }
}

fn check_name(stage: &StageConfig, report: &mut Report) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = !stage.name.is_empty() && stage.name.chars().all(plain);
    report.need(fits, "name", "must be letters, digits, - and _");
}

fn check_sizes(stage: &StageConfig, report: &mut Report) {
    match (stage.steps, stage.epochs) {
        (Some(steps), None) => report.need(steps > 0, "steps", "must be at least 1"),
        (None, Some(epochs)) => report.positive(epochs, "epochs"),
        (None, None) => report.add("steps", "give either steps or epochs"),
        (Some(_), Some(_)) => report.add("epochs", "give either steps or epochs, not both"),
    }
    report.need(stage.batch_size > 0, "batch_size", "must be at least 1");
    report.need(stage.accumulation > 0, "accumulation", "must be at least 1");
    report.need(stage.eval_samples > 0, "eval_samples", "must be at least 1");
    report.need(stage.keep_last > 0, "keep_last", "must be at least 1: a run resumes from its last checkpoint");
    let zero = "must be at least 1; leave it out for only the one at the end";
    report.need(stage.eval_every != Some(0), "eval_every", zero);
    report.need(stage.checkpoint_every != Some(0), "checkpoint_every", zero);
    let no_samples = "must be at least 1; leave it out to generate nothing";
    report.need(stage.generate_samples != Some(0), "generate_samples", no_samples);
    if let Some(tasks) = &stage.tasks {
        report.need(!tasks.is_empty(), "tasks", "names no task; leave it out for all samples");
        let distinct: BTreeSet<_> = tasks.iter().collect();
        report.need(distinct.len() == tasks.len(), "tasks", "names a task twice");
    }
    if let Some(with) = &stage.paired_with {
        let what = "names as many tasks as `tasks`: the first is paired with the first, and so on";
        report.need(stage.tasks.as_ref().is_some_and(|tasks| tasks.len() == with.len()), "paired_with", what);
    }
}

fn check_optimizer(stage: &StageConfig, report: &mut Report) {
    report.positive(stage.learning_rate, "learning_rate");
    for (part, rate) in stage.learning_rates.given() {
        report.positive(rate, &format!("learning_rates.{part}"));
    }
    let decay = stage.weight_decay;
    report.need(decay.is_finite() && decay >= 0.0, "weight_decay", "must be 0 or more");
    for beta in stage.betas {
        report.need((0.0..1.0).contains(&beta), "betas", &format!("{beta} is not in [0, 1)"));
    }
    report.positive(stage.eps, "eps");
    if let GradClip::Norm(norm) = stage.max_grad_norm {
        let what = format!("must be a positive number or \"none\", not {norm}");
        report.need(norm.is_finite() && norm > 0.0, "max_grad_norm", &what);
    }
    match (stage.warmup_steps, stage.warmup_ratio) {
        (Some(_), Some(_)) => report.add("warmup_ratio", "give either warmup_steps or warmup_ratio, not both"),
        (Some(warmup), None) => {
            let fits = stage.steps.is_none_or(|steps| warmup <= steps);
            report.need(fits, "warmup_steps", "is longer than the stage");
        }
        (None, Some(ratio)) => report.need((0.0..=1.0).contains(&ratio), "warmup_ratio", "must be in [0, 1]"),
        (None, None) => {}
    }
    let spikes = stage.spikes;
    report.need(spikes.window >= 8, "spikes.window", "must be at least 8");
    report.positive(spikes.loss_deviations, "spikes.loss_deviations");
    report.need(
        spikes.gradient_factor.is_finite() && spikes.gradient_factor > 1.0,
        "spikes.gradient_factor",
        "must be greater than 1",
    );
}

fn check_tuning(stage: &StageConfig, report: &mut Report) {
    let tuning = &stage.tuning;
    let nothing = tuning.vision == VisionMethod::Freeze
        && !tuning.projector
        && tuning.language == LanguageMethod::Freeze
        && tuning.text == TextMethod::Freeze;
    report.need(!nothing, "tuning", "nothing trains");
    let covft = matches!(tuning.vision, VisionMethod::Covft { .. });
    let cold = warmup(stage) == Warmup::Steps(0) || stage.warmup_ratio == Some(0.0);
    // At the start the gradients of gate and CVE are rounding noise, which AdamW would turn into whole steps.
    let what = "covft starts from gradients of zero: its first step must have learning rate 0 (a warm-up of 1 or more)";
    report.need(!(covft && cold), if stage.warmup_ratio.is_some() { "warmup_ratio" } else { "warmup_steps" }, what);
}

fn warmup(stage: &StageConfig) -> Warmup {
    match (stage.warmup_steps, stage.warmup_ratio) {
        (Some(steps), _) => Warmup::Steps(steps),
        (None, Some(ratio)) => Warmup::Ratio(ratio),
        (None, None) => DEFAULT_WARMUP,
    }
}

/// Only for stages without violation.
fn resolve(stage: &StageConfig) -> Stage {
    Stage {
        name: stage.name.clone(),
        length: stage.steps.map_or(Length::Epochs(stage.epochs.unwrap_or(1.0)), Length::Steps),
        batch_size: stage.batch_size,
        accumulation: stage.accumulation,
        learning_rate: stage.learning_rate,
        learning_rates: stage.learning_rates,
        weight_decay: stage.weight_decay,
        betas: stage.betas,
        eps: stage.eps,
        moments: stage.moments,
        schedule: stage.schedule,
        warmup: warmup(stage),
        clip: stage.max_grad_norm,
        tasks: stage.tasks.clone(),
        paired_with: stage.paired_with.clone(),
        seed: stage.seed,
        order_seed: stage.order_seed,
        eval_every: stage.eval_every,
        eval_at_start: stage.eval_at_start,
        eval_at_end: stage.eval_at_end,
        eval_samples: stage.eval_samples,
        generate_samples: stage.generate_samples,
        generate_at_end: stage.generate_at_end,
        reuse: stage.reuse,
        checkpoint_every: stage.checkpoint_every,
        keep_last: stage.keep_last,
        keep_best: stage.keep_best,
        keep_end: stage.keep_end,
        spikes: stage.spikes,
        tuning: stage.tuning.clone(),
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
