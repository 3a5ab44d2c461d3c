//! The residual block `f_res` of the context extractor: post-norm, hidden width twice the input's, always QuickGELU.

use crate::nn::{LayerNorm, Linear, ParamBuilder};
use crate::ops::{self, Ctx};
use candle_core::{Result, Tensor};

/// `LN(x + fc2(quick_gelu(fc1(x))))`.
#[derive(Clone, Debug)]
pub struct ResidualBlock {
    fc1: Linear,
    fc2: Linear,
    ln: LayerNorm,
}

impl ResidualBlock {
    /// `fc1 [2d, d]`, `fc2 [d, 2d]` and `ln [d]` below `pb`.
    pub fn new(pb: &ParamBuilder<'_>, d: usize) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(&pb.pp("fc1"), d, 2 * d, true)?,
            fc2: Linear::new(&pb.pp("fc2"), 2 * d, d, true)?,
            ln: LayerNorm::new(&pb.pp("ln"), d, 1e-5)?,
        })
    }

    /// `x [.., d]`, same shape out.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        let Linear { weight, bias } = &self.fc2;
        let run = |x: &Tensor| {
            let inner = ops::quick_gelu(&self.fc1.forward(ctx, x)?)?;
            let sum = ops::linear_add(ctx, &inner, weight, bias.as_ref(), x)?;
            Ok((self.ln.forward(ctx, &sum)?, ()))
        };
        ops::segment(ctx, x, run).map(|(y, ())| y)
    }
}
