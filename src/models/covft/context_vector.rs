//! Context vector extraction (CVE): the text vector asks the image tokens of one layer.
//!
//! `t' = f_res(t)`, `z' = f_res(z)`, `c = CrossAttention(query t', keys and values [z'_n, t'] for every token n)`: text
//! and image are joined along the *feature* dimension, as the released code does.

use super::residual_block::ResidualBlock;
use crate::nn::{Init, Linear, ParamBuilder};
use crate::ops::{self, Ctx, PoolWeights, Weight};
use candle_core::{Result, Tensor, bail};

/// Heads of the cross-attention.
const HEADS: usize = 4;

/// One layer's extractor; layers share nothing.
#[derive(Clone, Debug)]
pub struct ContextVector {
    image: ResidualBlock,
    text: ResidualBlock,
    q: Weight,
    k: Weight,
    v: Weight,
    /// Biases of the three projections, one after the other: `[3 C]`.
    bias: Weight,
    out: Linear,
}

impl ContextVector {
    /// `image_resblock`, `text_resblock` and `cross_attn` below `pb`; `width` D of the tower, `context` width C of the
    /// text vector.
    pub fn new(pb: &ParamBuilder<'_>, width: usize, context: usize) -> Result<Self> {
        if !context.is_multiple_of(HEADS) {
            bail!("the text vector is {context} wide, no multiple of the {HEADS} heads of the context extractor");
        }
        let joined = width + context;
        let image = ResidualBlock::new(&pb.pp("image_resblock"), width)?;
        let text = ResidualBlock::new(&pb.pp("text_resblock"), context)?;
        let pb = pb.pp("cross_attn");
        let project = |name: &str, d_in: usize| pb.get(&[context, d_in], name, Init::xavier(d_in, context));
        let q = project("q_proj_weight", context)?;
        let k = project("k_proj_weight", joined)?;
        let v = project("v_proj_weight", joined)?;
        let bias = pb.get(&[3 * context], "in_proj_bias", Init::Zeros)?;
        let out = pb.pp("out_proj");
        let out = Linear {
            weight: out.get(&[context, context], "weight", Init::linear(context))?,
            bias: Some(out.get(&[context], "bias", Init::Zeros)?),
        };
        Ok(Self { image, text, q, k, v, bias, out })
    }

    /// `h [B, N, D]` (the layer's normalised tokens, class token included), `text [B, C]`; returns `c [B, C]`.
    pub fn forward(&self, ctx: &Ctx, h: &Tensor, text: &Tensor) -> Result<Tensor> {
        let image = self.image.forward(ctx, h)?;
        // A vector a sample: plain operations cost nothing there.
        let text = ops::island(&[], |_| self.text.forward(ctx, text))?;
        let query = ops::island(&[&text], |text| self.query(ctx, text[0]))?;
        let weights = PoolWeights { keys: &self.k, values: &self.v, bias: &self.bias, heads: HEADS };
        self.out.forward(ctx, &ops::attention_pool(ctx, &query, &image, &text, &weights)?)
    }

    /// `q_proj_weight t' + in_proj_bias[..C]`.
    fn query(&self, ctx: &Ctx, text: &Tensor) -> Result<Tensor> {
        let bias = ctx.operand(&self.bias)?.narrow(0, 0, text.dim(1)?)?;
        let query = ops::add_bias(&ops::linear(ctx, text, &self.q, None)?, &bias)?;
        ops::observe_bias(ctx, query, &self.bias, 0)
    }
}
