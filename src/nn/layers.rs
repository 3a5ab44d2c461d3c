//! The smallest layers: a weight or two and one operation.

use super::init::Init;
use super::params::ParamBuilder;
use crate::ops::{self, Ctx, Weight};
use candle_core::{Result, Tensor};

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[d_out, d_in]`.
    pub weight: Weight,
    /// `[d_out]`.
    pub bias: Option<Weight>,
}

impl Linear {
    /// `weight` and, if wanted, `bias` below the builder's prefix; PyTorch's initialisation where the source has none.
    pub fn new(pb: &ParamBuilder<'_>, d_in: usize, d_out: usize, bias: bool) -> Result<Self> {
        let weight = pb.get(&[d_out, d_in], "weight", Init::linear(d_in))?;
        let bias = if bias { Some(pb.get(&[d_out], "bias", Init::linear(d_in))?) } else { None };
        Ok(Self { weight, bias })
    }

    /// `x [.., d_in]` to `[.., d_out]`.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        ops::linear(ctx, x, &self.weight, self.bias.as_ref())
    }
}

/// Layer norm with scale and shift.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// `[d]`.
    pub weight: Weight,
    /// `[d]`.
    pub bias: Weight,
    eps: f64,
}

impl LayerNorm {
    /// `weight` and `bias` below the builder's prefix, 1 and 0 where the source has none.
    pub fn new(pb: &ParamBuilder<'_>, d: usize, eps: f64) -> Result<Self> {
        let weight = pb.get(&[d], "weight", Init::Ones)?;
        let bias = pb.get(&[d], "bias", Init::Zeros)?;
        Ok(Self { weight, bias, eps })
    }

    /// `x [.., d]`.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(ctx, x, &self.weight, &self.bias, self.eps)
    }
}

/// RMS norm with scale.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// `[d]`.
    pub weight: Weight,
    eps: f64,
}

impl RmsNorm {
    /// `weight` below the builder's prefix, 1 where the source has none.
    pub fn new(pb: &ParamBuilder<'_>, d: usize, eps: f64) -> Result<Self> {
        Ok(Self { weight: pb.get(&[d], "weight", Init::Ones)?, eps })
    }

    /// `x [.., d]`.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(ctx, x, &self.weight, self.eps)
    }
}
