//! Dropout whose mask comes from a counter, so that a recomputed block drops the same elements.

use super::ctx::Ctx;
use super::graph::{self, fits, host};
use super::weight::read_f32;
use crate::kernels::{self, DropoutKey};
use candle_core::{Result, Tensor};

/// Zeroes each element of `x` with probability `p` and scales the rest by `1 / (1 - p)`; the identity without
/// [`Draw`](super::Draw) or at `p = 0`. `key` tells call sites apart (hash of the parameter's name).
pub fn dropout(ctx: &Ctx, x: &Tensor, p: f64, key: u64) -> Result<Tensor> {
    let Some(draw) = ctx.draw.filter(|_| p > 0.0) else { return Ok(x.clone()) };
    let state = mix(draw.seed ^ mix(key ^ mix(draw.step ^ mix(u64::from(draw.micro)))));
    let key = DropoutKey { state, limit: (p * 2f64.powi(32)) as u64, scale: (1.0 / (1.0 - p)) as f32 };
    if !fits(&[x]) {
        let mask = kernels::dropout(&vec![1.0; x.elem_count()], key);
        return x * Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
    }
    let x = x.contiguous()?;
    let y = read_f32(&x, |x| kernels::dropout(x, key))?;
    graph::record("dropout", [&x], y, x.dims(), move |_, grad| {
        // The mask is a function of key and index: it is made again rather than kept.
        Ok([Some(host(read_f32(grad, |g| kernels::dropout(g, key))?, grad.dims())?)])
    })
}

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::Draw;
    use super::super::testing::{Case, without_kernels};
    use super::*;

    fn drawing(ctx: &Ctx) -> Ctx {
        ctx.clone().with_draw(Draw { seed: 5, step: 3, micro: 1 })
    }

    /// One number after another, as the definition says.
    fn naive(ctx: &Ctx, x: &Tensor, p: f64, key: u64) -> Result<Tensor> {
        let draw = ctx.draw.unwrap();
        let mut state = mix(draw.seed ^ mix(key ^ mix(draw.step ^ mix(u64::from(draw.micro)))));
        let mask: Vec<f64> = (0..x.elem_count())
            .map(|_| {
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                if (mix(state) >> 32) < (p * 2f64.powi(32)) as u64 { 0.0 } else { 1.0 / (1.0 - p) }
            })
            .collect();
        x * Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?
    }

    fn case(dims: &[usize]) -> Case {
        Case {
            inputs: vec![dims.to_vec()],
            weights: vec![],
            fused: |ctx, x, _| dropout(&drawing(ctx), &x[0], 0.3, 7),
            composed: |ctx, x, _| naive(&drawing(ctx), &x[0], 0.3, 7),
        }
    }

    #[test]
    fn the_mask_is_a_function_of_key_and_index() {
        without_kernels(|| {
            case(&[3, 11]).check();
            case(&[5, 70, 130]).check_large();
        });
    }

    #[test]
    fn the_identity_outside_training() {
        let x = super::super::testing::random(&[4], 1);
        assert_eq!(dropout(&Ctx::eval(), &x, 0.5, 1).unwrap().to_vec1::<f32>().unwrap(), x.to_vec1::<f32>().unwrap());
    }
}
