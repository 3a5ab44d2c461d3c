//! One run from its recipe to its last checkpoint: builds, hands over from stage to stage, resumes.

mod base_cache;
mod device;
mod error;
mod going_on;
mod held_out;
mod pictures;
mod premises;
mod records;
mod setup;
mod tokens;
#[cfg(test)]
mod tokens_tests;
mod work;

pub use device::named as device_named;
pub use error::SessionError;
pub use pictures::{Checking, PictureCheck};
pub use premises::{Difference, Premise};
pub use setup::{Setup, image_spec, known_vocabularies};

pub(in crate::experiment) use pictures::Listing;
pub(in crate::experiment) use premises::{other_recipe, recipe_of};
pub(in crate::experiment) use work::{Parts, Work, check_samples};

use crate::config::Recipe;
use crate::config::data::Broken;
use crate::config::model::VisionMethod;
use crate::config::train::{Stage, check_stages};
use crate::data::Split;
use crate::nn::MapSource;
use crate::probe::{Recorder, RecorderSetup};
use crate::train::Outcome;
use crate::train::checkpoint::{CheckpointDir, Loaded, hand_over, latest};
use crate::train::hook::Hook;
use covft_analyses::store::{
    DroppedSample, Manifest, PictureDecision, Place, RecordWriter, RunDir, Status, WriterOptions,
};
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
    /// What may differ from how the run began.
    pub accept: Vec<Premise>,
    /// For a new run: the run whose premises, but for the recipe, must be its own.
    pub beside: Option<RunDir>,
    /// Set it to end after the step that is under way.
    pub stop: Arc<AtomicBool>,
    /// Stop, with a checkpoint, when so many steps of the run are done.
    pub stop_after: Option<u64>,
    /// When the pictures of the training set are decoded for the first time.
    pub pictures: PictureCheck,
    /// Hears how far the check of the pictures is; whether it is to go on.
    pub progress: Option<fn(usize, usize) -> bool>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        if let Some(study) = &recipe.study {
            return Err(SessionError::IsStudy { command: study.command() });
        }
        let dir = RunDir::create(path)?;
        Ok(Self::new(recipe, dir, None, command))
    }

    fn new(recipe: Recipe, dir: RunDir, from: Option<Loaded>, command: Vec<String>) -> Self {
        let stages = checked(&recipe);
        let (accept, stop) = (Vec::new(), Arc::default());
        Self {
            recipe,
            stages,
            dir,
            from,
            command,
            accept,
            beside: None,
            stop,
            stop_after: None,
            pictures: PictureCheck::default(),
            progress: None,
        }
    }

    /// A run that was stopped or killed, going on from its latest checkpoint; on other devices where some are named, which its
    /// recipe then names.
    ///
    /// # Errors
    /// No run, a finished one, none of its checkpoints is there yet, or devices that the recipe cannot be run on.
    pub fn resume(path: PathBuf, device: Option<&str>, command: Vec<String>) -> Result<Self, SessionError> {
        Self::resume_from(path, None, device, command)
    }

    /// The same on its own devices from the checkpoint after `step` steps of the run; later ones are deleted.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub(in crate::experiment) fn resume_at(
        path: PathBuf,
        step: Option<u64>,
        command: Vec<String>,
    ) -> Result<Self, SessionError> {
        Self::resume_from(path, step, None, command)
    }

    fn resume_from(
        path: PathBuf,
        step: Option<u64>,
        device: Option<&str>,
        command: Vec<String>,
    ) -> Result<Self, SessionError> {
        let dir = RunDir::open(path)?;
        let recipe = records::read_recipe(&dir, device)?;
        if Manifest::read(&dir)?.status == Status::Done && step.is_none() {
            return Err(SessionError::AlreadyDone { path: dir.path().to_path_buf() });
        }
        let stages = checked(&recipe);
        // Opening the folder for writing first takes back what a kill left between two renames.
        let checkpoints = CheckpointDir::open(dir.checkpoints())?;
        if let Some(step) = step {
            checkpoints.drop_after(step)?;
        }
        let Some(path) = latest(&dir.checkpoints())? else {
            return Err(SessionError::NothingToResume { path: dir.path().to_path_buf() });
        };
        let from = Loaded::open(&path)?;
        let index = from.state.stage_index;
        if stages.get(index).is_none_or(|s| s.name != from.state.stage) {
            return Err(SessionError::OtherRecipe { index, found: from.state.stage.clone(), path });
        }
        Ok(Self::new(recipe, dir, Some(from), command))
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

    /// Changes what happens to samples whose picture is missing or broken, also for a run that goes on.
    pub fn set_broken(&mut self, broken: Broken) {
        self.recipe.data.broken = broken;
    }

    /// Its stages.
    pub(in crate::experiment) fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Trains. `hooks` listen to every stage, before the recorder does. The manifest says how it ended, also on errors.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn run(&mut self, hooks: &mut [&mut dyn Hook]) -> Result<Ended, SessionError> {
        let ended = self.train(hooks);
        self.conclude(ended)
    }

    /// Writes into the manifest how the run ended.
    pub(in crate::experiment) fn conclude(&self, ended: Result<Ended, SessionError>) -> Result<Ended, SessionError> {
        let status = match &ended {
            Ok(Ended::Done) => Status::Done,
            Ok(Ended::Stopped) => Status::Running,
            Err(error) => Status::Failed { why: records::one_line(error) },
        };
        // A run that never began (missing data) leaves a directory only if it was there before.
        match Manifest::read(&self.dir) {
            // Nothing has happened to a run that may not go on.
            Ok(_) if matches!(ended, Err(SessionError::Changed { .. })) => {}
            Ok(mut manifest) => {
                manifest.finish(status);
                manifest.write(&self.dir)?;
            }
            Err(_) if ended.is_err() && self.from.is_none() => records::remove_unborn(&self.dir),
            Err(error) => return Err(ended.err().unwrap_or(error.into())),
        }
        ended
    }

    fn train(&mut self, hooks: &mut [&mut dyn Hook]) -> Result<Ended, SessionError> {
        let work = self.prepare()?;
        for line in work.told() {
            hooks.iter_mut().try_for_each(|hook| hook.note(&line)).map_err(records::hook_error)?;
        }
        work.changed.tell(hooks)?;
        let mut recorder = self.begin(&work)?;
        let dir = self.dir.clone();
        let mut listing = Listing::new(&dir, &work.setup);
        let ended = {
            let mut hooks: Vec<&mut dyn Hook> = hooks.iter_mut().map(|hook| &mut **hook as &mut dyn Hook).collect();
            hooks.push(&mut listing);
            self.train_stages(&mut hooks, &work, &mut recorder)
        };
        listing.update()?;
        // Also after an error: what was measured until then is kept.
        let finished = recorder.finish();
        let ended = ended?;
        finished?;
        Ok(ended)
    }

    fn train_stages(
        &mut self,
        hooks: &mut [&mut dyn Hook],
        work: &Work,
        recorder: &mut Recorder,
    ) -> Result<Ended, SessionError> {
        let first = self.from.as_ref().map_or(0, |f| f.state.stage_index + usize::from(f.state.stage_finished));
        let mut handed: Option<MapSource> = None;
        for index in first..self.stages.len() {
            let resuming = self.resuming(index);
            let kept = if resuming.is_none() { work.base(index)? } else { None };
            if let Some((path, tensors)) = kept {
                for hook in hooks.iter_mut() {
                    let line = format!("stage {} is reused from {}", self.stages[index].name, path.display());
                    hook.note(&line).map_err(records::hook_error)?;
                }
                handed = Some(tensors);
                if index + 1 < self.stages.len() {
                    continue;
                }
                // There is nothing to train, but people want to know how good it is.
                let mut parts = self.parts(work, index, handed.take())?;
                parts.trainer(all(hooks, recorder), None)?.run_from_its_end()?;
                break;
            }
            let mut parts = self.parts(work, index, handed.take())?;
            let outcome = parts.trainer(all(hooks, recorder), resuming)?.run()?;
            if outcome == Outcome::Stopped {
                return Ok(Ended::Stopped);
            }
            work.keep(index, parts.params())?;
            handed = Some(hand_over(parts.params()));
        }
        Ok(Ended::Done)
    }

    /// The checkpoint to go on from, if it lies within stage `index`.
    pub(in crate::experiment) fn resuming(&self, index: usize) -> Option<&Loaded> {
        self.from.as_ref().filter(|f| f.state.stage_index == index && !f.state.stage_finished)
    }

    /// Writes what stands in the run directory before the first step, and opens its records.
    pub(in crate::experiment) fn begin(&self, work: &Work) -> Result<Recorder, SessionError> {
        let recorder = Recorder::new(self.recorder_setup()?);
        self.announce(work)?;
        Ok(recorder)
    }

    fn recorder_setup(&self) -> Result<RecorderSetup, SessionError> {
        let writer = match &self.from {
            Some(from) => RecordWriter::resume(&self.dir, from.state.global_step, WriterOptions::default())?,
            None => RecordWriter::create(&self.dir, WriterOptions::default())?,
        };
        let scale = |stage: &Stage| Some((stage.name.clone(), lora_scale(stage)?));
        let lora_scales: BTreeMap<String, f64> = self.stages.iter().filter_map(scale).collect();
        Ok(RecorderSetup { dir: self.dir.clone(), writer, config: self.recipe.probe.clone(), lora_scales })
    }

    /// What is written once, before the first step.
    fn announce(&self, work: &Work) -> Result<(), SessionError> {
        if self.from.is_some() {
            let mut manifest = Manifest::read(&self.dir)?;
            if records::read_recipe(&self.dir, None)? != self.recipe {
                records::write_recipe(&self.dir, &self.recipe)?;
                manifest.device.clone_from(&self.recipe.device);
            }
            // Other data than the run began with are decided about anew.
            manifest.pictures = pictures::decisions(&work.setup);
            going_on::note(&mut manifest, &work.changed);
            manifest.finish(Status::Running);
            // The manifest first: what changed is never forgotten, at worst it is told twice.
            manifest.write(&self.dir)?;
            return work.premises.write(&self.dir);
        }
        let mut manifest = Manifest::start(
            self.command.clone(),
            self.recipe.seed,
            &self.recipe.device,
            crate::kernels::dispatch_level(),
        );
        for (split, report) in [Split::Train, Split::Val].into_iter().zip(&work.setup.reports) {
            manifest.dropped.extend(report.findings.unlabelled.iter().map(|d| DroppedSample {
                sample: d.id.clone(),
                place: Some(Place::new(Some(split.name()), d.index as u64)),
                why: format!("no token that the loss counts: {}", d.why),
            }));
        }
        manifest.dropped.extend(work.without_partner());
        let left_out = &work.setup.left_out;
        let of = |d: &PictureDecision| DroppedSample {
            sample: d.sample.clone(),
            place: Some(Place::new(Some(&d.split), d.index)),
            why: d.why.clone(),
        };
        manifest.dropped.extend(left_out.iter().map(of));
        manifest.pictures = pictures::decisions(&work.setup);
        manifest.weights = work.setup.told();
        records::write_recipe(&self.dir, &self.recipe)?;
        records::write_samples(&self.dir, &work.setup)?;
        work.premises.write(&self.dir)?;
        going_on::note(&mut manifest, &work.changed);
        Ok(manifest.write(&self.dir)?)
    }
}

/// The hooks of a stage, the recorder last.
fn all<'h>(hooks: &'h mut [&mut dyn Hook], recorder: &'h mut Recorder) -> Vec<&'h mut dyn Hook> {
    let mut list: Vec<&'h mut dyn Hook> = Vec::with_capacity(hooks.len() + 1);
    for hook in hooks.iter_mut() {
        list.push(&mut **hook);
    }
    list.push(recorder);
    list
}

/// alpha / r of the factors that a stage adds to the vision encoder.
pub(in crate::experiment) fn lora_scale(stage: &Stage) -> Option<f64> {
    match stage.tuning.vision {
        VisionMethod::Lora { rank, alpha, .. } => Some(alpha / rank as f64),
        _ => None,
    }
}

fn checked(recipe: &Recipe) -> Vec<Stage> {
    check_stages(&recipe.stages).expect("a recipe is checked when it is read")
}
