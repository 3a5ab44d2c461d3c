//! A linear layer of a block, with a low-rank adapter where the method asks for one.

use super::super::bert::normal_linear;
use crate::config::model::LanguageMethod;
use crate::nn::{Init, Linear, ParamBuilder};
use crate::ops::{self, Ctx, Weight};
use candle_core::{Result, Tensor};

/// `y = W x`, plus `(alpha / r) up down dropout(x)` with an adapter.
#[derive(Debug)]
pub struct Projection {
    linear: Linear,
    adapter: Option<Adapter>,
}

#[derive(Debug)]
struct Adapter {
    down: Weight,
    up: Weight,
    scale: f64,
    dropout: f64,
    key: u64,
}

impl Projection {
    /// Keys `weight` and, for an adapter, `lora_down.weight [r, d_in]`, `lora_up.weight [d_out, r]`; the up factor
    /// begins at zero, so an adapted model begins as the plain one.
    pub(super) fn new(pb: &ParamBuilder<'_>, d_in: usize, d_out: usize, method: &LanguageMethod) -> Result<Self> {
        let linear = normal_linear(pb, d_in, d_out, false)?;
        let adapter = match *method {
            LanguageMethod::Lora { rank, alpha, dropout } => Some(Adapter {
                down: pb.pp("lora_down").get(&[rank, d_in], "weight", Init::linear(d_in))?,
                up: pb.pp("lora_up").get(&[d_out, rank], "weight", Init::Zeros)?,
                scale: alpha / rank as f64,
                dropout,
                key: key(pb.prefix()),
            }),
            LanguageMethod::Full | LanguageMethod::Freeze => None,
        };
        Ok(Self { linear, adapter })
    }

    pub(super) fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        let y = self.linear.forward(ctx, x)?;
        let Some(adapter) = &self.adapter else { return Ok(y) };
        let x = ops::dropout(ctx, x, adapter.dropout, adapter.key)?;
        let low = ops::linear(ctx, &x, &adapter.down, None)?;
        y + (ops::linear(ctx, &low, &adapter.up, None)? * adapter.scale)?
    }
}

/// FNV-1a of the layer's name: tells the call sites of dropout apart.
fn key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
