//! Softmax attention: `softmax(scale q k^T + mask) v` for every head.

use candle_core::{D, Result, Tensor, bail};
use std::sync::Arc;

/// Heads and mask of one attention.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; each serves `heads / kv_heads` consecutive query heads.
    pub kv_heads: usize,
    /// Query `i` of `n_q` sees keys up to `i + n_k - n_q`.
    pub causal: bool,
    /// Valid keys of each sample (right padding): key `j >= lengths[b]` is never seen. A row with no visible key is zero.
    pub lengths: Option<Arc<[usize]>>,
}

impl AttentionSpec {
    /// Every query sees every key.
    #[must_use]
    pub fn bidirectional(heads: usize) -> Self {
        Self { heads, kv_heads: heads, causal: false, lengths: None }
    }
}

/// `q [B, N_q, heads * d]`, `k, v [B, N_k, kv_heads * d]`; scale `1 / sqrt(d)`; returns `[B, N_q, heads * d]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    composed(q, k, v, spec)
}

/// The same in plain tensor operations.
pub fn composed(q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let (b, n_q, width) = q.dims3()?;
    let n_k = k.dim(1)?;
    if spec.heads == 0 || width % spec.heads != 0 || spec.kv_heads == 0 || spec.heads % spec.kv_heads != 0 {
        bail!("attention: width {width}, {} heads, {} key/value heads do not fit", spec.heads, spec.kv_heads);
    }
    let d = width / spec.heads;
    let group = spec.heads / spec.kv_heads;
    let split = |t: &Tensor, n: usize, heads: usize| t.reshape((b, n, heads, d))?.transpose(1, 2)?.contiguous();
    let repeat = |t: Tensor| -> Result<Tensor> {
        t.unsqueeze(2)?.broadcast_as((b, spec.kv_heads, group, n_k, d))?.reshape((b, spec.heads, n_k, d))?.contiguous()
    };
    let (q, k, v) =
        (split(q, n_q, spec.heads)?, repeat(split(k, n_k, spec.kv_heads)?)?, repeat(split(v, n_k, spec.kv_heads)?)?);
    let scores = (q.matmul(&k.t()?)? * (1.0 / (d as f64).sqrt()))?;
    let mut visible = vec![0u8; b * n_q * n_k];
    for (row, seen) in visible.chunks_mut(n_k).enumerate() {
        let (sample, i) = (row / n_q, row % n_q);
        let valid = spec.lengths.as_ref().map_or(n_k, |l| l[sample].min(n_k));
        let until = if spec.causal { valid.min((i + n_k + 1).saturating_sub(n_q)) } else { valid };
        seen[..until].fill(1);
    }
    let visible = Tensor::from_vec(visible, (b, 1, n_q, n_k), q.device())?.broadcast_as(scores.shape())?;
    let hidden = Tensor::new(-1e30f32, q.device())?.to_dtype(scores.dtype())?.broadcast_as(scores.shape())?;
    let weights = candle_nn::ops::softmax(&visible.where_cond(&scores, &hidden)?, D::Minus1)?;
    let weights = visible.where_cond(&weights, &weights.zeros_like()?)?;
    weights.matmul(&v)?.transpose(1, 2)?.reshape((b, n_q, width))
}
