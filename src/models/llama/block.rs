//! One block: `x += attention(norm(x)); x += down(silu(gate(norm(x))) * up(norm(x)))`.

use super::super::shapes::LanguageShape;
use super::KvCache;
use super::projection::Projection;
use crate::config::model::LanguageMethod;
use crate::nn::{ParamBuilder, RmsNorm};
use crate::ops::{self, AttentionSpec, Ctx, RopeTable};
use candle_core::{Result, Tensor};

/// A transformer block.
#[derive(Debug)]
pub(super) struct Block {
    input_norm: RmsNorm,
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
    post_norm: RmsNorm,
    gate: Projection,
    up: Projection,
    down: Projection,
    /// Whether no projection has an adapter.
    plain: bool,
}

impl Block {
    pub(super) fn new(pb: &ParamBuilder<'_>, shape: &LanguageShape, method: &LanguageMethod) -> Result<Self> {
        let (d, ffn) = (shape.width, shape.ffn);
        let (q, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let layer = |name: &str, d_in, d_out| Projection::new(&pb.pp(name), d_in, d_out, method);
        let block = Self {
            input_norm: RmsNorm::new(&pb.pp("input_layernorm"), d, shape.eps)?,
            query: layer("self_attn.q_proj", d, q)?,
            key: layer("self_attn.k_proj", d, kv)?,
            value: layer("self_attn.v_proj", d, kv)?,
            output: layer("self_attn.o_proj", q, d)?,
            post_norm: RmsNorm::new(&pb.pp("post_attention_layernorm"), d, shape.eps)?,
            gate: layer("mlp.gate_proj", d, ffn)?,
            up: layer("mlp.up_proj", d, ffn)?,
            down: layer("mlp.down_proj", ffn, d)?,
            plain: false,
        };
        let plain = [&block.query, &block.key, &block.value, &block.output, &block.gate, &block.up, &block.down]
            .iter()
            .all(|projection| projection.is_plain());
        Ok(Self { plain, ..block })
    }

    /// Whether no projection has an adapter.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// `x [B, L, D]`, every sample from position 0.
    pub(super) fn forward(&self, ctx: &Ctx, x: &Tensor, table: &RopeTable, spec: &AttentionSpec) -> Result<Tensor> {
        let run = |x: &Tensor| -> Result<Tensor> {
            let (q, k, v) = self.rotated(ctx, x, table, spec, 0)?;
            self.rest(ctx, x, &ops::attention(&q, &k, &v, spec)?)
        };
        if !self.plain {
            return run(x);
        }
        ops::segment(ctx, x, |x| Ok((run(x)?, ()))).map(|(y, ())| y)
    }

    /// The same for the `n` tokens that follow those in `cache`.
    pub(super) fn advance(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        cache: &mut KvCache,
        index: usize,
        spec: &AttentionSpec,
    ) -> Result<Tensor> {
        let (q, k, v) = self.rotated(ctx, x, &cache.table, spec, cache.len())?;
        let (k, v) = cache.append(index, k, v)?;
        self.rest(ctx, x, &ops::attention(&q, &k, &v, spec)?)
    }

    fn rotated(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        table: &RopeTable,
        spec: &AttentionSpec,
        offset: usize,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let normed = self.input_norm.forward(ctx, x)?;
        let q = ops::rope(&self.query.forward(ctx, &normed)?, spec.heads, table, offset)?;
        let k = ops::rope(&self.key.forward(ctx, &normed)?, spec.kv_heads, table, offset)?;
        Ok((q, k, self.value.forward(ctx, &normed)?))
    }

    fn rest(&self, ctx: &Ctx, x: &Tensor, attended: &Tensor) -> Result<Tensor> {
        let x = self.output.forward_add(ctx, attended, x)?;
        let normed = self.post_norm.forward(ctx, &x)?;
        let inner = ops::silu_mul(&self.gate.forward(ctx, &normed)?, &self.up.forward(ctx, &normed)?)?;
        self.down.forward_add(ctx, &inner, &x)
    }
}
