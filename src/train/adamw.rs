//! AdamW with PyTorch's semantics: decoupled decay, bias correction, moments in float32, in place.
//!
//! ```text
//! theta <- theta (1 - lr wd)
//! m <- m + (1 - beta1) (g - m)        v <- beta2 v + (1 - beta2) g^2
//! theta <- theta - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```

use super::hook::FirstMoments;
use crate::config::train::Stage;
use crate::nn::{Param, ParamStore, Part};
use crate::ops::Weight;
use candle_core::{Result, bail};
use indexmap::IndexMap;
use rayon::prelude::*;
use std::sync::Arc;

/// Parameters that share learning rate and decay.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// `vision`, `vision.no_decay`, `projector`, ...
    pub name: String,
    /// Part of the model.
    pub part: Part,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay; 0 for biases and norms.
    pub weight_decay: f64,
}

/// Settings that all groups share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// The optimiser: groups, and for every trainable parameter, in the store's order, its two moments.
#[derive(Debug)]
pub struct AdamW {
    groups: Vec<Group>,
    settings: Moments,
    entries: IndexMap<Arc<str>, Entry>,
    steps: u64,
}

/// One parameter's state. Moments appear with its first gradient: a parameter that the loss never reaches costs nothing.
#[derive(Debug)]
struct Entry {
    weight: Weight,
    group: usize,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// A parameter's moments as they are saved.
#[derive(Clone, Copy, Debug)]
pub struct SavedMoments<'a> {
    /// Parameter.
    pub name: &'a str,
    /// Its shape.
    pub dims: &'a [usize],
    /// First moment.
    pub first: &'a [f32],
    /// Second moment.
    pub second: &'a [f32],
}

impl AdamW {
    /// The optimiser of a stage over the trainable parameters of `params`, all moments zero.
    #[must_use]
    pub fn new(params: &ParamStore, stage: &Stage) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for part in [Part::Vision, Part::Projector, Part::Language, Part::Text] {
            for decays in [true, false] {
                if params.trainable().any(|p| p.role.part == part && decays == is_decayed(p)) {
                    groups.push(group(stage, part, decays));
                }
            }
        }
        let entries = params.trainable().filter_map(|param| {
            let name = group_name(param.role.part, is_decayed(param));
            let group = groups.iter().position(|g| g.name == name)?;
            let entry = Entry { weight: param.weight.clone(), group, first: Vec::new(), second: Vec::new() };
            Some((Arc::from(param.weight.name()), entry))
        });
        let entries = entries.collect();
        Self { groups, settings: Moments { betas: stage.betas, eps: stage.eps }, entries, steps: 0 }
    }

    /// The groups, in the order of [`learning_rates`](Self::learning_rates).
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Learning rate of each group at `share` of the peak.
    #[must_use]
    pub fn learning_rates(&self, share: f64) -> Vec<(String, f64)> {
        self.groups.iter().map(|g| (g.name.clone(), g.learning_rate * share)).collect()
    }

    /// One step with the gradients in the slots, each multiplied by `gradient_factor` (clipping), at `share` of the peak
    /// learning rates. At share 0 the moments advance and no parameter moves. Parameters without a gradient are left
    /// alone, as PyTorch does.
    ///
    /// # Errors
    /// A parameter or gradient that is not float32 on the CPU.
    pub fn step(&mut self, share: f64, gradient_factor: f64) -> Result<()> {
        self.steps += 1;
        let (settings, steps) = (self.settings, self.steps);
        for (name, entry) in &mut self.entries {
            let group = &self.groups[entry.group];
            let update = Update::new(settings, group, share, gradient_factor, steps);
            let Entry { weight, first, second, .. } = entry;
            let Some(slot) = weight.slot().filter(|slot| slot.is_filled()).cloned() else { continue };
            let mut seen = None;
            weight.update_host(|theta| {
                first.resize(theta.len(), 0.0);
                second.resize(theta.len(), 0.0);
                seen = slot.with_host(|gradient| update.apply(theta, gradient, first, second));
            })?;
            if seen.is_none() {
                bail!("the gradient of {name} is not float32 on the CPU");
            }
        }
        Ok(())
    }

    /// Moments of all parameters that have some, in the store's order.
    pub fn saved(&self) -> impl Iterator<Item = SavedMoments<'_>> {
        self.entries.iter().filter(|(_, e)| !e.first.is_empty()).map(|(name, e)| SavedMoments {
            name,
            dims: e.weight.dims(),
            first: &e.first,
            second: &e.second,
        })
    }

    /// Takes back what [`saved`](Self::saved) gave after `steps` steps.
    ///
    /// # Errors
    /// A parameter that does not train here, or moments of another length.
    pub fn restore(&mut self, steps: u64, moments: Vec<(String, Vec<f32>, Vec<f32>)>) -> Result<()> {
        for (name, first, second) in moments {
            let Some(entry) = self.entries.get_mut(name.as_str()) else {
                bail!("the saved optimizer has moments of {name}, which does not train now");
            };
            let elements: usize = entry.weight.dims().iter().product();
            if first.len() != elements || second.len() != elements {
                bail!("the saved moments of {name} have {} elements, the parameter {elements}", first.len());
            }
            (entry.first, entry.second) = (first, second);
        }
        self.steps = steps;
        Ok(())
    }
}

impl FirstMoments for AdamW {
    fn first_moment(&self, name: &str) -> Option<&[f32]> {
        self.entries.get(name).map(|e| e.first.as_slice()).filter(|m| !m.is_empty())
    }
}

fn group_name(part: Part, decays: bool) -> String {
    if decays { part.to_string() } else { format!("{part}.no_decay") }
}

fn group(stage: &Stage, part: Part, decays: bool) -> Group {
    let own = match part {
        Part::Vision => stage.learning_rates.vision,
        Part::Projector => stage.learning_rates.projector,
        Part::Language => stage.learning_rates.language,
        Part::Text => stage.learning_rates.text,
    };
    Group {
        name: group_name(part, decays),
        part,
        learning_rate: own.unwrap_or(stage.learning_rate),
        weight_decay: if decays { stage.weight_decay } else { 0.0 },
    }
}

/// Biases and the scales of norms are not decayed (LLaVA's rule, by name).
fn is_decayed(param: &Param) -> bool {
    let name = param.weight.name();
    let (owner, leaf) = name.rsplit_once('.').unwrap_or(("", name));
    let owner = owner.rsplit('.').next().unwrap_or("").to_ascii_lowercase();
    let norm = owner.contains("norm") || owner.contains("layrnorm") || owner == "ln";
    !(leaf.contains("bias") || norm)
}

/// One group's constants at one step.
struct Update {
    keep: f32,
    factor: f32,
    first_share: f32,
    second_decay: f32,
    second_share: f32,
    second_root: f32,
    eps: f32,
    rate: f32,
}

impl Update {
    fn new(settings: Moments, group: &Group, share: f64, factor: f64, steps: u64) -> Self {
        let [beta1, beta2] = settings.betas;
        let power = i32::try_from(steps).unwrap_or(i32::MAX);
        let rate = group.learning_rate * share;
        Self {
            keep: (1.0 - rate * group.weight_decay) as f32,
            factor: factor as f32,
            first_share: (1.0 - beta1) as f32,
            second_decay: beta2 as f32,
            second_share: (1.0 - beta2) as f32,
            second_root: (1.0 - beta2.powi(power)).sqrt() as f32,
            eps: settings.eps as f32,
            rate: (rate / (1.0 - beta1.powi(power))) as f32,
        }
    }

    /// Element by element, so chunks need no order.
    fn apply(&self, theta: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        const CHUNK: usize = 1 << 14;
        theta
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK))
            .for_each(|(((theta, gradient), first), second)| self.chunk(theta, gradient, first, second));
    }

    fn chunk(&self, theta: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        for (((theta, gradient), first), second) in theta.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = gradient * self.factor;
            *first += self.first_share * (g - *first);
            *second = *second * self.second_decay + self.second_share * g * g;
            let root = second.sqrt() / self.second_root + self.eps;
            *theta = *theta * self.keep - self.rate * (*first / root);
        }
    }
}

#[cfg(test)]
#[path = "adamw_tests.rs"]
mod tests;
