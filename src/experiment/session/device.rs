//! The device that a recipe names.

use super::error::SessionError;
use crate::config::{Compute, Recipe};
use candle_core::{DType, Device};

pub(super) fn open(recipe: &Recipe) -> Result<Device, SessionError> {
    named(&recipe.device)
}

/// The device of a name: `cpu` or `cuda:N`.
///
/// # Errors
/// Another name, a card that this program was not built for or that cannot be opened.
pub fn named(name: &str) -> Result<Device, SessionError> {
    let refuse = |reason: &str| SessionError::Device { device: name.to_owned(), reason: reason.to_owned() };
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let number = name.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok());
    card(number.ok_or_else(|| refuse("neither cpu nor cuda:N"))?, refuse)
}

#[cfg(feature = "cuda")]
fn card(number: usize, _: impl Fn(&str) -> SessionError) -> Result<Device, SessionError> {
    Ok(crate::kernels::cuda::open(number)?)
}

#[cfg(not(feature = "cuda"))]
fn card(_: usize, refuse: impl Fn(&str) -> SessionError) -> Result<Device, SessionError> {
    Err(refuse("this program was built without CUDA; build it with --features cuda, or set device = \"cpu\""))
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
        assert!(matches!(open(&plain), Ok(Device::Cpu)));
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
