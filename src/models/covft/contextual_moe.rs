//! The contextual mixture of experts (CoMoE): a block's feed-forward layer, several times over, mixed per sample by
//! what the layer's context vector asks for.
//!
//! `g = route(gate(c))`, `out = sum_e g_e E_e(h)`: one routing vector a sample, shared by its tokens.

use super::LayerRouting;
use super::context_vector::ContextVector;
use super::router::{check, route};
use crate::config::model::Router;
use crate::models::feed_forward::{FeedForward, FeedForwardSizes};
use crate::nn::{Linear, ParamBuilder};
use crate::ops::{self, Activation, Ctx, LayerId};
use candle_core::{Result, Tensor};

/// Shape of a CoMoE layer.
#[derive(Clone, Copy, Debug)]
pub struct MoeSizes {
    /// Tower width D.
    pub width: usize,
    /// Hidden width of the experts.
    pub ffn: usize,
    /// Width C of the text vector.
    pub context: usize,
    /// Experts E.
    pub experts: usize,
    /// The experts' activation, the tower's own.
    pub activation: Activation,
    /// From logits to weights.
    pub router: Router,
}

/// One CoMoE layer.
#[derive(Clone, Debug)]
pub struct ContextualMoe {
    layer: usize,
    extractor: ContextVector,
    gate: Linear,
    experts: Vec<FeedForward>,
    router: Router,
}

impl ContextualMoe {
    /// `experts`, `image_resblock`, `text_resblock`, `cross_attn` and `gate` below `pb`, which stands at the block's
    /// `mlp`. With the uniform router the loss depends on neither gate nor extractor.
    pub fn new(pb: &ParamBuilder<'_>, layer: usize, sizes: MoeSizes) -> Result<Self> {
        let MoeSizes { width, ffn, context, experts, activation, router } = sizes;
        check(router, experts)?;
        let plain = FeedForwardSizes { width, hidden: ffn, activation };
        let at = pb.module("experts");
        let experts_built = (0..experts).map(|e| FeedForward::expert(&at, e, plain)).collect::<Result<Vec<_>>>()?;
        let asking = if router == Router::Uniform { pb.unreached() } else { pb.clone() };
        let extractor = ContextVector::new(&asking.module("cve"), width, context)?;
        let gate = Linear::new(&asking.module("gate").pp("gate"), context, experts, true)?;
        Ok(Self { layer, extractor, gate, experts: experts_built, router })
    }

    /// Whether the loss depends on neither gate nor extractor.
    #[must_use]
    pub fn is_uniform(&self) -> bool {
        self.router == Router::Uniform
    }

    /// `h [B, N, D]` (normalised, class token included), `text [B, C]`; returns the mixture `[B, N, D]` and, detached,
    /// what was routed how.
    pub fn forward(&self, ctx: &Ctx, h: &Tensor, text: &Tensor) -> Result<(Tensor, LayerRouting)> {
        let layer = LayerId::Block(self.layer);
        let asking = if self.router == Router::Uniform { ctx.without_recording() } else { ctx.clone() };
        let seen = if self.router == Router::Uniform { h.detach() } else { h.clone() };
        // The text encoder is asked, never taught, through this path.
        let context = self.extractor.forward(&asking.at(layer, "cve"), &seen, &text.detach())?;
        let logits = self.gate.forward(&asking.at(layer, "gate"), &context)?;
        let weights = ops::island(&[&logits], |logits| route(self.router, logits[0]))?;
        let ctx = ctx.at(layer, "experts");
        let outputs = self.experts.iter().map(|expert| expert.forward(&ctx, h)).collect::<Result<Vec<_>>>()?;
        let mixed = ops::mixture(&outputs, &weights)?;
        let routing = LayerRouting {
            layer: self.layer,
            context: ops::wide(&context.detach())?,
            logits: ops::wide(&logits.detach())?,
            weights: ops::wide(&weights.detach())?,
        };
        Ok((mixed, routing))
    }
}
