//! LLaMA (Touvron et al. 2023; `LlamaForCausalLM` of Hugging Face): RMS norms before attention and gated FFN, rotary
//! positions, grouped queries, optionally tied embeddings.

mod block;
mod cache;
mod projection;

pub use cache::KvCache;

use super::bert::INITIALIZER_RANGE;
use super::shapes::LanguageShape;
use crate::config::model::LanguageMethod;
use crate::nn::{Init, ParamBuilder, RmsNorm};
use crate::ops::{self, AttentionSpec, Ctx, RopeTable, Weight};
use block::Block;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// The language model.
#[derive(Clone, Debug)]
pub struct Llama {
    embed: Weight,
    blocks: Vec<Arc<Block>>,
    norm: RmsNorm,
    head: Weight,
    shape: LanguageShape,
    trains: bool,
    checkpointing: bool,
}

/// Whether a language model's parameter trains under `method`.
#[must_use]
pub fn language_trains(method: &LanguageMethod, name: &str) -> bool {
    match method {
        LanguageMethod::Full => true,
        LanguageMethod::Lora { .. } => name.contains(".lora_"),
        LanguageMethod::Freeze => false,
    }
}

impl Llama {
    /// Keys `model.embed_tokens`, `model.layers.{i}`, `model.norm` and, unless tied, `lm_head`, below the builder's
    /// prefix. `checkpointing` runs each block again in the backward pass.
    pub fn new(
        pb: &ParamBuilder<'_>,
        shape: &LanguageShape,
        method: &LanguageMethod,
        checkpointing: bool,
    ) -> Result<Self> {
        let model = pb.pp("model");
        let dims = [shape.vocabulary, shape.width];
        let embed = model.pp("embed_tokens").get(&dims, "weight", Init::Normal(INITIALIZER_RANGE))?;
        let layers = model.pp("layers");
        let blocks =
            (0..shape.layers).map(|i| Block::new(&layers.pp(i), shape, method).map(Arc::new)).collect::<Result<_>>()?;
        let norm = RmsNorm::new(&model.pp("norm"), shape.width, shape.eps)?;
        let head = if shape.tied {
            embed.clone()
        } else {
            pb.pp("lm_head").get(&dims, "weight", Init::Normal(INITIALIZER_RANGE))?
        };
        let trains = !matches!(method, LanguageMethod::Freeze);
        Ok(Self { embed, blocks, norm, head, shape: shape.clone(), trains, checkpointing })
    }

    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> &LanguageShape {
        &self.shape
    }

    /// Token embeddings: `ids [B, T]` (u32) to `[B, T, D]`.
    pub fn embed(&self, ctx: &Ctx, ids: &Tensor) -> Result<Tensor> {
        ops::embedding(ctx, ids, &self.embed)
    }

    /// `x [B, L, D]` (embeddings, right padded, `lengths[b]` valid rows) to normalised states `[B, L, D]`.
    pub fn states(&self, ctx: &Ctx, x: &Tensor, lengths: &Arc<[usize]>) -> Result<Tensor> {
        let (_, l, _) = x.dims3()?;
        // Nothing to train here and no gradient to hand on: keep no activations.
        let quiet;
        let ctx = if self.trains || ops::is_tracked(x) {
            ctx
        } else {
            quiet = ctx.without_recording();
            &quiet
        };
        let table = Arc::new(self.table(l, x)?);
        let spec = Arc::new(self.attention(Some(lengths.clone())));
        let stack = |x: &Tensor| {
            let mut x = x.clone();
            for block in &self.blocks {
                x = if self.checkpointing {
                    let (block, table, spec) = (block.clone(), table.clone(), spec.clone());
                    let again = move |ctx: &Ctx, x: &Tensor| Ok((block.forward(ctx, x, &table, &spec)?, ()));
                    ops::checkpoint(ctx, &x, Arc::new(again))?.0
                } else {
                    block.forward(ctx, &x, &table, &spec)?
                };
            }
            Ok((self.norm.forward(ctx, &x)?, ()))
        };
        // Adapters are plain tensor operations, which a segment does not see; a checkpointed block hides them.
        let chains = self.checkpointing || self.blocks.iter().all(|block| block.is_plain());
        let (x, ()) = if chains { ops::segment(ctx, x, stack)? } else { stack(x)? };
        Ok(x)
    }

    /// Logits `[R, V]` of normalised states `[R, D]`.
    pub fn logits(&self, ctx: &Ctx, states: &Tensor) -> Result<Tensor> {
        ops::linear(ctx, states, &self.head, None)
    }

    /// An empty cache for a text of at most `capacity` tokens.
    pub fn cache(&self, capacity: usize) -> Result<KvCache> {
        let table = self.table(capacity, self.embed.tensor())?;
        Ok(KvCache::new(self.blocks.len(), capacity, table))
    }

    /// Goes on from `cache` with `x [1, n, D]`; returns normalised states `[1, n, D]`. Records nothing.
    pub fn advance(&self, x: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        let (b, n, _) = x.dims3()?;
        if b != 1 || cache.len() + n > cache.capacity() {
            bail!("a cache of {} tokens, {} of them used, cannot take {b} x {n} more", cache.capacity(), cache.len());
        }
        let (ctx, spec) = (Ctx::eval().computing_in(x.dtype()), self.attention(None));
        let mut x = x.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.advance(&ctx, &x, cache, i, &spec)?;
        }
        cache.grow(n);
        self.norm.forward(&ctx, &x)
    }

    fn attention(&self, lengths: Option<Arc<[usize]>>) -> AttentionSpec {
        AttentionSpec { heads: self.shape.heads, kv_heads: self.shape.kv_heads, causal: true, lengths }
    }

    fn table(&self, positions: usize, like: &Tensor) -> Result<RopeTable> {
        RopeTable::new(self.shape.rope_theta, self.shape.head_dim, positions, like.dtype(), like.device())
    }
}

#[cfg(test)]
mod tests;
