//! The device that a recipe names.

use super::error::SessionError;
use crate::config::{Compute, Recipe};
use candle_core::{DType, Device};

pub(super) fn open(recipe: &Recipe) -> Result<Device, SessionError> {
    let refuse = |reason: &str| SessionError::Device { device: recipe.device.clone(), reason: reason.to_owned() };
    if recipe.device == "cpu" {
        return Ok(Device::Cpu);
    }
    let number = recipe.device.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok());
    let number = number.ok_or_else(|| refuse("neither cpu nor cuda:N"))?;
    if !cfg!(feature = "cuda") {
        return Err(refuse(
            "this program was built without CUDA; build it with --features cuda, or set device = \"cpu\"",
        ));
    }
    Ok(Device::new_cuda(number)?)
}

/// The type that activations have; weights, gradients and moments are float32 either way.
pub(super) fn compute(recipe: &Recipe) -> DType {
    match recipe.dtype {
        Compute::F32 => DType::F32,
        Compute::Bf16 => DType::BF16,
    }
}
