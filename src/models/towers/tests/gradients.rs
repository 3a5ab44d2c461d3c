//! Gradients: finite differences, equal shares of experts, recomputed blocks, what observers see.

use super::{TOWER, build, covft, dinov2, dinov2_weights, gradients, pixels, scalar, text, weights};
use crate::config::model::{Router, VisionMethod};
use crate::models::golden::{FORWARD, clip, difference, methods, open, tensor};
use crate::models::towers::Tower;
use crate::nn::{Param, ParamStore};
use crate::ops::{BackwardObserver, Ctx, Draw, LinearBackward, Place};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

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
            let get = |p: &Param| p.weight.slot().unwrap().with_host(|g| g.to_vec());
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
