//! Gradients of single samples, without a second backward pass: sketched, or exact at chosen steps, and what they say of
//! each other: inner products, cosines, alignment, noise.
//!
//! A gradient is of the sample's share of the step's loss, before clipping, over all micro-batches of the step. A sample
//! without an image has none, even though a blank image ran in its place.

pub mod oracle;
mod projections;
mod rows;
mod statistics;
mod step;
mod student;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod training_tests;
mod units;
mod work;

pub(super) use work::Pending;

use super::error::ProbeError;
use super::space::Space;
use crate::config::probe::{ProbeConfig, SampleRows, Schedule};
use crate::nn::{ParamStore, Part};
use crate::ops::{BackwardObserver, Place};
use crate::train::hook::{MicroView, SampleInfo, StageView, StepId};
use projections::Projections;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use step::{Pass, Shared, StepSums};
use work::StepWork;

type Result<T> = std::result::Result<T, ProbeError>;

/// Seed of the projections: two runs of a study project alike.
const SEED: u64 = 0;

/// What is measured.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) spaces: Vec<Space>,
    /// Modules as the spaces name them; all if empty.
    pub(super) modules: Vec<String>,
    pub(super) k: usize,
    /// Whether an encoder of which nothing trains runs backward.
    pub(super) frozen_encoder: bool,
    /// Whether every module of every layer has rows of its own.
    pub(super) by_module: bool,
    /// Whether the sketches themselves are recorded.
    pub(super) keeps_sketches: bool,
}

impl Plan {
    fn wants(&self, place: Place, trains: bool) -> bool {
        self.spaces.iter().filter_map(|space| space.module(place, trains)).any(|module| self.counts(module))
    }

    fn counts(&self, module: &str) -> bool {
        self.modules.is_empty() || self.modules.iter().any(|wanted| wanted == module)
    }
}

/// The probe of one stage.
#[derive(Debug)]
pub(super) struct PerSample {
    plan: Plan,
    every: Schedule,
    /// Whether it is over the tracked samples.
    tracked: bool,
    sketches: bool,
    exact_steps: BTreeSet<u64>,
    projections: Arc<Mutex<Projections>>,
    /// Trained parameters that a backward pass must show.
    expected: Vec<String>,
    blocks: usize,
    checked: bool,
    /// A step that was due and is left out.
    skipped: Option<u64>,
    current: Option<Current>,
    /// A thread of its own for what is computed of a step when it is over.
    beside: Option<rayon::ThreadPool>,
}

/// The step under way.
#[derive(Debug)]
struct Current {
    step: u64,
    samples: Vec<SampleInfo>,
    shared: Arc<Shared>,
}

impl PerSample {
    /// The probe for a stage; `None` where nothing is to be measured: gradients are not logged, or nothing in the encoder
    /// trains and its virtual gradients are not asked for.
    pub(super) fn new(config: &ProbeConfig, view: &StageView<'_>, blocks: usize) -> Option<Self> {
        let wanted = config.sketches_in(view.stage) && (config.sample_sketches || !config.exact_steps.is_empty());
        let trains = trained(view.params).next().is_some();
        if !wanted || !(trains || config.virtual_frozen) {
            return None;
        }
        let plan = Plan {
            spaces: if trains { config.sample_spaces.clone() } else { vec![Space::Shared] },
            modules: config.sample_modules.clone(),
            k: config.sketch_k.rows(),
            frozen_encoder: !trains,
            by_module: config.sample_rows == SampleRows::Modules,
            keeps_sketches: config.sample_gradients,
        };
        let shown = |name: &(String, &'static str)| plan.spaces.contains(&Space::Trainable) && plan.counts(name.1);
        let expected = trained(view.params).filter(shown).map(|(name, _)| name).collect();
        let projections = Arc::new(Mutex::new(Projections::new(SEED, plan.k)));
        let exact_steps = config.exact_steps.iter().copied().collect();
        let (every, sketches) = (config.samples_every.clone(), config.sample_sketches);
        Some(Self {
            plan,
            every,
            tracked: false,
            sketches,
            exact_steps,
            projections,
            expected,
            blocks,
            checked: false,
            skipped: None,
            current: None,
            // Without it the trainer's thread does the work.
            beside: rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .thread_name(|_| "probes".to_owned())
                // A panic ends the work that is waited for, which says so, and not the program.
                .panic_handler(drop)
                .build()
                .ok(),
        })
    }

    /// The same for the tracked samples, at their own steps, sketched.
    pub(super) fn of_tracked(config: &ProbeConfig, view: &StageView<'_>, blocks: usize) -> Option<Self> {
        let wanted = config.tracked > 0 && config.sample_sketches;
        let probe = Self::new(config, view, blocks).filter(|_| wanted)?;
        Some(Self {
            every: config.tracked_every.clone(),
            tracked: true,
            exact_steps: BTreeSet::new(),
            beside: None,
            ..probe
        })
    }

    /// Whether a step is sketched, and whether it is computed exactly.
    fn due(&self, step: u64) -> (bool, bool) {
        (self.sketches && self.every.has(step), self.exact_steps.contains(&step))
    }

    /// Leaves a step out, though it may be due.
    pub(super) fn skip(&mut self, step: u64) {
        self.skipped = Some(step);
    }

    /// Who watches a micro-batch, at the steps that are measured.
    pub(super) fn observer(&mut self, view: &MicroView<'_>) -> Option<Arc<dyn BackwardObserver>> {
        let step = view.at.step;
        let (sketched, exact) = self.due(step);
        if !sketched && !exact {
            return None;
        }
        if view.micro == 0 {
            let (plan, projections) = (self.plan.clone(), self.projections.clone());
            let shared = Arc::new(Shared { plan, sketched, exact, projections, sums: Mutex::default() });
            self.current = Some(Current { step, samples: Vec::new(), shared });
        }
        let current = self.current.as_mut().filter(|current| current.step == step)?;
        let first = current.samples.len();
        current.samples.extend_from_slice(view.samples);
        Some(Arc::new(Pass { shared: current.shared.clone(), first, samples: view.samples.len() }))
    }

    /// The rows of the step that is over, to be waited for; `None` for a step that was not measured. They are made beside the
    /// training, unless they are of tracked samples.
    ///
    /// # Errors
    /// A trained parameter was not seen, or not for every sample.
    pub(super) fn finish(&mut self, at: StepId<'_>) -> Result<Option<Pending>> {
        let (sketched, exact) = self.due(at.step);
        if !(sketched || exact) || self.skipped == Some(at.step) {
            return Ok(None);
        }
        let Some(current) = self.current.take().filter(|current| current.step == at.step) else {
            let reason = "no backward pass was watched".to_owned();
            return Err(ProbeError::Samples { reason, stage: at.stage.to_owned(), step: at.step });
        };
        let sums = current.shared.take()?;
        self.check(&sums, &current.samples, at)?;
        let work = StepWork {
            plan: self.plan.clone(),
            tracked: self.tracked,
            blocks: self.blocks,
            stage: at.stage.to_owned(),
            step: at.step,
            samples: current.samples,
            sums,
            sketched: current.shared.sketched,
            exact: current.shared.exact,
        };
        Ok(Some(Pending::begin(work, self.beside.as_ref())))
    }

    /// A probe that sees nothing would leave a hole that is found weeks later.
    fn check(&mut self, sums: &StepSums, samples: &[SampleInfo], at: StepId<'_>) -> Result<()> {
        let fault = |reason: String| ProbeError::Samples { reason, stage: at.stage.to_owned(), step: at.step };
        if let Some(reason) = &sums.fault {
            return Err(fault(reason.clone()));
        }
        if self.checked {
            return Ok(());
        }
        let counts = sums.linears.iter().map(|(id, w)| (&id.name, w.samples));
        let counts: Vec<_> = counts.chain(sums.vectors.iter().map(|(id, w)| (&id.name, w.samples))).collect();
        if let Some((name, seen)) = counts.iter().find(|(_, seen)| *seen != samples.len()) {
            return Err(fault(format!("{name} was seen with {seen} of {} samples", samples.len())));
        }
        if let Some(name) = self.expected.iter().find(|name| !counts.iter().any(|(seen, _)| seen == name)) {
            return Err(fault(format!("{name} trains, but no backward pass showed it")));
        }
        if counts.is_empty() {
            return Err(fault("no backward pass showed a weight of the vision encoder".to_owned()));
        }
        self.checked = true;
        Ok(())
    }
}

/// Names and modules of what trains in the vision encoder and is reached by the loss.
fn trained(params: &ParamStore) -> impl Iterator<Item = (String, &'static str)> {
    let vision = params.trainable().filter(|p| p.role.part == Part::Vision && p.role.reached);
    vision.map(|p| (p.weight.name().to_owned(), p.role.module))
}
