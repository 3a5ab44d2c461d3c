//! Layer norm and RMS norm over rows.

use super::buffer::{Fresh, Shared, build};
use super::dispatch::{dispatch, level};
use super::math::{LANES, centred_squares, dot, fma, fold, sum};
use super::parallel::{for_each, map, part, rows_per_piece};

/// Which norm.
#[derive(Clone, Copy, Debug)]
pub enum NormKind<'a> {
    /// `(x - mean) / sqrt(variance + eps) * w + shift`
    Layer {
        /// `[d]`
        shift: &'a [f32],
    },
    /// `x / sqrt(mean(x^2) + eps) * w`
    Rms,
}

impl NormKind<'_> {
    fn centres(self) -> bool {
        matches!(self, Self::Layer { .. })
    }
}

/// Mean (0 for the RMS norm) and reciprocal deviation.
#[inline(always)]
fn moments<const FMA: bool>(x: &[f32], centre: bool, eps: f32) -> (f32, f32) {
    let scale = 1.0 / x.len() as f32;
    if centre {
        let mean = sum(x) * scale;
        (mean, 1.0 / fma::<FMA>(centred_squares::<FMA>(x, mean), scale, eps).sqrt())
    } else {
        (0.0, 1.0 / fma::<FMA>(dot::<FMA>(x, x), scale, eps).sqrt())
    }
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], w: &[f32], kind: NormKind<'_>, eps: f32, out: &mut Fresh) {
    let d = w.len();
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        let (mean, r) = moments::<FMA>(x, kind.centres(), eps);
        match kind {
            NormKind::Layer { shift } => {
                for (((o, x), w), b) in out.iter_mut().zip(x).zip(w).zip(shift) {
                    o.write(fma::<FMA>((x - mean) * r, *w, *b));
                }
            }
            NormKind::Rms => {
                for ((o, x), w) in out.iter_mut().zip(x).zip(w) {
                    o.write(x * r * w);
                }
            }
        }
    }
}

/// `sum g w` and `sum g w xhat` of one row.
#[inline(always)]
fn projections<const FMA: bool>(x: &[f32], w: &[f32], g: &[f32], mean: f32, r: f32) -> (f32, f32) {
    let (mut plain, mut along) = ([0.0; LANES], [0.0; LANES]);
    let ((xs, xt), (ws, wt), (gs, gt)) = (x.as_chunks::<LANES>(), w.as_chunks::<LANES>(), g.as_chunks::<LANES>());
    for ((x, w), g) in xs.iter().zip(ws).zip(gs) {
        for i in 0..LANES {
            let gw = g[i] * w[i];
            plain[i] += gw;
            along[i] = fma::<FMA>(gw, (x[i] - mean) * r, along[i]);
        }
    }
    for (i, ((x, w), g)) in xt.iter().zip(wt).zip(gt).enumerate() {
        let gw = g * w;
        plain[i] += gw;
        along[i] = fma::<FMA>(gw, (x - mean) * r, along[i]);
    }
    (fold(plain), fold(along))
}

/// `d_weights`: `[2, d]`, sums of `g xhat` and of `g`, added to. `dx` may be empty: then it is not computed.
#[inline(always)]
fn backward_body<const FMA: bool>(
    x: &[f32],
    w: &[f32],
    g: &[f32],
    centre: bool,
    eps: f32,
    dx: &mut Fresh,
    d_weights: &mut [f32],
) {
    let d = w.len();
    let scale = 1.0 / d as f32;
    let (dw, db) = d_weights.split_at_mut(d_weights.len() / 2);
    let wants_dx = !dx.is_empty();
    for (row, (x, g)) in x.chunks_exact(d).zip(g.chunks_exact(d)).enumerate() {
        let (mean, r) = moments::<FMA>(x, centre, eps);
        for (((dw, db), x), g) in dw.iter_mut().zip(db.iter_mut()).zip(x).zip(g) {
            *dw = fma::<FMA>(*g, (x - mean) * r, *dw);
            *db += g;
        }
        if wants_dx {
            let (plain, along) = projections::<FMA>(x, w, g, mean, r);
            let plain = if centre { plain * scale } else { 0.0 };
            let along = along * scale;
            for (((o, x), w), g) in dx[row * d..(row + 1) * d].iter_mut().zip(x).zip(w).zip(g) {
                let xhat = (x - mean) * r;
                o.write(r * (fma::<FMA>(*g, *w, -plain) - xhat * along));
            }
        }
    }
}

dispatch! { fn forward(x: &[f32], w: &[f32], kind: NormKind<'_>, eps: f32, out: &mut Fresh) = forward_body }
dispatch! {
    fn backward(x: &[f32], w: &[f32], g: &[f32], centre: bool, eps: f32, dx: &mut Fresh, d_weights: &mut [f32])
        = backward_body
}

/// Norm of every row of `x [rows, d]`, `w [d]`.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn norm(x: &[f32], w: &[f32], kind: NormKind<'_>, eps: f32) -> Vec<f32> {
    check(x, w);
    if let NormKind::Layer { shift } = kind {
        assert_eq!(shift.len(), w.len(), "scale and shift");
    }
    let level = level();
    let size = rows_per_piece(w.len()) * w.len();
    // SAFETY: the pieces are whole rows, cover the vector and do not overlap; the kernel fills them.
    unsafe {
        build(x.len(), |out| {
            let shared = Shared::new(out);
            for_each(x.len().div_ceil(size), |piece| {
                let x = part(x, piece, size);
                forward(level, x, w, kind, eps, shared.region(piece * size, x.len()));
            });
        })
    }
}

/// Gradient of the rows (empty unless `wants_dx`), of the scale and of the shift; the statistics are computed again.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn norm_backward(
    x: &[f32],
    w: &[f32],
    grad: &[f32],
    kind: NormKind<'_>,
    eps: f32,
    wants_dx: bool,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    check(x, w);
    assert_eq!(x.len(), grad.len(), "rows and their gradient");
    let (level, d) = (level(), w.len());
    let size = rows_per_piece(d) * d;
    let mut sums: Vec<Vec<f32>> = Vec::new();
    // SAFETY: as in `norm`; without `wants_dx` there is nothing to fill.
    let dx = unsafe {
        build(if wants_dx { x.len() } else { 0 }, |dx| {
            let shared = Shared::new(dx);
            sums = map(x.len().div_ceil(size), |piece| {
                let (x, g) = (part(x, piece, size), part(grad, piece, size));
                let mut sums = vec![0.0; 2 * d];
                let dx = shared.region(piece * size, if wants_dx { x.len() } else { 0 });
                backward(level, x, w, g, kind.centres(), eps, dx, &mut sums);
                sums
            });
        })
    };
    let mut total = vec![0.0; 2 * d];
    for sums in &sums {
        for (t, s) in total.iter_mut().zip(sums) {
            *t += s;
        }
    }
    let shift = total.split_off(d);
    (dx, total, shift)
}

/// Gradients of scale and shift, each `[samples, d]`, from each sample's own rows of `x` and `grad` (`samples` blocks).
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn norm_backward_samples(
    x: &[f32],
    w: &[f32],
    grad: &[f32],
    centre: bool,
    eps: f32,
    samples: usize,
) -> (Vec<f32>, Vec<f32>) {
    check(x, w);
    assert!(samples > 0 && x.len().is_multiple_of(samples * w.len()), "{} numbers of {samples} samples", x.len());
    assert_eq!(x.len(), grad.len(), "rows and their gradient");
    let (level, d, size) = (level(), w.len(), x.len() / samples);
    let sums = map(samples, |sample| {
        let mut sums = vec![0.0; 2 * d];
        backward(level, part(x, sample, size), w, part(grad, sample, size), centre, eps, &mut [], &mut sums);
        sums
    });
    let half = |from: usize| sums.iter().flat_map(|s| &s[from..from + d]).copied().collect();
    (half(0), half(d))
}

fn check(x: &[f32], w: &[f32]) {
    assert!(!w.is_empty() && x.len().is_multiple_of(w.len()), "{} numbers in rows of {}", x.len(), w.len());
}
