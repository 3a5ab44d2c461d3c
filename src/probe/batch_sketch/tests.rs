//! Sketches of gradients that are known.

use super::super::space::Space;
use super::plan::SketchPlan;
use super::sketch::Sketch;
use super::virtual_gradients::{Gradients, VirtualGradients};
use super::{halves, row};
use crate::config::model::{Router, TowerKind, VisionConfig, VisionMethod};
use crate::config::probe::{self, ProbeConfig};
use crate::kernels::cuda::launched;
use crate::models::towers::{Tower, TowerSizes};
use crate::models::tuning::vision_trains;
use crate::nn::{Init, MapSource, ParamBuilder, ParamStore, Part, Role};
use crate::ops::testing::{device, on_kernels};
use crate::ops::{Ctx, LayerId, Path, on_path};
use crate::train::hook::StepId;
use candle_core::{Device, Tensor};

/// A block with attention, a norm and a feed-forward layer, the latter twice over under `experts`; a frozen block.
fn block(experts: usize) -> ParamStore {
    let nothing = MapSource::default();
    let trains = |name: &str, _: &Role| !name.contains("frozen");
    let device = device();
    let root = ParamBuilder::new(&nothing, &trains, 0, &device);
    let vision = root.part(Part::Vision);
    let at = vision.layer(LayerId::Block(0)).pp("0");
    at.module("attention").get(&[40, 30], "q.weight", Init::Ones).unwrap();
    at.module("layer_norm").get(&[30], "norm.weight", Init::Ones).unwrap();
    let names: Vec<String> = match experts {
        0 => vec!["mlp.fc1.weight".into()],
        n => (0..n).map(|e| format!("mlp.experts.{e}.0.weight")).collect(),
    };
    let module = if experts == 0 { "mlp" } else { "experts" };
    for name in names {
        at.module(module).get(&[300, 250], &name, Init::Ones).unwrap();
    }
    at.module("gate").get(&[7], "gate.weight", Init::Ones).unwrap();
    let next = vision.layer(LayerId::Block(1)).pp("1");
    next.module("mlp").get(&[5], "mlp.fc2.bias", Init::Ones).unwrap();
    next.module("mlp").get(&[5], "frozen.weight", Init::Ones).unwrap();
    next.unreached().module("mlp").get(&[5], "past.weight", Init::Ones).unwrap();
    root.finish()
}

fn wave(n: usize, k: f32) -> Vec<f32> {
    (0..n).map(|i| ((i + 1) as f32 * k).sin()).collect()
}

fn fill(params: &ParamStore, name: &str, k: f32) {
    let weight = &params.get(name).unwrap().weight;
    let n: usize = weight.dims().iter().product();
    weight.slot().unwrap().accumulate(&Tensor::from_vec(wave(n, k), weight.dims(), &device()).unwrap()).unwrap();
}

fn filled(experts: usize, k: impl Fn(&str) -> f32) -> ParamStore {
    let params = block(experts);
    for param in params.trainable().filter(|p| p.role.reached) {
        fill(&params, param.weight.name(), k(param.weight.name()));
    }
    params
}

fn config() -> ProbeConfig {
    ProbeConfig { sketch_spaces: vec![probe::Space::Trainable, probe::Space::Shared], ..ProbeConfig::default() }
}

fn take(config: &ProbeConfig, params: &ParamStore, space: usize) -> Vec<(LayerId, Sketch)> {
    SketchPlan::all(config, params)[space].take(params, &Gradients::default()).unwrap()
}

fn exact(params: &ParamStore, names: &[&str]) -> f64 {
    let square = |name: &&str| {
        let n: usize = params.get(name).unwrap().weight.dims().iter().product();
        params.get(name).unwrap().weight.slot().unwrap().with_host(|g| {
            assert_eq!(g.len(), n);
            g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()
        })
    };
    names.iter().map(|n| square(n).unwrap()).sum::<f64>().sqrt()
}

#[test]
fn norms_are_exact_and_only_what_trains_and_is_reached_is_in() {
    let params = filled(0, |name| name.len() as f32 * 0.01);
    let layers = take(&config(), &params, 0);
    let names: Vec<LayerId> = layers.iter().map(|(layer, _)| *layer).collect();
    assert_eq!(names, [LayerId::Block(0), LayerId::Block(1)]);
    assert_eq!((layers[0].1.elements(), layers[1].1.elements()), (40 * 30 + 30 + 300 * 250 + 7, 5));
    let norm = exact(&params, &["0.q.weight", "0.norm.weight", "0.mlp.fc1.weight", "0.gate.weight"]);
    assert!((layers[0].1.norm() / norm - 1.0).abs() < 1e-12);
    // Shared leaves the gate out; a choice of layers and modules is kept.
    assert_eq!(take(&config(), &params, 1)[0].1.elements(), 40 * 30 + 30 + 300 * 250);
    let chosen = ProbeConfig { sketch_layers: vec!["0".into()], sketch_modules: vec!["gate".into()], ..config() };
    let chosen = take(&chosen, &params, 0);
    assert_eq!((chosen.len(), chosen[0].1.elements()), (1, 7));
}

#[test]
fn experts_that_share_a_gradient_are_sketched_as_the_plain_layer() {
    let plain = filled(0, |_| 0.02);
    let shared = |params: &ParamStore| take(&config(), params, 1)[0].1.clone();
    let reference = shared(&plain);
    // Four experts each with a quarter of the gradient, as at the start under even routing.
    let experts = filled(4, |_| 0.02);
    for e in 0..4 {
        let slot = experts.get(&format!("0.mlp.experts.{e}.0.weight")).unwrap().weight.slot().unwrap();
        slot.with_host(|g| g.iter_mut().for_each(|v| *v *= 0.25)).unwrap();
    }
    let sum = shared(&experts);
    assert_eq!((sum.elements(), sum.norm()), (reference.elements(), reference.norm()));
    assert_eq!(sum.sums(), reference.sums());
    // Experts that pull apart cancel: the sum over experts is what is compared.
    let slot = |e: usize| experts.get(&format!("0.mlp.experts.{e}.0.weight")).unwrap().weight.slot().unwrap().clone();
    for e in 0..2 {
        slot(e).with_host(|g| g.iter_mut().for_each(|v| *v = -*v)).unwrap();
    }
    let norm = exact(&plain, &["0.q.weight", "0.norm.weight"]);
    assert!((shared(&experts).norm() / norm - 1.0).abs() < 1e-9);
}

#[test]
fn threads_change_no_bit_and_a_device_gives_the_same() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| take(&config(), &filled(2, |name| name.len() as f32 * 0.003), 0))
    };
    let one = run(1);
    assert_eq!(run(2), one);
    assert_eq!(run(5), one);
    assert_eq!(on_path(Path::Device, || run(1)), one);
}

#[test]
#[ignore = "runs the kernels for cards: scripts/cuda-emulate"]
fn kernels_sketch_what_the_host_sketches() {
    for space in 0..2 {
        let run = || take(&config(), &filled(2, |name| name.len() as f32 * 0.003), space);
        let before = launched();
        let (host, there) = (run(), on_kernels(run));
        assert!(launched() > before);
        assert_eq!(host.len(), there.len());
        for ((layer, host), (other, there)) in host.iter().zip(&there) {
            assert_eq!((layer, host.elements()), (other, there.elements()));
            assert!((host.norm() / there.norm() - 1.0).abs() < 1e-6);
            let largest = host.sums().iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let apart = host.sums().iter().zip(there.sums()).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(apart <= 1e-5 * largest, "{apart} of {largest}");
        }
    }
}

#[test]
fn micro_batches_and_ranks_add_up() {
    let (a, b) = (filled(0, |_| 0.01), filled(0, |_| 0.05));
    let both = filled(0, |_| 0.01);
    for param in both.trainable().filter(|p| p.role.reached) {
        fill(&both, param.weight.name(), 0.05);
    }
    let sketch = |params: &ParamStore| take(&config(), params, 0)[0].1.clone();
    let whole = sketch(&both);
    let mut merged = sketch(&a);
    merged.merge(&sketch(&b));
    let worst = merged.sums().iter().zip(whole.sums()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-3 * whole.sums().iter().fold(0.0_f32, |m, v| m.max(v.abs())), "{worst}");
    assert_eq!(merged.elements(), whole.elements());
    assert!((merged.norm() / whole.norm() - 1.0).abs() < 0.1);
    // A cosine is right within a few of its standard errors, 1 / sqrt(4096).
    let (a_sketch, b_sketch) = (sketch(&a), sketch(&b));
    let cosine = a_sketch.dot(&b_sketch) / (a_sketch.norm() * b_sketch.norm());
    assert!(cosine.abs() < 4.0 / 64.0, "{cosine}");
}

#[test]
fn rows_hold_half_numbers_with_a_scale() {
    let params = filled(0, |_| 0.02);
    let sketch = take(&config(), &params, 0)[0].1.clone();
    let at = StepId { stage: "s", step: 3, global_step: 3 };
    let row = row(&sketch, Space::Trainable, at, "0".into(), 0);
    assert_eq!((row.kind.as_str(), row.space.as_str(), row.sketch.len()), ("batch", "trainable", 4096));
    let largest = row.sketch.iter().map(|v| v.to_f32().abs()).fold(0.0, f32::max);
    assert_eq!((largest, row.error), (1.0, 1.0 / 64.0));
    for (half, exact) in row.sketch.iter().zip(sketch.sums()) {
        assert!((half.to_f32() * row.scale - exact).abs() <= row.scale * 5e-4);
    }
    assert_eq!(halves(&[0.0; 3]).0, 1.0);
    let (scale, numbers) = halves(&[f32::NAN, 2.0]);
    assert!(scale == 1.0 && numbers[0].is_nan() && numbers[1].to_f32() == 2.0);
    assert!(halves(&[1e-42, -2e-42]).1[1].to_f32() == -1.0);
}

/// One backward pass of a small tower, the same whatever trains in it; its sketch over `shared`.
fn tower_sketch(method: &VisionMethod, checkpointing: bool) -> Vec<(LayerId, Sketch)> {
    let nothing = MapSource::default();
    let trains = |name: &str, role: &Role| vision_trains(method, name, role);
    let pb = ParamBuilder::new(&nothing, &trains, 7, &Device::Cpu);
    let vision = VisionConfig {
        weights: None,
        kind: Some(TowerKind::Clip),
        image_size: Some(16),
        patch_size: Some(4),
        width: Some(16),
        layers: Some(4),
        heads: Some(2),
        ffn: Some(40),
        select_layer: -2,
    };
    let sizes = TowerSizes::resolve(&vision).unwrap();
    let tower = Tower::new(&pb.part(Part::Vision).pp("tower"), &sizes, method, 8, checkpointing).unwrap();
    let params = pb.finish();
    let plan = SketchPlan::all(&config(), &params).remove(1);
    let frozen = plan.frozen(&params);
    let mut seen = VirtualGradients::new(frozen.clone(), true);
    let ctx = Ctx::train(&Device::Cpu).unwrap().with_observer(seen.observer(0));
    let tensor = |n: usize, k, dims: &[usize]| Tensor::from_vec(wave(n, k), dims, &Device::Cpu).unwrap();
    let pixels = tensor(3 * 3 * 256, 0.37, &[3, 3, 16, 16]);
    let features = tower.forward(&ctx, &pixels, Some(&tensor(24, 0.9, &[3, 8]))).unwrap().features;
    let probe = tensor(features.elem_count(), 0.71, features.dims());
    drop((features * probe).unwrap().sum_all().unwrap().backward().unwrap());
    let (seen, _) = seen.take();
    assert!(frozen.iter().all(|(name, _)| seen.contains_key(name)), "{frozen:?} {:?}", seen.keys());
    plan.take(&params, &seen).unwrap()
}

#[test]
fn over_shared_all_methods_begin_with_the_same_gradient() {
    let covft = VisionMethod::Covft { experts: 3, start_layer: Some(1), end_layer: None, router: Router::Dense };
    let full = tower_sketch(&VisionMethod::Full, false);
    assert_eq!(full.len(), 4, "three blocks run, and the norm before them");
    for (name, other) in [
        ("covft", tower_sketch(&covft, false)),
        ("covft, checkpointing", tower_sketch(&covft, true)),
        ("freeze", tower_sketch(&VisionMethod::Freeze, false)),
        ("bitfit", tower_sketch(&VisionMethod::BitFit, false)),
    ] {
        assert_eq!(other.len(), full.len(), "{name}");
        for ((layer, a), (_, b)) in other.iter().zip(&full) {
            assert_eq!(a.elements(), b.elements(), "{name}, layer {layer}");
            assert!((a.norm() / b.norm() - 1.0).abs() < 1e-4, "{name}, layer {layer}: {} {}", a.norm(), b.norm());
            let largest = b.sums().iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let off = a.sums().iter().zip(b.sums()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-4 * largest, "{name}, layer {layer}: {off} of {largest}");
        }
    }
}
