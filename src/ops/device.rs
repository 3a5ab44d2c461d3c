//! The forms of operations on a card: kernels of our own in float32 and bfloat16, where there are some. Their gradients are
//! those of the fused forms on the CPU; what they must equal is the composed form.

pub(super) mod activation;
pub(super) mod attention;
pub(super) mod attention_pool;
pub(super) mod cross_entropy;
pub(super) mod linear;
pub(super) mod mixture;
pub(super) mod norm;
pub(super) mod rope;

use crate::kernels::cuda::Engine;
use candle_core::{DType, Result, Tensor};

/// What runs kernels where `tensor` lies.
#[must_use]
pub(crate) fn engine_of(tensor: &Tensor) -> Option<Engine> {
    #[cfg(test)]
    if super::path::emulates() && tensor.device().is_cpu() {
        return Some(Engine::emulated());
    }
    Engine::of(tensor)
}

/// The engine for activations of one type that kernels know, on one card, and weights that lie there in float32.
pub(super) fn fits(activations: &[&Tensor], weights: &[&Tensor]) -> Option<Engine> {
    let first = *activations.first()?;
    let engine = engine_of(first)?;
    let known = matches!(first.dtype(), DType::F32 | DType::BF16);
    let together = |t: &&Tensor| t.device().same_device(first.device()) && t.elem_count() > 0;
    let fits = known
        && activations.iter().all(|t| t.dtype() == first.dtype() && together(t))
        && weights.iter().all(|t| t.dtype() == DType::F32 && together(t));
    fits.then_some(engine)
}

/// `t` if a kernel can read it as it lies, else a copy that it can.
fn whole(t: &Tensor) -> Result<Tensor> {
    t.contiguous()
}
