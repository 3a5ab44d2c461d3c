//! What goes between members: gradients, summed, and parameters, given by whoever moved them.

use crate::dist::Collective;
use crate::nn::ParamStore;
use crate::ops::{GradSlot, Weight};
use crate::train::gradients::squares;
use candle_core::{Result, Tensor};
use std::cmp::Reverse;
use std::sync::Arc;

/// Which of `members` moves each trainable parameter, in the store's order: the largest first, each to whoever has least.
pub(super) fn movers(params: &ParamStore, members: usize) -> Vec<usize> {
    let sizes: Vec<usize> = params.trainable().map(|param| param.weight.dims().iter().product()).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|i| Reverse(sizes[*i]));
    let (mut load, mut movers) = (vec![0; members], vec![0; sizes.len()]);
    for i in order {
        let mover = (0..members).min_by_key(|member| load[*member]).unwrap_or(0);
        load[mover] += sizes[i];
        movers[i] = mover;
    }
    movers
}

/// Which trainable parameters have a gradient, in the store's order.
pub(super) fn filled(params: &ParamStore) -> Vec<bool> {
    params.trainable().map(|param| param.weight.slot().is_some_and(|slot| slot.is_filled())).collect()
}

/// Those of `filled`.
fn of<'p>(params: &'p ParamStore, filled: &'p [bool]) -> impl Iterator<Item = &'p Weight> {
    params.trainable().zip(filled).filter(|(_, filled)| **filled).map(|(param, _)| &param.weight)
}

/// Makes the gradients of `filled` parameters float32 and this member's alone; zeros where it has none.
pub(super) fn prepare(params: &ParamStore, filled: &[bool]) -> Result<()> {
    of(params, filled).try_for_each(|weight| match weight.slot() {
        Some(slot) => slot.make_summable(weight.tensor()),
        None => Ok(()),
    })
}

/// Sums what [`prepare`] made ready.
pub(super) fn sum(params: &ParamStore, filled: &[bool], end: &dyn Collective) -> Result<()> {
    let slots: Vec<&Arc<GradSlot>> = of(params, filled).filter_map(Weight::slot).collect();
    let mut there: Vec<Tensor> = Vec::new();
    for slot in slots {
        match slot.with_host(|gradient| end.sum_host(gradient)) {
            Some(summed) => summed?,
            None => there.extend(slot.summable()),
        }
    }
    end.sum_there(&there)
}

/// Gives every parameter of `filled` from its mover to all members, of which this is number `own`.
pub(super) fn spread(
    params: &ParamStore,
    filled: &[bool],
    movers: &[usize],
    own: usize,
    end: &dyn Collective,
) -> Result<()> {
    let mut there: Vec<(Tensor, usize)> = Vec::new();
    for ((param, mover), _) in params.trainable().zip(movers).zip(filled).filter(|(_, filled)| **filled) {
        let weight = &param.weight;
        if weight.is_on_host() {
            let mut given = Ok(());
            weight.update_host(|value| given = end.spread_host(value, *mover))?;
            given?;
        } else {
            there.push((weight.tensor().clone(), *mover));
            // Whoever moved it has written its copy, too.
            if *mover != own {
                weight.drop_copy();
            }
        }
    }
    end.spread_there(&there)
}

/// The sum of squares of every parameter, in the store's order.
pub(super) fn measure(params: &ParamStore) -> Result<Vec<(String, f64)>> {
    let weights: Vec<Tensor> = params.iter().map(|param| param.weight.tensor().clone()).collect();
    let names = params.iter().map(|param| param.weight.name().to_owned());
    Ok(names.zip(squares(&weights)?).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Init, MapSource, ParamBuilder, Role};
    use candle_core::Device;

    #[test]
    fn every_parameter_has_a_mover_and_the_load_is_even() {
        let rule = |name: &str, _: &Role| name != "frozen";
        let source = MapSource::default();
        let pb = ParamBuilder::new(&source, &rule, 0, &Device::Cpu);
        for (name, size) in [("a", 4), ("frozen", 90), ("b", 10), ("c", 1), ("d", 9), ("e", 6)] {
            pb.get(&[size], name, Init::Zeros).unwrap();
        }
        let params = pb.finish();
        // 10 | 9; then 6 to the second, 4 to the first, 1 to the first.
        assert_eq!(movers(&params, 2), [0, 0, 0, 1, 1]);
        assert_eq!(movers(&params, 1), [0; 5]);
        assert_eq!(movers(&params, 9), [3, 0, 4, 1, 2]);
    }
}
