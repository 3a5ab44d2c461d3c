//! Moving, adding and scaling rows.

use super::buffer::{Fresh, Shared, build};
use super::dispatch::{dispatch, level};
use super::math::fma;
use super::parallel::{PIECE, for_each, map, part, rows_per_piece};
use rayon::prelude::*;

#[inline(always)]
fn add_body<const FMA: bool>(x: &[f32], y: &[f32], out: &mut Fresh) {
    for ((o, x), y) in out.iter_mut().zip(x).zip(y) {
        o.write(x + y);
    }
}

#[inline(always)]
fn scale_body<const FMA: bool>(x: &[f32], scale: &[f32], out: &mut Fresh) {
    let d = scale.len();
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        for ((o, x), s) in out.iter_mut().zip(x).zip(scale) {
            o.write(x * s);
        }
    }
}

#[inline(always)]
fn products_body<const FMA: bool>(x: &[f32], g: &[f32], sums: &mut [f32]) {
    let d = sums.len();
    for (x, g) in x.chunks_exact(d).zip(g.chunks_exact(d)) {
        for ((s, x), g) in sums.iter_mut().zip(x).zip(g) {
            *s = fma::<FMA>(*x, *g, *s);
        }
    }
}

dispatch! { fn add(x: &[f32], y: &[f32], out: &mut Fresh) = add_body }
dispatch! { fn scale(x: &[f32], scale: &[f32], out: &mut Fresh) = scale_body }
dispatch! { fn products(x: &[f32], g: &[f32], sums: &mut [f32]) = products_body }

/// `x[i] + y[i % y.len()]`: `y` is added to each of the blocks of its length that make up `x`.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn add_rows(x: &[f32], y: &[f32]) -> Vec<f32> {
    assert!(!y.is_empty() && x.len().is_multiple_of(y.len()), "{} numbers in blocks of {}", x.len(), y.len());
    let (level, n) = (level(), y.len());
    let pieces = n.div_ceil(PIECE);
    // SAFETY: the pieces of the blocks cover the vector and do not overlap; the kernel fills them.
    unsafe {
        build(x.len(), |out| {
            let shared = Shared::new(out);
            for_each(x.len() / n * pieces, |task| {
                let y = part(y, task % pieces, PIECE);
                let from = task / pieces * n + task % pieces * PIECE;
                add(level, &x[from..from + y.len()], y, shared.region(from, y.len()));
            });
        })
    }
}

/// Every row of `x [rows, d]` times `factors [d]`.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn scale_channels(x: &[f32], factors: &[f32]) -> Vec<f32> {
    let d = factors.len();
    assert!(d > 0 && x.len().is_multiple_of(d), "{} numbers in rows of {d}", x.len());
    let (level, size) = (level(), rows_per_piece(d) * d);
    // SAFETY: the pieces cover the vector and do not overlap; the kernel fills them.
    unsafe {
        build(x.len(), |out| {
            let shared = Shared::new(out);
            for_each(x.len().div_ceil(size), |piece| {
                let x = part(x, piece, size);
                scale(level, x, factors, shared.region(piece * size, x.len()));
            });
        })
    }
}

/// Gradient of `factors`: sums of `x g` over the rows.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn scale_channels_backward(x: &[f32], grad: &[f32], d: usize) -> Vec<f32> {
    assert!(d > 0 && x.len().is_multiple_of(d) && x.len() == grad.len(), "{} numbers in rows of {d}", x.len());
    let (level, size) = (level(), rows_per_piece(d) * d);
    let sums = map(x.len().div_ceil(size), |piece| {
        let mut sums = vec![0.0; d];
        products(level, part(x, piece, size), part(grad, piece, size), &mut sums);
        sums
    });
    let mut total = vec![0.0; d];
    for sums in &sums {
        for (t, s) in total.iter_mut().zip(sums) {
            *t += s;
        }
    }
    total
}

/// A fresh `[plan.len(), d]` whose row `r` is row `plan[r]` of one of the sources: `(source, row)`, `None` for zeros.
///
/// # Panics
/// If a source row does not exist.
#[must_use]
pub fn copy_rows(sources: &[&[f32]], plan: &[Option<(usize, usize)>], d: usize) -> Vec<f32> {
    let per_piece = rows_per_piece(d);
    // SAFETY: the pieces are whole rows, cover the vector and do not overlap; each element is written.
    unsafe {
        build(plan.len() * d, |out| {
            let shared = Shared::new(out);
            for_each(plan.len().div_ceil(per_piece), |piece| {
                for (i, row) in part(plan, piece, per_piece).iter().enumerate() {
                    let out = shared.region((piece * per_piece + i) * d, d);
                    match *row {
                        Some((source, row)) => {
                            out.write_copy_of_slice(&sources[source][row * d..(row + 1) * d]);
                        }
                        None => {
                            for o in out {
                                o.write(0.0);
                            }
                        }
                    }
                }
            });
        })
    }
}

/// `table[ids[r]] += rows[r]` for rows of width `d`, in the order of `r`; first zeroes the table unless `add`.
///
/// # Panics
/// If the lengths do not fit or an id lies outside the table.
pub fn scatter_add_rows(table: &mut [f32], ids: &[u32], rows: &[f32], d: usize, add: bool) {
    assert!(d > 0 && table.len().is_multiple_of(d) && rows.len() == ids.len() * d, "rows of width {d}");
    let height = table.len() / d;
    assert!(ids.iter().all(|id| (*id as usize) < height), "row past a table of {height}");
    // A task owns a band of the table and adds the rows that fall into it, in order: no row is touched by two tasks.
    let band = height.div_ceil(16).max(1);
    let work = |(index, table): (usize, &mut [f32])| {
        if !add {
            table.fill(0.0);
        }
        let (from, to) = (index * band, index * band + table.len() / d);
        for (row, id) in ids.iter().enumerate() {
            let id = *id as usize;
            if (from..to).contains(&id) {
                let target = &mut table[(id - from) * d..(id - from + 1) * d];
                for (t, v) in target.iter_mut().zip(&rows[row * d..(row + 1) * d]) {
                    *t += v;
                }
            }
        }
    };
    if table.len() <= PIECE {
        table.chunks_mut(band * d).enumerate().for_each(work);
    } else {
        table.par_chunks_mut(band * d).enumerate().for_each(work);
    }
}

/// `pixels [B, C, H, W]` to `[B, (H/p)(W/p), C p p]`.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn unfold_patches(pixels: &[f32], [b, c, h, w]: [usize; 4], p: usize) -> Vec<f32> {
    assert!(pixels.len() == b * c * h * w && p > 0 && h.is_multiple_of(p) && w.is_multiple_of(p), "patches of {p}");
    let (rows, columns) = (h / p, w / p);
    let width = c * p * p;
    // SAFETY: a task fills the patches of one row of patches; together they cover the vector.
    unsafe {
        build(pixels.len(), |out| {
            let shared = Shared::new(out);
            for_each(b * rows, |task| {
                let (sample, row) = (task / rows, task % rows);
                let out = shared.region(task * columns * width, columns * width);
                for (column, patch) in out.chunks_exact_mut(width).enumerate() {
                    for (line, target) in patch.chunks_exact_mut(p).enumerate() {
                        let (channel, y) = (line / p, row * p + line % p);
                        let at = ((sample * c + channel) * h + y) * w + column * p;
                        target.write_copy_of_slice(&pixels[at..at + p]);
                    }
                }
            });
        })
    }
}
