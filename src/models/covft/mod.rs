//! CoVFT (CVPR 2026): context vector extraction and the contextual mixture of experts.

mod context_vector;
mod contextual_moe;
mod residual_block;
mod router;

pub use context_vector::ContextVector;
pub use contextual_moe::{ContextualMoe, MoeSizes};
pub use residual_block::ResidualBlock;
pub use router::route;

use candle_core::Tensor;

/// What an expert's tensor began as: `...mlp.experts.3.0.weight` as `...mlp.fc1.weight`, `...experts.3.2.bias` as
/// `...fc2.bias`; nothing for other names.
#[must_use]
pub fn plain_ffn(name: &str) -> Option<String> {
    let (head, tail) = name.split_once(".experts.")?;
    let mut parts = tail.split('.').skip(1);
    let layer = match parts.next()? {
        "0" => "fc1",
        "2" => "fc2",
        _ => return None,
    };
    Some(format!("{head}.{layer}.{}", parts.next()?))
}

/// Context and routing of one CoMoE layer for one batch, detached from the graph, in float32.
#[derive(Clone, Debug)]
pub struct LayerRouting {
    /// Layer of the tower, from 0.
    pub layer: usize,
    /// Context vectors `[B, C]`.
    pub context: Tensor,
    /// Routing logits `[B, E]` (the released code calls them gate probabilities).
    pub logits: Tensor,
    /// Routing weights `[B, E]`.
    pub weights: Tensor,
}
