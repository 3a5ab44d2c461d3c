//! The reference's training steps: losses, gradient norms, learning rates, where the parameters went and how far.

use super::compare::{Worst, peak, values};
use super::golden::{Golden, Tensors, Trace};
use super::{VerifyError, VerifyReport, gradients, tolerance};
use crate::config::train::{GradClip, Stage, StageConfig, check_stages};
use crate::models::mllm::Mllm;
use crate::nn::{ParamStore, Part, Role};
use crate::ops::LayerId;
use crate::train::{AdamW, clip_factor, global_norm, learning_rate_share};
use candle_core::{Result, Tensor};
use std::collections::BTreeMap;

/// Entries whose first reference gradient is below this move by rounding noise alone.
const NOISE: f64 = 1e-7;

/// Trains as the reference did and compares. The model is changed.
pub(super) fn check(
    golden: &Golden,
    name: &str,
    (model, store): (&Mllm, &ParamStore),
    expected: &Tensors,
    report: &mut VerifyReport,
) -> std::result::Result<(), VerifyError> {
    let Some(reference) = golden.meta.train.get(name) else {
        report.skipped.push(format!("{name}: meta.json has no training steps of it"));
        return Ok(());
    };
    let start = copies(store)?;
    let ours = match train(golden, model, store)? {
        Ok(trace) => trace,
        Err(fault) => {
            let mut worst = Worst::new(format!("{name}: training"), tolerance::TRACE);
            worst.fail(fault);
            report.rows.push(worst.row());
            return Ok(());
        }
    };
    let mut row = |what: &str, ours: &[f64], reference: &[f64], tolerance: f64| {
        let mut worst = Worst::new(format!("{name}: {what}"), tolerance);
        if ours.len() == reference.len() {
            for (step, (a, b)) in ours.iter().zip(reference).enumerate() {
                worst.values(&format!("step {step}"), &[*a], &[*b]);
            }
        } else {
            worst.fail(format!("{} steps, the reference has {}", ours.len(), reference.len()));
        }
        report.rows.push(worst.row());
    };
    row("losses of the steps", &ours.losses, &reference.losses, tolerance::TRACE);
    row("gradient norms", &ours.grad_norm, &reference.grad_norm, tolerance::TRACE);
    row("learning rates", &ours.lr, &reference.lr, tolerance::RATE);
    report.rows.push(displacement(name, store, &start, expected)?.row());
    let layers = drift(store, |param_name, now| difference(now, &start[param_name]))?;
    compare_drift(name, "drift by layer", &layers, golden.meta.drift_l2.get(name), report);
    if let Some(reference) = golden.meta.drift_l2_effective.get(name) {
        let layers = effective_drift(golden, store, &start)?;
        compare_drift(name, "effective drift by layer", &layers, Some(reference), report);
    }
    Ok(())
}

/// A copy of every parameter, by name.
fn copies(store: &ParamStore) -> Result<BTreeMap<String, Tensor>> {
    store.iter().map(|p| Ok((p.weight.name().to_owned(), p.weight.tensor().copy()?))).collect()
}

fn stage(golden: &Golden) -> std::result::Result<Stage, VerifyError> {
    let path = golden.folder.join("expected/meta.json");
    let unreadable = |reason: String| VerifyError::Unreadable { reason, path: path.clone() };
    let recipe = &golden.meta.recipe;
    if recipe.optimizer != "adamw" {
        return Err(unreadable(format!("recipe.optimizer is {}, not adamw", recipe.optimizer)));
    }
    let written = serde_json::json!({
        "name": "verify",
        "steps": recipe.steps,
        "batch_size": golden.input.input_ids.len(),
        "learning_rate": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "betas": recipe.betas,
        "eps": recipe.eps,
        "schedule": recipe.schedule,
        "warmup_steps": recipe.warmup_steps,
        "max_grad_norm": recipe.clip,
        "tuning": {},
    });
    let config: StageConfig = serde_json::from_value(written).map_err(|e| unreadable(format!("recipe: {e}")))?;
    let mut stages = check_stages(&[config]).map_err(|all| unreadable(format!("recipe: {}", all.join("; "))))?;
    stages.pop().ok_or_else(|| unreadable("recipe: no stage".into()))
}

/// The reference's steps; what a step's gradients lack, if a parameter has none or not a finite one.
pub(super) fn train(
    golden: &Golden,
    model: &Mllm,
    store: &ParamStore,
) -> std::result::Result<std::result::Result<Trace, String>, VerifyError> {
    let stage = stage(golden)?;
    let steps = golden.meta.recipe.steps;
    let warmup = stage.warmup.steps(steps);
    let mut optimizer = AdamW::new(store, &stage);
    let mut trace = Trace::default();
    for step in 0..steps {
        store.clear_gradients();
        trace.losses.push(gradients::backward(model, &golden.input)?);
        let norm = match global_norm(store) {
            Ok(norm) => norm,
            Err(fault) => return Ok(Err(format!("step {step}: {fault:?}"))),
        };
        trace.grad_norm.push(norm);
        let share = learning_rate_share(stage.schedule, step, steps, warmup);
        trace.lr.push(stage.learning_rate * share);
        let factor = match stage.clip {
            GradClip::Off => 1.0,
            GradClip::Norm(limit) => clip_factor(norm, limit),
        };
        optimizer.step(share, factor)?;
    }
    store.clear_gradients();
    Ok(Ok(trace))
}

/// `max |ours - reference| / max |reference - start|` over entries whose first reference gradient is more than noise.
fn displacement(name: &str, store: &ParamStore, start: &BTreeMap<String, Tensor>, expected: &Tensors) -> Result<Worst> {
    let mut worst = Worst::new(format!("{name}: parameters after training"), tolerance::DISPLACEMENT);
    for param in expected.below("final.") {
        let reference = expected.get(&format!("final.{param}"))?;
        let (Some(ours), Some(start)) = (store.get(param), start.get(param)) else {
            worst.fail(format!("{param} is no parameter here"));
            continue;
        };
        let dims = reference.dims();
        let reference = values(reference, dims, param)?;
        let (ours, start) = (values(ours.weight.tensor(), dims, param)?, values(start, dims, param)?);
        let moves: Vec<bool> = match expected.find(&format!("grad.{param}")) {
            Some(grad) => values(grad, dims, param)?.iter().map(|g| g.abs() > NOISE).collect(),
            None => vec![true; reference.len()],
        };
        let kept = || moves.iter().enumerate().filter(|(_, kept)| **kept).map(|(i, _)| i);
        let off = peak(kept().map(|i| ours[i] - reference[i]));
        let moved = peak(kept().map(|i| reference[i] - start[i]));
        worst.add(param, if off == 0.0 { 0.0 } else { off / moved });
    }
    Ok(worst)
}

/// L2 distance from the start by layer (`layer3`, or `other`), over the vision parameters that train; `square` gives one
/// parameter's part.
fn drift(store: &ParamStore, mut square: impl FnMut(&str, &Tensor) -> Result<f64>) -> Result<BTreeMap<String, f64>> {
    let mut layers: BTreeMap<String, f64> = BTreeMap::new();
    for param in store.trainable().filter(|p| p.role.part == Part::Vision) {
        *layers.entry(key(&param.role)).or_default() += square(param.weight.name(), param.weight.tensor())?;
    }
    for sum in layers.values_mut() {
        *sum = sum.sqrt();
    }
    Ok(layers)
}

fn key(role: &Role) -> String {
    // The reference counts prompts, which stand beside the tower, as no layer's.
    match role.layer {
        Some(LayerId::Block(i)) if role.module != "prompts" => format!("layer{i}"),
        _ => "other".into(),
    }
}

fn difference(now: &Tensor, start: &Tensor) -> Result<f64> {
    let (now, start) = (values(now, start.dims(), "a parameter")?, values(start, start.dims(), "a parameter")?);
    Ok(now.iter().zip(&start).map(|(a, b)| (a - b) * (a - b)).sum())
}

/// The drift of `W + (alpha / r) up down`: the factors' own distance says little about the weights'.
fn effective_drift(
    golden: &Golden,
    store: &ParamStore,
    start: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, f64>> {
    let scale = golden.meta.lora.alpha / golden.meta.lora.rank as f64;
    drift(store, |name, up| {
        let Some(layer) = name.strip_suffix("lora_up.weight") else { return Ok(0.0) };
        let down_name = format!("{layer}lora_down.weight");
        let (Some(down), Some(down_start)) = (store.get(&down_name), start.get(&down_name)) else {
            candle_core::bail!("{name} has no lora_down beside it");
        };
        let now = up.matmul(down.weight.tensor())?;
        Ok(difference(&now, &start[name].matmul(down_start)?)? * scale * scale)
    })
}

fn compare_drift(
    name: &str,
    what: &str,
    ours: &BTreeMap<String, f64>,
    reference: Option<&BTreeMap<String, f64>>,
    report: &mut VerifyReport,
) {
    let mut worst = Worst::new(format!("{name}: {what}"), tolerance::TRACE);
    let none = BTreeMap::new();
    let reference = reference.unwrap_or(&none);
    if reference.is_empty() && ours.is_empty() {
        worst.add("nothing of the tower trains", 0.0);
    }
    for (layer, theirs) in reference {
        worst.values(layer, &[ours.get(layer).copied().unwrap_or(0.0)], &[*theirs]);
    }
    for layer in ours.keys().filter(|layer| !reference.contains_key(*layer)) {
        worst.fail(format!("{layer} trains here and not in the reference"));
    }
    report.rows.push(worst.row());
}
