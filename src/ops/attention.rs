//! Softmax attention: `softmax(scale q k^T + mask) v` for every head.

use super::device;
use super::graph::{self, fits, host};
use super::precision::{matmul, wide};
use super::segment;
use super::weight::lend;
use crate::kernels::cuda::attention_fits;
use crate::kernels::{self, AttentionShape};
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
///
/// Backward, with `p` computed again from the rows' log-sum-exps: `dv = p^T do`, `ds = p (do v^T - sum(o do)) scale`,
/// `dq = ds k`, `dk = ds^T q`; the query heads that share a key/value head add up.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    if let Some(engine) = device::fits(&[q, k, v], &[]) {
        let sizes = Sizes::new(q, k, v, spec)?;
        if attention_fits(q.dtype(), sizes.d) {
            return device::attention::attention(engine, q, k, v, spec);
        }
    }
    if !fits(&[q, k, v]) || q.elem_count() == 0 || k.elem_count() == 0 {
        return segment::island(&[q, k, v], |x| composed(x[0], x[1], x[2], spec));
    }
    let sizes = Sizes::new(q, k, v, spec)?;
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let (out, lse) = lend([&q, &k, &v], |[q, k, v]| kernels::attention(q, k, v, &sizes.shape()))?;
    let kept = [q.detach(), k.detach(), v.detach()];
    graph::record("attention", [&q, &k, &v], out, q.dims(), move |out, grad| {
        let [q, k, v] = &kept;
        let [dq, dk, dv] = lend([q, k, v, out, grad], |[q, k, v, out, grad]| {
            kernels::attention_backward([q, k, v], out, &lse, grad, &sizes.shape())
        })?;
        Ok([Some(host(dq, q.dims())?), Some(host(dk, k.dims())?), Some(host(dv, v.dims())?)])
    })
}

/// Checked sizes, owning the mask.
struct Sizes {
    batch: usize,
    n_q: usize,
    n_k: usize,
    d: usize,
    spec: AttentionSpec,
}

impl Sizes {
    fn new(q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Self> {
        let ((batch, n_q, width), (b, n_k, kv_width)) = (q.dims3()?, k.dims3()?);
        let fits = spec.heads > 0
            && spec.kv_heads > 0
            && width % spec.heads == 0
            && spec.heads.is_multiple_of(spec.kv_heads)
            && b == batch
            && width / spec.heads * spec.kv_heads == kv_width
            && k.dims() == v.dims()
            && spec.lengths.as_ref().is_none_or(|l| l.len() == batch);
        if !fits {
            bail!("attention: q {:?}, k {:?}, v {:?} do not fit {spec:?}", q.dims(), k.dims(), v.dims());
        }
        Ok(Self { batch, n_q, n_k, d: width / spec.heads, spec: spec.clone() })
    }

    fn shape(&self) -> AttentionShape<'_> {
        AttentionShape {
            batch: self.batch,
            n_q: self.n_q,
            n_k: self.n_k,
            heads: self.spec.heads,
            kv_heads: self.spec.kv_heads,
            d: self.d,
            causal: self.spec.causal,
            lengths: self.spec.lengths.as_deref(),
        }
    }
}

/// The same in plain tensor operations.
pub(crate) fn composed(q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let (b, n_q, width) = q.dims3()?;
    let n_k = k.dim(1)?;
    if spec.heads == 0 || width % spec.heads != 0 || spec.kv_heads == 0 || !spec.heads.is_multiple_of(spec.kv_heads) {
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
    let scores = (wide(&matmul(&q, &k.t()?)?)? * (1.0 / (d as f64).sqrt()))?;
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
    matmul(&weights.to_dtype(v.dtype())?, &v)?.transpose(1, 2)?.reshape((b, n_q, width))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Form, random, without_kernels};
    use super::*;

    const fn spec(heads: usize, kv_heads: usize, causal: bool) -> AttentionSpec {
        AttentionSpec { heads, kv_heads, causal, lengths: None }
    }

    fn masked(heads: usize, kv_heads: usize, causal: bool, lengths: &[usize]) -> AttentionSpec {
        AttentionSpec { lengths: Some(lengths.into()), ..spec(heads, kv_heads, causal) }
    }

    fn case(q: [usize; 3], kv: [usize; 3], fused: Form, composed: Form) -> Case {
        Case { inputs: vec![q.to_vec(), kv.to_vec(), kv.to_vec()], weights: vec![], fused, composed }
    }

    macro_rules! forms {
        ($q:expr, $kv:expr, $spec:expr) => {
            case(
                $q,
                $kv,
                |_, x, _| attention(&x[0], &x[1], &x[2], &$spec),
                |_, x, _| composed(&x[0], &x[1], &x[2], &$spec),
            )
        };
    }

    #[test]
    fn bidirectional() {
        forms!([2, 5, 6], [2, 5, 6], spec(2, 2, false)).check();
        forms!([1, 2, 6], [1, 5, 6], spec(2, 2, false)).check();
    }

    #[test]
    fn causal_with_more_keys_than_queries() {
        forms!([2, 4, 6], [2, 4, 6], spec(2, 2, true)).check();
        forms!([1, 2, 6], [1, 5, 6], spec(2, 2, true)).check();
    }

    #[test]
    fn rows_that_see_nothing_are_zero() {
        // More queries than keys under a causal mask, and a sample without any valid key.
        forms!([2, 5, 6], [2, 3, 6], spec(2, 2, true)).check();
        forms!([2, 3, 6], [2, 3, 6], masked(2, 2, false, &[0, 2])).check();
    }

    #[test]
    fn grouped_queries_causal_padded() {
        forms!([2, 4, 8], [2, 4, 4], masked(4, 2, true, &[4, 2])).check();
        forms!([2, 3, 6], [2, 4, 2], masked(3, 1, false, &[1, 3])).check();
    }

    #[test]
    fn several_tiles() {
        forms!([1, 300, 16], [1, 300, 8], masked(4, 2, true, &[290])).check_large();
        forms!([2, 70, 32], [2, 1500, 32], spec(2, 2, true)).check_large();
        forms!([1, 90, 32], [1, 1400, 32], spec(2, 2, false)).check_large();
    }

    /// Widths for which cards have other kernels, and one between.
    #[test]
    fn wide_heads() {
        forms!([1, 150, 128], [1, 150, 64], spec(2, 1, true)).check_large();
        forms!([2, 70, 200], [2, 90, 200], masked(2, 2, true, &[85, 33])).check_large();
        forms!([1, 70, 256], [1, 100, 128], masked(2, 1, false, &[90])).check_large();
        without_kernels(|| forms!([1, 20, 258], [1, 20, 258], spec(2, 2, true)).check_large());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let (q, k) = (random(&[2, 3, 6], 1), random(&[2, 3, 4], 2));
        assert!(attention(&q, &k, &k, &spec(2, 2, false)).is_err());
        assert!(attention(&q, &q, &q, &spec(4, 4, false)).is_err());
        assert!(attention(&q, &q, &q, &masked(2, 2, false, &[3])).is_err());
    }
}
