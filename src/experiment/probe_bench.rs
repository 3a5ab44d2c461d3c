//! What probing costs: the same steps with each level of probes in turn, in one process.
//!
//! A round replays the same batches under every level, the levels in rotated order, and compares each level with the round's
//! own step without probes: drifts of the machine cancel. Records are written as in a run, by the thread that writes them;
//! what it still holds when a level's turn ends is written between turns, which is not timed (a turn lasts about two
//! seconds or more, so that it pays for as much writing as it causes).

use super::session::{Session, SessionError, lora_scale};
use crate::config::Recipe;
use crate::config::probe::{ProbeConfig, Schedule};
use crate::config::train::StageConfig;
use crate::data::Batch;
use crate::kernels::dispatch_level;
use crate::nn::Part;
use crate::ops::BackwardObserver;
use crate::probe::{Recorder, RecorderSetup};
use crate::train::hook::{GradientView, Hook, HookResult, MicroView, StageView, StepId, StepView, UpdateView};
use crate::train::{At, BatchSource, BoxError, LoaderSource, StepModel, TrainError, Trainer};
use covft_analyses::stats::{Summary, quantiles};
use covft_analyses::store::{Manifest, RecordWriter, RunDir, StepRow, WriterOptions, read_records};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Shortest turn of a level.
const TURN_SECONDS: f64 = 2.2;
/// Fewest rounds that are timed.
const ROUNDS: usize = 5;

/// Levels of probes, each with what the one before has.
pub const LEVELS: [(&str, &str); 4] = [
    ("off", "no probe, no record"),
    ("cheap", "drift, norms, momentum cosine, contexts, routing, losses of samples, every step"),
    ("+ batch sketches", "every step, 4096 numbers a layer, over what trains"),
    ("+ sample sketches", "every step, every linear layer, over what trains and over what all methods share"),
];

/// What was measured of a level.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelReport {
    /// Name, as in [`LEVELS`].
    pub name: &'static str,
    /// Milliseconds a step: first quartile, median, third quartile over the rounds.
    pub milliseconds: [f64; 3],
    /// Share of a step without probes that all probes up to this level add; the same quartiles.
    pub added: [f64; 3],
    /// What this level adds to the one before.
    pub own: [f64; 3],
    /// Bytes of records a step.
    pub bytes: f64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeReport {
    /// The recipe's name.
    pub recipe: String,
    /// The stage.
    pub stage: String,
    /// Rounds, and steps of each level in a round.
    pub rounds: usize,
    /// See `rounds`.
    pub turn: usize,
    /// Trained numbers of the vision encoder.
    pub trained: usize,
    /// In the order of [`LEVELS`].
    pub levels: Vec<LevelReport>,
}

/// Runs the last stage of `recipe` from the recipe's own weights, about `steps` timed steps a level; `folder` is made, used
/// for records and removed.
///
/// # Errors
/// As a training run.
pub fn run(recipe: &Recipe, steps: usize, folder: &Path) -> Result<ProbeReport, SessionError> {
    let result = measure(&only_last_stage(recipe), steps, folder);
    // What cannot be removed is in nobody's way.
    drop(std::fs::remove_dir_all(folder));
    result
}

/// The last stage alone, without evaluations and checkpoints, longer than it will be run.
fn only_last_stage(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.stages.drain(..recipe.stages.len().saturating_sub(1));
    for stage in &mut recipe.stages {
        *stage = StageConfig {
            steps: Some(1_000_000),
            epochs: None,
            eval_every: None,
            eval_at_start: false,
            checkpoint_every: None,
            reuse: false,
            ..stage.clone()
        };
    }
    recipe
}

fn level_config(level: usize) -> Option<ProbeConfig> {
    let every = Schedule::every(1);
    let config = ProbeConfig {
        log_grads: true,
        batch_sketches: level >= 2,
        sample_sketches: level >= 3,
        samples_every: every,
        ..ProbeConfig::default()
    };
    (level > 0).then_some(config)
}

fn measure(recipe: &Recipe, steps: usize, folder: &Path) -> Result<ProbeReport, SessionError> {
    if recipe.devices().members() > 1 {
        let reason = "what probes cost is measured on one device".to_owned();
        return Err(SessionError::Device { device: recipe.device.clone(), reason });
    }
    let mut session = Session::create(recipe.clone(), folder.to_path_buf(), Vec::new())?;
    let work = session.prepare()?;
    let mut parts = session.parts(&work, 0, None)?;
    let (plan, model, loader) = parts.borrowed();
    let dirs = (0..LEVELS.len()).map(|level| Ok(RunDir::create(folder.join(format!("level-{level}")))?));
    let dirs = dirs.collect::<Result<Vec<RunDir>, SessionError>>()?;
    let scales: BTreeMap<String, f64> =
        lora_scale(&plan.stage).map(|s| (plan.stage.name.clone(), s)).into_iter().collect();
    let recorder = |(level, dir): (usize, &RunDir)| {
        let Some(config) = level_config(level) else { return Ok(None) };
        Manifest::start(Vec::new(), recipe.seed, &recipe.device, dispatch_level()).write(dir)?;
        let writer = RecordWriter::create(dir, WriterOptions::default())?;
        let setup = RecorderSetup { dir: dir.clone(), writer, config, lora_scales: scales.clone() };
        Ok(Some(Recorder::new(setup)))
    };
    let recorders = dirs.iter().enumerate().map(recorder).collect::<Result<Vec<_>, SessionError>>()?;
    let turns = Turns { recorders: Rc::new(RefCell::new(recorders)), level: Rc::default(), length: Rc::default() };
    let mut switch = Switch(turns.clone());
    let mut replay = Replay { loader, kept: Vec::new(), next: 0, length: Rc::clone(&turns.length) };
    let trained = model.params().trainable().filter(|p| p.role.part == Part::Vision);
    let trained = trained.map(|p| p.weight.dims().iter().product::<usize>()).sum();
    let mut trainer = Trainer::new(plan, model, &mut replay)?.with_hook(&mut switch);
    trainer.begin()?;

    // Buffers are made and caches filled; then it is known how many steps make a turn.
    trainer.step()?;
    let began = Instant::now();
    trainer.step()?;
    let turn = ((TURN_SECONDS / began.elapsed().as_secs_f64()).ceil() as usize).clamp(1, steps.max(1));
    turns.length.set(turn);
    let rounds = (steps / turn).max(ROUNDS);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); LEVELS.len()];
    // The first round loads the batches and warms every level up.
    for round in 0..=rounds {
        for place in 0..LEVELS.len() {
            let level = (place + round) % LEVELS.len();
            turns.level.set(level);
            let began = Instant::now();
            for _ in 0..turn {
                trainer.step()?;
            }
            let elapsed = began.elapsed().as_secs_f64() * 1000.0 / turn as f64;
            turns.write_out(level, trainer.global_step()).map_err(hook_error)?;
            if round > 0 {
                times[level].push(elapsed);
            }
        }
    }
    drop(trainer);
    for recorder in turns.recorders.borrow_mut().drain(..).flatten() {
        recorder.finish()?;
    }
    let mut levels = level_reports(&times);
    for (level, dir) in levels.iter_mut().zip(&dirs) {
        let rows = read_records::<StepRow>(dir)?.rows;
        level.bytes = Summary::of(rows.iter().map(|row| row.probe_bytes as f64)).map_or(0.0, |s| s.mean);
    }
    Ok(ProbeReport { recipe: recipe.name.clone(), stage: plan.stage.name.clone(), rounds, turn, trained, levels })
}

/// `times[level][round]` in milliseconds a step.
fn level_reports(times: &[Vec<f64>]) -> Vec<LevelReport> {
    let quartiles = |values: &[f64]| {
        let found = quantiles(values, &[0.25, 0.5, 0.75]).unwrap_or_default();
        found.try_into().unwrap_or([f64::NAN; 3])
    };
    let share = |more: &[f64], less: &[f64]| {
        let rounds = more.iter().zip(less).zip(&times[0]);
        quartiles(&rounds.map(|((more, less), off)| (more - less) / off).collect::<Vec<_>>())
    };
    let report = |(level, name): (usize, &(&'static str, &str))| LevelReport {
        name: name.0,
        milliseconds: quartiles(&times[level]),
        added: share(&times[level], &times[0]),
        own: share(&times[level], &times[level.saturating_sub(1)]),
        bytes: 0.0,
    };
    LEVELS.iter().enumerate().map(report).collect()
}

impl ProbeReport {
    /// As a Markdown section.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "## {}, stage {}\n\n{} trained numbers in the vision encoder. {} rounds of {} steps a level, {}, {} threads. Each \
             cell: median over the rounds and, in brackets, the quartiles; shares are of a step of the same round without \
             probes.\n\n| probes | ms a step | all of them add | this level adds | records, KiB a step |\n\
             | --- | --- | --- | --- | --- |\n",
            self.recipe,
            self.stage,
            self.trained,
            self.rounds,
            self.turn,
            dispatch_level(),
            rayon::current_num_threads()
        );
        for level in &self.levels {
            let [low, ms, high] = level.milliseconds;
            let percent = |share: [f64; 3]| {
                let [low, middle, high] = share.map(|s| s * 100.0);
                format!("{middle:+.1} % ({low:+.1} to {high:+.1})")
            };
            let (added, own) = match level.name {
                "off" => ("-".to_owned(), "-".to_owned()),
                _ => (percent(level.added), percent(level.own)),
            };
            // Writing into a String cannot fail.
            writeln!(
                text,
                "| {} | {ms:.1} ({low:.1} to {high:.1}) | {added} | {own} | {:.1} |",
                level.name,
                level.bytes / 1024.0
            )
            .ok();
        }
        text
    }
}

/// What the levels mean, as a Markdown list.
#[must_use]
pub fn levels_markdown() -> String {
    LEVELS.iter().map(|(name, what)| format!("* **{name}**: {what}\n")).collect()
}

/// Whose turn it is.
#[derive(Clone, Debug)]
struct Turns {
    recorders: Rc<RefCell<Vec<Option<Recorder>>>>,
    level: Rc<Cell<usize>>,
    /// Steps of a turn; 0 while it is not known.
    length: Rc<Cell<usize>>,
}

impl Turns {
    /// Waits until a level's records are on disk.
    fn write_out(&self, level: usize, global_step: u64) -> HookResult {
        let at = StepId { stage: "", step: 0, global_step };
        self.recorders.borrow_mut()[level].as_mut().map_or(Ok(()), |recorder| recorder.before_checkpoint(at))
    }
}

fn hook_error(source: BoxError) -> SessionError {
    SessionError::Train(TrainError::Hook { at: At { stage: "between turns".into(), step: 0 }, source })
}

/// The recorder of the level whose turn it is.
#[derive(Debug)]
struct Switch(Turns);

impl Switch {
    fn now(&self, call: impl FnOnce(&mut Recorder) -> HookResult) -> HookResult {
        self.0.recorders.borrow_mut()[self.0.level.get()].as_mut().map_or(Ok(()), call)
    }

    fn asks(&self, ask: impl FnOnce(&Recorder) -> bool) -> bool {
        self.0.recorders.borrow()[self.0.level.get()].as_ref().is_some_and(ask)
    }
}

impl Hook for Switch {
    fn stage_start(&mut self, view: &StageView<'_>) -> HookResult {
        self.0.recorders.borrow_mut().iter_mut().flatten().try_for_each(|recorder| recorder.stage_start(view))
    }

    fn wants_gradients(&self, at: StepId<'_>) -> bool {
        self.asks(|recorder| recorder.wants_gradients(at))
    }

    fn gradients(&mut self, view: &GradientView<'_>) -> HookResult {
        self.now(|recorder| recorder.gradients(view))
    }

    fn observer(&mut self, view: &MicroView<'_>) -> Option<Arc<dyn BackwardObserver>> {
        self.0.recorders.borrow_mut()[self.0.level.get()].as_mut()?.observer(view)
    }

    fn wants_update(&self, at: StepId<'_>) -> bool {
        self.asks(|recorder| recorder.wants_update(at))
    }

    fn updated(&mut self, view: &UpdateView<'_>) -> HookResult {
        self.now(|recorder| recorder.updated(view))
    }

    fn step(&mut self, view: &StepView<'_>) -> HookResult {
        self.now(|recorder| recorder.step(view))
    }
}

/// The loader's steps until a turn's length is known, then as many again and again.
#[derive(Debug)]
struct Replay<'a> {
    loader: &'a mut LoaderSource,
    kept: Vec<Vec<Batch>>,
    next: usize,
    length: Rc<Cell<usize>>,
}

impl BatchSource for Replay<'_> {
    type Batch = Batch;

    fn next_step(&mut self) -> Result<Vec<Batch>, BoxError> {
        let length = self.length.get();
        if length == 0 {
            return self.loader.next_step();
        }
        if self.kept.len() < length {
            self.kept.push(self.loader.next_step()?);
        }
        let batches = self.kept[self.next % length].clone();
        self.next += 1;
        Ok(batches)
    }

    fn position(&self) -> serde_json::Value {
        self.loader.position()
    }

    fn seek(&mut self, position: &serde_json::Value) -> Result<(), BoxError> {
        self.loader.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_rounds_own_step() {
        let levels = level_reports(&[vec![100.0, 200.0], vec![103.0, 206.0], vec![108.0, 216.0], vec![118.0, 236.0]]);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(levels[1].added[1], 0.03) && close(levels[2].own[1], 0.05) && close(levels[3].added[2], 0.18));
        assert_eq!(levels[0].milliseconds, [125.0, 150.0, 175.0]);
        let (recipe, stage) = ("r".to_owned(), "s".to_owned());
        let text = ProbeReport { recipe, stage, rounds: 2, turn: 1, trained: 7, levels }.markdown();
        assert!(text.contains("| cheap | 154.5 (128.8 to 180.2) | +3.0 % (+3.0 to +3.0) | +3.0 %"), "{text}");
        assert!(text.contains("| off | 150.0 (125.0 to 175.0) | - | - |"), "{text}");
    }

    #[test]
    fn every_level_runs_on_the_toy_recipe() {
        let root = tempfile::tempdir().unwrap();
        let out = format!("out='{}'", root.path().display());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny.toml");
        let recipe = Recipe::read(&path, &[out]).unwrap();
        let folder = root.path().join("bench");
        let report = run(&recipe, 2, &folder).unwrap();
        assert_eq!((report.levels.len(), report.rounds, report.turn), (4, ROUNDS, 2));
        assert!(report.levels.iter().all(|l| l.milliseconds[1] > 0.0), "{report:?}");
        let bytes: Vec<f64> = report.levels.iter().map(|l| l.bytes).collect();
        assert!(bytes[0] == 0.0 && bytes.windows(2).all(|w| w[0] < w[1]), "{bytes:?}");
        assert!(!folder.exists());
    }
}
