//! Moving and adding token rows: class tokens, prompts, position tables, layer scale, splicing images into text.

use super::ctx::Ctx;
use super::graph::{self, anchored, fits, host};
use super::precision::wide;
use super::segment::{self, is_tracked};
use super::watch::{self, Watch};
use super::weight::{Weight, lend, read_f32};
use crate::kernels;
use candle_core::{D, Result, Tensor, bail};
use std::sync::Arc;

/// `x [B, N, D] + rows [N, D]` for every sample (position embeddings). `rows` may have more leading ones.
pub fn add_rows(ctx: &Ctx, x: &Tensor, rows: &Weight) -> Result<Tensor> {
    if !fits(&[x, rows.tensor()]) || x.elem_count() == 0 {
        return watch::observe(ctx, composed::add_rows(ctx, x, rows)?, rows, 0, |grad, _| grad.to_vec());
    }
    let (_, n, d) = x.dims3()?;
    if rows.tensor().elem_count() != n * d {
        bail!("{} {:?} does not fit {n} tokens of width {d}", rows.name(), rows.dims());
    }
    let x = x.contiguous()?;
    let y = lend([&x, rows.tensor()], |[x, r]| kernels::add_rows(x, r))?;
    let (slot, tracked) = (ctx.slot(rows).cloned(), is_tracked(&x));
    let (watched, samples) = (Watch::of(ctx, rows), x.dims()[0]);
    let input = anchored(ctx, &x, slot.is_some() || watched.is_some())?;
    graph::record("add-rows", [&input], y, x.dims(), move |_, grad| {
        if let Some(watch) = &watched {
            read_f32(grad, |g| watch.vectors(0, g, samples))?;
        }
        if let Some(slot) = &slot {
            read_f32(grad, |g| slot.accumulate_host(n * d, |sum, add| kernels::column_sums_into(sum, g, add)))?;
        }
        Ok([tracked.then(|| grad.clone())])
    })
}

/// `x [.., D] * scale [D]` (layer scale).
pub fn scale_channels(ctx: &Ctx, x: &Tensor, scale: &Weight) -> Result<Tensor> {
    if !fits(&[x, scale.tensor()]) || x.elem_count() == 0 {
        let y = segment::island(&[x], |x| composed::scale_channels(ctx, x[0], scale))?;
        let Some(watch) = Watch::of(ctx, scale) else { return Ok(y) };
        let (kept, samples) = (x.detach(), watch::samples(x));
        return watch::shown_there(ctx, y, move |grad| {
            let slopes = (wide(&kept)? * wide(grad)?)?;
            watch.vector_tensors(0, &watch::sample_sums(&slopes, samples)?, samples)
        });
    }
    let d = x.dim(D::Minus1)?;
    if scale.dims() != [d] {
        bail!("{} {:?} does not scale rows of width {d}", scale.name(), scale.dims());
    }
    let x = x.contiguous()?;
    let y = lend([&x, scale.tensor()], |[x, s]| kernels::scale_channels(x, s))?;
    let (slot, tracked) = (ctx.slot(scale).cloned(), is_tracked(&x));
    let (watched, samples) = (Watch::of(ctx, scale), watch::samples(&x));
    let input = anchored(ctx, &x, slot.is_some() || watched.is_some())?;
    let (kept, scale) = (x.detach(), scale.clone());
    graph::record("scale-channels", [&input], y, x.dims(), move |_, grad| {
        if let Some(watch) = &watched {
            lend([&kept, grad], |[x, g]| show_scale(watch, x, g, samples))?;
        }
        if let Some(slot) = &slot {
            let sums = lend([&kept, grad], |[x, g]| kernels::scale_channels_backward(x, g, d))?;
            slot.accumulate_host(d, |sum, add| kernels::accumulate(sum, &sums, add));
        }
        if !tracked {
            return Ok([None]);
        }
        let dx = lend([grad, scale.tensor()], |[g, s]| kernels::scale_channels(g, s))?;
        Ok([Some(host(dx, grad.dims())?)])
    })
}

/// Each sample's sum of `x g` over its rows.
fn show_scale(watch: &Watch, x: &[f32], grad: &[f32], samples: usize) {
    let (d, size) = (watch.weight().dims()[0], x.len() / samples);
    let sums =
        x.chunks_exact(size).zip(grad.chunks_exact(size)).map(|(x, g)| kernels::scale_channels_backward(x, g, d));
    watch.vectors(0, &sums.collect::<Vec<_>>().concat(), samples);
}

/// A row of one of the sources.
type Plan = Vec<Option<(usize, usize)>>;

/// Puts `rows [P, D]` (leading ones allowed) into every sample of `x [B, N, D]` before token `at`: `[B, N + P, D]`.
pub fn insert_rows(ctx: &Ctx, x: &Tensor, rows: &Weight, at: usize) -> Result<Tensor> {
    if !fits(&[x, rows.tensor()]) || x.elem_count() == 0 {
        let (width, count) = (x.dim(2)?, rows.tensor().elem_count());
        let y = composed::insert_rows(ctx, x, rows, at)?;
        return watch::observe(ctx, y, rows, 0, move |g, samples| inserted(g, samples, at * width, count));
    }
    let (b, n, d) = x.dims3()?;
    let p = rows.tensor().elem_count() / d;
    if p * d != rows.tensor().elem_count() || at > n {
        bail!("{} {:?} cannot stand before token {at} of {n} of width {d}", rows.name(), rows.dims());
    }
    let place = move |row: usize| -> (usize, usize) {
        let (sample, token) = (row / (n + p), row % (n + p));
        match token {
            t if t < at => (0, sample * n + t),
            t if t < at + p => (1, t - at),
            t => (0, sample * n + t - p),
        }
    };
    let plan: Plan = (0..b * (n + p)).map(|row| Some(place(row))).collect();
    let x = x.contiguous()?;
    let y = lend([&x, rows.tensor()], |from| kernels::copy_rows(&from, &plan, d))?;
    let (slot, tracked, watched) = (ctx.slot(rows).cloned(), is_tracked(&x), Watch::of(ctx, rows));
    let input = anchored(ctx, &x, slot.is_some() || watched.is_some())?;
    let kept: Plan = (0..b * (n + p)).filter(|row| place(*row).0 == 0).map(|row| Some((0, row))).collect();
    graph::record("insert-rows", [&input], y, &[b, n + p, d], move |_, grad| {
        read_f32(grad, |g| {
            if let Some(watch) = &watched {
                watch.vectors(0, &inserted(g, b, at * d, p * d), b);
            }
            if let Some(slot) = &slot {
                slot.accumulate_host(p * d, |sum, add| {
                    for sample in 0..b {
                        let from = (sample * (n + p) + at) * d;
                        kernels::accumulate(sum, &g[from..from + p * d], add || sample > 0);
                    }
                });
            }
            tracked.then(|| host(kernels::copy_rows(&[g], &kept, d), &[b, n, d])).transpose().map(|dx| [dx])
        })?
    })
}

/// The `count` numbers from `from` on of each sample's block.
fn inserted(x: &[f32], samples: usize, from: usize, count: usize) -> Vec<f32> {
    x.chunks_exact(x.len() / samples).flat_map(|x| &x[from..from + count]).copied().collect()
}

/// Takes `count` tokens away from `x [B, N, D]`, from `at` on: `[B, N - count, D]`.
pub fn remove_rows(x: &Tensor, at: usize, count: usize) -> Result<Tensor> {
    let (b, n, d) = x.dims3()?;
    if at + count > n {
        bail!("cannot take tokens {at}..{} from {n}", at + count);
    }
    if !fits(&[x]) || count == 0 || count == n || b * d == 0 {
        return composed::remove_rows(x, at, count);
    }
    let stays = move |row: &usize| !(at..at + count).contains(&(row % n));
    let plan: Plan = (0..b * n).filter(stays).map(|row| Some((0, row))).collect();
    let dims = [b, n - count, d];
    copied("remove-rows", x, plan, &dims)
}

/// Rows `indices` of `x [R, D]`: `[indices.len(), D]` (labelled positions before the output head).
pub fn gather_rows(x: &Tensor, indices: &[u32]) -> Result<Tensor> {
    if !fits(&[x]) || indices.is_empty() || x.elem_count() == 0 {
        return composed::gather_rows(x, indices);
    }
    let (rows, d) = x.dims2()?;
    if let Some(bad) = indices.iter().find(|i| **i as usize >= rows) {
        bail!("row {bad} of a tensor with {rows} rows");
    }
    let x = x.contiguous()?;
    let plan: Plan = indices.iter().map(|i| Some((0, *i as usize))).collect();
    let y = read_f32(&x, |x| kernels::copy_rows(&[x], &plan, d))?;
    let indices = indices.to_vec();
    graph::record("gather-rows", [&x], y, &[indices.len(), d], move |_, grad| {
        let mut dx = vec![0.0; rows * d];
        read_f32(grad, |g| kernels::scatter_add_rows(&mut dx, &indices, g, d, true))?;
        Ok([Some(host(dx, &[rows, d])?)])
    })
}

/// The rows of `x [.., D]` that `plan` names, each at most once.
fn copied(name: &'static str, x: &Tensor, plan: Plan, dims: &[usize]) -> Result<Tensor> {
    let x = x.contiguous()?;
    let d = x.dim(D::Minus1)?;
    let y = read_f32(&x, |x| kernels::copy_rows(&[x], &plan, d))?;
    let shape = x.dims().to_vec();
    graph::record(name, [&x], y, dims, move |_, grad| {
        let back = inverse(&plan, 0, shape.iter().product::<usize>() / d);
        Ok([Some(host(read_f32(grad, |g| kernels::copy_rows(&[g], &back, d))?, &shape)?)])
    })
}

/// For each of the `rows` of `source`, the row of the result that was copied from it.
fn inverse(plan: &[Option<(usize, usize)>], source: usize, rows: usize) -> Plan {
    let mut back = vec![None; rows];
    for (row, from) in plan.iter().enumerate() {
        if let Some((from, at)) = from
            && *from == source
        {
            back[*at] = Some((0, row));
        }
    }
    back
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
    let mut used = vec![false; tb * tt + m * p];
    for row in plan.iter() {
        let at = match *row {
            RowSource::Text(i) if (i as usize) < tb * tt => i as usize,
            RowSource::Image(i) if (i as usize) < m * p => tb * tt + i as usize,
            RowSource::Padding => continue,
            missing => bail!("splice: {missing:?} of {} text and {} image rows", tb * tt, m * p),
        };
        if std::mem::replace(&mut used[at], true) {
            bail!("splice: {row:?} is used twice");
        }
    }
    if b == 0 || !plan.len().is_multiple_of(b) {
        bail!("splice: {} rows for {b} samples", plan.len());
    }
    if !fits(&[text, image]) || plan.is_empty() || d == 0 {
        return composed::splice_rows(text, image, plan, b);
    }
    let (text, image) = (text.contiguous()?, image.contiguous()?);
    let rows: Plan = plan
        .iter()
        .map(|row| match *row {
            RowSource::Text(i) => Some((0, i as usize)),
            RowSource::Image(i) => Some((1, i as usize)),
            RowSource::Padding => None,
        })
        .collect();
    let y = lend([&text, &image], |from| kernels::copy_rows(&from, &rows, d))?;
    let dims = [b, plan.len() / b, d];
    graph::record("splice-rows", [&text, &image], y, &dims, move |_, grad| {
        let back = |source: usize, shape: [usize; 3]| {
            let plan = inverse(&rows, source, shape[0] * shape[1]);
            host(read_f32(grad, |g| kernels::copy_rows(&[g], &plan, d))?, &shape)
        };
        Ok([Some(back(0, [tb, tt, d])?), Some(back(1, [m, p, d])?)])
    })
}

/// The same in plain tensor operations.
pub(crate) mod composed {
    use super::{Ctx, RowSource, Weight, wide};
    use candle_core::{Result, Tensor};
    use std::sync::Arc;

    pub(crate) fn add_rows(ctx: &Ctx, x: &Tensor, rows: &Weight) -> Result<Tensor> {
        let (_, n, d) = x.dims3()?;
        wide(x)?.broadcast_add(&ctx.master(rows)?.reshape((n, d))?)?.to_dtype(x.dtype())
    }
    pub(crate) fn scale_channels(ctx: &Ctx, x: &Tensor, scale: &Weight) -> Result<Tensor> {
        wide(x)?.broadcast_mul(&ctx.master(scale)?)?.to_dtype(x.dtype())
    }
    pub(crate) fn insert_rows(ctx: &Ctx, x: &Tensor, rows: &Weight, at: usize) -> Result<Tensor> {
        let (b, n, d) = x.dims3()?;
        let p = rows.tensor().elem_count() / d;
        let every = || ctx.master(rows)?.reshape((1, p, d))?.broadcast_as((b, p, d))?.to_dtype(x.dtype())?.contiguous();
        joined(x, at, (p > 0).then(every).transpose()?, n - at)
    }

    /// The first rows of `x`, what stands `between`, and the last rows. A card has no room for nothing: a piece without rows is
    /// left out.
    fn joined(x: &Tensor, first: usize, between: Option<Tensor>, last: usize) -> Result<Tensor> {
        let mut pieces = Vec::new();
        if first > 0 {
            pieces.push(x.narrow(1, 0, first)?);
        }
        pieces.extend(between);
        if last > 0 {
            pieces.push(x.narrow(1, x.dim(1)? - last, last)?);
        }
        match pieces.as_slice() {
            [one] => one.contiguous(),
            pieces => Tensor::cat(pieces, 1),
        }
    }
    pub(crate) fn remove_rows(x: &Tensor, at: usize, count: usize) -> Result<Tensor> {
        joined(x, at, None, x.dim(1)? - at - count)
    }
    pub(crate) fn gather_rows(x: &Tensor, indices: &[u32]) -> Result<Tensor> {
        x.index_select(&Tensor::new(indices, x.device())?, 0)
    }
    pub(crate) fn splice_rows(text: &Tensor, image: &Tensor, plan: &Arc<[RowSource]>, b: usize) -> Result<Tensor> {
        let (tb, tt, d) = text.dims3()?;
        let (m, p, _) = image.dims3()?;
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
}
