//! AdamW with PyTorch's semantics: decoupled decay, bias correction, moments in float32, in place.
//!
//! ```text
//! theta <- theta (1 - lr wd)
//! m <- m + (1 - beta1) (g - m)        v <- beta2 v + (1 - beta2) g^2
//! theta <- theta - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```

use super::checkpoint::StartValues;
use super::hook::FirstMoments;
use super::moments::MomentPair;
use super::readout::Readout;
use crate::config::train::{MomentType, Stage};
use crate::kernels::cuda::moved;
use crate::nn::{Param, ParamStore, Part};
use crate::ops::{self, AdamWStep, GradSlot, Moved, Weight};
use candle_core::{Result, Tensor, bail};
use indexmap::IndexMap;
use std::borrow::Cow;
use std::cmp::Reverse;
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
    /// Type that they are kept in.
    pub kept_in: MomentType,
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
    /// Whether it is moved here; another member of a team does it otherwise.
    own: bool,
    moments: Option<MomentPair>,
    /// Where the parameter started, on its device, from the first step that is measured against it.
    start_there: Option<Tensor>,
}

/// A parameter's moments as they are saved: lent where they lie on the host, else copied.
#[derive(Clone, Debug)]
pub struct SavedMoments<'a> {
    /// Parameter.
    pub name: &'a str,
    /// Its shape.
    pub dims: &'a [usize],
    /// First moment.
    pub first: Cow<'a, [f32]>,
    /// Second moment.
    pub second: Cow<'a, [f32]>,
}

/// Name, first and second moment of a parameter, read back.
pub type OwnedMoments = (String, Vec<f32>, Vec<f32>);

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
            let entry = Entry { weight: param.weight.clone(), group, own: true, moments: None, start_there: None };
            Some((Arc::from(param.weight.name()), entry))
        });
        let entries = entries.collect();
        Self {
            groups,
            settings: Moments { betas: stage.betas, eps: stage.eps, kept_in: stage.moments },
            entries,
            steps: 0,
        }
    }

    /// Leaves parameters to others: `own` says of each, in the store's order, whether it is moved here. Moments are kept of
    /// those alone.
    pub(super) fn keep_only(&mut self, own: impl Fn(usize) -> bool) {
        self.entries.values_mut().enumerate().for_each(|(i, entry)| entry.own = own(i));
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

    /// One step with the gradients in the slots, each first multiplied by `gradient_factor` where that is
    /// below 1 (clipping), at `share` of the peak
    /// learning rates. At share 0 the moments advance and no parameter moves. Parameters without a gradient are left
    /// alone, as PyTorch does.
    ///
    /// # Errors
    /// A tensor operation that fails; a gradient that is not where its parameter is.
    pub fn step(&mut self, share: f64, gradient_factor: f64) -> Result<()> {
        self.step_measured(share, gradient_factor, None).map(drop)
    }

    /// The same, the same to the last bit, measured against `start` on the way: parameters that it has a copy of and that
    /// moved on the host or by a kernel. On a card the host waits once, for all of them. Gradients are measured as they were before `gradient_factor`.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_measured(
        &mut self,
        share: f64,
        gradient_factor: f64,
        start: Option<&StartValues>,
    ) -> Result<Vec<(Arc<str>, Moved)>> {
        let (mut measured, mut queued, mut readout) = (Vec::new(), Vec::new(), Readout::default());
        self.steps += 1;
        let Moments { betas: [beta1, beta2], kept_in, .. } = self.settings;
        for at in self.order() {
            let Some((name, entry)) = self.entries.get_index_mut(at) else { continue };
            if !entry.own {
                continue;
            }
            let group = &self.groups[entry.group];
            let lr = group.learning_rate * share;
            let weight_decay = group.weight_decay;
            let step = AdamWStep { lr, beta1, beta2, eps: self.settings.eps, weight_decay, step: self.steps };
            let Some(slot) = entry.weight.slot().filter(|slot| slot.is_filled()).cloned() else { continue };
            if !entry.weight.is_on_host() {
                let start = start.and_then(|start| start.copy_of(name));
                let sums = entry.step_there(&slot, kept_in, gradient_factor.min(1.0), &step, start)?;
                if let Some(sums) = sums {
                    queued.push((Arc::clone(name), readout.ask(&sums)?));
                }
                continue;
            }
            let Entry { weight, moments, .. } = entry;
            if kept_in != MomentType::F32 {
                bail!("{name}: moments in bfloat16 are for parameters on a card; leave moments out of the stage");
            }
            let mut seen = None;
            let start = start.and_then(|start| start.copy_of(name));
            let (first, second) = MomentPair::on_host(moments, weight.tensor().elem_count())?;
            weight.update_host(|theta| {
                seen = slot.with_host(|gradient| {
                    if gradient_factor < 1.0 {
                        ops::scale_in_place(gradient, gradient_factor as f32);
                    }
                    let Some(start) = start else {
                        ops::adamw_update(theta, gradient, first, second, &step);
                        return Ok(None);
                    };
                    let mut update =
                        |start: &[f32]| ops::adamw_update_measured(theta, gradient, first, second, start, &step);
                    ops::read_numbers(start, &mut update).map(Some)
                });
            })?;
            let Some(seen) = seen else { bail!("the gradient of {name} is not float32 on the CPU") };
            if let Some(moved) = seen? {
                measured.push((Arc::clone(name), unclipped(moved, gradient_factor)));
            }
        }
        readout.read()?;
        let there = queued.into_iter().map(|(name, ticket)| (name, moved(readout.numbers(&ticket))));
        measured.extend(there.map(|(name, moved)| (name, unclipped(moved, gradient_factor))));
        Ok(measured)
    }

    /// On the host the store's order. On a card the largest parameters come first: while it works on those, the host queues
    /// the many small ones.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_by_key(|at| {
            let weight = &self.entries[*at].weight;
            Reverse(if weight.is_on_host() { 0 } else { weight.tensor().elem_count() })
        });
        order
    }

    /// Names and shapes of all parameters, in the store's order.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, entry)| (&**name, entry.weight.dims()))
    }

    /// Place of `name` among [`names`](Self::names).
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.entries.get_index_of(name)
    }

    /// Both moments of `name`; `None` where there are none here.
    pub(super) fn moments_of(&self, name: &str) -> Result<Option<[Cow<'_, [f32]>; 2]>> {
        self.entries.get(name).and_then(|entry| entry.moments.as_ref()).map(MomentPair::numbers).transpose()
    }

    /// Takes back what [`saved`](SaveMoments::saved) gave after `steps` steps; those of parameters that others move are left.
    ///
    /// # Errors
    /// A parameter that does not train here, or moments of another length.
    pub fn restore(&mut self, steps: u64, moments: Vec<OwnedMoments>) -> Result<()> {
        for (name, first, second) in moments {
            let Some(entry) = self.entries.get_mut(name.as_str()) else {
                bail!("the saved optimizer has moments of {name}, which does not train now");
            };
            let elements: usize = entry.weight.dims().iter().product();
            if first.len() != elements || second.len() != elements {
                bail!("the saved moments of {name} have {} elements, the parameter {elements}", first.len());
            }
            entry.moments = entry.own.then_some(MomentPair::Host { first, second });
        }
        self.steps = steps;
        Ok(())
    }
}

impl Entry {
    /// The step of a parameter on a device; what it measured against `start` waits to be read. The gradient goes as soon as it
    /// is used.
    fn step_there(
        &mut self,
        slot: &GradSlot,
        kept_in: MomentType,
        factor: f64,
        step: &AdamWStep,
        start: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let weight = &self.weight;
        let gradient = match slot.take_device() {
            Some(gradient) => Some(gradient.reshape(weight.dims())?),
            None => slot.tensor(weight.dims())?,
        };
        let Some(gradient) = gradient else { return Ok(None) };
        if let (Some(start), None) = (start, &self.start_there) {
            self.start_there = Some(start.to_device(weight.tensor().device())?);
        }
        let start = self.start_there.as_ref().filter(|_| start.is_some());
        MomentPair::step_on_device(&mut self.moments, kept_in, weight, &gradient, factor, step, start)
    }
}

/// Of the gradient as it was before it was multiplied by `factor`.
fn unclipped(moved: Moved, factor: f64) -> Moved {
    let factor = factor.min(1.0);
    Moved { gradient: moved.gradient / (factor * factor), inner: moved.inner / factor, ..moved }
}

/// Whoever has an optimiser's state to be saved.
pub trait SaveMoments: std::fmt::Debug {
    /// Moments of all parameters that have some, in the store's order.
    fn saved(&self) -> Box<dyn Iterator<Item = Result<SavedMoments<'_>>> + '_>;
}

impl FirstMoments for AdamW {
    fn first_moment(&self, name: &str) -> Result<Option<Cow<'_, [f32]>>> {
        self.entries.get(name).and_then(|entry| entry.moments.as_ref()).map(MomentPair::first).transpose()
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

#[cfg(test)]
#[path = "adamw_tests.rs"]
mod tests;
