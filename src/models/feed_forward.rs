//! The two-layer feed-forward network of a vision block, and an expert that begins as a copy of it.

use crate::nn::{Init, Linear, ParamBuilder};
use crate::ops::{self, Activation, Ctx};
use candle_core::{Result, Tensor, bail};

/// `second(activation(first(x)))`.
#[derive(Clone, Debug)]
pub(super) struct FeedForward {
    first: Linear,
    second: Linear,
    activation: Activation,
}

/// Shape of a feed-forward network.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeedForwardSizes {
    /// Input and output width D.
    pub(super) width: usize,
    /// Hidden width.
    pub(super) hidden: usize,
    /// Between the two layers.
    pub(super) activation: Activation,
}

impl FeedForward {
    /// `fc1` and `fc2` below `pb`. Weights that hold experts in their place are refused: the layer must not silently
    /// begin at random.
    pub(super) fn new(pb: &ParamBuilder<'_>, sizes: FeedForwardSizes) -> Result<Self> {
        if pb.contains("experts.0.0.weight")? && !pb.contains("fc1.weight")? {
            bail!(
                "{} holds experts in the weights, the recipe makes it a plain layer: keep the CoMoE layers",
                pb.prefix()
            );
        }
        let FeedForwardSizes { width, hidden, activation } = sizes;
        let first = Linear::new(&pb.pp("fc1"), width, hidden, true)?;
        let second = Linear::new(&pb.pp("fc2"), hidden, width, true)?;
        Ok(Self { first, second, activation })
    }

    /// `experts.{index}.0` and `.2` below `pb`; a source without them lends the block's own `fc1` and `fc2` (which
    /// would stand below `pb` too), as does a random start: all experts begin alike.
    pub(super) fn expert(pb: &ParamBuilder<'_>, index: usize, sizes: FeedForwardSizes) -> Result<Self> {
        let FeedForwardSizes { width, hidden, activation } = sizes;
        if index > 0 && !pb.contains(&format!("experts.{index}.0.weight"))? && pb.contains("experts.0.0.weight")? {
            bail!("{} has no expert {index} in the weights: keep their number of experts", pb.prefix());
        }
        let copy = |plain: &str, slot: usize, d_in: usize, d_out: usize| -> Result<Linear> {
            let at = pb.pp(format_args!("experts.{index}.{slot}"));
            let init = |leaf: &str| {
                let plain = format!("{}.{plain}.{leaf}", pb.prefix());
                Init::CopyOf(plain, Box::new(Init::linear(d_in)))
            };
            let weight = at.get(&[d_out, d_in], "weight", init("weight"))?;
            let bias = Some(at.get(&[d_out], "bias", init("bias"))?);
            Ok(Linear { weight, bias })
        };
        Ok(Self { first: copy("fc1", 0, width, hidden)?, second: copy("fc2", 2, hidden, width)?, activation })
    }

    /// `x [.., D]` to `[.., D]`.
    pub(super) fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        ops::segment(ctx, x, |x| Ok((self.second.forward(ctx, &self.hidden(ctx, x)?)?, ()))).map(|(y, ())| y)
    }

    /// The same plus `residual [.., D]`.
    pub(super) fn forward_add(&self, ctx: &Ctx, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let Linear { weight, bias } = &self.second;
        ops::linear_add(ctx, &self.hidden(ctx, x)?, weight, bias.as_ref(), residual)
    }

    fn hidden(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        ops::activate(self.activation, &self.first.forward(ctx, x)?)
    }
}
