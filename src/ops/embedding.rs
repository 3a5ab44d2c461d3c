//! Token embedding: rows of a table.

use super::ctx::Ctx;
use super::device;
use super::graph::{self, fits};
use super::weight::{Weight, read_f32};
use crate::kernels;
use candle_core::{DType, Result, Tensor, bail};

/// `ids [B, T]` (u32), `table [V, D]`; returns `[B, T, D]`. Backward: each row's gradient is added to its token's row.
pub fn embedding(ctx: &Ctx, ids: &Tensor, table: &Weight) -> Result<Tensor> {
    let dtype = ctx.compute().unwrap_or_else(|| table.tensor().dtype());
    if device::engine_of(table.tensor()).is_some() && ids.elem_count() > 0 {
        return on_device(ctx, ids, table, dtype);
    }
    if !fits(&[table.tensor()]) || dtype != table.tensor().dtype() || ids.elem_count() == 0 {
        return composed(ctx, ids, table);
    }
    let (b, t) = ids.dims2()?;
    let (v, d) = table.tensor().dims2()?;
    let ids: Vec<u32> = ids.flatten_all()?.to_vec1()?;
    if let Some(bad) = ids.iter().find(|id| **id as usize >= v) {
        bail!("embedding: token {bad} outside {} with {v} rows", table.name());
    }
    let plan: Vec<_> = ids.iter().map(|id| Some((0, *id as usize))).collect();
    let y = table.read_host(|table| kernels::copy_rows(&[table], &plan, d))?;
    match (ctx.anchor(), ctx.slot(table).cloned()) {
        (Some(anchor), Some(slot)) => graph::record("embedding", [anchor], y, &[b, t, d], move |_, grad| {
            read_f32(grad, |g| {
                slot.accumulate_host(v * d, |buffer, add| kernels::scatter_add_rows(buffer, &ids, g, d, add));
            })?;
            Ok([None])
        }),
        _ => graph::host(y, &[b, t, d]),
    }
}

/// On a card: only the rows that were picked are copied, and the table's gradient is made once, in float32.
fn on_device(ctx: &Ctx, ids: &Tensor, table: &Weight, dtype: DType) -> Result<Tensor> {
    let ((b, t), d, ids) = (ids.dims2()?, table.tensor().dim(1)?, ids.flatten_all()?);
    let rows = table.tensor().index_select(&ids, 0)?.to_dtype(dtype)?.reshape((b, t, d))?;
    let (Some(anchor), Some(slot)) = (ctx.anchor(), ctx.slot(table).cloned()) else { return Ok(rows) };
    let table = table.tensor().clone();
    graph::carry("embedding", anchor, rows, move |grad| {
        let grad = grad.to_dtype(table.dtype())?.reshape((b * t, d))?;
        slot.accumulate(&table.zeros_like()?.index_add(&ids, &grad, 0)?)?;
        Ok(None)
    })
}

/// The same in plain tensor operations.
pub(crate) fn composed(ctx: &Ctx, ids: &Tensor, table: &Weight) -> Result<Tensor> {
    let (b, t) = ids.dims2()?;
    // Rows are cast after they are picked: the gradients of a token that comes often add up in the table's own type.
    let rows = ctx.master(table)?.index_select(&ids.flatten_all()?, 0)?.reshape((b, t, table.dims()[1]))?;
    ctx.compute().map_or(Ok(rows.clone()), |dtype| rows.to_dtype(dtype))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, without_kernels};
    use super::*;
    use candle_core::Device;

    /// Where the table lies.
    fn ids(b: usize, t: usize, table: &Weight) -> Tensor {
        let ids: Vec<u32> = (0..b * t).map(|i| (i * i % table.dims()[0]) as u32).collect();
        Tensor::from_vec(ids, (b, t), table.tensor().device()).unwrap()
    }

    #[test]
    fn small() {
        let case = Case {
            inputs: vec![],
            weights: vec![vec![6, 3]],
            fused: |ctx, _, w| embedding(ctx, &ids(2, 4, &w[0]), &w[0]),
            composed: |ctx, _, w| composed(ctx, &ids(2, 4, &w[0]), &w[0]),
        };
        without_kernels(|| case.check());
    }

    #[test]
    fn large() {
        let case = Case {
            inputs: vec![],
            weights: vec![vec![300, 70]],
            fused: |ctx, _, w| embedding(ctx, &ids(3, 400, &w[0]), &w[0]),
            composed: |ctx, _, w| composed(ctx, &ids(3, 400, &w[0]), &w[0]),
        };
        without_kernels(|| case.check_large());
    }

    #[test]
    fn an_unknown_token_is_an_error() {
        let table = Weight::frozen("table", Tensor::zeros((4, 2), candle_core::DType::F32, &Device::Cpu).unwrap());
        assert!(embedding(&Ctx::eval(), &Tensor::new(&[[4u32]], &Device::Cpu).unwrap(), &table).is_err());
    }
}
