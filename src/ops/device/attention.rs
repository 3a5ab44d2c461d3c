//! Softmax attention in bfloat16.

use super::super::attention::AttentionSpec;
use super::super::graph;
use super::whole;
use crate::kernels::cuda::{self, AttentionMask, Engine};
use candle_core::{Result, Tensor};

/// The sizes are checked, and [`cuda::attention_fits`].
pub(in super::super) fn attention(
    engine: Engine,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    spec: &AttentionSpec,
) -> Result<Tensor> {
    let lengths = spec.lengths.as_ref().map(|lengths| {
        let lengths: Vec<i32> = lengths.iter().map(|n| i32::try_from(*n).unwrap_or(i32::MAX)).collect();
        Tensor::from_vec(lengths, q.dim(0)?, q.device())
    });
    let mask = AttentionMask {
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        causal: spec.causal,
        lengths: lengths.transpose()?,
    };
    let (q, k, v) = (whole(q)?, whole(k)?, whole(v)?);
    let kept = [q.detach(), k.detach(), v.detach()];
    let (out, lse) = cuda::attention(&engine, &kept[0], &kept[1], &kept[2], &mask)?;
    graph::record("attention-kernel", [&q, &k, &v], out, q.dims(), move |out, grad| {
        let gradients = cuda::attention_backward(&engine, kept.each_ref(), out, &lse, grad, &mask)?;
        Ok(gradients.map(Some))
    })
}
