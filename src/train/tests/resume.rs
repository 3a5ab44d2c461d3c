//! Stopping and going on gives the same bytes as not stopping.

use super::toy::{Log, Script, Toy, ToySource, plan, stage};
use crate::config::train::Schedule;
use crate::nn::TensorSource;
use crate::train::checkpoint::{CheckpointDir, Loaded, hand_over, latest};
use crate::train::hook::{Hook, HookResult, StageView};
use crate::train::trainer::StagePlan;
use crate::train::{Outcome, Trainer};
use std::path::Path;
use std::sync::Arc;

const STEPS: u64 = 10;

fn the_plan() -> StagePlan {
    let mut stage = stage(Schedule::Cosine, 1);
    stage.eval_every = Some(3);
    plan(stage, STEPS)
}

/// Held-out losses of the subset after 3, 6, 9 and 10 steps and of the whole at the end.
const LOSSES: [f64; 5] = [3.1, 2.2, 2.7, 2.6, 2.5];

/// Starts or goes on in `dir`; `losses` are those of the evaluations to come.
fn train(plan: &StagePlan, dir: &Path, losses: &[f64], log: &mut Log) -> (Toy, Outcome) {
    let loaded = latest(dir).unwrap().map(|path| Loaded::open(&path).unwrap());
    let toy = loaded.as_ref().map_or_else(Toy::new, |l| Toy::from_source(&l.model));
    let (mut source, mut saver) = (ToySource::new(4, 2), CheckpointDir::open(dir).unwrap());
    let mut script = Script(losses.to_vec());
    let mut trainer = Trainer::new(plan, &toy, &mut source).unwrap();
    trainer = trainer.with_hook(log).with_evaluator(&mut script).with_saver(&mut saver);
    if let Some(loaded) = &loaded {
        trainer = trainer.resume(loaded).unwrap();
    }
    let outcome = trainer.run().unwrap();
    assert!(script.0.is_empty(), "every evaluation took place");
    (toy, outcome)
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&p).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn stopping_and_resuming_gives_the_same_bytes() {
    let straight = tempfile::tempdir().unwrap();
    train(&the_plan(), straight.path(), &LOSSES, &mut Log::default());
    let want = files(&straight.path().join("step-000010"));
    assert_eq!(want.len(), 4);
    // After an even number of evaluations, before the first, and right at one.
    for stop in [1, 3, 4, 9] {
        let dir = tempfile::tempdir().unwrap();
        let mut plan = the_plan();
        plan.stop_after = Some(stop);
        let done = usize::try_from(stop / 3).unwrap();
        let (_, outcome) = train(&plan, dir.path(), &LOSSES[..done], &mut Log::default());
        assert_eq!(outcome, Outcome::Stopped);
        let mut log = Log::default();
        let (_, outcome) = train(&the_plan(), dir.path(), &LOSSES[done..], &mut log);
        assert_eq!(outcome, Outcome::Finished);
        assert_eq!(log.events[..2], [format!("state {stop}"), format!("start {stop}")]);
        for ((name, got), (_, want)) in files(&dir.path().join("step-000010")).iter().zip(&want) {
            assert!(got == want, "{name} differs after a stop at {stop}");
        }
    }
}

#[test]
fn the_stop_flag_ends_after_the_step_and_saves() {
    let dir = tempfile::tempdir().unwrap();
    let plan = the_plan();
    let mut log = Log { stop_at: Some((4, Arc::clone(&plan.stop))), ..Log::default() };
    let (_, outcome) = train(&plan, dir.path(), &LOSSES[..1], &mut log);
    assert_eq!(outcome, Outcome::Stopped);
    assert_eq!(log.losses.len(), 5);
    assert!(dir.path().join("step-000005/state.json").exists());
}

#[test]
fn a_stop_at_the_last_step_still_finishes_the_stage_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let plan = the_plan();
    let mut log = Log { stop_at: Some((STEPS - 1, Arc::clone(&plan.stop))), ..Log::default() };
    let (_, outcome) = train(&plan, dir.path(), &LOSSES[..4], &mut log);
    assert_eq!(outcome, Outcome::Stopped);
    assert!(!Loaded::open(&dir.path().join("step-000010")).unwrap().state.stage_finished);
    let (_, outcome) = train(&the_plan(), dir.path(), &LOSSES[4..], &mut Log::default());
    assert_eq!(outcome, Outcome::Finished);
    assert!(Loaded::open(&dir.path().join("step-000010")).unwrap().state.stage_finished);
}

/// Remembers what it could measure drift from.
#[derive(Default)]
struct Start(Vec<f32>);

impl Hook for Start {
    fn stage_start(&mut self, view: &StageView<'_>) -> HookResult {
        let frozen = view.start_values.get("tower.frozen.weight")?.ok_or("frozen vision parameters are there")?;
        assert_eq!(frozen.dims(), [8]);
        assert!(view.start_values.get("head.weight")?.is_none(), "not of the vision encoder");
        let table = view.start_values.get("tower.table.weight")?.ok_or("trained ones too")?;
        self.0 = table.flatten_all()?.to_vec1()?;
        Ok(())
    }
}

#[test]
fn a_resumed_stage_still_knows_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = plan(stage(Schedule::Constant, 0), 4);
    plan.stop_after = Some(2);
    let toy = Toy::new();
    let untouched: Vec<f32> = toy.params.get("tower.table.weight").unwrap().weight.read_host(<[f32]>::to_vec).unwrap();
    let (mut source, mut saver) = (ToySource::new(4, 1), CheckpointDir::open(dir.path()).unwrap());
    let mut fresh = Start::default();
    let trainer = Trainer::new(&plan, &toy, &mut source).unwrap();
    trainer.with_hook(&mut fresh).with_saver(&mut saver).run().unwrap();
    assert_eq!(fresh.0, untouched);

    let loaded = Loaded::open(&dir.path().join("step-000002")).unwrap();
    let toy = Toy::from_source(&loaded.model);
    plan.stop_after = None;
    let mut later = Start::default();
    let mut source = ToySource::new(4, 1);
    Trainer::new(&plan, &toy, &mut source).unwrap().with_hook(&mut later).resume(&loaded).unwrap().run().unwrap();
    assert_eq!(later.0, untouched, "the start is the stage's, not the checkpoint's");
    assert_ne!(
        loaded.model.get("tower.table.weight").unwrap().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        untouched
    );
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = the_plan();
    plan.stop_after = Some(1);
    train(&plan, dir.path(), &[], &mut Log::default());
    let loaded = Loaded::open(&dir.path().join("step-000001")).unwrap();
    let refused = |plan: &StagePlan, toy: &Toy| {
        let mut source = ToySource::new(4, 2);
        let trainer = Trainer::new(plan, toy, &mut source).unwrap();
        trainer.resume(&loaded).unwrap_err().to_string()
    };
    let mut longer = the_plan();
    longer.steps = 20;
    assert_eq!(
        refused(&longer, &Toy::new()),
        "stage toy cannot go on from this checkpoint: its steps in the stage is 10, this run's is 20"
    );
    let fewer = Toy::build(&loaded.model, |name| name.starts_with("head"));
    assert!(refused(&the_plan(), &fewer).contains("projector.bias, which does not train now"));
}

#[test]
fn the_next_stage_begins_with_the_values_of_this_one() {
    let (toy, _) = super::toy::trained(&plan(stage(Schedule::Constant, 0), 3), 8, 1);
    let next = Toy::build(&hand_over(&toy.params), |name| name == "tower.table.weight");
    assert_eq!(next.bytes(), toy.bytes());
    // Training the next model leaves the handed over values alone where it copied them.
    let before = toy.bytes();
    let plan = plan(stage(Schedule::Constant, 0), 1);
    Trainer::new(&plan, &next, &mut ToySource::new(8, 1)).unwrap().run().unwrap();
    assert_eq!(toy.bytes(), before);
    assert_ne!(next.bytes(), before);
}
