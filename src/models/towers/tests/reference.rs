//! Forward numbers, names, trainable sets and sizes against the reference.

use super::{TOWER, build, covft, dinov2, dinov2_weights, pixels, text, weights};
use crate::config::model::{Router, TowerKind, VisionConfig, VisionMethod};
use crate::models::checkpoint::Empty;
use crate::models::golden::{self, FORWARD, clip, difference, methods, open, tensor};
use crate::models::towers::{Tower, TowerSizes};
use crate::models::tuning::vision_trains;
use crate::nn::{ParamBuilder, Part, Role};
use crate::ops::Ctx;
use candle_core::Device;
use std::collections::BTreeSet;

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

#[test]
fn a_tower_from_nothing_is_the_same_for_the_same_seed_and_misplaced_mixtures_are_refused() {
    let config = VisionConfig {
        kind: Some(TowerKind::Clip),
        image_size: Some(28),
        patch_size: Some(7),
        width: Some(32),
        layers: Some(6),
        heads: Some(4),
        ffn: Some(64),
        ..VisionConfig::default()
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
        kind: Some(TowerKind::Clip),
        image_size: Some(336),
        patch_size: Some(14),
        width: Some(1024),
        layers: Some(24),
        heads: Some(16),
        ffn: Some(4096),
        ..VisionConfig::default()
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
