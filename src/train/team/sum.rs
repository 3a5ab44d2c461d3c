//! Gradients of one member's parameters, summed with the other members'.

use crate::dist::Collective;
use crate::nn::ParamStore;
use crate::ops::GradSlot;
use crate::train::gradients::squares;
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Which trainable parameters have a gradient, in the store's order.
pub(super) fn filled(params: &ParamStore) -> Vec<bool> {
    params.trainable().map(|param| param.weight.slot().is_some_and(|slot| slot.is_filled())).collect()
}

/// Makes the gradients of `filled` parameters float32 and this member's alone; zeros where it has none.
pub(super) fn prepare(params: &ParamStore, filled: &[bool]) -> Result<()> {
    params
        .trainable()
        .zip(filled)
        .filter(|(_, filled)| **filled)
        .try_for_each(|(param, _)| param.weight.slot().map_or(Ok(()), |slot| slot.make_summable(param.weight.tensor())))
}

/// Sums what [`prepare`] made ready.
pub(super) fn sum(params: &ParamStore, filled: &[bool], end: &dyn Collective) -> Result<()> {
    let slots: Vec<&Arc<GradSlot>> = params
        .trainable()
        .zip(filled)
        .filter(|(_, filled)| **filled)
        .filter_map(|(param, _)| param.weight.slot())
        .collect();
    let mut there: Vec<Tensor> = Vec::new();
    for slot in slots {
        match slot.with_host(|gradient| end.sum_host(gradient)) {
            Some(summed) => summed?,
            None => there.extend(slot.summable()),
        }
    }
    end.sum_there(&there)
}

/// The sum of squares of every trainable parameter, in the store's order.
pub(super) fn measure(params: &ParamStore) -> Result<Vec<(String, f64)>> {
    let weights: Vec<Tensor> = params.trainable().map(|param| param.weight.tensor().clone()).collect();
    let names = params.trainable().map(|param| param.weight.name().to_owned());
    Ok(names.zip(squares(&weights)?).collect())
}
