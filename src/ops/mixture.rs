//! The dense mixture of CoMoE: `out = sum_e g[b, e] * y_e[b]`.

use candle_core::{Result, Tensor};

/// `experts`: E tensors `[B, N, D]`; `weights [B, E]`; returns `[B, N, D]`.
///
/// Backward: `dy_e = g_e dout`, `dg[b, e] = <y_e[b], dout[b]>`.
pub fn mixture(experts: &[Tensor], weights: &Tensor) -> Result<Tensor> {
    composed(experts, weights)
}

/// The same in plain tensor operations.
pub fn composed(experts: &[Tensor], weights: &Tensor) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (e, y) in experts.iter().enumerate() {
        let term = y.broadcast_mul(&weights.narrow(1, e, 1)?.unsqueeze(2)?)?;
        sum = Some(match sum {
            Some(s) => (s + term)?,
            None => term,
        });
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a mixture needs at least one expert".into()))
}
