//! Cross-entropy of rows of logits against class numbers.

use super::buffer::{Fresh, Shared, build};
use super::dispatch::{dispatch, level};
use super::math::{LANES, exp, fold, max};
use super::parallel::{for_each, map};

#[inline(always)]
fn lse_body<const FMA: bool>(x: &[f32]) -> f32 {
    let top = max(x);
    let mut acc = [0.0; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for c in chunks {
        for i in 0..LANES {
            acc[i] += exp::<FMA>(c[i] - top);
        }
    }
    for (a, v) in acc.iter_mut().zip(tail) {
        *a += exp::<FMA>(v - top);
    }
    top + fold(acc).ln()
}

#[inline(always)]
fn grad_body<const FMA: bool>(x: &[f32], lse: f32, scale: f32, out: &mut Fresh) {
    for (o, x) in out.iter_mut().zip(x) {
        o.write(scale * exp::<FMA>(x - lse));
    }
}

dispatch! { fn lse_row(x: &[f32]) -> f32 = lse_body }
dispatch! { fn grad_row(x: &[f32], lse: f32, scale: f32, out: &mut Fresh) = grad_body }

/// Losses and log-sum-exps of the rows of `logits [rows, vocabulary]`; both are 0 where the target is `None`.
///
/// # Panics
/// If the lengths do not fit or a target lies outside the vocabulary.
#[must_use]
pub fn cross_entropy(logits: &[f32], targets: &[Option<usize>]) -> (Vec<f32>, Vec<f32>) {
    let (level, vocabulary) = (level(), width(logits, targets));
    map(targets.len(), |row| {
        targets[row].map_or((0.0, 0.0), |target| {
            let x = &logits[row * vocabulary..(row + 1) * vocabulary];
            let lse = lse_row(level, x);
            (lse - x[target], lse)
        })
    })
    .into_iter()
    .unzip()
}

/// `scale (softmax - onehot)` of every row, zero where the target is `None`.
///
/// # Panics
/// If the lengths do not fit or a target lies outside the vocabulary.
#[must_use]
pub fn cross_entropy_backward(logits: &[f32], targets: &[Option<usize>], lse: &[f32], scale: f32) -> Vec<f32> {
    let (level, vocabulary) = (level(), width(logits, targets));
    assert_eq!(lse.len(), targets.len(), "log-sum-exps");
    // SAFETY: each task fills its own row.
    unsafe {
        build(logits.len(), |out| {
            let shared = Shared::new(out);
            for_each(targets.len(), |row| {
                let at = row * vocabulary;
                let out = shared.region(at, vocabulary);
                let Some(target) = targets[row] else {
                    for o in out {
                        o.write(0.0);
                    }
                    return;
                };
                let x = &logits[at..at + vocabulary];
                grad_row(level, x, lse[row], scale, out);
                out[target].write(scale * (x[target] - lse[row]).exp_m1());
            });
        })
    }
}

fn width(logits: &[f32], targets: &[Option<usize>]) -> usize {
    if targets.is_empty() {
        assert!(logits.is_empty(), "logits without targets");
        return 0;
    }
    let vocabulary = logits.len() / targets.len();
    assert_eq!(vocabulary * targets.len(), logits.len(), "rows of logits");
    vocabulary
}
