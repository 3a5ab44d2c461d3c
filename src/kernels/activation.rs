//! Elementwise activations and their derivatives.

use super::buffer::{Fresh, Shared, build};
use super::dispatch::{dispatch, level};
use super::math::{fma, normal_cdf, sigmoid};
use super::parallel::{PIECE, for_each, part};

/// Which activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointwise {
    /// `x sigmoid(1.702 x)`
    QuickGelu,
    /// `x Phi(x)`, `Phi` the normal distribution function
    GeluErf,
    /// `x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`
    GeluTanh,
}

const SLOPE: f32 = 1.702;
/// `2 sqrt(2/pi)`: `(1 + tanh u) / 2 = sigmoid(2 u)`.
const TWICE_ROOT: f32 = 1.595_769;
const CUBIC: f32 = 0.044_715;
/// `1 / sqrt(2 pi)`.
const BELL: f32 = 0.398_942_3;

#[inline(always)]
fn value<const FMA: bool>(kind: Pointwise, x: f32) -> f32 {
    match kind {
        Pointwise::QuickGelu => x * sigmoid::<FMA>(SLOPE * x),
        Pointwise::GeluErf => x * normal_cdf::<FMA>(x).0,
        Pointwise::GeluTanh => x * sigmoid::<FMA>(TWICE_ROOT * fma::<FMA>(CUBIC * x * x, x, x)),
    }
}

#[inline(always)]
fn slope<const FMA: bool>(kind: Pointwise, x: f32) -> f32 {
    match kind {
        Pointwise::QuickGelu => {
            let s = sigmoid::<FMA>(SLOPE * x);
            s * fma::<FMA>(SLOPE * x, 1.0 - s, 1.0)
        }
        Pointwise::GeluErf => {
            let (phi, bell) = normal_cdf::<FMA>(x);
            fma::<FMA>(BELL * x, bell, phi)
        }
        Pointwise::GeluTanh => {
            let s = sigmoid::<FMA>(TWICE_ROOT * fma::<FMA>(CUBIC * x * x, x, x));
            let inner = TWICE_ROOT * fma::<FMA>(3.0 * CUBIC * x, x, 1.0);
            s * fma::<FMA>(x * inner, 1.0 - s, 1.0)
        }
    }
}

#[inline(always)]
fn forward_body<const FMA: bool>(kind: Pointwise, x: &[f32], out: &mut Fresh) {
    // One loop a kind, so that the choice is outside the loop.
    match kind {
        Pointwise::QuickGelu => each::<FMA>(Pointwise::QuickGelu, x, out),
        Pointwise::GeluErf => each::<FMA>(Pointwise::GeluErf, x, out),
        Pointwise::GeluTanh => each::<FMA>(Pointwise::GeluTanh, x, out),
    }
}

#[inline(always)]
fn each<const FMA: bool>(kind: Pointwise, x: &[f32], out: &mut Fresh) {
    for (o, x) in out.iter_mut().zip(x) {
        o.write(value::<FMA>(kind, *x));
    }
}

#[inline(always)]
fn backward_body<const FMA: bool>(kind: Pointwise, x: &[f32], grad: &[f32], out: &mut Fresh) {
    match kind {
        Pointwise::QuickGelu => each_slope::<FMA>(Pointwise::QuickGelu, x, grad, out),
        Pointwise::GeluErf => each_slope::<FMA>(Pointwise::GeluErf, x, grad, out),
        Pointwise::GeluTanh => each_slope::<FMA>(Pointwise::GeluTanh, x, grad, out),
    }
}

#[inline(always)]
fn each_slope<const FMA: bool>(kind: Pointwise, x: &[f32], grad: &[f32], out: &mut Fresh) {
    for ((o, x), g) in out.iter_mut().zip(x).zip(grad) {
        o.write(g * slope::<FMA>(kind, *x));
    }
}

dispatch! { fn forward(kind: Pointwise, x: &[f32], out: &mut Fresh) = forward_body }
dispatch! { fn backward(kind: Pointwise, x: &[f32], grad: &[f32], out: &mut Fresh) = backward_body }

/// The activation of every element.
#[must_use]
pub fn activate(kind: Pointwise, x: &[f32]) -> Vec<f32> {
    let level = level();
    by_pieces(x.len(), |piece, out| forward(level, kind, part(x, piece, PIECE), out))
}

/// `grad * f'(x)`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn activate_backward(kind: Pointwise, x: &[f32], grad: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), grad.len(), "activation and its gradient");
    let level = level();
    by_pieces(x.len(), |piece, out| backward(level, kind, part(x, piece, PIECE), part(grad, piece, PIECE), out))
}

/// A fresh vector written in pieces; `write` must fill its piece.
fn by_pieces(n: usize, write: impl Fn(usize, &mut Fresh) + Send + Sync) -> Vec<f32> {
    // SAFETY: the pieces cover the vector, do not overlap, and every kernel of this file fills its piece.
    unsafe {
        build(n, |out| {
            let shared = Shared::new(out);
            for_each(n.div_ceil(PIECE), |piece| {
                let start = piece * PIECE;
                write(piece, shared.region(start, PIECE.min(n - start)));
            });
        })
    }
}

#[inline(always)]
fn silu_body<const FMA: bool>(gate: &[f32], up: &[f32], out: &mut Fresh) {
    for ((o, g), u) in out.iter_mut().zip(gate).zip(up) {
        o.write(g * sigmoid::<FMA>(*g) * u);
    }
}

#[inline(always)]
fn silu_backward_body<const FMA: bool>(gate: &[f32], up: &[f32], grad: &[f32], d_gate: &mut Fresh, d_up: &mut Fresh) {
    for ((((dg, du), gate), up), d) in d_gate.iter_mut().zip(d_up).zip(gate).zip(up).zip(grad) {
        let s = sigmoid::<FMA>(*gate);
        dg.write(d * up * s * fma::<FMA>(*gate, 1.0 - s, 1.0));
        du.write(d * gate * s);
    }
}

dispatch! { fn silu(gate: &[f32], up: &[f32], out: &mut Fresh) = silu_body }
dispatch! {
    fn silu_backward(gate: &[f32], up: &[f32], grad: &[f32], d_gate: &mut Fresh, d_up: &mut Fresh) = silu_backward_body
}

/// `silu(gate) * up`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn silu_mul(gate: &[f32], up: &[f32]) -> Vec<f32> {
    assert_eq!(gate.len(), up.len(), "gate and value");
    let level = level();
    by_pieces(gate.len(), |piece, out| silu(level, part(gate, piece, PIECE), part(up, piece, PIECE), out))
}

/// Gradients of `gate` and `up`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn silu_mul_backward(gate: &[f32], up: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    assert!(gate.len() == up.len() && up.len() == grad.len(), "gate, value and gradient");
    let level = level();
    let n = gate.len();
    let mut d_up = Vec::new();
    // SAFETY: the pieces cover both vectors, do not overlap, and the kernel fills them.
    let d_gate = unsafe {
        build(n, |d_gate| {
            let d_gate = Shared::new(d_gate);
            d_up = build(n, |d_up| {
                let d_up = Shared::new(d_up);
                for_each(n.div_ceil(PIECE), |piece| {
                    let (start, len) = (piece * PIECE, PIECE.min(n - piece * PIECE));
                    let of = |x| part(x, piece, PIECE);
                    let (d_gate, d_up) = (d_gate.region(start, len), d_up.region(start, len));
                    silu_backward(level, of(gate), of(up), of(grad), d_gate, d_up);
                });
            });
        })
    };
    (d_gate, d_up)
}
