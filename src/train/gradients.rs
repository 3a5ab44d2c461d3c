//! The gradients of a step: complete, finite, and their global norm.

use crate::nn::ParamStore;
use crate::ops::GradSlot;
use rayon::prelude::*;

/// Elements of one partial sum: a fixed size, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 14;

/// Why a step's gradients cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The parameter trains and is reached, but nothing was added to its slot.
    Missing(String),
    /// The parameter's gradient holds NaN or infinity, or is not float32 on the CPU.
    NotFinite(String),
}

/// Global L2 norm of the gradients of all trainable parameters, in float64.
///
/// # Errors
/// The first parameter, in the store's order, without a gradient though the loss reaches it, or with one that is not
/// finite.
pub fn global_norm(params: &ParamStore) -> Result<f64, Fault> {
    let mut total = 0.0;
    for param in params.trainable() {
        let name = || param.weight.name().to_owned();
        let Some(slot) = param.weight.slot().filter(|slot| slot.is_filled()) else {
            if param.role.reached {
                return Err(Fault::Missing(name()));
            }
            continue;
        };
        match squares(slot) {
            Some(sum) if sum.is_finite() => total += sum,
            _ => return Err(Fault::NotFinite(name())),
        }
    }
    Ok(total.sqrt())
}

fn squares(slot: &GradSlot) -> Option<f64> {
    slot.with_host(|gradient| sum_of_squares(gradient))
}

/// Sum of squares in float64, over chunks added in order.
fn sum_of_squares(values: &[f32]) -> f64 {
    let chunk = |c: &[f32]| c.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    if values.len() <= CHUNK {
        return chunk(values);
    }
    let partial: Vec<f64> = values.par_chunks(CHUNK).map(chunk).collect();
    partial.into_iter().sum()
}

/// The factor that PyTorch's `clip_grad_norm_` multiplies gradients with: `min(1, max_norm / (norm + 1e-6))`.
#[must_use]
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}
