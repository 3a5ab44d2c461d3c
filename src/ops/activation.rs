//! Elementwise activations.
//!
//! * QuickGELU: `x * sigmoid(1.702 x)` (CLIP, and the residual blocks of CoVFT's context extractor)
//! * GELU: `x * Phi(x)` with the error function (BERT, DINOv2, the projector), or its tanh form
//! * SiLU gate: `silu(gate) * up` (LLaMA)

use super::device;
use super::graph::{self, fits, host};
use super::precision::wide;
use super::weight::lend;
use crate::kernels::{self, Pointwise};
use candle_core::{Result, Tensor, bail};

/// An activation by its Hugging Face name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Activation {
    /// `quick_gelu`
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    /// `gelu`
    #[serde(rename = "gelu")]
    Gelu,
    /// `gelu_pytorch_tanh`
    #[serde(rename = "gelu_pytorch_tanh")]
    GeluTanh,
}

/// Applies `activation` to every element.
pub fn activate(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::QuickGelu => quick_gelu(x),
        Activation::Gelu => gelu_erf(x),
        Activation::GeluTanh => gelu_tanh(x),
    }
}

/// `x * sigmoid(1.702 x)`.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    pointwise(Pointwise::QuickGelu, x, composed::quick_gelu)
}

/// `x * (1 + erf(x / sqrt 2)) / 2`.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    pointwise(Pointwise::GeluErf, x, composed::gelu_erf)
}

/// `x * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    pointwise(Pointwise::GeluTanh, x, composed::gelu_tanh)
}

/// `silu(gate) * up`, same shapes.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if let Some(engine) = device::fits(&[gate, up], &[]) {
        return device::activation::silu_mul(engine, gate, up);
    }
    if !fits(&[gate, up]) {
        return composed::silu_mul(gate, up);
    }
    if gate.dims() != up.dims() {
        bail!("silu_mul: a gate of shape {:?} for values of shape {:?}", gate.dims(), up.dims());
    }
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    let y = lend([&gate, &up], |[g, u]| kernels::silu_mul(g, u))?;
    let kept = [gate.detach(), up.detach()];
    graph::record("silu-mul", [&gate, &up], y, gate.dims(), move |_, grad| {
        let [gate, up] = &kept;
        let (d_gate, d_up) = lend([gate, up, grad], |[g, u, d]| kernels::silu_mul_backward(g, u, d))?;
        Ok([Some(host(d_gate, gate.dims())?), Some(host(d_up, gate.dims())?)])
    })
}

fn pointwise(kind: Pointwise, x: &Tensor, composed: fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match device::fits(&[x], &[]) {
        Some(engine) => device::activation::activate(engine, kind, x),
        None if fits(&[x]) => fused(kind, x),
        None => composed(x),
    }
}

/// Keeps the input; the derivative is computed again from it.
fn fused(kind: Pointwise, x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let y = lend([&x], |[x]| kernels::activate(kind, x))?;
    let kept = x.detach();
    graph::record("activation", [&x], y, x.dims(), move |_, grad| {
        let dx = lend([&kept, grad], |[x, g]| kernels::activate_backward(kind, x, g))?;
        Ok([Some(host(dx, kept.dims())?)])
    })
}

/// The same in plain tensor operations.
pub(crate) mod composed {
    use super::wide;
    use candle_core::{Result, Tensor};

    /// Short floats are widened for the duration: a derivative of eight roundings is not one of one.
    fn widely(x: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        f(&wide(x)?)?.to_dtype(x.dtype())
    }
    pub(crate) fn quick_gelu(x: &Tensor) -> Result<Tensor> {
        widely(x, |x| x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)
    }
    pub(crate) fn gelu_erf(x: &Tensor) -> Result<Tensor> {
        widely(x, Tensor::gelu_erf)
    }
    pub(crate) fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
        widely(x, Tensor::gelu)
    }
    pub(crate) fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        widely(gate, |gate| gate.silu()? * wide(up)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Form};
    use super::*;

    fn check(arguments: usize, fused: Form, composed: Form) {
        let case = |dims: &[usize]| Case { inputs: vec![dims.to_vec(); arguments], weights: vec![], fused, composed };
        case(&[3, 13]).check();
        case(&[2, 150, 129]).check_large();
    }

    #[test]
    fn quick_gelu_forms_agree() {
        check(1, |_, x, _| quick_gelu(&x[0]), |_, x, _| composed::quick_gelu(&x[0]));
    }

    #[test]
    fn gelu_tanh_forms_agree() {
        check(1, |_, x, _| gelu_tanh(&x[0]), |_, x, _| composed::gelu_tanh(&x[0]));
    }

    #[test]
    fn gelu_erf_forms_agree() {
        check(1, |_, x, _| gelu_erf(&x[0]), |_, x, _| composed::gelu_erf(&x[0]));
    }

    #[test]
    fn silu_mul_forms_agree() {
        check(2, |_, x, _| silu_mul(&x[0], &x[1]), |_, x, _| composed::silu_mul(&x[0], &x[1]));
    }

    #[test]
    fn far_out_values_stay_finite() {
        let x = Tensor::new(&[-1e4f32, -60.0, -8.0, 8.0, 60.0, 1e4], &candle_core::Device::Cpu).unwrap();
        for f in [quick_gelu, gelu_erf, gelu_tanh] {
            let y = f(&x).unwrap().to_vec1::<f32>().unwrap();
            let small = y[..3].iter().all(|v| v.abs() < 1e-4);
            assert!(small && (y[3] - 8.0).abs() < 1e-4 && y[4..] == [60.0, 1e4], "{y:?}");
        }
    }
}
