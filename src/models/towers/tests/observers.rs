//! What observers see: every sample's gradient of every weight, trained or not, once.

use super::{TOWER, build, dinov2, dinov2_weights, gradients, pixels, scalar, text, weights};
use crate::config::model::VisionMethod;
use crate::models::golden::{clip, methods, open, tensor};
use crate::models::towers::Tower;
use crate::nn::ParamStore;
use crate::ops::{BackwardObserver, Ctx, LinearBackward, Path, Place, VectorBackward, on_path, read_numbers};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Gradients by weight, summed over the samples, and how often each part of a weight was seen.
#[derive(Default)]
struct Sums {
    frozen_too: bool,
    added: Mutex<BTreeMap<String, BTreeMap<usize, f64>>>,
    seen: Mutex<BTreeMap<(String, usize), usize>>,
}

impl Sums {
    fn add(&self, weight: &str, offset: usize, gradient: &[f64]) {
        let mut sums = self.added.lock().unwrap();
        let sums = sums.entry(weight.to_owned()).or_default();
        for (i, g) in gradient.iter().enumerate() {
            *sums.entry(offset + i).or_default() += g;
        }
        *self.seen.lock().unwrap().entry((weight.to_owned(), offset)).or_default() += 1;
    }

    fn of(&self, weight: &str) -> Option<Vec<f64>> {
        Some(self.added.lock().unwrap().get(weight)?.values().copied().collect())
    }
}

impl BackwardObserver for Sums {
    fn linear(&self, seen: &LinearBackward<'_>) {
        let mut dw = vec![0.0; seen.d_out * seen.d_in];
        for (d, a) in seen.output_grad.chunks(seen.d_out).zip(seen.input.chunks(seen.d_in)) {
            for (row, d) in dw.chunks_mut(seen.d_in).zip(d) {
                row.iter_mut().zip(a).for_each(|(w, a)| *w += f64::from(*d) * f64::from(*a));
            }
        }
        assert_eq!(seen.samples, 5);
        self.add(seen.weight, 0, &dw);
    }

    fn vectors(&self, seen: &VectorBackward<'_>) {
        let n = seen.gradients.len() / seen.samples;
        assert_eq!(seen.samples, 5);
        let sum = |i: usize| seen.gradients.iter().skip(i).step_by(n).map(|g| f64::from(*g)).sum();
        self.add(seen.weight, seen.offset, &(0..n).map(sum).collect::<Vec<f64>>());
    }

    fn wants(&self, _: Place, trains: bool) -> bool {
        trains || self.frozen_too
    }
}

fn observed(tower: &Tower, params: &ParamStore, pixels: &Tensor, frozen_too: bool) -> Arc<Sums> {
    params.clear_gradients();
    let sums = Arc::new(Sums { frozen_too, ..Sums::default() });
    let ctx = Ctx::train(&Device::Cpu).unwrap().with_observer(sums.clone());
    let out = tower.forward(&ctx, pixels, Some(&text())).unwrap();
    if out.features.track_op() {
        scalar(&out).backward().unwrap();
    }
    assert!(sums.seen.lock().unwrap().values().all(|n| *n == 1), "a part of a weight was seen twice");
    sums
}

/// `max |a - b| / max |b|`; what is zero up to rounding is equal.
fn off(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let peak = |v: &mut dyn Iterator<Item = f64>| v.fold(0.0, |m: f64, x| m.max(x.abs()));
    let (difference, scale) = (peak(&mut a.iter().zip(b).map(|(a, b)| a - b)), peak(&mut b.iter().copied()));
    if scale < 1e-5 && difference < 1e-5 { 0.0 } else { difference / scale }
}

fn adds_up(tower: &Tower, params: &ParamStore, pixels: &Tensor, name: &str) {
    let sums = observed(tower, params, pixels, false);
    let mut compared = 0;
    for param in params.trainable() {
        let weight = &param.weight;
        let Some(slot) = weight.slot().unwrap().tensor(weight.dims()).unwrap() else {
            assert!(sums.of(weight.name()).is_none());
            continue;
        };
        let slot = read_numbers(&slot, |g| g.iter().map(|g| f64::from(*g)).collect::<Vec<_>>()).unwrap();
        let ours = sums.of(weight.name()).unwrap_or_else(|| panic!("{name}: {} was not seen", weight.name()));
        assert!(off(&ours, &slot) < 1e-4, "{name}: {} {}", weight.name(), off(&ours, &slot));
        compared += 1;
    }
    assert_eq!(compared, sums.added.lock().unwrap().len(), "{name}: frozen weights were shown");
}

#[test]
fn the_samples_gradients_add_up_to_the_batchs() {
    for (name, method) in methods() {
        for checkpointing in [false, true] {
            let (tower, params) = build(&weights(name), &clip(), &method, checkpointing);
            adds_up(&tower, &params, &pixels(), name);
        }
        let (tower, params) = build(&weights(name), &clip(), &method, false);
        on_path(Path::Device, || adds_up(&tower, &params, &pixels(), name));
    }
    let wide = tensor(&open("towers/dinov2/expected_wide.safetensors"), "pixel_values");
    let wide = Tensor::cat(&[&wide, &wide, &wide], 0).unwrap().narrow(0, 0, 5).unwrap();
    for path in [Path::Host, Path::Device] {
        let (tower, params) = build(&dinov2_weights(), &dinov2(), &VisionMethod::Full, false);
        on_path(path, || adds_up(&tower, &params, &wide, "dinov2, resized"));
    }
}

#[test]
fn virtual_gradients_are_those_of_full_tuning() {
    let (tower, params) = build(&weights("fullft"), &clip(), &VisionMethod::Full, false);
    let full = observed(&tower, &params, &pixels(), false);
    for (name, checkpointing) in [("freeze", false), ("freeze", true), ("bias", false)] {
        let method = if name == "freeze" { VisionMethod::Freeze } else { VisionMethod::BitFit };
        for path in [Path::Host, Path::Device] {
            let (tower, params) = build(&weights(name), &clip(), &method, checkpointing);
            let seen = on_path(path, || observed(&tower, &params, &pixels(), true));
            let full = full.added.lock().unwrap();
            assert_eq!(
                full.keys().collect::<Vec<_>>(),
                seen.added.lock().unwrap().keys().collect::<Vec<_>>(),
                "{name}"
            );
            for weight in full.keys() {
                let (a, b): (Vec<f64>, Vec<f64>) = (seen.of(weight).unwrap(), full[weight].values().copied().collect());
                assert!(off(&a, &b) < 1e-4, "{name}: {weight} {}", off(&a, &b));
            }
        }
    }
}

#[test]
fn observers_change_no_gradient() {
    for (name, method) in methods() {
        for checkpointing in [false, true] {
            let (tower, params) = build(&weights(name), &clip(), &method, checkpointing);
            if name == "freeze" {
                continue;
            }
            let slots = |params: &ParamStore| -> Vec<_> {
                params.trainable().map(|p| p.weight.slot().unwrap().with_host(|g| g.to_vec())).collect()
            };
            gradients(&tower, &params, &pixels());
            let plain = slots(&params);
            let seen = observed(&tower, &params, &pixels(), true);
            assert_eq!(plain, slots(&params), "{name}");
            let first = format!("{TOWER}.vision_model.encoder.layers.0.self_attn.q_proj.weight");
            assert!(seen.of(&first).is_some(), "{name}: frozen weights below everything that trains");
        }
    }
}
