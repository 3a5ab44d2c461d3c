//! What the stages of a run share, and what one stage's trainer is made of.

use super::base_cache::BaseCache;
use super::error::SessionError;
use super::going_on::Changed;
use super::held_out::{HeldOutSet, TrackedSet};
use super::pictures::{self, Background, Checking, PictureCheck};
use super::premises::Premises;
use super::setup::Setup;
use super::{Session, device, records};
use crate::config::Recipe;
use crate::config::model::TextMethod;
use crate::config::train::Stage;
use crate::data::{Dataset, Order, Paired, Progress, Sampler};
use crate::dist;
use crate::eval::Examiner;
use crate::models::mllm::Mllm;
use crate::models::save::config_json;
use crate::models::source::open_source;
use crate::models::tuning::Merged;
use crate::nn::{MapSource, ParamStore, TensorSource};
use crate::train::checkpoint::{CheckpointDir, Loaded};
use crate::train::hook::Hook;
use crate::train::{LoaderSource, MllmStep, StagePlan, StepModel, Team, Trainer};
use candle_core::{Device, Tensor};
use covft_analyses::store::{DroppedSample, Manifest, Place};
use std::path::PathBuf;
use std::sync::Arc;

/// What the stages share, read and checked before the first step.
#[derive(Debug)]
pub(in crate::experiment) struct Work {
    /// The trainer's, then those of the members of its team.
    devices: Vec<Device>,
    pub(in crate::experiment) setup: Setup,
    source: Box<dyn TensorSource>,
    datasets: Vec<StageData>,
    /// Optimiser steps of each stage.
    pub(super) lengths: Vec<u64>,
    bases: BaseCache,
    /// Ends with the run.
    _background: Option<Background>,
    pub(super) premises: Premises,
    pub(in crate::experiment) changed: Changed,
}

/// The training samples of a stage.
#[derive(Debug)]
struct StageData {
    samples: Dataset,
    /// Where the stage takes only samples with a partner.
    paired: Option<Paired>,
}

/// What one stage's trainer borrows.
#[derive(Debug)]
pub(in crate::experiment) struct Parts {
    plan: StagePlan,
    model: MllmStep,
    /// The same model for the other members of a team.
    copies: Vec<MllmStep>,
    devices: Vec<Device>,
    batches: LoaderSource,
    held_out: Option<Examiner<HeldOutSet>>,
    tracked: Option<TrackedSet>,
    saver: CheckpointDir,
}

impl Session {
    /// Reads and checks everything that the recipe names, and whether it is what the run began with.
    pub(in crate::experiment) fn prepare(&mut self) -> Result<Work, SessionError> {
        let mut work = self.work()?;
        if work.changed.moved() {
            self.go_to_the_same_step(&mut work);
        }
        Ok(work)
    }

    fn work(&self) -> Result<Work, SessionError> {
        let recipe = &self.recipe;
        let devices = device::open(recipe)?;
        let cache = recipe.out.join(".cache");
        let decided = self.from.as_ref().map(|_| Manifest::read(&self.dir)).transpose()?.map(|m| m.pictures);
        let progress = self.progress.as_ref().map(|hear| hear as &Progress<'_>);
        let checking = Checking { cache: Some(&cache), pictures: self.pictures, decided: decided.as_deref(), progress };
        let mut setup = Setup::new(recipe, &checking)?;
        let premises = Premises::of(recipe, &setup)?;
        let changed = self.compare(&premises)?;
        if changed.moved() {
            // Other entries may stand where the run decided about a picture: it is decided anew.
            setup = Setup::new(recipe, &Checking { decided: None, ..checking })?;
        }
        let lazily = self.pictures == PictureCheck::Lazily;
        let background = lazily.then(|| Background::start(&setup.train, cache)).transpose()?;
        let source = open_source(&setup.model)?;
        let datasets: Vec<StageData> =
            self.stages.iter().map(|stage| StageData::new(stage, &setup.train)).collect::<Result<_, _>>()?;
        let steps = |(stage, data): (&Stage, &StageData)| {
            let sampler = Sampler::new(data.samples.len(), stage.batch_size, stage.accumulation, 0, Order::Sequential);
            stage.length.steps(sampler.steps_per_epoch())
        };
        let lengths = self.stages.iter().zip(&datasets).map(steps).collect();
        let bases = BaseCache::new(recipe, &self.stages, &premises);
        Ok(Work { devices, setup, source, datasets, lengths, bases, premises, changed, _background: background })
    }

    /// Builds stage `index` upon `handed`, or upon the checkpoint to go on from, or upon the recipe's weights.
    pub(in crate::experiment) fn parts(
        &self,
        work: &Work,
        index: usize,
        handed: Option<MapSource>,
    ) -> Result<Parts, SessionError> {
        let (stage, data) = (&self.stages[index], &self.recipe.data);
        let seed = stage.seed.unwrap_or(self.recipe.seed);
        let plan = StagePlan {
            stage: stage.clone(),
            index,
            steps: work.lengths[index],
            steps_before: work.lengths[..index].iter().sum(),
            steps_in_run: work.lengths.iter().sum(),
            seed,
            stop_after: self.stop_after,
            stop: Arc::clone(&self.stop),
        };
        let setup = &work.setup;
        let tasks = if stage.tuning.text == TextMethod::Tasks { setup.tasks.names().len() } else { 0 };
        let begin = self.from.as_ref().map_or(work.source.as_ref(), |from| &from.model as &dyn TensorSource);
        let from = handed.as_ref().map_or(begin, |handed| handed);
        let merged = self.merged(index, from);
        let from = merged.as_ref().map_or(from, |merged| merged);
        let build = |from: &dyn TensorSource, device: &Device| -> candle_core::Result<MllmStep> {
            let (mut model, params) = Mllm::build(&setup.model, &stage.tuning, from, seed, device, tasks)?;
            model.set_max_length(data.max_length);
            Ok(MllmStep::new(model, params, device.clone())
                .computing_in(device::compute(&self.recipe))
                .keeping_copies(self.recipe.bf16_copies))
        };
        let model = build(from, &work.devices[0])?;
        let others = &work.devices[1..];
        let copies = others.iter().map(|device| build(&ByTheHost(from), device)).collect::<candle_core::Result<_>>()?;
        // What the stage before left is let go as soon as it is in the model.
        drop(handed);
        let samples = work.samples(index);
        let sampler = Arc::new(self.sampler(stage, samples, stage.order_seed.unwrap_or(seed)));
        let batches = LoaderSource::new(samples.clone(), sampler, data.workers, data.prefetch);
        let held_out = setup.val.as_ref().map(|val| {
            let end = stage.generate_at_end.unwrap_or(val.len());
            let generate = stage.generate_samples.map_or([0, 0], |on_the_way| [on_the_way, end]);
            Examiner(HeldOutSet::new(val, stage.eval_samples, generate, stage.batch_size, data.workers))
        });
        let tracked = Some(self.recipe.probe.tracked).filter(|n| *n > 0).map(|n| {
            let from = setup.val.as_ref().unwrap_or(&setup.train);
            TrackedSet::new(from, n, stage.batch_size, self.recipe.seed)
        });
        let devices = work.devices.clone();
        Ok(Parts { plan, model, copies, devices, batches, held_out, tracked, saver: self.checkpoints(stage, setup)? })
    }

    /// What the stage before left, its adapters merged, where stage `index` begins and does not go on with them.
    fn merged<'s>(&self, index: usize, from: &'s dyn TensorSource) -> Option<Merged<&'s dyn TensorSource>> {
        let before = &self.stages[index.checked_sub(1)?].tuning;
        let changed = before.hand_over(&self.stages[index].tuning);
        let within = self.resuming(index).is_some();
        (!within && changed.merges()).then(|| Merged::new(from, changed.vision, changed.language))
    }

    fn checkpoints(&self, stage: &Stage, setup: &Setup) -> Result<CheckpointDir, SessionError> {
        let mut config = config_json(&setup.model, &stage.tuning, &setup.shapes);
        config["image_aspect_ratio"] = self.recipe.data.image_aspect.llavas().into();
        let config = serde_json::to_vec_pretty(&config).expect("a JSON value is JSON");
        let mut dir = CheckpointDir::open(self.dir.checkpoints())?
            .with_file("config.json", config)
            .with_file("recipe.toml", self.recipe.to_toml().into_bytes());
        for (name, path) in ["tokenizer.json", "context_tokenizer.json"].into_iter().zip(&setup.tokenizer_files) {
            dir = dir.with_file(name, records::tokenizer_bytes(name, path)?);
        }
        Ok(dir)
    }

    pub(super) fn sampler(&self, stage: &Stage, dataset: &Dataset, seed: u64) -> Sampler {
        let order = if self.recipe.data.group_by_modality_length {
            Order::Grouped(dataset.modality_lengths().into())
        } else {
            Order::Shuffled
        };
        Sampler::new(dataset.len(), stage.batch_size, stage.accumulation, seed, order)
    }
}

impl Work {
    /// Where the end of stage `index` is kept, and its values; `None` if it is not.
    pub(in crate::experiment) fn base(&self, index: usize) -> Result<Option<(PathBuf, MapSource)>, SessionError> {
        let Some(base) = self.bases.get(index) else { return Ok(None) };
        Ok(base.load()?.map(|tensors| (base.path().to_path_buf(), tensors)))
    }

    /// Keeps the end of stage `index` where the recipe says so.
    pub(super) fn keep(&self, index: usize, params: &ParamStore) -> Result<(), SessionError> {
        self.bases.get(index).map_or(Ok(()), |base| base.save(params))
    }

    /// The training samples of stage `index`.
    pub(super) fn samples(&self, index: usize) -> &Dataset {
        &self.datasets[index].samples
    }

    /// What the samples of stage `index` are about, in order, where it takes only samples with a partner.
    pub(in crate::experiment) fn paired(&self, index: usize) -> Option<&Paired> {
        self.datasets[index].paired.as_ref()
    }

    /// What is told before the first step, one line each.
    pub(in crate::experiment) fn told(&self) -> Vec<String> {
        [self.setup.told(), pictures::told(&self.setup)].concat()
    }

    /// Samples that stages leave out for want of a partner.
    pub(super) fn without_partner(&self) -> impl Iterator<Item = DroppedSample> {
        let paired = self.datasets.iter().filter_map(|data| data.paired.as_ref());
        let why = "no partner of the same picture and object (paired_with)";
        paired.flat_map(|p| &p.left_out).map(|sample| DroppedSample {
            sample: sample.id.to_string(),
            place: Some(Place::new(Some(sample.split.name()), sample.index as u64)),
            why: why.to_owned(),
        })
    }
}

/// Whether every stage of `recipe` has samples, and partners where it wants them.
pub(in crate::experiment) fn check_samples(recipe: &Recipe) -> Result<(), SessionError> {
    let cache = recipe.out.join(".cache");
    let setup = Setup::new(recipe, &Checking { cache: Some(&cache), ..Checking::default() })?;
    setup.refused_stages(recipe).into_iter().next().map_or(Ok(()), Err)
}

impl Setup {
    /// Stages of `recipe` that have no samples, or none with a partner where they want one.
    #[must_use]
    pub fn refused_stages(&self, recipe: &Recipe) -> Vec<SessionError> {
        super::checked(recipe).iter().filter_map(|stage| StageData::new(stage, &self.train).err()).collect()
    }
}

/// A source whose tensors come by way of the host: a copy from card to card would have to wait for both.
#[derive(Debug)]
struct ByTheHost<'s>(&'s dyn TensorSource);

impl TensorSource for ByTheHost<'_> {
    fn get(&self, name: &str) -> candle_core::Result<Option<Tensor>> {
        self.0.get(name)?.map(|tensor| tensor.to_device(&Device::Cpu)).transpose()
    }

    fn dims(&self, name: &str) -> candle_core::Result<Option<Vec<usize>>> {
        self.0.dims(name)
    }

    fn contains(&self, name: &str) -> candle_core::Result<bool> {
        self.0.contains(name)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

impl StageData {
    fn new(stage: &Stage, train: &Dataset) -> Result<Self, SessionError> {
        let Some(tasks) = &stage.tasks else { return Ok(Self { samples: train.clone(), paired: None }) };
        let (name, named) = (stage.name.clone(), tasks.join(", "));
        let samples = train.of_tasks(tasks);
        if samples.is_empty() {
            return Err(SessionError::NoSamples { stage: name, tasks: named });
        }
        let Some(with) = &stage.paired_with else { return Ok(Self { samples, paired: None }) };
        let paired = train.paired(tasks, with)?;
        if paired.samples.is_empty() {
            return Err(SessionError::NoPairs { stage: name, tasks: named, with: with.join(", ") });
        }
        Ok(Self { samples: paired.samples.clone(), paired: Some(paired) })
    }
}

impl Parts {
    /// A trainer of the stage with `hooks`, from its beginning or from a checkpoint within it.
    pub(in crate::experiment) fn trainer<'a>(
        &'a mut self,
        hooks: impl IntoIterator<Item = &'a mut dyn Hook>,
        resuming: Option<&Loaded>,
    ) -> Result<Trainer<'a, MllmStep, LoaderSource>, SessionError> {
        let mut trainer = Trainer::new(&self.plan, &self.model, &mut self.batches)?.with_saver(&mut self.saver);
        if let Some(examiner) = &mut self.held_out {
            trainer = trainer.with_evaluator(examiner);
        }
        if let Some(tracked) = &mut self.tracked {
            trainer = trainer.with_tracked(tracked);
        }
        if !self.copies.is_empty() {
            let (copies, stage) = (std::mem::take(&mut self.copies), &self.plan.stage);
            let no_thread = |error: std::io::Error| device::refused("a thread for a device", error.to_string());
            trainer = trainer.with_team(Team::start(copies, stage, dist::join(&self.devices)?).map_err(no_thread)?);
        }
        for hook in hooks {
            trainer = trainer.with_hook(hook);
        }
        Ok(match resuming {
            Some(loaded) => trainer.resume(loaded)?,
            None => trainer,
        })
    }

    /// Plan, model and batches, for a trainer of another kind.
    pub(in crate::experiment) fn borrowed(&mut self) -> (&StagePlan, &MllmStep, &mut LoaderSource) {
        (&self.plan, &self.model, &mut self.batches)
    }

    pub(super) fn params(&self) -> &ParamStore {
        self.model.params()
    }
}
