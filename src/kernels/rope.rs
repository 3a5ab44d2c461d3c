//! Rotary position embedding, "rotate half" form.

use super::buffer::{Fresh, Shared, build};
use super::dispatch::{dispatch, level};
use super::math::fma;
use super::parallel::{for_each, rows_per_piece};

#[inline(always)]
fn body<const FMA: bool>(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, out: &mut Fresh) {
    let half = cos.len();
    for (x, out) in x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
        let (x1, x2) = x.split_at(half);
        let (y1, y2) = out.split_at_mut(half);
        for (((((y1, y2), x1), x2), c), s) in y1.iter_mut().zip(y2).zip(x1).zip(x2).zip(cos).zip(sin) {
            let s = sign * s;
            y1.write(fma::<FMA>(*x1, *c, -(x2 * s)));
            y2.write(fma::<FMA>(*x2, *c, x1 * s));
        }
    }
}

dispatch! { fn token(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, out: &mut Fresh) = body }

/// Rotates every head of `x [rows, heads * 2 * half]`, where row `r` stands at row `r % n` of `cos, sin [n, half]`:
/// `(x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin)`, or by the opposite angle if `inverse` (which is the backward pass).
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn rotate(x: &[f32], width: usize, cos: &[f32], sin: &[f32], half: usize, inverse: bool) -> Vec<f32> {
    assert!(half > 0 && width.is_multiple_of(2 * half) && x.len().is_multiple_of(width), "heads of width {}", 2 * half);
    assert!(cos.len() == sin.len() && !cos.is_empty() && cos.len().is_multiple_of(half), "table of angles");
    let (level, sign) = (level(), if inverse { -1.0 } else { 1.0 });
    let (rows, n, per_piece) = (x.len() / width, cos.len() / half, rows_per_piece(width));
    // SAFETY: the pieces are whole rows, cover the vector and do not overlap; the kernel fills them.
    unsafe {
        build(x.len(), |out| {
            let shared = Shared::new(out);
            for_each(rows.div_ceil(per_piece), |piece| {
                for row in piece * per_piece..((piece + 1) * per_piece).min(rows) {
                    let (at, angle) = (row * width, (row % n) * half);
                    let (cos, sin) = (&cos[angle..angle + half], &sin[angle..angle + half]);
                    token(level, &x[at..at + width], cos, sin, sign, shared.region(at, width));
                }
            });
        })
    }
}
