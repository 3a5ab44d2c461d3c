//! Elementwise activations.
//!
//! * QuickGELU: `x * sigmoid(1.702 x)` (CLIP, and the residual blocks of CoVFT's context extractor)
//! * GELU: `x * Phi(x)` with the error function (BERT, DINOv2, the projector), or its tanh form
//! * SiLU gate: `silu(gate) * up` (LLaMA)

use candle_core::{Result, Tensor};

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
    composed::quick_gelu(x)
}

/// `x * (1 + erf(x / sqrt 2)) / 2`.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    composed::gelu_erf(x)
}

/// `x * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    composed::gelu_tanh(x)
}

/// `silu(gate) * up`, same shapes.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    composed::silu_mul(gate, up)
}

/// The same in plain tensor operations.
pub mod composed {
    use candle_core::{Result, Tensor};

    pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
        x * candle_nn::ops::sigmoid(&(x * 1.702)?)?
    }
    pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
        x.gelu_erf()
    }
    pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
        x.gelu()
    }
    pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        gate.silu()? * up
    }
}
