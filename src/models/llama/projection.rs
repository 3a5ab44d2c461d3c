//! A linear layer of a block, with a low-rank adapter where the method asks for one.

use super::super::bert::normal_linear;
use crate::config::model::LanguageMethod;
use crate::models::tuning::{Adapter, LoraSpec};
use crate::nn::{Linear, ParamBuilder};
use crate::ops::{self, Ctx};
use candle_core::{Result, Tensor};

/// `y = W x`, plus `(alpha / r) up(down(dropout(x)))` with an adapter.
#[derive(Debug)]
pub(super) struct Projection {
    linear: Linear,
    adapter: Option<Adapter>,
}

impl Projection {
    /// Keys `weight` and, for an adapter, `lora_down.weight [r, d_in]` and `lora_up.weight [d_out, r]`; the up factor
    /// begins at zero, so an adapted model begins as the plain one.
    pub(super) fn new(pb: &ParamBuilder<'_>, d_in: usize, d_out: usize, method: &LanguageMethod) -> Result<Self> {
        let linear = normal_linear(pb, d_in, d_out, false)?;
        let adapter = match *method {
            LanguageMethod::Lora { rank, alpha, dropout } => {
                Some(Adapter::new(pb, d_in, d_out, LoraSpec { rank, alpha, dropout })?)
            }
            LanguageMethod::Full | LanguageMethod::Freeze => None,
        };
        Ok(Self { linear, adapter })
    }

    pub(super) fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        let y = self.linear.forward(ctx, x)?;
        match &self.adapter {
            Some(adapter) => y + adapter.forward(ctx, x)?,
            None => Ok(y),
        }
    }

    /// The same plus `residual`.
    pub(super) fn forward_add(&self, ctx: &Ctx, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let Linear { weight, bias } = &self.linear;
        let y = ops::linear_add(ctx, x, weight, bias.as_ref(), residual)?;
        match &self.adapter {
            Some(adapter) => y + adapter.forward(ctx, x)?,
            None => Ok(y),
        }
    }

    /// Whether there is no adapter.
    pub(super) fn is_plain(&self) -> bool {
        self.adapter.is_none()
    }
}
