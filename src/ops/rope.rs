//! Rotary position embedding, "rotate half" form: `(x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin)`.

use candle_core::{DType, Device, Result, Tensor};

/// Cosines and sines `[positions, d / 2]` of `position * theta^(-2i/d)`.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// `[positions, d / 2]`.
    pub cos: Tensor,
    /// `[positions, d / 2]`.
    pub sin: Tensor,
}

impl RopeTable {
    /// A table of `positions` rows for heads of width `d`.
    pub fn new(theta: f64, d: usize, positions: usize, dtype: DType, device: &Device) -> Result<Self> {
        // float32 throughout, as the published models compute it.
        let inverse: Vec<f32> = (0..d / 2).map(|i| 1.0 / (theta as f32).powf(2.0 * i as f32 / d as f32)).collect();
        let angles: Vec<f32> = (0..positions).flat_map(|p| inverse.iter().map(move |f| p as f32 * f)).collect();
        let angles = Tensor::from_vec(angles, (positions, d / 2), device)?;
        Ok(Self { cos: angles.cos()?.to_dtype(dtype)?, sin: angles.sin()?.to_dtype(dtype)? })
    }
}

/// Rotates every head of `x [B, N, heads * d]`, whose first token stands at position `offset`.
pub fn rope(x: &Tensor, heads: usize, table: &RopeTable, offset: usize) -> Result<Tensor> {
    composed(x, heads, table, offset)
}

/// The same in plain tensor operations.
pub fn composed(x: &Tensor, heads: usize, table: &RopeTable, offset: usize) -> Result<Tensor> {
    let (b, n, width) = x.dims3()?;
    let half = width / heads / 2;
    let x = x.reshape((b, n, heads, 2 * half))?;
    let (x1, x2) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
    let cos = table.cos.narrow(0, offset, n)?.reshape((1, n, 1, half))?.broadcast_as(x1.shape())?;
    let sin = table.sin.narrow(0, offset, n)?.reshape((1, n, 1, half))?.broadcast_as(x1.shape())?;
    let y1 = ((&x1 * &cos)? - (&x2 * &sin)?)?;
    let y2 = ((&x2 * &cos)? + (&x1 * &sin)?)?;
    Tensor::cat(&[y1, y2], 3)?.reshape((b, n, width))
}
