//! Several devices make the step that one makes.

use super::toy::{Log, Toy, ToySource, plan, stage};
use crate::config::train::Schedule;
use crate::dist;
use crate::nn::ParamStore;
use crate::ops::{BackwardObserver, LinearBackward, Moved};
#[cfg(feature = "nccl")]
use crate::train::StepModel;
use crate::train::checkpoint::{CheckpointDir, Loaded};
use crate::train::hook::{Hook, HookResult, MicroView, StepId, StepView, UpdateView};
use crate::train::trainer::StagePlan;
use crate::train::{BatchSource, Outcome, StepBatch, Team, TrainError, Trainer};
use candle_core::Device;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Toys for `members` devices; all but the first may be changed before they go to work.
fn toys(members: usize, from: Option<&Loaded>, change: impl Fn(usize, &mut Toy)) -> Vec<Toy> {
    let make = |member: usize| {
        let mut toy = from.map_or_else(Toy::new, |loaded| Toy::from_source(&loaded.model));
        toy.objective = true;
        change(member, &mut toy);
        toy
    };
    (0..members).map(make).collect()
}

fn team(toys: Vec<Toy>, plan: &StagePlan) -> Team<super::toy::ToyBatch> {
    let devices = vec![Device::Cpu; toys.len() + 1];
    Team::start(toys, &plan.stage, dist::join(&devices).unwrap()).unwrap()
}

/// What `members` devices make of `accumulation` micro-batches a step.
fn train(
    plan: &StagePlan,
    (members, accumulation): (usize, usize),
    dir: &Path,
    hooks: &mut [&mut dyn Hook],
    change: impl Fn(usize, &mut Toy),
) -> Result<(Toy, Outcome), TrainError> {
    let from = crate::train::checkpoint::latest(dir).unwrap().map(|path| Loaded::open(&path).unwrap());
    let mut toys = toys(members, from.as_ref(), change);
    let first = toys.remove(0);
    let (mut source, mut saver) = (ToySource::new(3, accumulation), CheckpointDir::open(dir).unwrap());
    let mut trainer = Trainer::new(plan, &first, &mut source).unwrap().with_saver(&mut saver);
    for hook in hooks {
        trainer = trainer.with_hook(*hook);
    }
    if members > 1 {
        trainer = trainer.with_team(team(toys, plan));
    }
    if let Some(loaded) = &from {
        trainer = trainer.resume(loaded).unwrap();
    }
    let outcome = trainer.run()?;
    Ok((first, outcome))
}

fn values(params: &ParamStore) -> Vec<f32> {
    let mut all = Vec::new();
    params.iter().for_each(|p| p.weight.read_host(|v| all.extend_from_slice(v)).unwrap());
    all
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max)
}

/// What the optimisers measured, by name, in the order told.
#[derive(Default)]
struct Updates(Vec<Vec<(String, [f64; 5])>>);

impl Hook for Updates {
    fn wants_update(&self, _: StepId<'_>) -> bool {
        true
    }

    fn updated(&mut self, view: &UpdateView<'_>) -> HookResult {
        let numbers =
            |(name, m): &(Arc<str>, Moved)| (name.to_string(), [m.drift, m.update, m.gradient, m.moment, m.inner]);
        self.0.push(view.moved.iter().map(numbers).collect());
        Ok(())
    }
}

#[test]
fn several_devices_make_the_run_that_one_makes() {
    let plan = plan(stage(Schedule::Cosine, 1), 8);
    let run = |members, accumulation| {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, mut updates) = (Log::default(), Updates::default());
        let hooks: &mut [&mut dyn Hook] = &mut [&mut log, &mut updates];
        let (toy, _) = train(&plan, (members, accumulation), dir.path(), hooks, |_, _| ()).unwrap();
        let moments = Loaded::open(&dir.path().join("step-000008")).unwrap().moments().unwrap();
        (values(&toy.params), log, updates.0, moments)
    };
    for accumulation in [1, 4, 5] {
        let (alone, log, updates, moments) = run(1, accumulation);
        // Some members have less to do than others, or nothing.
        for members in [2, 3] {
            let (together, theirs, their_updates, their_moments) = run(members, accumulation);
            assert!(apart(&theirs.losses, &log.losses) < 1e-6, "{:?} {:?}", theirs.losses, log.losses);
            assert!(apart(&theirs.objectives, &log.objectives) < 1e-6);
            assert!(apart(&theirs.norms, &log.norms) < 1e-5, "{:?} {:?}", theirs.norms, log.norms);
            let off = together.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "{members} devices, {accumulation} micro-batches: {off}");
            assert_eq!(theirs.first_moments, log.first_moments);
            for (one, other) in updates.iter().flatten().zip(their_updates.iter().flatten()) {
                assert_eq!(one.0, other.0);
                let far = one.1.iter().zip(other.1).any(|(a, b)| (a - b).abs() > 1e-3 * a.abs().max(1e-3));
                assert!(!far, "{one:?} {other:?}");
            }
            assert_eq!(updates.len(), their_updates.len());
            for (one, other) in moments.iter().zip(&their_moments) {
                assert_eq!((&one.0, one.1.len()), (&other.0, other.1.len()));
                let far = |a: &[f32], b: &[f32]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-5);
                assert!(!far(&one.1, &other.1) && !far(&one.2, &other.2), "{}", one.0);
            }
            assert_eq!(moments.len(), their_moments.len());
        }
    }
}

#[test]
fn the_same_run_on_the_same_devices_gives_the_same_bytes_also_when_it_was_stopped() {
    let plan_of = |stop_after| StagePlan { stop_after, ..plan(stage(Schedule::Cosine, 1), 7) };
    let [straight, parts] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    train(&plan_of(None), (3, 4), straight.path(), &mut [], |_, _| ()).unwrap();
    let (_, outcome) = train(&plan_of(Some(3)), (3, 4), parts.path(), &mut [], |_, _| ()).unwrap();
    assert_eq!(outcome, Outcome::Stopped);
    train(&plan_of(None), (3, 4), parts.path(), &mut [], |_, _| ()).unwrap();
    for name in ["model.safetensors", "optimizer.safetensors", "start.safetensors", "state.json"] {
        let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join("step-000007").join(name)).unwrap();
        assert!(read(&straight) == read(&parts), "{name} differs");
    }
}

/// Who ran what, and which micro-batches a step had in which order.
#[derive(Default)]
struct Who {
    told: Vec<(u32, usize)>,
    seen: Arc<Mutex<Vec<(u32, std::thread::ThreadId)>>>,
    order: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Watcher(u32, Arc<Mutex<Vec<(u32, std::thread::ThreadId)>>>);

impl BackwardObserver for Watcher {
    fn linear(&self, _: &LinearBackward<'_>) {}

    fn wants(&self, _: crate::ops::Place, _: bool) -> bool {
        self.1.lock().unwrap().push((self.0, std::thread::current().id()));
        false
    }
}

impl Hook for Who {
    fn observer(&mut self, view: &MicroView<'_>) -> Option<Arc<dyn BackwardObserver>> {
        self.told.push((view.micro, view.member));
        Some(Arc::new(Watcher(view.micro, Arc::clone(&self.seen))))
    }

    fn step(&mut self, view: &StepView<'_>) -> HookResult {
        self.order.push(view.micro_batches.iter().map(|micro| micro.samples[0].id.to_string()).collect());
        Ok(())
    }
}

#[test]
fn members_take_turns_and_hooks_see_the_micro_batches_in_order() {
    let plan = plan(stage(Schedule::Constant, 1), 1);
    let run = |members| {
        let (dir, mut who) = (tempfile::tempdir().unwrap(), Who::default());
        train(&plan, (members, 5), dir.path(), &mut [&mut who], |_, _| ()).unwrap();
        who
    };
    let (alone, together) = (run(1), run(2));
    assert_eq!(alone.order, together.order);
    assert_eq!(together.told, [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)]);
    assert!(alone.told.iter().all(|(_, member)| *member == 0));
    let own = std::thread::current().id();
    let seen = together.seen.lock().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|(micro, thread)| (*thread == own) == (micro % 2 == 0)));
}

#[test]
fn what_goes_wrong_on_another_device_is_told_and_ends_the_run() {
    let plan = plan(stage(Schedule::Constant, 1), 3);
    let fails = |change: &dyn Fn(usize, &mut Toy)| {
        let (dir, mut log) = (tempfile::tempdir().unwrap(), Log::default());
        let error = train(&plan, (2, 2), dir.path(), &mut [&mut log], change).unwrap_err();
        (error, log, dir)
    };
    // A sample that only the second device sees.
    let batches = BatchSource::next_step(&mut ToySource::new(3, 2)).unwrap();
    let sample: &'static str = String::from(&*batches[1].samples()[0].id).leak();
    let (error, log, _) = fails(&|member, toy| toy.poison = (member == 1).then_some(sample));
    assert!(matches!(&error, TrainError::LossNotFinite { samples, .. } if &*samples.0[0].id == sample), "{error}");
    assert!(log.losses.is_empty(), "the step was not made");

    // A device whose model fails: its words, not those of a broken pipe.
    let (error, ..) = fails(&|member, toy| toy.fails = member == 1);
    assert!(matches!(&error, TrainError::Model { .. }) && error.to_string().contains("out of toys"), "{error}");

    // A thread that dies.
    let (error, ..) = fails(&|member, toy| toy.panics = member == 1);
    assert!(error.to_string().contains("cpu: its thread died"), "{error}");

    // Another value where all must have the same: nothing is saved.
    let (error, log, dir) = fails(&|member, toy| {
        if member == 1 {
            let weight = &toy.params.get("tower.frozen.weight").unwrap().weight;
            weight.update_host(|v| v[3] += 1e-3).unwrap();
        }
    });
    assert!(
        matches!(&error, TrainError::MembersApart { parameter, .. } if parameter == "tower.frozen.weight"),
        "{error}"
    );
    assert_eq!(log.losses.len(), 3);
    assert!(!dir.path().join("step-000003").exists());
}

#[test]
fn gradients_that_no_member_has_stay_missing() {
    let plan = plan(stage(Schedule::Constant, 1), 1);
    let dir = tempfile::tempdir().unwrap();
    let error = train(&plan, (2, 2), dir.path(), &mut [], |_, toy| toy.forgets_projector = true).unwrap_err();
    assert!(
        matches!(&error, TrainError::GradientMissing { parameter, .. } if parameter.starts_with("projector")),
        "{error}"
    );
    // One that a single member has is everyone's.
    let dir = tempfile::tempdir().unwrap();
    train(&plan, (2, 2), dir.path(), &mut [], |member, toy| toy.forgets_projector = member == 1).unwrap();
}

/// Needs two cards, or `COVFT_EMULATED_CARDS=2` and the emulated ones.
#[cfg(feature = "nccl")]
#[test]
#[ignore = "needs two cards: scripts/gpu-check.sh"]
fn two_cards_train_as_one_does() {
    use super::scenes::{COVFT, build, dataset, source};
    use crate::nn::MapSource;
    use crate::ops::read_numbers;
    use crate::ops::testing::on_device;
    use candle_core::DType;

    let cards: Vec<Device> = (0..2).map(|card| crate::kernels::cuda::open(card).unwrap()).collect();
    let dataset = dataset();
    let run = |cards: &[Device], compute: DType| {
        let mut stage = stage(Schedule::Constant, 1);
        stage.learning_rate = 2e-3;
        if compute == DType::BF16 {
            stage.moments = crate::config::train::MomentType::Bf16;
        }
        let plan = plan(stage, 6);
        let tuning = format!("checkpointing = 'all'\n{COVFT}");
        let model =
            |card: &Device| on_device(card, || build(&dataset, &tuning, &MapSource::default()).0).computing_in(compute);
        let mut models: Vec<_> = cards.iter().map(model).collect();
        let first = models.remove(0);
        let (mut source, mut log, dir) = (source(&dataset, 3), Log::default(), tempfile::tempdir().unwrap());
        // At its end every card's parameters are compared.
        let mut saver = CheckpointDir::open(dir.path()).unwrap();
        let mut trainer = Trainer::new(&plan, &first, &mut source).unwrap();
        trainer = trainer.with_hook(&mut log).with_saver(&mut saver);
        if cards.len() > 1 {
            trainer = trainer.with_team(Team::start(models, &plan.stage, dist::join(cards).unwrap()).unwrap());
        }
        trainer.run().unwrap();
        let mut all = Vec::new();
        for param in first.params().trainable() {
            read_numbers(param.weight.tensor(), |v| all.extend_from_slice(v)).unwrap();
        }
        (log, all)
    };
    for (compute, close) in [(DType::F32, 1e-5), (DType::BF16, 2e-2)] {
        let ((one, values), (two, theirs)) = (run(&cards[..1], compute), run(&cards, compute));
        assert!(one.losses[5] < one.losses[0], "{:?}", one.losses);
        assert!(apart(&two.losses, &one.losses) < close, "{:?} {:?}", two.losses, one.losses);
        assert!(apart(&two.norms, &one.norms) < 10.0 * close, "{:?} {:?}", two.norms, one.norms);
        let off = values.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 0.1, "{off}");
        assert_eq!(run(&cards, compute).1, theirs, "the same bytes again");
    }
}
