//! `y = x W^T + b + residual` and its gradients.

use super::buffer::{Fresh, Shared, build};
use super::dispatch::{dispatch, level};
use super::matmul::{Matrix, matmul_fresh, matmul_into};
use super::parallel::{for_each, rows_per_piece};

/// Sizes of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Rows of the input.
    pub rows: usize,
    /// Input width.
    pub d_in: usize,
    /// Output width.
    pub d_out: usize,
}

#[inline(always)]
fn start_body<const FMA: bool>(bias: Option<&[f32]>, residual: Option<&[f32]>, out: &mut Fresh, d: usize) {
    match (bias, residual) {
        (Some(bias), Some(residual)) => {
            for (out, residual) in out.chunks_exact_mut(d).zip(residual.chunks_exact(d)) {
                for ((o, b), r) in out.iter_mut().zip(bias).zip(residual) {
                    o.write(b + r);
                }
            }
        }
        (Some(bias), None) => {
            for out in out.chunks_exact_mut(d) {
                for (o, b) in out.iter_mut().zip(bias) {
                    o.write(*b);
                }
            }
        }
        (None, Some(residual)) => {
            for (o, r) in out.iter_mut().zip(residual) {
                o.write(*r);
            }
        }
        (None, None) => {
            for o in out {
                o.write(0.0);
            }
        }
    }
}

dispatch! { fn start(bias: Option<&[f32]>, residual: Option<&[f32]>, out: &mut Fresh, d: usize) = start_body }

/// `x [rows, d_in]`, `w [d_out, d_in]`, `bias [d_out]`, `residual [rows, d_out]`; returns `[rows, d_out]`.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>, residual: Option<&[f32]>, shape: LinearShape) -> Vec<f32> {
    let LinearShape { rows, d_in, d_out } = shape;
    assert!(x.len() == rows * d_in && w.len() == d_out * d_in, "linear layer {shape:?}");
    assert!(bias.is_none_or(|b| b.len() == d_out) && residual.is_none_or(|r| r.len() == rows * d_out), "{shape:?}");
    let (a, b) = (Matrix::new(x, rows, d_in), Matrix::new(w, d_out, d_in).t());
    if bias.is_none() && residual.is_none() {
        // SAFETY: the product writes every element.
        return unsafe { build(rows * d_out, |out| matmul_fresh(out, a, b)) };
    }
    let (level, per_piece) = (level(), rows_per_piece(d_out));
    // The product adds to what the output starts with; that costs no pass of its own.
    // SAFETY: the pieces are whole rows, cover the vector and do not overlap; the kernel fills them.
    let mut y = unsafe {
        build(rows * d_out, |out| {
            let shared = Shared::new(out);
            for_each(rows.div_ceil(per_piece), |piece| {
                let (from, to) = (piece * per_piece * d_out, ((piece + 1) * per_piece).min(rows) * d_out);
                let residual = residual.map(|r| &r[from..to]);
                start(level, bias, residual, shared.region(from, to - from), d_out);
            });
        })
    };
    matmul_into(&mut y, a, b, true);
    y
}

/// `dx = dy W`.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn linear_backward_input(dy: &[f32], w: &[f32], shape: LinearShape) -> Vec<f32> {
    let LinearShape { rows, d_in, d_out } = shape;
    assert!(dy.len() == rows * d_out && w.len() == d_out * d_in, "linear layer {shape:?}");
    // SAFETY: the product writes every element.
    unsafe { build(rows * d_in, |out| matmul_fresh(out, Matrix::new(dy, rows, d_out), Matrix::new(w, d_out, d_in))) }
}

/// `dw = dy^T x`, or `dw += dy^T x` if `add`.
///
/// # Panics
/// If the lengths do not fit.
pub fn linear_backward_weight(dw: &mut [f32], dy: &[f32], x: &[f32], shape: LinearShape, add: bool) {
    let LinearShape { rows, d_in, d_out } = shape;
    assert!(dy.len() == rows * d_out && x.len() == rows * d_in, "linear layer {shape:?}");
    matmul_into(dw, Matrix::new(dy, rows, d_out).t(), Matrix::new(x, rows, d_in), add);
}
