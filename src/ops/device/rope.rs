//! Rotary embedding.

use super::super::graph;
use super::super::rope::RopeTable;
use super::whole;
use crate::kernels::cuda::{self, Engine};
use candle_core::{Result, Tensor, bail};

pub(in super::super) fn rope(
    engine: Engine,
    x: &Tensor,
    heads: usize,
    table: &RopeTable,
    offset: usize,
) -> Result<Tensor> {
    let ((_, n, width), half) = (x.dims3()?, table.cos.dim(1)?);
    if heads * 2 * half != width {
        bail!("rope: {heads} heads of width {} do not make a width of {width}", 2 * half);
    }
    let x = whole(x)?;
    let (cos, sin) = (table.cos.narrow(0, offset, n)?, table.sin.narrow(0, offset, n)?);
    let y = cuda::rotate(&engine, &x, &cos, &sin, false)?;
    graph::record("rope-kernel", [&x], y, x.dims(), move |_, grad| {
        Ok([Some(cuda::rotate(&engine, grad, &cos, &sin, true)?.into_tensor(grad.dims())?)])
    })
}
