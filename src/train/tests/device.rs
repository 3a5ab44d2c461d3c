//! The loop where tensors lie elsewhere: pretended on the CPU, where reading host numbers in place is refused.

use super::scenes::{BASE, COVFT, build, dataset, source};
use super::toy::{Log, Toy, ToySource, plan, stage};
use crate::config::train::Schedule;
use crate::nn::{MapSource, ParamStore, Part};
use crate::ops::testing::{device, on_kernels};
use crate::ops::{Path, on_path, read_numbers};
use crate::train::checkpoint::{CheckpointDir, Loaded, hand_over};
use crate::train::hook::{GradientView, Hook, HookResult, StepId};
use crate::train::readout::reads;
use crate::train::trainer::StagePlan;
use crate::train::{Fault, StepModel, Trainer, global_norm};
use candle_core::{DType, Device, Tensor};
use std::path::Path as FilePath;

fn values(params: &ParamStore) -> Vec<f32> {
    let mut all = Vec::new();
    params.iter().for_each(|p| read_numbers(p.weight.tensor(), |v| all.extend_from_slice(v)).unwrap());
    all
}

/// Largest difference.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}

fn largest_relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max)
}

/// Runs `work` pretending `path`; kernels run on a card, if that is where tests are to run them.
fn on<R>(path: Path, work: impl FnOnce() -> R) -> R {
    if path == Path::Kernels { on_kernels(work) } else { on_path(path, work) }
}

/// Trains a toy on `path` from nothing, or from the checkpoint in `dir`, and saves into `dir`.
fn toy(path: Path, compute: DType, plan: &StagePlan, dir: &FilePath, from: Option<&Loaded>) -> (Vec<f32>, Log) {
    on(path, || {
        let mut toy = from.map_or_else(Toy::new, |loaded| Toy::from_source(&loaded.model));
        // A second objective where it is not in the way of learning.
        (toy.compute, toy.objective) = (compute, plan.steps < 20);
        let (mut source, mut log) = (ToySource::new(4, 2), Log::default());
        let mut saver = CheckpointDir::open(dir).unwrap();
        let mut trainer = Trainer::new(plan, &toy, &mut source).unwrap().with_hook(&mut log).with_saver(&mut saver);
        if let Some(loaded) = from {
            trainer = trainer.resume(loaded).unwrap();
        }
        trainer.run().unwrap();
        (values(&toy.params), log)
    })
}

#[test]
fn training_elsewhere_equals_training_on_the_host() {
    let (host_dir, there_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plan = plan(stage(Schedule::Cosine, 1), 12);
    let (host, host_log) = toy(Path::Host, DType::F32, &plan, host_dir.path(), None);
    let (there, log) = toy(Path::Device, DType::F32, &plan, there_dir.path(), None);
    assert!(host_log.factors.iter().any(|f| *f < 1.0), "something was clipped: {:?}", host_log.factors);
    assert!(largest_relative(&log.losses, &host_log.losses) < 1e-6, "{:?} {:?}", log.losses, host_log.losses);
    assert!(largest_relative(&log.objectives, &host_log.objectives) < 1e-6);
    assert!(largest_relative(&log.norms, &host_log.norms) < 1e-6, "{:?} {:?}", log.norms, host_log.norms);
    // The first gradients come from the same parameters.
    let largest = host_log.gradients[0].iter().fold(0.0, |m: f64, g| m.max(f64::from(g.abs())));
    assert!(apart(&log.gradients[0], &host_log.gradients[0]) < 1e-6 * largest);
    assert!(apart(&there, &host) < 1e-6, "{}", apart(&there, &host));
    assert_eq!(log.first_moments, host_log.first_moments);

    // With the same forward and backward pass, what is left is norm, clipping, optimiser and checkpoint.
    let composed_dir = tempfile::tempdir().unwrap();
    let (composed, composed_log) = toy(Path::Composed, DType::F32, &plan, composed_dir.path(), None);
    assert!(largest_relative(&log.losses, &composed_log.losses) < 1e-6);
    assert!(apart(&there, &composed) < 1e-6, "{}", apart(&there, &composed));
    let open = |dir: &tempfile::TempDir| Loaded::open(&dir.path().join("step-000012")).unwrap();
    let (one, two) = (open(&there_dir).moments().unwrap(), open(&composed_dir).moments().unwrap());
    assert_eq!(one.len(), two.len());
    for ((name, first, second), (other, other_first, other_second)) in one.iter().zip(&two) {
        assert_eq!(name, other);
        assert!(apart(first, other_first) < 1e-6 && apart(second, other_second) < 1e-6, "{name}");
    }
}

#[test]
fn the_host_waits_once_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = plan(stage(Schedule::Cosine, 1), 6);
    plan.stage.eval_every = None;
    // Two micro-batches a step, and a second objective: one read all the same.
    let before = reads();
    toy(Path::Device, DType::F32, &plan, dir.path(), None);
    assert_eq!(reads() - before, plan.steps);
    let before = reads();
    toy(Path::Host, DType::F32, &plan, dir.path(), None);
    assert_eq!(reads(), before);
}

#[test]
fn stopping_and_resuming_elsewhere_gives_the_same_bytes() {
    let (straight, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut plan = plan(stage(Schedule::Cosine, 1), 8);
    toy(Path::Device, DType::F32, &plan, straight.path(), None);
    plan.stop_after = Some(3);
    toy(Path::Device, DType::F32, &plan, parts.path(), None);
    plan.stop_after = None;
    let loaded = Loaded::open(&parts.path().join("step-000003")).unwrap();
    toy(Path::Device, DType::F32, &plan, parts.path(), Some(&loaded));
    for name in ["model.safetensors", "optimizer.safetensors", "start.safetensors", "state.json"] {
        let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join("step-000008").join(name)).unwrap();
        assert!(read(&straight) == read(&parts), "{name} differs");
    }
}

#[test]
fn bfloat16_learns_what_float32_learns() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(stage(Schedule::Cosine, 1), 25);
    let (_, wide) = toy(Path::Device, DType::F32, &plan, dir.path(), None);
    for path in [Path::Device, Path::Host] {
        let dir = tempfile::tempdir().unwrap();
        let (_, short) = toy(path, DType::BF16, &plan, dir.path(), None);
        assert!(wide.losses[24] < 0.8 * wide.losses[0]);
        assert!(largest_relative(&short.losses, &wide.losses) < 2e-2, "{:?} {:?}", short.losses, wide.losses);
        assert_ne!(short.losses[0].to_bits(), wide.losses[0].to_bits(), "bfloat16 was computed in");
    }
}

#[test]
fn faults_elsewhere_are_named_as_on_the_host() {
    on_path(Path::Device, || {
        let toy = Toy::new();
        let fill = |name: &str, value: f32| {
            let weight = &toy.params.get(name).unwrap().weight;
            weight.slot().unwrap().clear();
            let gradient = Tensor::full(value, weight.dims(), &Device::Cpu).unwrap();
            weight.slot().unwrap().accumulate(&gradient).unwrap();
        };
        let reached: Vec<String> =
            toy.params.trainable().filter(|p| p.role.reached).map(|p| p.weight.name().to_owned()).collect();
        for name in &reached[1..] {
            fill(name, 0.0);
        }
        assert_eq!(global_norm(&toy.params), Err(Fault::Missing(reached[0].clone())));
        fill(&reached[0], 0.5);
        let elements = toy.params.get(&reached[0]).unwrap().weight.tensor().elem_count() as f64;
        assert!((global_norm(&toy.params).unwrap() / (0.5 * elements.sqrt()) - 1.0).abs() < 1e-6);
        // Too large for a sum of squares in float32, but finite.
        fill(&reached[0], 1e30);
        assert!((global_norm(&toy.params).unwrap() / (1e30 * elements.sqrt()) - 1.0).abs() < 1e-6);
        fill(&reached[2], f32::NAN);
        assert_eq!(global_norm(&toy.params), Err(Fault::NotFinite(reached[2].clone())));
        // The first fault in the table's order is told.
        toy.params.get(&reached[3]).unwrap().weight.slot().unwrap().clear();
        assert_eq!(global_norm(&toy.params), Err(Fault::NotFinite(reached[2].clone())));
    });
}

#[test]
fn a_gradient_elsewhere_stays_short_until_something_is_added() {
    let slot = crate::ops::GradSlot::default();
    let gradient = |x: f32| Tensor::full(x, 3, &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
    let held = || slot.tensor(&[3]).unwrap().unwrap();
    on_path(Path::Device, || {
        slot.accumulate(&gradient(256.0)).unwrap();
        assert_eq!(held().dtype(), DType::BF16);
        // In bfloat16 256 + 1 is 256.
        slot.accumulate(&gradient(1.0)).unwrap();
        assert_eq!((held().dtype(), held().to_vec1::<f32>().unwrap()), (DType::F32, vec![257.0; 3]));
        assert!(slot.take_device().is_some() && !slot.is_filled());
    });
}

#[test]
#[ignore = "runs the kernels for cards: scripts/cuda-emulate"]
fn kernels_add_gradients_up_where_nobody_else_holds_them() {
    let slot = crate::ops::GradSlot::default();
    on_kernels(|| {
        for dtype in [DType::F32, DType::BF16] {
            slot.clear();
            let gradient = |x: f32| Tensor::full(x, 3, &device()).unwrap().to_dtype(dtype).unwrap();
            let first = gradient(256.0);
            slot.accumulate(&first).unwrap();
            slot.accumulate(&gradient(1.0)).unwrap();
            slot.accumulate(&gradient(2.0)).unwrap();
            let held = slot.tensor(&[3]).unwrap().unwrap();
            assert_eq!((held.dtype(), held.to_vec1::<f32>().unwrap()), (DType::F32, vec![259.0; 3]));
            assert_eq!(first.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap(), [256.0; 3]);
        }
    });
}

/// Gradient norm of each part at each step.
#[derive(Default)]
struct Parts(Vec<Vec<f64>>);

impl Hook for Parts {
    fn wants_gradients(&self, _: StepId<'_>) -> bool {
        true
    }

    fn gradients(&mut self, view: &GradientView<'_>) -> HookResult {
        let norm = |part| -> Result<f64, candle_core::Error> {
            let mut total = 0.0;
            for weight in view.params.trainable().filter(|p| p.role.part == part).map(|p| &p.weight) {
                if let Some(gradient) = weight.slot().and_then(|s| s.tensor(weight.dims()).transpose()) {
                    total += read_numbers(&gradient?, |g| g.iter().map(|x| f64::from(x * x)).sum::<f64>())?;
                }
            }
            Ok(total.sqrt())
        };
        self.0.push([Part::Vision, Part::Projector, Part::Language].into_iter().map(norm).collect::<Result<_, _>>()?);
        Ok(())
    }
}

/// Losses and gradient norms of a few steps of the multimodal model: the base stage, then CoVFT on what it left.
fn stages(path: Path, compute: DType, checkpointing: &str) -> (Vec<f64>, Vec<Vec<f64>>) {
    stages_with(true, path, compute, checkpointing)
}

/// The same, with or without bfloat16 copies of weights that are kept.
fn stages_with(copies: bool, path: Path, compute: DType, checkpointing: &str) -> (Vec<f64>, Vec<Vec<f64>>) {
    on(path, || {
        let dataset = dataset();
        let dir = tempfile::tempdir().unwrap();
        let (mut log, mut parts) = (Log::default(), Parts::default());
        let mut handed = MapSource::default();
        for (tuning, steps) in [(BASE, 6), (COVFT, 4)] {
            let tuning = format!("checkpointing = '{checkpointing}'\n{tuning}");
            let (model, _) = build(&dataset, &tuning, &handed);
            let model = model.computing_in(compute).keeping_copies(copies);
            let mut stage = stage(Schedule::Constant, 1);
            stage.learning_rate = 2e-3;
            let (plan, mut source) = (plan(stage, steps), source(&dataset, 2));
            let mut saver = CheckpointDir::open(dir.path()).unwrap();
            let trainer = Trainer::new(&plan, &model, &mut source).unwrap();
            trainer.with_hook(&mut log).with_hook(&mut parts).with_saver(&mut saver).run().unwrap();
            handed = hand_over(model.params());
        }
        (log.losses, parts.0)
    })
}

#[test]
fn the_multimodal_model_trains_elsewhere_as_on_the_host() {
    let (host, host_parts) = stages(Path::Host, DType::F32, "none");
    let (there, parts) = stages(Path::Device, DType::F32, "none");
    assert!(host[5] < host[0], "{host:?}");
    assert!(largest_relative(&there, &host) < 1e-6, "{there:?} {host:?}");
    for (a, b) in parts.iter().zip(&host_parts) {
        assert!(largest_relative(a, b) < 1e-5, "{a:?} {b:?}");
    }
    let (again, _) = stages(Path::Device, DType::F32, "all");
    assert!(largest_relative(&again, &there) < 1e-6, "{again:?} {there:?}");
}

/// The kernels for cards.
#[test]
#[ignore = "runs the kernels for cards: scripts/cuda-emulate"]
fn kernels_train_as_the_host_does() {
    let plan = plan(stage(Schedule::Cosine, 1), 12);
    let [host_dir, there_dir] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (host, host_log) = toy(Path::Host, DType::F32, &plan, host_dir.path(), None);
    let (there, log) = toy(Path::Kernels, DType::F32, &plan, there_dir.path(), None);
    assert!(largest_relative(&log.losses, &host_log.losses) < 1e-6, "{:?} {:?}", log.losses, host_log.losses);
    assert!(largest_relative(&log.norms, &host_log.norms) < 1e-6, "{:?} {:?}", log.norms, host_log.norms);
    assert!(apart(&there, &host) < 1e-6, "{}", apart(&there, &host));

    let (host, host_parts) = stages(Path::Host, DType::F32, "none");
    for checkpointing in ["none", "all"] {
        let (there, parts) = stages(Path::Kernels, DType::F32, checkpointing);
        assert!(largest_relative(&there, &host) < 1e-6, "{there:?} {host:?}");
        for (a, b) in parts.iter().zip(&host_parts) {
            assert!(largest_relative(a, b) < 1e-5, "{a:?} {b:?}");
        }
    }
    let (short, parts) = stages(Path::Kernels, DType::BF16, "all");
    assert!(largest_relative(&short, &host) < 2e-2, "{short:?} {host:?}");
    for (a, b) in parts.iter().zip(&host_parts) {
        assert!(largest_relative(a, b) < 0.1, "{a:?} {b:?}");
    }
    // Copies that are made anew are those that the optimiser keeps up to date.
    assert_eq!(stages_with(false, Path::Kernels, DType::BF16, "all"), (short, parts));
}

#[test]
fn the_multimodal_model_trains_in_bfloat16() {
    let (wide, wide_parts) = stages(Path::Host, DType::F32, "none");
    for (path, checkpointing) in [(Path::Device, "all"), (Path::Host, "none")] {
        let (short, parts) = stages(path, DType::BF16, checkpointing);
        assert!(largest_relative(&short, &wide) < 2e-2, "{short:?} {wide:?}");
        for (a, b) in parts.iter().zip(&wide_parts) {
            assert!(largest_relative(a, b) < 0.1, "{a:?} {b:?}");
        }
    }
}
