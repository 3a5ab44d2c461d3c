//! Moving and adding token rows: class tokens, prompts, position tables, layer scale, splicing images into text.

use super::ctx::Ctx;
use super::weight::Weight;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// `x [B, N, D] + rows [N, D]` for every sample (position embeddings). `rows` may have more leading ones.
pub fn add_rows(ctx: &Ctx, x: &Tensor, rows: &Weight) -> Result<Tensor> {
    let (_, n, d) = x.dims3()?;
    x.broadcast_add(&ctx.operand(rows)?.reshape((n, d))?)
}

/// `x [.., D] * scale [D]` (layer scale).
pub fn scale_channels(ctx: &Ctx, x: &Tensor, scale: &Weight) -> Result<Tensor> {
    x.broadcast_mul(&ctx.operand(scale)?)
}

/// Puts `rows [P, D]` (leading ones allowed) into every sample of `x [B, N, D]` before token `at`: `[B, N + P, D]`.
pub fn insert_rows(ctx: &Ctx, x: &Tensor, rows: &Weight, at: usize) -> Result<Tensor> {
    let (b, n, d) = x.dims3()?;
    let p = rows.tensor().elem_count() / d;
    let rows = ctx.operand(rows)?.reshape((1, p, d))?.broadcast_as((b, p, d))?.contiguous()?;
    if at == 0 {
        return Tensor::cat(&[&rows, x], 1);
    }
    Tensor::cat(&[&x.narrow(1, 0, at)?, &rows, &x.narrow(1, at, n - at)?], 1)
}

/// Takes `count` tokens away from `x [B, N, D]`, from `at` on: `[B, N - count, D]`.
pub fn remove_rows(x: &Tensor, at: usize, count: usize) -> Result<Tensor> {
    let n = x.dim(1)?;
    if at == 0 {
        return x.narrow(1, count, n - count)?.contiguous();
    }
    Tensor::cat(&[&x.narrow(1, 0, at)?, &x.narrow(1, at + count, n - at - count)?], 1)
}

/// Rows `indices` of `x [R, D]`: `[indices.len(), D]` (labelled positions before the output head).
pub fn gather_rows(x: &Tensor, indices: &[u32]) -> Result<Tensor> {
    x.index_select(&Tensor::new(indices, x.device())?, 0)
}

/// Where one row of a spliced sequence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSource {
    /// Row `i` of the text embeddings, flattened to `[B * T, D]`.
    Text(u32),
    /// Row `i` of the image features, flattened to `[M * P, D]`.
    Image(u32),
    /// Zeros (padding).
    Padding,
}

/// Builds `[B, L, D]` from `text [B, T, D]` and `image [M, P, D]` by `plan` (`B * L` entries). A source row may be used
/// at most once; unused rows get a zero gradient.
pub fn splice_rows(text: &Tensor, image: &Tensor, plan: &Arc<[RowSource]>, b: usize) -> Result<Tensor> {
    let (tb, tt, d) = text.dims3()?;
    let (m, p, di) = image.dims3()?;
    if di != d {
        bail!("splice: text embeddings are {d} wide, image features {di}");
    }
    let zero = Tensor::zeros((1, d), text.dtype(), text.device())?;
    let all = Tensor::cat(&[&text.reshape((tb * tt, d))?, &image.reshape((m * p, d))?, &zero], 0)?;
    let index: Vec<u32> = plan
        .iter()
        .map(|row| match *row {
            RowSource::Text(i) => i,
            RowSource::Image(i) => (tb * tt) as u32 + i,
            RowSource::Padding => (tb * tt + m * p) as u32,
        })
        .collect();
    gather_rows(&all, &index)?.reshape((b, plan.len() / b, d))
}
