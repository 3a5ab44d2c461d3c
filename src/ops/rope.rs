//! Rotary position embedding, "rotate half" form: `(x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin)`.

use super::device;
use super::graph::{self, fits, host};
use super::precision::{is_short, wide};
use super::weight::lend;
use crate::kernels;
use candle_core::{DType, Device, Result, Tensor, bail};

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
        let dtype = if is_short(dtype) { DType::F32 } else { dtype };
        // float32 throughout, as the published models compute it.
        let inverse: Vec<f32> = (0..d / 2).map(|i| 1.0 / (theta as f32).powf(2.0 * i as f32 / d as f32)).collect();
        let angles: Vec<f32> = (0..positions).flat_map(|p| inverse.iter().map(move |f| p as f32 * f)).collect();
        let angles = Tensor::from_vec(angles, (positions, d / 2), device)?;
        Ok(Self { cos: angles.cos()?.to_dtype(dtype)?, sin: angles.sin()?.to_dtype(dtype)? })
    }
}

/// Rotates every head of `x [B, N, heads * d]`, whose first token stands at position `offset`. Backward: the opposite
/// rotation.
pub fn rope(x: &Tensor, heads: usize, table: &RopeTable, offset: usize) -> Result<Tensor> {
    if let Some(engine) = device::fits(&[x], &[&table.cos, &table.sin]) {
        return device::rope::rope(engine, x, heads, table, offset);
    }
    if !fits(&[x, &table.cos, &table.sin]) || x.elem_count() == 0 {
        return composed(x, heads, table, offset);
    }
    let (_, n, width) = x.dims3()?;
    let half = table.cos.dim(1)?;
    if heads * 2 * half != width {
        bail!("rope: {heads} heads of width {} do not make a width of {width}", 2 * half);
    }
    let x = x.contiguous()?;
    let (cos, sin) = (table.cos.narrow(0, offset, n)?, table.sin.narrow(0, offset, n)?);
    let turn = move |x: &Tensor, inverse: bool| {
        lend([x, &cos, &sin], |[x, cos, sin]| kernels::rotate(x, width, cos, sin, half, inverse))
    };
    let y = turn(&x, false)?;
    graph::record("rope", [&x], y, x.dims(), move |_, grad| Ok([Some(host(turn(grad, true)?, grad.dims())?)]))
}

/// The same in plain tensor operations.
pub(crate) fn composed(x: &Tensor, heads: usize, table: &RopeTable, offset: usize) -> Result<Tensor> {
    let (b, n, width) = x.dims3()?;
    let half = width / heads / 2;
    let dtype = x.dtype();
    let x = wide(x)?.reshape((b, n, heads, 2 * half))?;
    let (x1, x2) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
    let cos = table.cos.narrow(0, offset, n)?.reshape((1, n, 1, half))?.broadcast_as(x1.shape())?;
    let sin = table.sin.narrow(0, offset, n)?.reshape((1, n, 1, half))?.broadcast_as(x1.shape())?;
    let y1 = ((&x1 * &cos)? - (&x2 * &sin)?)?;
    let y2 = ((&x2 * &cos)? + (&x1 * &sin)?)?;
    Tensor::cat(&[y1, y2], 3)?.reshape((b, n, width))?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, random};
    use super::*;

    fn table(x: &Tensor, d: usize) -> RopeTable {
        RopeTable::new(100.0, d, 700, x.dtype(), x.device()).unwrap()
    }

    fn case(dims: [usize; 3]) -> Case {
        Case {
            inputs: vec![dims.to_vec()],
            weights: vec![],
            fused: |_, x, _| rope(&x[0], 3, &table(&x[0], x[0].dim(2)? / 3), 2),
            composed: |_, x, _| composed(&x[0], 3, &table(&x[0], x[0].dim(2)? / 3), 2),
        }
    }

    #[test]
    fn small() {
        case([2, 3, 12]).check();
    }

    #[test]
    fn large() {
        case([2, 500, 48]).check_large();
    }

    #[test]
    fn past_the_table_is_an_error() {
        let x = random(&[1, 3, 12], 1);
        assert!(rope(&x, 3, &table(&x, 4), 698).is_err());
        assert!(rope(&x, 2, &table(&x, 4), 0).is_err());
    }
}
