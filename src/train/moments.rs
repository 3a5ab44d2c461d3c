//! Where a parameter's two moments are kept, and the optimiser's step for parameters on a device.

use crate::config::train::MomentType;
use crate::kernels::cuda::{AdamWState, adamw_update};
use crate::ops::{AdamWStep, Weight, engine_of};
use candle_core::{DType, Device, Result, Tensor, bail};
use std::borrow::Cow;

/// First and second moment of one parameter, where the parameter is.
#[derive(Debug)]
pub(super) enum MomentPair {
    /// Plain numbers.
    Host {
        /// First moment.
        first: Vec<f32>,
        /// Second moment.
        second: Vec<f32>,
    },
    /// Tensors of the parameter's shape, on its device; float32, or bfloat16 where the stage says so.
    Device {
        /// First moment.
        first: Tensor,
        /// Second moment.
        second: Tensor,
    },
}

impl MomentPair {
    /// The numbers of `moments`, for changing; zeros where there were none.
    pub(super) fn on_host(moments: &mut Option<Self>, len: usize) -> Result<(&mut Vec<f32>, &mut Vec<f32>)> {
        if let Some(Self::Device { first, second }) = moments {
            let (first, second) = (numbers(first)?, numbers(second)?);
            *moments = Some(Self::Host { first, second });
        }
        match moments.get_or_insert_with(|| Self::Host { first: vec![0.0; len], second: vec![0.0; len] }) {
            Self::Host { first, second } => Ok((first, second)),
            Self::Device { .. } => candle_core::bail!("moments were just brought to the host"),
        }
    }

    /// One step of `weight`, the gradient first multiplied by `factor`: by a kernel in place where there is one, else in
    /// tensor operations. Kernels measure it against `start`, if there is one: [`moved`](crate::kernels::cuda::moved) takes
    /// what comes back.
    pub(super) fn step_on_device(
        moments: &mut Option<Self>,
        kept_in: MomentType,
        weight: &Weight,
        gradient: &Tensor,
        factor: f64,
        step: &AdamWStep,
        start: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let theta = weight.tensor();
        let gradient = gradient.to_device(theta.device())?;
        let dtype = match kept_in {
            MomentType::F32 => theta.dtype(),
            MomentType::Bf16 => DType::BF16,
        };
        let (first, second) = match moments.take() {
            Some(Self::Device { first, second }) => (first, second),
            Some(Self::Host { first, second }) => {
                let there = |v: Vec<f32>| {
                    Tensor::from_vec(v, theta.dims(), &Device::Cpu)?.to_device(theta.device())?.to_dtype(dtype)
                };
                (there(first)?, there(second)?)
            }
            None => (theta.zeros_like()?.to_dtype(dtype)?, theta.zeros_like()?.to_dtype(dtype)?),
        };
        if let (Some(engine), DType::F32) = (engine_of(theta), theta.dtype()) {
            let copy = weight.kept_copy();
            let state = AdamWState { theta, copy: copy.as_ref(), first: &first, second: &second };
            let (gradient, key) = (gradient.contiguous()?, draws_of(weight.name()));
            let measured = adamw_update(&engine, state, &gradient, factor as f32, step, key, start)?;
            *moments = Some(Self::Device { first, second });
            return Ok(measured);
        }
        let gradient = gradient.to_dtype(theta.dtype())?;
        if kept_in != MomentType::F32 {
            bail!("{}: moments in bfloat16 need the kernels of a card", weight.name());
        }
        let gradient = if factor < 1.0 { (gradient * factor)? } else { gradient };
        let first = (&first + ((&gradient - &first)? * (1.0 - step.beta1))?)?;
        let second = ((second * step.beta2)? + (gradient.sqr()? * (1.0 - step.beta2))?)?;
        // At rate 0 the moments advance and nothing moves.
        if step.lr != 0.0 {
            let t = step.step as f64;
            let (bias1, bias2) = (1.0 - step.beta1.powf(t), 1.0 - step.beta2.powf(t));
            let root = ((second.sqrt()? * (1.0 / bias2.sqrt()))? + step.eps)?;
            let change = ((&first / root)? * (step.lr / bias1))?;
            weight.assign(&((theta * (1.0 - step.lr * step.weight_decay))? - change)?)?;
        }
        *moments = Some(Self::Device { first: first.detach(), second: second.detach() });
        Ok(None)
    }

    /// Both moments' numbers.
    pub(super) fn numbers(&self) -> Result<[Cow<'_, [f32]>; 2]> {
        match self {
            Self::Host { first, second } => Ok([first.into(), second.into()]),
            Self::Device { first, second } => Ok([numbers(first)?.into(), numbers(second)?.into()]),
        }
    }

    /// The first moment's numbers.
    pub(super) fn first(&self) -> Result<Cow<'_, [f32]>> {
        match self {
            Self::Host { first, .. } => Ok(first.into()),
            Self::Device { first, .. } => numbers(first).map(Cow::from),
        }
    }
}

/// Tells parameters apart where moments are rounded by chance (FNV-1a of the name).
fn draws_of(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
