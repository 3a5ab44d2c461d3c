//! LoRA: `y = W x + b + (alpha / r) up(down(dropout(x)))`; `down` begins as PyTorch's linear layers do
//! (`kaiming_uniform(a = sqrt 5)`), `up` at zero, so the adapted layer begins as the plain one.

use crate::nn::{Init, Linear, ParamBuilder};
use crate::ops::{self, Ctx, Weight};
use candle_core::{Result, Tensor, bail};

/// Rank, scale and dropout of the adapters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraSpec {
    /// Rank r.
    pub rank: usize,
    /// The adapter's output is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Dropout before `down`, in training.
    pub dropout: f64,
}

/// The two factors beside one linear layer.
#[derive(Clone, Debug)]
pub struct Adapter {
    down: Weight,
    up: Weight,
    scale: f64,
    dropout: f64,
    key: u64,
}

impl Adapter {
    /// `lora_down.weight [r, d_in]` and `lora_up.weight [d_out, r]` below `pb`, the builder of the adapted layer.
    pub fn new(pb: &ParamBuilder<'_>, d_in: usize, d_out: usize, spec: LoraSpec) -> Result<Self> {
        if spec.rank == 0 {
            bail!("LoRA needs a rank of at least 1");
        }
        let down = pb.get(&[spec.rank, d_in], "lora_down.weight", Init::linear(d_in))?;
        let up = pb.get(&[d_out, spec.rank], "lora_up.weight", Init::Zeros)?;
        let key = dropout_key(down.name());
        Ok(Self { down, up, scale: spec.alpha / spec.rank as f64, dropout: spec.dropout, key })
    }

    /// The adapter's part of the output: `x [.., d_in]` to `[.., d_out]`.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        let x = ops::dropout(ctx, x, self.dropout, self.key)?;
        ops::linear(ctx, &ops::linear(ctx, &x, &self.down, None)?, &self.up, None)? * self.scale
    }
}

/// A linear layer that may have an adapter.
#[derive(Clone, Debug)]
pub struct LoraLinear {
    base: Linear,
    adapter: Option<Adapter>,
}

impl LoraLinear {
    /// `weight` and `bias` below `pb`, and the adapter's factors under the module `lora_module`.
    pub fn new(
        pb: &ParamBuilder<'_>,
        (d_in, d_out): (usize, usize),
        bias: bool,
        lora: Option<(LoraSpec, &'static str)>,
    ) -> Result<Self> {
        let base = Linear::new(pb, d_in, d_out, bias)?;
        let adapter = lora.map(|(spec, module)| Adapter::new(&pb.module(module), d_in, d_out, spec)).transpose()?;
        Ok(Self { base, adapter })
    }

    /// `x [.., d_in]` to `[.., d_out]`; the adapter runs under `lora_ctx` (the same pass, standing elsewhere).
    pub fn forward(&self, ctx: &Ctx, lora_ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        self.adapted(self.base.forward(ctx, x)?, lora_ctx, x)
    }

    /// The same plus `residual [.., d_out]`.
    pub fn forward_add(&self, ctx: &Ctx, lora_ctx: &Ctx, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let Linear { weight, bias } = &self.base;
        self.adapted(ops::linear_add(ctx, x, weight, bias.as_ref(), residual)?, lora_ctx, x)
    }

    /// Whether there is no adapter.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.adapter.is_none()
    }

    fn adapted(&self, y: Tensor, lora_ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        match &self.adapter {
            Some(adapter) => y + adapter.forward(lora_ctx, x)?,
            None => Ok(y),
        }
    }
}

/// Tells the dropout masks of different adapters apart (FNV-1a of the name: the same on every machine).
fn dropout_key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
