//! Dropout whose mask comes from a counter, so that a recomputed block drops the same elements.

use super::ctx::Ctx;
use candle_core::{Result, Tensor};

/// Zeroes each element of `x` with probability `p` and scales the rest by `1 / (1 - p)`; the identity without
/// [`Draw`](super::Draw) or at `p = 0`. `key` tells call sites apart (hash of the parameter's name).
pub fn dropout(ctx: &Ctx, x: &Tensor, p: f64, key: u64) -> Result<Tensor> {
    let Some(draw) = ctx.draw.filter(|_| p > 0.0) else { return Ok(x.clone()) };
    let mut state = mix(draw.seed ^ mix(key ^ mix(draw.step ^ mix(u64::from(draw.micro)))));
    let (limit, scale) = ((p * 2f64.powi(32)) as u64, (1.0 / (1.0 - p)) as f32);
    let mask: Vec<f32> = (0..x.elem_count())
        .map(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            if (mix(state) >> 32) < limit { 0.0 } else { scale }
        })
        .collect();
    x * Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?
}

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
