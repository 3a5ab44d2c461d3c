//! The device that a recipe names.

use super::error::SessionError;
use crate::config::{Compute, Devices, Recipe};
use crate::dist;
use candle_core::{DType, Device};

/// The devices of a recipe; the first one leads.
pub(super) fn open(recipe: &Recipe) -> Result<Vec<Device>, SessionError> {
    let devices = all(&recipe.device)?;
    // Now, and not when data and models have been read.
    if devices.len() > 1 && devices.iter().all(Device::is_cuda) && !dist::JOINS_CARDS {
        let reason = "several cards need NCCL, which this program was built without: build it with --features nccl";
        return Err(refused(&recipe.device, reason));
    }
    Ok(devices)
}

/// The device of a name: `cpu` or `cuda:N`.
///
/// # Errors
/// Another name, a card that this program was not built for or that cannot be opened, several devices.
pub fn named(name: &str) -> Result<Device, SessionError> {
    match all(name)?.as_slice() {
        [device] => Ok(device.clone()),
        several => Err(refused(name, format!("{} devices, where one is wanted", several.len()))),
    }
}

fn all(name: &str) -> Result<Vec<Device>, SessionError> {
    match Devices::parse(name).map_err(|reason| refused(name, reason))? {
        Devices::Cpu(members) => Ok(vec![Device::Cpu; members]),
        Devices::Cards(cards) => cards.into_iter().map(|number| card(number, name)).collect(),
    }
}

pub(super) fn refused(name: &str, reason: impl Into<String>) -> SessionError {
    SessionError::Device { device: name.to_owned(), reason: reason.into() }
}

#[cfg(feature = "cuda")]
fn card(number: usize, _: &str) -> Result<Device, SessionError> {
    Ok(crate::kernels::cuda::open(number)?)
}

#[cfg(not(feature = "cuda"))]
fn card(_: usize, name: &str) -> Result<Device, SessionError> {
    Err(refused(name, "this program was built without CUDA; build it with --features cuda, or set device = \"cpu\""))
}

/// The type that activations have; weights, gradients and moments are float32 either way.
pub(super) fn compute(recipe: &Recipe) -> DType {
    match recipe.dtype {
        Compute::F32 => DType::F32,
        Compute::Bf16 => DType::BF16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn bfloat16_is_for_accelerators() {
        let read = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
            Recipe::parse(include_str!("../../../configs/scenes.toml"), Path::new("scenes.toml"), &overrides)
        };
        let plain = read(&[]).unwrap();
        assert!(matches!(open(&plain).unwrap().as_slice(), [Device::Cpu]));
        assert_eq!(compute(&plain), DType::F32);
        let refused = read(&["dtype='bf16'"]).unwrap_err().to_string();
        assert!(refused.contains("dtype: the CPU computes in float32"), "{refused}");
        let card = read(&["dtype='bf16'", "device='cuda:0'"]).unwrap();
        assert_eq!(compute(&card), DType::BF16);
        if !cfg!(feature = "cuda") {
            let error = open(&card).unwrap_err().to_string();
            assert!(error.contains("built without CUDA"), "{error}");
        }
    }
}
