//! The gradients of a step: complete, finite, and their global norm.

use crate::nn::ParamStore;
use crate::ops;

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
        match slot.with_host(|gradient| ops::squared_norm(gradient)) {
            // Squares of float32 numbers cannot overflow float64: the sum is finite exactly when the numbers are.
            Some(sum) if sum.is_finite() => total += sum,
            _ => return Err(Fault::NotFinite(name())),
        }
    }
    Ok(total.sqrt())
}

/// The factor that PyTorch's `clip_grad_norm_` multiplies gradients with: `min(1, max_norm / (norm + 1e-6))`.
#[must_use]
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}
