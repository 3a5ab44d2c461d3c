//! Attention of one query a sample in plain tensor operations, wherever the tensors lie: one node. As the CPU's form it makes
//! neither keys nor values of single tokens, and computes in float32, which costs little here: nothing but the tokens
//! is as long as they are.

use super::super::attention_pool::PoolWeights;
use super::super::ctx::Ctx;
use super::super::graph::{self, anchored};
use super::super::precision::wide;
use super::super::segment::is_tracked;
use super::super::watch::Watch;
use super::super::weight::{GradSlot, Weight};
use crate::kernels::PoolShape;
use crate::kernels::cuda::Fresh;
use candle_core::{D, Result, Tensor};
use std::sync::Arc;

/// What the backward pass needs.
struct Back {
    shape: PoolShape,
    /// Of keys and values.
    weights: [Weight; 2],
    /// Of keys, values and bias.
    slots: [Option<Arc<GradSlot>>; 3],
    watched: [Option<Watch>; 3],
    /// Query, tokens and what is joined to them.
    tracked: [bool; 3],
    /// `[B, C]`.
    query: Tensor,
    /// `[B, N, D]`, as they came.
    tokens: Tensor,
    /// What a head asks the tokens: `[B, H, D]`.
    asks: Tensor,
    /// What the heads take of each token: `[B, H, N]`.
    shares: Tensor,
    /// What leaves the tokens, with what was joined to them: `[B, H, D + E]`.
    left: Tensor,
}

/// See [`attention_pool`](super::super::attention_pool()).
pub(in super::super) fn attention_pool(
    ctx: &Ctx,
    inputs: [&Tensor; 3],
    weights: &PoolWeights<'_>,
    shape: PoolShape,
) -> Result<Tensor> {
    let PoolShape { samples: b, joined: e, context: c, heads: h, .. } = shape;
    let tracked = inputs.map(is_tracked);
    let [query, tokens, joined] = inputs.map(Tensor::detach);
    let (query, joined) = (wide(&query)?, wide(&joined)?);
    let x = wide(&tokens)?.contiguous()?;
    let asks = swapped(&heads_first(&query, shape)?.matmul(&of_tokens(weights.keys, shape)?)?)?;
    let scores = (asks.matmul(&x.transpose(1, 2)?)? * f64::from(shape.scale()))?;
    let shares = candle_nn::ops::softmax(&scores, D::Minus1)?;
    let every_head = joined.unsqueeze(1)?.broadcast_as((b, h, e))?.contiguous()?;
    let left = Tensor::cat(&[&shares.matmul(&x)?, &every_head], 2)?;
    let y = swapped(&swapped(&left)?.matmul(&by_head(weights.values, shape)?.transpose(1, 2)?)?)?.reshape((b, c))?;
    let y = y.broadcast_add(&weights.bias.tensor().narrow(0, 2 * c, c)?)?.to_dtype(tokens.dtype())?;
    let every = [weights.keys, weights.values, weights.bias];
    let back = Back {
        shape,
        weights: [weights.keys.clone(), weights.values.clone()],
        slots: every.map(|weight| ctx.slot(weight).cloned()),
        watched: every.map(|weight| Watch::of(ctx, weight)),
        tracked,
        query,
        tokens,
        asks,
        shares,
        left,
    };
    let wanted = back.slots.iter().any(Option::is_some) || back.watched.iter().any(Option::is_some);
    let [query, tokens, joined] = inputs;
    let query = anchored(ctx, query, wanted)?;
    let output = Fresh::copy_of(&y)?;
    graph::record("attention-pool-tensors", [&query, tokens, joined], output, &[b, c], move |_, grad| back.run(grad))
}

/// `[B, C]` to `[H, B, C / H]`.
fn heads_first(t: &Tensor, shape: PoolShape) -> Result<Tensor> {
    swapped(&t.reshape((shape.samples, shape.heads, shape.context / shape.heads))?)
}

/// Samples and heads in the other order.
fn swapped(t: &Tensor) -> Result<Tensor> {
    t.transpose(0, 1)?.contiguous()
}

/// A weight by head: `[H, C / H, D + E]`.
fn by_head(weight: &Weight, shape: PoolShape) -> Result<Tensor> {
    weight.tensor().reshape((shape.heads, shape.context / shape.heads, shape.width + shape.joined))
}

/// What of it meets the tokens: `[H, C / H, D]`.
fn of_tokens(weight: &Weight, shape: PoolShape) -> Result<Tensor> {
    by_head(weight, shape)?.narrow(2, 0, shape.width)?.contiguous()
}

impl Back {
    fn run(&self, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let PoolShape { samples: b, width: d, joined: e, context: c, .. } = self.shape;
        let (x, g) = (wide(&self.tokens)?.contiguous()?, wide(grad)?);
        let by_heads = heads_first(&g, self.shape)?;
        let of_left = swapped(&by_heads.matmul(&by_head(&self.weights[1], self.shape)?)?)?;
        let of_means = of_left.narrow(2, 0, d)?.contiguous()?;
        let of_shares = of_means.matmul(&x.transpose(1, 2)?)?;
        let mean = (&self.shares * &of_shares)?.sum_keepdim(2)?;
        let of_scores = ((&self.shares * of_shares.broadcast_sub(&mean)?)? * f64::from(self.shape.scale()))?;
        let of_asks = of_scores.matmul(&x)?;
        let asks_by_heads = swapped(&of_asks)?;
        if let Some(slot) = &self.slots[0] {
            let dk = heads_first(&self.query, self.shape)?.transpose(1, 2)?.matmul(&asks_by_heads)?;
            slot.accumulate(&self.with_joined(&dk.reshape((c, d))?)?)?;
        }
        if let Some(slot) = &self.slots[1] {
            slot.accumulate(&by_heads.transpose(1, 2)?.matmul(&swapped(&self.left)?)?.reshape((c, d + e))?)?;
        }
        if let Some(slot) = &self.slots[2] {
            let none = Tensor::zeros(2 * c, g.dtype(), g.device())?;
            slot.accumulate(&Tensor::cat(&[&none, &g.sum(0)?], 0)?)?;
        }
        self.show(&of_asks, &g)?;
        let dtype = self.tokens.dtype();
        let of_query = || {
            let by_heads = asks_by_heads.matmul(&of_tokens(&self.weights[0], self.shape)?.transpose(1, 2)?)?;
            swapped(&by_heads)?.reshape((b, c))?.to_dtype(dtype)
        };
        let of_tokens = || {
            let through_means = self.shares.transpose(1, 2)?.matmul(&of_means)?;
            (through_means + of_scores.transpose(1, 2)?.matmul(&self.asks)?)?.to_dtype(dtype)
        };
        let of_joined = || of_left.narrow(2, d, e)?.sum(1)?.to_dtype(dtype);
        let [wants_query, wants_tokens, wants_joined] = self.tracked;
        Ok([
            wants_query.then(of_query).transpose()?,
            wants_tokens.then(of_tokens).transpose()?,
            wants_joined.then(of_joined).transpose()?,
        ])
    }

    /// `[.., D]` to `[.., D + E]`: what meets the joined vector moves all scores of a sample alike.
    fn with_joined(&self, t: &Tensor) -> Result<Tensor> {
        t.pad_with_zeros(D::Minus1, 0, self.shape.joined)
    }

    /// Shows the observer the factors of the samples' gradients, a row a head.
    fn show(&self, of_asks: &Tensor, grad: &Tensor) -> Result<()> {
        let PoolShape { samples, context: c, heads: h, .. } = self.shape;
        if self.watched.iter().all(Option::is_none) {
            return Ok(());
        }
        // Row h has the columns of head h.
        let own = (0..h * c).map(|i| if i % c / (c / h) == i / c { 1.0_f32 } else { 0.0 }).collect();
        let own = Tensor::from_vec(own, (1, h, c), grad.device())?.to_dtype(grad.dtype())?;
        let spread = |t: &Tensor| t.unsqueeze(1)?.broadcast_mul(&own);
        let [keys, values, bias] = &self.watched;
        if let Some(watch) = keys {
            watch.linear_tensors(&self.with_joined(of_asks)?, &spread(&self.query)?, samples)?;
        }
        if let Some(watch) = values {
            watch.linear_tensors(&self.left, &spread(grad)?, samples)?;
        }
        if let Some(watch) = bias {
            watch.vector_tensors(c, &grad.zeros_like()?, samples)?;
            watch.vector_tensors(2 * c, grad, samples)?;
        }
        Ok(())
    }
}
