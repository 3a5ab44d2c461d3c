//! One run from its recipe to its last checkpoint: builds, hands over from stage to stage, resumes.

mod base_cache;
mod device;
mod error;
mod held_out;
mod records;
mod setup;

pub use error::SessionError;
pub use setup::{Setup, image_spec, known_vocabularies};

use crate::config::Recipe;
use crate::config::model::{TextMethod, VisionMethod};
use crate::config::train::{Stage, check_stages};
use crate::data::{Dataset, Order, Sampler};
use crate::eval::Examiner;
use crate::models::mllm::Mllm;
use crate::models::save::config_json;
use crate::models::source::open_source;
use crate::nn::{MapSource, ParamStore, TensorSource};
use crate::probe::{Recorder, RecorderSetup};
use crate::train::checkpoint::{CheckpointDir, Loaded, hand_over, latest};
use crate::train::hook::Hook;
use crate::train::{LoaderSource, MllmStep, Outcome, StagePlan, Trainer};
use base_cache::BaseCache;
use covft_analyses::store::{DroppedSample, Manifest, RecordWriter, RunDir, Status, WriterOptions};
use held_out::HeldOutSet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A run to be made or continued.
#[derive(Debug)]
pub struct Session {
    recipe: Recipe,
    stages: Vec<Stage>,
    dir: RunDir,
    /// The checkpoint to go on from.
    from: Option<Loaded>,
    command: Vec<String>,
    /// Set it to end after the step that is under way.
    pub stop: Arc<AtomicBool>,
    /// Stop, with a checkpoint, when so many steps of the run are done.
    pub stop_after: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All stages are done.
    Done,
    /// It was asked to stop and is saved.
    Stopped,
}

impl Session {
    /// A new run in the directory `path`, which must not hold one.
    ///
    /// # Errors
    /// The directory is taken or cannot be made.
    pub fn create(recipe: Recipe, path: PathBuf, command: Vec<String>) -> Result<Self, SessionError> {
        let stages = checked(&recipe);
        let dir = RunDir::create(path)?;
        Ok(Self { recipe, stages, dir, from: None, command, stop: Arc::default(), stop_after: None })
    }

    /// A run that was stopped or killed, going on from its latest checkpoint.
    ///
    /// # Errors
    /// No run, a finished one, or none of its checkpoints is there yet.
    pub fn resume(path: PathBuf, command: Vec<String>) -> Result<Self, SessionError> {
        let dir = RunDir::open(path)?;
        let recipe = records::read_recipe(&dir)?;
        if Manifest::read(&dir)?.status == Status::Done {
            return Err(SessionError::AlreadyDone { path: dir.path().to_path_buf() });
        }
        let stages = checked(&recipe);
        // Opening the folder for writing first takes back what a kill left between two renames.
        CheckpointDir::open(dir.checkpoints())?;
        let Some(path) = latest(&dir.checkpoints())? else {
            return Err(SessionError::NothingToResume { path: dir.path().to_path_buf() });
        };
        let from = Loaded::open(&path)?;
        let index = from.state.stage_index;
        if stages.get(index).is_none_or(|s| s.name != from.state.stage) {
            return Err(SessionError::OtherRecipe { index, found: from.state.stage.clone(), path });
        }
        Ok(Self { recipe, stages, dir, from: Some(from), command, stop: Arc::default(), stop_after: None })
    }

    /// The run directory.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The recipe.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Trains. `hooks` listen to every stage, before the recorder does. The manifest says how it ended, also on errors.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn run(&mut self, hooks: &mut [&mut dyn Hook]) -> Result<Ended, SessionError> {
        let resumed = self.from.is_some();
        let ended = self.train(hooks);
        let status = match &ended {
            Ok(Ended::Done) => Status::Done,
            Ok(Ended::Stopped) => Status::Running,
            Err(error) => Status::Failed { why: records::one_line(error) },
        };
        // A run that never began (missing data) leaves a directory only if it was there before.
        match Manifest::read(&self.dir) {
            Ok(mut manifest) => {
                manifest.finish(status);
                manifest.write(&self.dir)?;
            }
            Err(_) if ended.is_err() && !resumed => records::remove_unborn(&self.dir),
            Err(error) => return Err(ended.err().unwrap_or(error.into())),
        }
        ended
    }

    fn train(&mut self, hooks: &mut [&mut dyn Hook]) -> Result<Ended, SessionError> {
        let device = device::open(&self.recipe)?;
        let setup = Setup::new(&self.recipe, Some(&self.recipe.out.join(".cache")))?;
        let source: Box<dyn TensorSource> = open_source(&setup.model)?;
        let mut recorder = Recorder::new(self.recorder_setup()?);
        self.announce(&setup)?;
        let datasets = self.datasets(&setup.train)?;
        let lengths: Vec<u64> =
            self.stages.iter().zip(&datasets).map(|(s, d)| s.length.steps(steps_per_epoch(s, d))).collect();
        let first = self.from.as_ref().map_or(0, |f| f.state.stage_index + usize::from(f.state.stage_finished));
        // The first stage starts from the checkpoint or the recipe's weights, the others from what is handed over.
        let begin: &dyn TensorSource = self.from.as_ref().map_or(source.as_ref(), |from| &from.model);
        let mut handed: Option<MapSource> = None;
        let bases = BaseCache::new(&self.recipe, &self.stages);
        for index in first..self.stages.len() {
            let stage = &self.stages[index];
            let resuming = self.from.as_ref().filter(|f| f.state.stage_index == index && !f.state.stage_finished);
            if let (Some(base), None) = (bases.get(index), resuming)
                && let Some(tensors) = base.load()?
            {
                for hook in hooks.iter_mut() {
                    let line = format!("stage {} is reused from {}", stage.name, base.path().display());
                    hook.note(&line).map_err(records::hook_error)?;
                }
                handed = Some(tensors);
                continue;
            }
            let plan = StagePlan {
                stage: stage.clone(),
                index,
                steps: lengths[index],
                steps_before: lengths[..index].iter().sum(),
                steps_in_run: lengths.iter().sum(),
                seed: self.recipe.seed,
                stop_after: self.stop_after,
                stop: Arc::clone(&self.stop),
            };
            let tasks = if stage.tuning.text == TextMethod::Tasks { setup.tasks.names().len() } else { 0 };
            // What the stage before left is let go as soon as it is in the model.
            let before = handed.take();
            let from: &dyn TensorSource = before.as_ref().map_or(begin, |b| b);
            let (mut model, params) = Mllm::build(&setup.model, &stage.tuning, from, self.recipe.seed, &device, tasks)?;
            model.set_max_length(self.recipe.data.max_length);
            let model = MllmStep::new(model, params, device.clone()).computing_in(device::compute(&self.recipe));
            drop(before);
            let outcome = self.train_stage(&plan, &setup, &datasets[index], &model, resuming, &mut recorder, hooks)?;
            if outcome == Outcome::Stopped {
                recorder.finish()?;
                return Ok(Ended::Stopped);
            }
            if let Some(base) = bases.get(index) {
                base.save(crate::train::StepModel::params(&model))?;
            }
            handed = Some(hand_over(crate::train::StepModel::params(&model)));
        }
        recorder.finish()?;
        Ok(Ended::Done)
    }

    #[expect(clippy::too_many_arguments, reason = "the stage's collaborators, each of another type")]
    fn train_stage(
        &self,
        plan: &StagePlan,
        setup: &Setup,
        dataset: &Dataset,
        model: &MllmStep,
        resuming: Option<&Loaded>,
        recorder: &mut Recorder,
        hooks: &mut [&mut dyn Hook],
    ) -> Result<Outcome, SessionError> {
        let (stage, data) = (&plan.stage, &self.recipe.data);
        let sampler = Arc::new(self.sampler(stage, dataset));
        let mut batches = LoaderSource::new(dataset.clone(), sampler, data.workers, data.prefetch);
        let mut held_out = setup.val.as_ref().map(|val| {
            let end = stage.generate_at_end.unwrap_or(val.len());
            let generate = stage.generate_samples.map_or([0, 0], |on_the_way| [on_the_way, end]);
            Examiner(HeldOutSet::new(val, stage.eval_samples, generate, stage.batch_size, data.workers))
        });
        let mut saver = self.checkpoints(stage, setup)?;
        let mut trainer = Trainer::new(plan, model, &mut batches)?.with_saver(&mut saver);
        if let Some(examiner) = &mut held_out {
            trainer = trainer.with_evaluator(examiner);
        }
        for hook in hooks.iter_mut() {
            trainer = trainer.with_hook(*hook);
        }
        trainer = trainer.with_hook(recorder);
        if let Some(loaded) = resuming {
            trainer = trainer.resume(loaded)?;
        }
        Ok(trainer.run()?)
    }

    fn checkpoints(&self, stage: &Stage, setup: &Setup) -> Result<CheckpointDir, SessionError> {
        let config = config_json(&setup.model, &stage.tuning, &setup.shapes);
        let config = serde_json::to_vec_pretty(&config).expect("a JSON value is JSON");
        let mut dir = CheckpointDir::open(self.dir.checkpoints())?
            .with_file("config.json", config)
            .with_file("recipe.toml", self.recipe.to_toml().into_bytes());
        for (name, path) in ["tokenizer.json", "context_tokenizer.json"].into_iter().zip(&setup.tokenizer_files) {
            dir = dir.with_file(name, records::tokenizer_bytes(name, path)?);
        }
        Ok(dir)
    }

    fn recorder_setup(&self) -> Result<RecorderSetup, SessionError> {
        let writer = match &self.from {
            Some(from) => RecordWriter::resume(&self.dir, from.state.global_step, WriterOptions::default())?,
            None => RecordWriter::create(&self.dir, WriterOptions::default())?,
        };
        let scale = |stage: &Stage| match stage.tuning.vision {
            VisionMethod::Lora { rank, alpha, .. } => Some((stage.name.clone(), alpha / rank as f64)),
            _ => None,
        };
        let lora_scales: BTreeMap<String, f64> = self.stages.iter().filter_map(scale).collect();
        Ok(RecorderSetup { dir: self.dir.clone(), writer, config: self.recipe.probe.clone(), lora_scales })
    }

    /// What is written once, before the first step.
    fn announce(&self, setup: &Setup) -> Result<(), SessionError> {
        if self.from.is_some() {
            let mut manifest = Manifest::read(&self.dir)?;
            manifest.finish(Status::Running);
            return Ok(manifest.write(&self.dir)?);
        }
        let mut manifest = Manifest::start(
            self.command.clone(),
            self.recipe.seed,
            &self.recipe.device,
            crate::kernels::dispatch_level(),
        );
        let dropped = setup.reports.iter().flat_map(|r| &r.findings.unlabelled);
        let why = || "no token that the loss counts".to_owned();
        manifest.dropped = dropped.map(|d| DroppedSample { sample: d.id.clone(), why: why() }).collect();
        records::write_recipe(&self.dir, &self.recipe)?;
        records::write_samples(&self.dir, setup)?;
        Ok(manifest.write(&self.dir)?)
    }

    /// The training samples of each stage.
    fn datasets(&self, train: &Dataset) -> Result<Vec<Dataset>, SessionError> {
        let of = |stage: &Stage| {
            let Some(tasks) = &stage.tasks else { return Ok(train.clone()) };
            let set = train.of_tasks(tasks);
            if set.is_empty() {
                return Err(SessionError::NoSamples { stage: stage.name.clone(), tasks: tasks.join(", ") });
            }
            Ok(set)
        };
        self.stages.iter().map(of).collect()
    }

    fn sampler(&self, stage: &Stage, dataset: &Dataset) -> Sampler {
        let order = if self.recipe.data.group_by_modality_length {
            Order::Grouped(dataset.modality_lengths().into())
        } else {
            Order::Shuffled
        };
        Sampler::new(dataset.len(), stage.batch_size, stage.accumulation, self.recipe.seed, order)
    }
}

fn steps_per_epoch(stage: &Stage, dataset: &Dataset) -> u64 {
    Sampler::new(dataset.len(), stage.batch_size, stage.accumulation, 0, Order::Sequential).steps_per_epoch()
}

fn checked(recipe: &Recipe) -> Vec<Stage> {
    check_stages(&recipe.stages).expect("a recipe is checked when it is read")
}

/// Number of trained parameters.
#[must_use]
pub fn trained_numbers(params: &ParamStore) -> usize {
    params.trainable().map(|p| p.weight.tensor().elem_count()).sum()
}
