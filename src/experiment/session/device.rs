//! The device that a recipe names.

use super::error::SessionError;
use crate::config::{Compute, Recipe};
use candle_core::Device;

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
    if recipe.dtype == Compute::Bf16 {
        // Master weights in float32 with a bfloat16 forward pass need casts at every operand that are not there yet.
        return Err(refuse("bfloat16 compute is not available on this device yet; set dtype = \"f32\""));
    }
    Ok(Device::new_cuda(number)?)
}
