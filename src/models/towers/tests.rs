//! Towers against the reference's numbers and against finite differences.

use super::{Tower, TowerSizes, VisionOutput};
use crate::config::model::{Router, VisionConfig, VisionMethod};
use crate::models::checkpoint::{Chain, Empty, Renamed};
use crate::models::golden::{self, FORWARD, clip, difference, methods, open, path, tensor};
use crate::models::tuning::{is_optional, vision_trains};
use crate::nn::{ParamBuilder, ParamStore, Part, Role, TensorSource};
use crate::ops::{BackwardObserver, Ctx, Draw, LinearBackward, Place};
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const TOWER: &str = "model.vision_tower.vision_tower";

/// A tower with its parameters.
fn build(
    source: &dyn TensorSource,
    config: &VisionConfig,
    method: &VisionMethod,
    checkpointing: bool,
) -> (Tower, ParamStore) {
    let trains = |name: &str, role: &Role| vision_trains(method, name, role);
    let pb = ParamBuilder::new(source, &trains, 7, &Device::Cpu);
    let at = pb.part(Part::Vision).pp(TOWER);
    let sizes = TowerSizes::resolve(config).unwrap();
    let tower = Tower::new(&at, &sizes, method, 48, checkpointing).unwrap();
    (tower, pb.finish())
}

/// Where the fixture keeps the tensors of a method: CoVFT's in the whole model, the others' in the plain tower.
fn weights(name: &str) -> Chain {
    let plain = || Renamed::new(open("clip"), [(format!("{TOWER}."), "")]).complete(is_optional);
    match name {
        "context_moe_layernorm" => Chain(vec![Box::new(open("llava"))]),
        "lora" | "vpt" => Chain(vec![Box::new(open(&format!("methods/{name}/extra.safetensors"))), Box::new(plain())]),
        _ => Chain(vec![Box::new(plain())]),
    }
}

fn covft(router: Router) -> VisionMethod {
    VisionMethod::Covft { experts: 4, start_layer: Some(3), end_layer: None, router }
}

fn pixels() -> Tensor {
    tensor(&open("expected/batch.safetensors"), "pixel_values")
}

fn text() -> Tensor {
    tensor(&open("expected/context_moe_layernorm.safetensors"), "bert_cls")
}

#[test]
fn features_of_all_methods_equal_the_reference() {
    for (name, method) in methods() {
        let expected = open(&format!("expected/{name}.safetensors"));
        for checkpointing in [false, true] {
            let (tower, _) = build(&weights(name), &clip(), &method, checkpointing);
            let out = tower.forward(&Ctx::train(&Device::Cpu).unwrap(), &pixels(), Some(&text())).unwrap();
            let off = difference(&out.features, &tensor(&expected, "vision_features"));
            assert!(off < FORWARD, "{name}: {off:e}");
            assert_eq!(out.features.dims(), [5, tower.patches(), tower.width()]);
        }
    }
}

#[test]
fn contexts_and_routing_of_covft_equal_the_reference() {
    let (tower, _) = build(&weights("context_moe_layernorm"), &clip(), &covft(Router::Dense), false);
    let expected = open("expected/context_moe_layernorm.safetensors");
    let out = tower.forward(&Ctx::eval(), &pixels(), Some(&text())).unwrap();
    assert_eq!(out.routing.iter().map(|r| r.layer).collect::<Vec<_>>(), [3, 4]);
    for routing in &out.routing {
        let at = |what: &str| tensor(&expected, &format!("layer{}.{what}", routing.layer));
        let off = difference(&routing.context, &at("context"));
        assert!(off < FORWARD, "context of layer {}: {off:e}", routing.layer);
        let off = difference(&routing.logits, &at("gate_logits"));
        assert!(off < FORWARD, "logits of layer {}: {off:e}", routing.layer);
        let sums: Vec<f32> = routing.weights.sum(1).unwrap().to_vec1().unwrap();
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6));
    }
}

#[test]
fn what_trains_is_what_the_reference_trains() {
    let meta = golden::meta();
    for (name, method) in methods() {
        let (_, params) = build(&weights(name), &clip(), &method, false);
        let ours: BTreeSet<&str> = params.trainable().map(|p| p.weight.name()).collect();
        let theirs: BTreeSet<&str> = meta["trainable"][name]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_str().unwrap())
            .filter(|n| n.starts_with("model.vision_tower."))
            .collect();
        assert_eq!(ours, theirs, "{name}");
        // What the reference has a gradient for is what we call reached.
        let expected = open(&format!("expected/{name}.safetensors"));
        for param in params.trainable() {
            let known = expected.shape(&format!("grad.{}", param.weight.name())).is_some();
            assert_eq!(param.role.reached, known, "{name}: {}", param.weight.name());
        }
    }
}

#[test]
fn every_tensor_of_the_reference_is_a_parameter() {
    let (_, params) = build(&weights("context_moe_layernorm"), &clip(), &covft(Router::Dense), false);
    let ours: BTreeSet<&str> = params.iter().map(|p| p.weight.name()).collect();
    let file = open("llava");
    let theirs: BTreeSet<&str> = file.names().filter(|n| n.starts_with(TOWER)).collect();
    assert_eq!(ours, theirs);
    let (_, params) = build(&dinov2_weights(), &dinov2(), &VisionMethod::Full, false);
    let ours: BTreeSet<String> = params.iter().map(|p| p.weight.name().replace(&format!("{TOWER}."), "")).collect();
    let file = open("towers/dinov2");
    assert_eq!(ours, file.names().map(str::to_owned).collect());
}

fn dinov2() -> VisionConfig {
    VisionConfig { weights: Some(path("towers/dinov2")), ..golden::empty() }
}

fn dinov2_weights() -> Renamed<crate::models::checkpoint::Safetensors> {
    Renamed::new(open("towers/dinov2"), [(format!("{TOWER}."), "")]).complete(is_optional)
}

#[test]
fn hidden_states_of_dinov2_equal_the_reference() {
    let (tower, _) = build(&dinov2_weights(), &dinov2(), &VisionMethod::Freeze, false);
    for name in ["expected", "expected_wide"] {
        let expected = open(&format!("towers/dinov2/{name}.safetensors"));
        let pixels = tensor(&expected, "pixel_values");
        let states = tower.hidden_states(&Ctx::eval(), &pixels, None).unwrap();
        assert_eq!(states.len(), 5);
        for (i, state) in states.iter().enumerate() {
            let off = difference(state, &tensor(&expected, &format!("hidden.{i}")));
            assert!(off < FORWARD, "{name} hidden.{i}: {off:e}");
        }
        let features = tower.forward(&Ctx::eval(), &pixels, None).unwrap().features;
        let patches = features.dim(1).unwrap();
        assert_eq!(difference(&features, &states[3].narrow(1, 1, patches).unwrap()), 0.0);
        if name == "expected" {
            let last = tower.final_norm(&Ctx::eval(), &states[4]).unwrap();
            assert!(difference(&last, &tensor(&expected, "last_hidden_state")) < FORWARD);
        }
    }
}

/// `sum(features * probe)`: a scalar that every reached parameter moves.
fn scalar(out: &VisionOutput) -> Tensor {
    let n = out.features.elem_count();
    let probe: Vec<f32> = (0..n).map(|i| (0.7 * i as f32).sin()).collect();
    let probe = Tensor::from_vec(probe, out.features.shape(), &Device::Cpu).unwrap();
    (&out.features * probe).unwrap().sum_all().unwrap()
}

fn gradients(tower: &Tower, params: &ParamStore, pixels: &Tensor) {
    params.clear_gradients();
    let out = tower.forward(&Ctx::train(&Device::Cpu).unwrap(), pixels, Some(&text())).unwrap();
    scalar(&out).backward().unwrap();
}

/// Compares sampled entries of each trainable parameter's gradient with central differences.
fn check_gradients(tower: &Tower, params: &ParamStore, pixels: &Tensor, name: &str) {
    gradients(tower, params, pixels);
    // Summed in float64: the differences are small against the sum's own rounding in float32.
    let value = || -> f64 {
        let out = tower.forward(&Ctx::eval(), pixels, Some(&text())).unwrap();
        let features: Vec<f32> = out.features.flatten_all().unwrap().to_vec1().unwrap();
        features.iter().enumerate().map(|(i, f)| f64::from(*f) * f64::from((0.7 * i as f32).sin())).sum()
    };
    let mut checked = 0;
    for param in params.trainable() {
        let Some(grad) = param.weight.slot().unwrap().with_host(|g| g.to_vec()) else {
            assert!(!param.role.reached, "{name}: {} has no gradient", param.weight.name());
            continue;
        };
        assert!(param.role.reached, "{name}: {} is said to be unreached", param.weight.name());
        // The entry with the largest gradient tells most about a float32 difference.
        let (at, &g) = grad.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap();
        let step = 1e-2; // the value is good to about 4e-5, so the quotient to 4e-3
        let moved = |by: f32| {
            param.weight.update_host(|w| w[at] += by).unwrap();
            let moved = value();
            param.weight.update_host(|w| w[at] -= by).unwrap();
            moved
        };
        let numeric = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
        let off = (numeric - f64::from(g)).abs();
        assert!(off < 2e-2f64.mul_add(f64::from(g.abs()), 4e-3), "{name}: {} {numeric} {g}", param.weight.name());
        checked += 1;
    }
    assert!(checked >= 5, "{name}: {checked}");
}

#[test]
fn gradients_of_all_methods_equal_finite_differences() {
    for (name, method) in methods() {
        if name != "freeze" {
            let (tower, params) = build(&weights(name), &clip(), &method, false);
            check_gradients(&tower, &params, &pixels(), name);
        }
    }
}

#[test]
fn gradients_of_a_resized_dinov2_with_covft_equal_finite_differences() {
    let pixels = tensor(&open("towers/dinov2/expected_wide.safetensors"), "pixel_values");
    let pixels = Tensor::cat(&[&pixels, &pixels, &pixels], 0).unwrap().narrow(0, 0, 5).unwrap();
    for (name, method) in [
        ("full", VisionMethod::Full),
        ("covft", VisionMethod::Covft { experts: 3, start_layer: None, end_layer: None, router: Router::Dense }),
    ] {
        let (tower, params) = build(&dinov2_weights(), &dinov2(), &method, false);
        check_gradients(&tower, &params, &pixels, name);
    }
}

#[test]
fn checkpointing_changes_no_number() {
    for (name, method) in methods() {
        let (tower, params) = build(&weights(name), &clip(), &method, false);
        let (again, same) = build(&weights(name), &clip(), &method, true);
        if name == "freeze" {
            let out = again.forward(&Ctx::train(&Device::Cpu).unwrap(), &pixels(), None).unwrap();
            assert!(!out.features.track_op(), "a frozen tower must record nothing");
            continue;
        }
        gradients(&tower, &params, &pixels());
        gradients(&again, &same, &pixels());
        for (a, b) in params.trainable().zip(same.trainable()) {
            let get = |p: &crate::nn::Param| p.weight.slot().unwrap().with_host(|g| g.to_vec());
            assert_eq!(get(a), get(b), "{name}: {}", a.weight.name());
        }
    }
}

#[test]
fn a_fresh_comoe_equals_the_feed_forward_layer_and_its_gate_has_no_gradient() {
    let (plain, _) = build(&weights("freeze"), &clip(), &VisionMethod::Freeze, false);
    let before = plain.forward(&Ctx::eval(), &pixels(), None).unwrap().features;
    for router in [Router::Dense, Router::Sparse(2), Router::Uniform] {
        let (tower, params) = build(&weights("freeze"), &clip(), &covft(router), false);
        let after = tower.forward(&Ctx::eval(), &pixels(), Some(&text())).unwrap().features;
        let off = difference(&after, &before);
        assert!(off < FORWARD, "{router:?}: {off:e}");
        gradients(&tower, &params, &pixels());
        let mut largest = (0f32, 0f32);
        for param in params.trainable() {
            let of = param.weight.slot().unwrap().with_host(|g| g.iter().fold(0f32, |m, g| m.max(g.abs())));
            match param.role.module {
                "gate" | "cve" if router == Router::Uniform => assert!(of.is_none() && !param.role.reached),
                "gate" | "cve" => largest.0 = largest.0.max(of.unwrap()),
                "experts" => largest.1 = largest.1.max(of.unwrap()),
                _ => {}
            }
        }
        assert!(largest.0 < 1e-5 * largest.1, "{router:?}: gate {} experts {}", largest.0, largest.1);
    }
}

#[test]
fn an_experts_gradient_is_its_share_of_the_layers() {
    let (tower, params) = build(&weights("freeze"), &clip(), &covft(Router::Dense), false);
    let one = pixels().narrow(0, 0, 1).unwrap();
    let text = text().narrow(0, 0, 1).unwrap();
    let out = tower.forward(&Ctx::train(&Device::Cpu).unwrap(), &one, Some(&text)).unwrap();
    scalar(&out).backward().unwrap();
    let shares: Vec<f32> = out.routing[1].weights.flatten_all().unwrap().to_vec1().unwrap();
    let norm = |e: usize| {
        let name = format!("{TOWER}.vision_model.encoder.layers.4.mlp.experts.{e}.2.weight");
        let slot = params.get(&name).unwrap().weight.slot().unwrap().clone();
        slot.with_host(|g| g.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt()).unwrap()
    };
    for e in 1..4 {
        let (ours, expected) = (norm(e) / norm(0), f64::from(shares[e] / shares[0]));
        assert!((ours / expected - 1.0).abs() < 1e-4, "expert {e}: {ours} {expected}");
    }
}

#[test]
fn a_tower_from_nothing_is_the_same_for_the_same_seed_and_misplaced_mixtures_are_refused() {
    let config = VisionConfig {
        kind: Some(crate::config::model::TowerKind::Clip),
        image_size: Some(28),
        patch_size: Some(7),
        width: Some(32),
        layers: Some(6),
        heads: Some(4),
        ffn: Some(64),
        ..golden::empty()
    };
    let method = VisionMethod::Covft { experts: 2, start_layer: None, end_layer: None, router: Router::Dense };
    let forward = |tower: &Tower| tower.forward(&Ctx::eval(), &pixels(), Some(&text())).unwrap();
    let (a, b) = (build(&Empty, &config, &method, false).0, build(&Empty, &config, &method, false).0);
    let (a, b) = (forward(&a), forward(&b));
    assert_eq!(difference(&a.features, &b.features), 0.0);
    assert_eq!(a.routing.iter().map(|r| r.layer).collect::<Vec<_>>(), [2, 3, 4]);
    let refused = |start, end| {
        let method = VisionMethod::Covft { experts: 2, start_layer: start, end_layer: end, router: Router::Dense };
        let trains = |_: &str, _: &Role| false;
        let pb = ParamBuilder::new(&Empty, &trains, 0, &Device::Cpu);
        Tower::new(&pb, &TowerSizes::resolve(&config).unwrap(), &method, 48, false).is_err()
    };
    assert!(refused(Some(5), None) && refused(None, Some(6)) && refused(Some(3), Some(3)));
    assert!(!refused(Some(0), Some(5)));
    let (tower, _) = build(&Empty, &config, &method, false);
    assert!(tower.forward(&Ctx::eval(), &pixels(), None).is_err(), "CoMoE without a text vector");
}

#[test]
fn parameter_counts_of_clip_l_are_the_published_ones() {
    let config = VisionConfig {
        kind: Some(crate::config::model::TowerKind::Clip),
        image_size: Some(336),
        patch_size: Some(14),
        width: Some(1024),
        layers: Some(24),
        heads: Some(16),
        ffn: Some(4096),
        ..golden::empty()
    };
    let count = |method: &VisionMethod| -> (usize, usize) {
        let trains = |name: &str, role: &Role| vision_trains(method, name, role);
        let pb = ParamBuilder::planning(&Empty, &trains);
        let at = pb.part(Part::Vision).pp(TOWER);
        Tower::new(&at, &TowerSizes::resolve(&config).unwrap(), method, 768, false).unwrap();
        let params = pb.finish();
        let size = |p: &crate::nn::Param| p.weight.dims().iter().product::<usize>();
        (params.iter().map(size).sum(), params.trainable().map(size).sum())
    };
    let method = |text: &str| toml::from_str::<VisionMethod>(text).unwrap();
    assert_eq!(count(&VisionMethod::Freeze), (303_507_456, 0));
    assert_eq!(count(&VisionMethod::Full), (303_507_456, 303_507_456));
    assert_eq!(count(&method("type = \"lora\"")).1, 1_572_864);
    assert_eq!(count(&method("type = \"vpt\"")).1, 24 * 50 * 1024);
    // Twelve layers of CoMoE (11..23 by default) and two layer norms in each of the 24 blocks.
    assert_eq!(count(&method("type = \"covft\"")).1, 528_909_360 + 98_304);
}

#[test]
fn dropout_in_adapters_draws_the_same_when_a_block_runs_again() {
    let method = VisionMethod::Lora { rank: 4, alpha: 8.0, dropout: 0.3 };
    let draw = |step| Draw { seed: 5, step, micro: 0 };
    let run = |checkpointing: bool, step: u64| {
        let (tower, params) = build(&weights("lora"), &clip(), &method, checkpointing);
        let ctx = Ctx::train(&Device::Cpu).unwrap().with_draw(draw(step));
        let out = tower.forward(&ctx, &pixels(), None).unwrap();
        scalar(&out).backward().unwrap();
        let grads: Vec<_> = params.trainable().map(|p| p.weight.slot().unwrap().with_host(|g| g.to_vec())).collect();
        (out.features.detach(), grads)
    };
    let (plain, again, other) = (run(false, 0), run(true, 0), run(false, 1));
    assert_eq!(difference(&plain.0, &again.0), 0.0);
    assert_eq!(plain.1, again.1);
    assert!(difference(&plain.0, &other.0) > 1e-3, "another step must drop others");
}

#[test]
fn fresh_adapters_change_nothing() {
    let method = VisionMethod::Lora { rank: 2, alpha: 16.0, dropout: 0.0 };
    let (adapted, _) = build(&weights("freeze"), &clip(), &method, false);
    let (plain, _) = build(&weights("freeze"), &clip(), &VisionMethod::Freeze, false);
    let features = |tower: &Tower| tower.forward(&Ctx::eval(), &pixels(), None).unwrap().features;
    assert_eq!(difference(&features(&adapted), &features(&plain)), 0.0);
}

#[test]
fn weights_with_other_mixtures_are_refused() {
    let refused = |method: &VisionMethod| {
        let source = weights("context_moe_layernorm");
        let trains = |_: &str, _: &Role| false;
        let pb = ParamBuilder::new(&source, &trains, 0, &Device::Cpu);
        let sizes = TowerSizes::resolve(&clip()).unwrap();
        Tower::new(&pb.part(Part::Vision).pp(TOWER), &sizes, method, 48, false).err().map(|e| e.to_string())
    };
    let mixtures = |experts, start| VisionMethod::Covft {
        experts,
        start_layer: Some(start),
        end_layer: None,
        router: Router::Dense,
    };
    assert!(refused(&mixtures(4, 3)).is_none());
    assert!(refused(&mixtures(4, 2)).is_none(), "a plain layer may become a mixture");
    assert!(refused(&VisionMethod::Freeze).unwrap().contains("holds experts in the weights"));
    assert!(refused(&mixtures(4, 4)).unwrap().contains("layers.3.mlp holds experts"));
    assert!(refused(&mixtures(5, 3)).unwrap().contains("has no expert 4"));
}

/// Remembers where each weight was seen.
#[derive(Default)]
struct Places(Mutex<BTreeMap<String, Place>>);

impl BackwardObserver for Places {
    fn linear(&self, seen: &LinearBackward<'_>) {
        assert_eq!(seen.samples, 5, "{}", seen.weight);
        self.0.lock().unwrap().insert(seen.weight.to_owned(), seen.place);
    }
}

#[test]
fn observers_are_told_the_place_that_the_table_names() {
    for (name, method) in methods() {
        for checkpointing in [false, true] {
            let (tower, params) = build(&weights(name), &clip(), &method, checkpointing);
            let places = Arc::new(Places::default());
            let ctx = Ctx::train(&Device::Cpu).unwrap().with_observer(places.clone());
            let out = tower.forward(&ctx, &pixels(), Some(&text())).unwrap();
            if out.features.track_op() {
                scalar(&out).backward().unwrap();
            }
            let places = places.0.lock().unwrap();
            for param in params.trainable().filter(|p| p.role.reached) {
                let matrix = param.weight.dims().len() > 1;
                let linear = matrix && !matches!(param.role.module, "embeddings" | "prompts");
                if let Some(place) = places.get(param.weight.name()) {
                    let told = (Some(place.layer), place.module);
                    assert_eq!(told, (param.role.layer, param.role.module), "{name}: {}", param.weight.name());
                } else {
                    assert!(!linear, "{name}: {} was not seen", param.weight.name());
                }
            }
        }
    }
}
