//! The multimodal projector: image features to the language model's width.

use crate::config::model::ProjectorKind;
use crate::nn::{Linear, ParamBuilder};
use crate::ops::{self, Ctx};
use candle_core::{Result, Tensor};

/// `linear`: one linear layer; `mlp2x_gelu`: linear, exact GELU, linear.
#[derive(Clone, Debug)]
pub struct Projector {
    first: Linear,
    second: Option<Linear>,
}

impl Projector {
    /// Keys `weight`, `bias` (linear) or `0.*`, `2.*` (the module list of the published projector) below the prefix.
    pub fn new(pb: &ParamBuilder<'_>, kind: ProjectorKind, d_in: usize, d_out: usize) -> Result<Self> {
        Ok(match kind {
            ProjectorKind::Linear => Self { first: Linear::new(pb, d_in, d_out, true)?, second: None },
            ProjectorKind::Mlp2xGelu => Self {
                first: Linear::new(&pb.pp(0), d_in, d_out, true)?,
                second: Some(Linear::new(&pb.pp(2), d_out, d_out, true)?),
            },
        })
    }

    /// `features [B, P, D_vision]` to `[B, P, D_language]`.
    pub fn forward(&self, ctx: &Ctx, features: &Tensor) -> Result<Tensor> {
        let x = self.first.forward(ctx, features)?;
        match &self.second {
            Some(second) => second.forward(ctx, &ops::gelu_erf(&x)?),
            None => Ok(x),
        }
    }
}
