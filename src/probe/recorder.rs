//! The hook that writes the record streams.

mod rows;

use super::batch_sketch::{self, SketchPlan, VirtualGradients};
use super::budget::Budget;
use super::drift::{VisionTracker, blocks};
use super::error::ProbeError;
use super::per_sample::{Pending, PerSample};
use super::routing::{self, Contexts, Wanted};
use crate::config::probe::ProbeConfig;
use crate::nn::Part;
use crate::ops::{BackwardObserver, Observers};
use crate::train::hook::{
    EvalView, GradientView, Hook, HookResult, MicroView, StageView, StepId, StepView, TrackedView, UpdateView,
};
use covft_analyses::store::{GradientRow, Manifest, RecordWriter, RunDir, SampleRow, StageEntry, StepRow};
use rows::{eval_rows, milliseconds, parameters, prediction_rows, step_row};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Name of the budget's state in checkpoints.
const BUDGET: &str = "probe.budget";

type Result<T> = std::result::Result<T, ProbeError>;

/// What a recorder needs.
#[derive(Debug)]
pub struct RecorderSetup {
    /// The run.
    pub dir: RunDir,
    /// Its streams, new or resumed.
    pub writer: RecordWriter,
    /// `[probe]`.
    pub config: ProbeConfig,
    /// alpha / r of the vision encoder's factors, by stage that trains it with `LoRA`.
    pub lora_scales: BTreeMap<String, f64>,
}

/// Listens to the training loop and records.
#[derive(Debug)]
pub struct Recorder {
    setup: RecorderSetup,
    stage: Stage,
    /// Spent on the step so far.
    cost: Duration,
    /// Bytes of what was recorded before the step's own rows.
    early_bytes: u64,
    /// Of it by probes that the budget is over.
    sketch_cost: Duration,
    /// Rows of the step's sketches.
    gradients: Vec<GradientRow>,
    budget: Option<Budget>,
    /// The last step, as long as rows of it are being made.
    late: Option<LateStep>,
}

/// A step's own row, and rows that it counts and that are not there yet.
#[derive(Debug)]
struct LateStep {
    row: StepRow,
    samples: Pending,
}

/// What is remembered of a stage.
#[derive(Debug, Default)]
struct Stage {
    tracker: Option<VisionTracker>,
    sketches: Vec<SketchPlan>,
    /// Gradients of what the sketches are over and does not train.
    unseen: Option<VirtualGradients>,
    samples: Option<PerSample>,
    tracked: Option<PerSample>,
    blocks: usize,
    gates: bool,
    checked: bool,
}

impl Recorder {
    /// A recorder that has seen nothing.
    #[must_use]
    pub fn new(setup: RecorderSetup) -> Self {
        let budget = setup.config.budget.map(Budget::new);
        let (cost, sketch_cost) = (Duration::ZERO, Duration::ZERO);
        Self {
            setup,
            stage: Stage::default(),
            cost,
            early_bytes: 0,
            sketch_cost,
            gradients: Vec::new(),
            budget,
            late: None,
        }
    }

    /// Closes the streams.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(mut self) -> Result<()> {
        self.write_late()?;
        Ok(self.setup.writer.finish()?)
    }

    fn probes(&self, step: u64) -> bool {
        self.setup.config.every.has(step)
    }

    /// Whether sketches are scheduled at `step`.
    fn sketches_due(&self, step: u64) -> bool {
        !self.stage.sketches.is_empty() && self.setup.config.sketches_every.has(step)
    }

    /// Whether sketches are taken at `step`.
    fn sketches(&self, step: u64) -> bool {
        self.sketches_due(step) && self.allowed()
    }

    /// Whether the budget lets gradients be measured now.
    fn allowed(&self) -> bool {
        self.budget.as_ref().is_none_or(Budget::allows)
    }

    /// The same for gradients of samples, whose exact steps are no matter of the budget.
    fn samples_allowed(&self, step: u64) -> bool {
        self.allowed() || self.setup.config.exact_steps.contains(&step)
    }

    fn trained(&self) -> usize {
        self.stage.tracker.as_ref().map_or(0, VisionTracker::trained)
    }

    fn begin(&mut self, view: &StageView<'_>) -> Result<()> {
        let config = &self.setup.config;
        let scale = self.setup.lora_scales.get(view.stage).copied();
        let tracker = if config.drift || config.log_grads { Some(VisionTracker::new(view, scale)?) } else { None };
        if tracker.as_ref().is_some_and(|t| t.trained() == 0) {
            tracing::info!("nothing in the vision encoder trains in stage {}: drift 0, no gradients", view.stage);
        }
        let gates = view.params.iter().any(|p| p.role.part == Part::Vision && p.role.module == "gate");
        let mut sketches = if config.sketches_in(view.stage) && config.batch_sketches {
            SketchPlan::all(config, view.params)
        } else {
            Vec::new()
        };
        let trains = tracker.as_ref().is_some_and(|t| t.trained() > 0);
        sketches.retain(|plan| (trains || config.virtual_frozen) && plan.tensors() > 0);
        let frozen: Vec<_> = sketches.iter().flat_map(|plan| plan.frozen(view.params)).collect();
        let unseen = (!frozen.is_empty()).then(|| VirtualGradients::new(frozen, !trains));
        let blocks = blocks(view.params);
        let samples = PerSample::new(config, view, blocks);
        let tracked = PerSample::of_tracked(config, view, blocks);
        self.stage = Stage { tracker, sketches, unseen, samples, tracked, blocks, gates, checked: false };
        let mut manifest = Manifest::read(&self.setup.dir)?;
        let entry = StageEntry { name: view.stage.to_owned(), steps: view.steps, parameters: parameters(view.params) };
        match manifest.stages.iter_mut().find(|s| s.name == entry.name) {
            Some(known) => *known = entry,
            None => manifest.stages.push(entry),
        }
        Ok(manifest.write(&self.setup.dir)?)
    }

    /// A probe that sees nothing would leave an empty column that is found weeks later.
    fn check_fired(&mut self, view: &StepView<'_>) -> Result<()> {
        let (stage, step) = (view.at.stage.to_owned(), view.at.step);
        if self.stage.checked {
            return Ok(());
        }
        if let Some(tracker) = self.stage.tracker.as_ref().filter(|_| self.setup.config.log_grads && self.probes(step))
            && tracker.trained() > 0
            && tracker.seen(step) == 0
        {
            return Err(ProbeError::NoGradients { trained: tracker.trained(), stage, step });
        }
        let wanted = self.stage.gates && (self.setup.config.routing || self.setup.config.contexts);
        if wanted && view.micro_batches.iter().any(|m| m.routing.is_empty()) {
            return Err(ProbeError::NoRouting { stage, step });
        }
        self.stage.checked = self.probes(step);
        Ok(())
    }

    fn record_layers(&mut self, view: &StepView<'_>) -> Result<u64> {
        let (now, next) = (self.probes(view.at.step), self.probes(view.at.step + 1));
        let Some(tracker) = &mut self.stage.tracker else { return Ok(0) };
        if !now {
            if next {
                tracker.keep(view.params)?;
            }
            return Ok(0);
        }
        tracker.measure(view.params, next)?;
        let rows = tracker.rows(view.at.stage, view.at.step, self.stage.blocks);
        Ok(self.setup.writer.push(&rows)?)
    }

    fn record_samples(&mut self, view: &StepView<'_>) -> Result<u64> {
        let config = &self.setup.config;
        let contexts = match (config.contexts_all_every.has(view.at.step), config.contexts_every.has(view.at.step)) {
            (true, _) if config.contexts => Contexts::All,
            (_, true) if config.contexts => Contexts::Last,
            _ => Contexts::None,
        };
        let wanted = Wanted { routing: config.routing, contexts };
        let (routes, contexts) = routing::rows(view.micro_batches, wanted, view.at, self.stage.blocks, false)?;
        let mut samples = Vec::new();
        for (number, micro) in view.micro_batches.iter().enumerate() {
            samples.extend(micro.samples.iter().map(|sample| SampleRow {
                stage: view.at.stage.to_owned(),
                step: view.at.step,
                sample: sample.id.to_string(),
                index: Some(sample.index),
                micro: number as u64,
                task: sample.task.as_deref().map(str::to_owned),
                has_image: sample.has_image,
                loss: (sample.tokens > 0).then(|| sample.loss_sum / sample.tokens as f64),
                tokens: sample.tokens as u64,
            }));
        }
        let writer = &mut self.setup.writer;
        Ok(writer.push(&samples)? + writer.push(&routes)? + writer.push(&contexts)?)
    }

    /// Writes what is left of the last step, waiting for it.
    fn write_late(&mut self) -> Result<()> {
        let Some(LateStep { mut row, samples }) = self.late.take() else { return Ok(()) };
        let Some((rows, spent)) = samples.wait() else {
            let reason = "the thread that compares samples died".to_owned();
            return Err(ProbeError::Samples { reason, stage: row.stage, step: row.step });
        };
        self.sketch_cost += spent;
        row.probe_bytes += rows.write(&mut self.setup.writer)?;
        row.ms_probe += milliseconds(spent);
        self.setup.writer.push(&[row])?;
        Ok(())
    }

    /// Rows of the samples' gradients, on their way.
    fn sample_gradients(&mut self, at: StepId<'_>) -> Result<Option<Pending>> {
        if !self.samples_allowed(at.step) {
            return Ok(None);
        }
        self.stage.samples.as_mut().map_or(Ok(None), |samples| samples.finish(at))
    }

    fn record_step(&mut self, view: &StepView<'_>) -> Result<()> {
        let begun = Instant::now();
        self.write_late()?;
        self.check_fired(view)?;
        let samples = self.sample_gradients(view.at)?;
        let gradients = std::mem::take(&mut self.gradients);
        let mut probe_bytes = std::mem::take(&mut self.early_bytes);
        probe_bytes += self.record_layers(view)? + self.record_samples(view)?;
        probe_bytes += self.setup.writer.push(&gradients)?;
        probe_bytes += self.record_budget(view)?;
        let cost = std::mem::take(&mut self.cost) + begun.elapsed();
        let row = StepRow { probe_bytes, ms_probe: milliseconds(cost), ..step_row(view) };
        match samples {
            Some(samples) => self.late = Some(LateStep { row, samples }),
            None => self.setup.writer.push(&[row]).map(drop)?,
        }
        Ok(())
    }

    fn record_tracked(&mut self, view: &TrackedView<'_>) -> Result<()> {
        let (begun, config, blocks) = (Instant::now(), &self.setup.config, self.stage.blocks);
        let contexts = if config.contexts { Contexts::All } else { Contexts::None };
        let wanted = Wanted { routing: config.routing, contexts };
        let (routes, contexts) = routing::rows(view.micro_batches, wanted, view.at, blocks, true)?;
        let found = self.stage.tracked.as_mut().map(|tracked| tracked.finish(view.at)).transpose()?;
        let rows = found.flatten().and_then(Pending::wait).unwrap_or_default().0;
        let writer = &mut self.setup.writer;
        self.early_bytes += writer.push(&routes)? + writer.push(&contexts)? + rows.write(writer)?;
        self.cost += view.took + begun.elapsed();
        Ok(())
    }

    fn record_budget(&mut self, view: &StepView<'_>) -> Result<u64> {
        let samples = self.stage.samples.is_some() && self.setup.config.samples_every.has(view.at.step);
        let scheduled = samples || self.sketches_due(view.at.step);
        let cost = std::mem::take(&mut self.sketch_cost);
        let row = self.budget.as_mut().and_then(|b| b.step(view.at, scheduled, cost, view.times.total));
        Ok(self.setup.writer.push(&row.into_iter().collect::<Vec<_>>())?)
    }

    fn record_eval(&mut self, view: &EvalView<'_>) -> Result<()> {
        self.setup.writer.push(&eval_rows(view))?;
        Ok(self.setup.writer.push(&prediction_rows(view)).map(drop)?)
    }

    fn record_gradients(&mut self, view: &GradientView<'_>) -> Result<()> {
        let begun = Instant::now();
        if let Some(tracker) = self.stage.tracker.as_mut().filter(|_| self.setup.config.every.has(view.at.step)) {
            tracker.gradients(view.at.step, view.params, view.first_moments)?;
        }
        if self.sketches(view.at.step) {
            let begun = Instant::now();
            let (seen, spent) = self.stage.unseen.as_ref().map(VirtualGradients::take).unwrap_or_default();
            let Stage { sketches, blocks, .. } = &self.stage;
            self.gradients = batch_sketch::rows(sketches, view.params, &seen, view.at, *blocks)?;
            self.cost += spent;
            self.sketch_cost += begun.elapsed() + spent;
        }
        self.cost += begun.elapsed();
        Ok(())
    }
}

impl Hook for Recorder {
    fn stage_start(&mut self, view: &StageView<'_>) -> HookResult {
        Ok(self.begin(view)?)
    }

    fn wants_gradients(&self, at: StepId<'_>) -> bool {
        let directions = self.setup.config.log_grads && self.trained() > 0 && self.probes(at.step);
        directions || self.sketches(at.step)
    }

    fn wants_update(&self, at: StepId<'_>) -> bool {
        self.trained() > 0 && self.probes(at.step)
    }

    fn updated(&mut self, view: &UpdateView<'_>) -> HookResult {
        let begun = Instant::now();
        if let Some(tracker) = &mut self.stage.tracker {
            tracker.take(view.at.step, view.moved, self.setup.config.log_grads);
        }
        self.cost += begun.elapsed();
        Ok(())
    }

    fn save_state(&self) -> Option<(&'static str, serde_json::Value)> {
        let budget = self.budget.as_ref()?;
        Some((BUDGET, serde_json::to_value(budget).ok()?))
    }

    fn load_state(&mut self, states: &BTreeMap<String, serde_json::Value>) -> HookResult {
        if let (Some(budget), Some(saved)) = (&mut self.budget, states.get(BUDGET)) {
            *budget = serde_json::from_value(saved.clone())?;
        }
        Ok(())
    }

    fn gradients(&mut self, view: &GradientView<'_>) -> HookResult {
        Ok(self.record_gradients(view)?)
    }

    fn observer(&mut self, view: &MicroView<'_>) -> Option<Arc<dyn BackwardObserver>> {
        let step = view.at.step;
        let mut observers = Observers::default();
        let sketches = self.sketches(step);
        if let Some(unseen) = self.stage.unseen.as_mut().filter(|_| sketches) {
            observers.0.push(unseen.observer(view.member));
        }
        let measured = self.samples_allowed(step);
        match &mut self.stage.samples {
            Some(samples) if measured => observers.0.extend(samples.observer(view)),
            Some(samples) => samples.skip(step),
            None => {}
        }
        observers.joined()
    }

    fn wants_tracked(&self, at: StepId<'_>) -> bool {
        self.setup.config.tracked > 0 && self.setup.config.tracked_every.has(at.step)
    }

    fn tracked_observer(&mut self, view: &MicroView<'_>) -> Option<Arc<dyn BackwardObserver>> {
        self.stage.tracked.as_mut()?.observer(view)
    }

    fn tracked(&mut self, view: &TrackedView<'_>) -> HookResult {
        Ok(self.record_tracked(view)?)
    }

    fn step(&mut self, view: &StepView<'_>) -> HookResult {
        Ok(self.record_step(view)?)
    }

    fn evaluated(&mut self, view: &EvalView<'_>) -> HookResult {
        Ok(self.record_eval(view)?)
    }

    fn stage_end(&mut self, _: &StageView<'_>) -> HookResult {
        Ok(self.write_late()?)
    }

    fn before_checkpoint(&mut self, at: StepId<'_>) -> HookResult {
        self.write_late()?;
        self.setup.writer.cut(at.global_step)?;
        Ok(())
    }
}
