//! Which parameters train, and every gradient of the first step.

use super::compare::Worst;
use super::golden::{Golden, Tensors};
use super::{VerifyReport, tolerance};
use crate::models::mllm::{Mllm, MllmInput};
use crate::nn::ParamStore;
use crate::ops::Ctx;
use candle_core::Result;
use std::collections::BTreeSet;

/// Trainable names and gradients of a method.
pub(super) fn check(
    golden: &Golden,
    name: &str,
    (model, store): (&Mllm, &ParamStore),
    expected: &Tensors,
    report: &mut VerifyReport,
) -> Result<()> {
    report.rows.push(names(golden, name, store).row());
    store.clear_gradients();
    backward(model, &golden.input)?;
    let mut worst = Worst::new(format!("{name}: gradients"), tolerance::GRADIENT);
    compare(store, expected, &mut worst)?;
    // The reference stores no gradient for what the loss does not reach; ours must not invent one.
    for param in store.trainable().filter(|p| !p.role.reached) {
        if param.weight.slot().is_some_and(|slot| slot.is_filled()) {
            worst.fail(format!("{} is declared unreached and has a gradient", param.weight.name()));
        }
    }
    store.clear_gradients();
    report.rows.push(worst.row());
    Ok(())
}

/// One backward pass of the mean loss; returns that loss.
pub(super) fn backward(model: &Mllm, input: &MllmInput) -> Result<f64> {
    let output = model.forward(&Ctx::train(input.pixels.device())?, input)?;
    let labelled: usize = output.sample_tokens.iter().sum();
    let mean = (output.loss_sum / labelled as f64)?;
    mean.backward()?;
    mean.to_scalar::<f32>().map(f64::from)
}

/// Every `grad.<name>` of the reference against the parameter's slot.
pub(super) fn compare(store: &ParamStore, expected: &Tensors, worst: &mut Worst) -> Result<()> {
    for param in expected.below("grad.") {
        let reference = expected.get(&format!("grad.{param}"))?;
        let ours = match store.get(param).and_then(|p| p.weight.slot()) {
            Some(slot) => slot.tensor(reference.dims())?,
            None => None,
        };
        match ours {
            Some(ours) => worst.tensors(param, &ours, reference)?,
            None => worst.fail(format!("{param} has no gradient")),
        }
    }
    Ok(())
}

fn names(golden: &Golden, name: &str, store: &ParamStore) -> Worst {
    let mut worst = Worst::new(format!("{name}: trainable parameters"), 0.0);
    let reference: BTreeSet<&str> = golden.meta.trainable.get(name).into_iter().flatten().map(String::as_str).collect();
    let ours: BTreeSet<&str> = store.trainable().map(|p| p.weight.name()).collect();
    for missing in reference.difference(&ours) {
        worst.fail(format!("{missing} should train"));
    }
    for extra in ours.difference(&reference) {
        worst.fail(format!("{extra} should not train"));
    }
    for same in ours.intersection(&reference) {
        worst.add(same, 0.0);
    }
    worst
}
