//! From sketches to cosines.
//!
//! With weights w, `o_t = sum over s != t of w_s <g_t, g_s>` comes from sketches, without bias; `|g_t|^2` is known. Then
//! `|sum w_s g_s|^2 = sum w_t o_t + sum w_t^2 |g_t|^2`, and so on: no sketch is ever multiplied with itself. A count sketch's
//! inner product of x and y has the variance `(|x|^2 |y|^2 + <x, y>^2) / K` at most, layers have hashes of their own, so
//! that the variance of a sum over layers is the sum of theirs.

use super::block::Block;
use super::definition::Definition;
use super::series::{Null, Series};
use super::sketches::{LayerSketches, Sketches};
use crate::stats::{Stream, Summary};
use crate::store::{ALL, LayerRow};
use std::collections::{BTreeMap, BTreeSet};

/// Draws of signs behind a null value that needs the direction anew, and behind one that does not.
const DRAWS: usize = 32;
const CHEAP_DRAWS: usize = 512;
/// Steps of the Lanczos iteration.
const LANCZOS: usize = 96;

/// Series of `mean`, `mean_raw` or `svd`, one a layer and one over all; none for `momentum`, which is not sketched.
#[must_use]
pub fn sketched(sketches: &Sketches, definition: Definition) -> Vec<Series> {
    if definition == Definition::Momentum {
        return Vec::new();
    }
    let series = |layers: &[&LayerSketches], layer: &str, depth| {
        let block = Block::new(layers);
        let found = match definition {
            Definition::Svd => svd(&block),
            _ => mean(&block, definition),
        };
        Series {
            definition,
            stage: sketches.stage.clone(),
            space: sketches.space.clone(),
            layer: layer.to_owned(),
            depth,
            skipped: skipped(&block, &found.steps),
            steps: found.steps,
            cosines: found.cosines,
            errors: found.errors,
            mean_error: found.mean_error,
            null: found.null,
        }
    };
    let mut all: Vec<Series> = sketches.layers.iter().map(|l| series(&[l], &l.layer, l.depth)).collect();
    all.push(series(&sketches.layers.iter().collect::<Vec<_>>(), ALL, None));
    all
}

/// Steps of the block's layers without a cosine.
fn skipped(block: &Block<'_>, found: &[u64]) -> Vec<u64> {
    let found: BTreeSet<u64> = found.iter().copied().collect();
    let mut skipped = block.skipped.clone();
    skipped.extend(block.steps.iter().filter(|step| !found.contains(step)));
    skipped.sort_unstable();
    skipped
}

/// Series of `momentum` in `stage` (the last one that has any, if none is named), by layer and over all.
#[must_use]
pub fn momentum(rows: &[LayerRow], stage: Option<&str>) -> Vec<Series> {
    let has = |row: &&LayerRow| row.module == ALL && row.momentum.is_some();
    let last = || rows.iter().rev().find(has).map(|row| row.stage.clone());
    let Some(stage) = stage.map(str::to_owned).or_else(last) else { return Vec::new() };
    let mut layers: BTreeMap<(i32, &str), Series> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.stage == stage).filter(has) {
        let series = layers.entry((row.depth.unwrap_or(i32::MAX), &row.layer)).or_insert_with(|| Series {
            definition: Definition::Momentum,
            stage: stage.clone(),
            space: "trainable".to_owned(),
            layer: row.layer.clone(),
            depth: row.depth,
            steps: Vec::new(),
            cosines: Vec::new(),
            errors: Vec::new(),
            mean_error: 0.0,
            null: None,
            skipped: Vec::new(),
        });
        match row.momentum.filter(|m| m.is_finite()) {
            Some(cosine) => {
                series.steps.push(row.step);
                series.cosines.push(cosine);
                series.errors.push(0.0);
            }
            None => series.skipped.push(row.step),
        }
    }
    let signed = |mut series: Series| {
        series.null = null_of_signs(&series.cosines, false);
        series
    };
    layers.into_values().map(signed).collect()
}

#[derive(Default)]
struct Found {
    steps: Vec<u64>,
    cosines: Vec<f64>,
    errors: Vec<f64>,
    mean_error: f64,
    null: Option<Null>,
}

/// A weighted sum of the block's gradients, as the steps see it: its inner product with each step's gradient, part by part.
struct Sum<'w> {
    weights: &'w [f64],
    /// `[parts][steps]`, own term left out.
    others: Vec<Vec<f64>>,
}

impl<'w> Sum<'w> {
    fn new(block: &Block<'_>, weights: &'w [f64]) -> Self {
        Self { weights, others: block.others(weights) }
    }

    /// Squared norm by part.
    fn squares(&self, block: &Block<'_>) -> Vec<f64> {
        let part = |(others, exact): (&Vec<f64>, &[f64])| {
            let terms = self.weights.iter().zip(others).zip(exact);
            terms.map(|((w, o), e)| w * o + w * w * e).sum::<f64>().max(0.0)
        };
        self.others.iter().zip(block.exact()).map(part).collect()
    }

    /// Inner product with the sum of another weighting, by part.
    fn products(&self, block: &Block<'_>, other: &[f64]) -> Vec<f64> {
        let part = |(others, exact): (&Vec<f64>, &[f64])| {
            let terms = other.iter().zip(self.weights).zip(others.iter().zip(exact));
            terms.map(|((v, w), (o, e))| v * (o + w * e)).sum()
        };
        self.others.iter().zip(block.exact()).map(part).collect()
    }
}

/// Weights of `mean` make unit gradients; those of `mean_raw` leave them.
fn weights(block: &Block<'_>, definition: Definition) -> Vec<f64> {
    let weight = |norm: &f64| if definition == Definition::Mean { 1.0 / norm } else { 1.0 };
    block.norms.iter().map(weight).collect()
}

fn mean(block: &Block<'_>, definition: Definition) -> Found {
    let weights = weights(block, definition);
    let sum = Sum::new(block, &weights);
    let squares = sum.squares(block);
    let alone = definition == Definition::Mean;
    let mut found = Found::default();
    for t in 0..block.len() {
        if let Some((cosine, error)) = cosine(block, &sum, &squares, t, alone) {
            found.steps.push(block.steps[t]);
            found.cosines.push(cosine);
            found.errors.push(error);
        }
    }
    found.mean_error = mean_error(block, &sum);
    let mut stream = Stream::new(DRAWS as u64);
    let drawn = (0..DRAWS).filter_map(|_| {
        let signed: Vec<f64> = weights.iter().map(|w| w * stream.sign()).collect();
        let sum = Sum::new(block, &signed);
        let squares = sum.squares(block);
        // The gradient of the step is flipped too.
        let one = |t: usize| Some(cosine(block, &sum, &squares, t, alone)?.0 * signed[t].signum());
        Summary::of((0..block.len()).filter_map(one)).map(|s| s.mean)
    });
    found.null = null(drawn);
    found
}

/// Cosine of step `t` with the sum (of `squares` by part), its own term left out if `alone`, and its standard error. `None` where the sum is zero
/// as far as sketches can tell.
fn cosine(block: &Block<'_>, sum: &Sum<'_>, squares: &[f64], t: usize, alone: bool) -> Option<(f64, f64)> {
    let weight = sum.weights[t];
    let (mut product, mut length2, mut variance) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (((others, exact), square), k) in sum.others.iter().zip(block.exact()).zip(squares).zip(block.buckets()) {
        let rest = (square - 2.0 * weight * others[t] - weight * weight * exact[t]).max(0.0);
        product += others[t] + if alone { 0.0 } else { weight * exact[t] };
        length2 += if alone { rest } else { *square };
        // Only the others' part is noisy.
        variance += (exact[t] * rest + others[t] * others[t]) / k;
    }
    let length = length2.sqrt() * block.norms[t];
    (length > 0.0).then(|| (product / length, variance.sqrt() / length))
}

/// Standard error of the mean cosine, which is the product of the mean unit gradient with the direction.
fn mean_error(block: &Block<'_>, sum: &Sum<'_>) -> f64 {
    let units = weights(block, Definition::Mean);
    let unit = Sum::new(block, &units).squares(block);
    let squares = sum.squares(block);
    let products = sum.products(block, &units);
    let terms = unit.iter().zip(&squares).zip(&products).zip(block.buckets());
    let variance: f64 = terms.map(|(((u, w), p), k)| (u * w + p * p) / k).sum();
    let length = squares.iter().sum::<f64>().sqrt() * block.len() as f64;
    if length > 0.0 { variance.sqrt() / length } else { 0.0 }
}

fn svd(block: &Block<'_>) -> Found {
    let Some((value, vector)) = top(block) else { return Found::default() };
    let sum = Sum::new(block, &vector);
    let sigma = value.sqrt();
    let mut cosines: Vec<f64> = vector.iter().zip(&block.norms).map(|(a, norm)| sigma * a / norm).collect();
    if cosines.iter().sum::<f64>() < 0.0 {
        cosines.iter_mut().for_each(|c| *c = -*c);
    }
    let squares = sum.squares(block);
    let error = |t: usize| {
        let parts = sum.others.iter().zip(block.exact()).zip(&squares).zip(block.buckets());
        let variance: f64 = parts.map(|(((o, e), v), k)| (e[t] * v + o[t] * o[t]) / k).sum();
        variance.sqrt() / (sigma * block.norms[t])
    };
    Found {
        steps: block.steps.clone(),
        errors: (0..block.len()).map(error).collect(),
        mean_error: mean_error(block, &sum),
        null: null_of_signs(&cosines, true),
        cosines,
    }
}

/// Largest eigenvalue and its unit eigenvector of the steps' Gram matrix, by Lanczos with full orthogonalisation; `None`
/// without a step or where the matrix is zero.
fn top(block: &Block<'_>) -> Option<(f64, Vec<f64>)> {
    let n = block.len();
    let square = |t: usize| block.norms[t].powi(2);
    let gram = |a: &[f64]| {
        let mut out: Vec<f64> = (0..n).map(|t| square(t) * a[t]).collect();
        for part in block.others(a) {
            out.iter_mut().zip(part).for_each(|(sum, more)| *sum += more);
        }
        out
    };
    let mut stream = Stream::new(n as u64);
    // Near the answer where gradients agree, with a little of everything.
    let begin = (0..n).map(|t| block.norms[t] * stream.unit().mul_add(0.5, 1.0)).collect();
    let mut basis = vec![unit(begin)?];
    let (mut diagonal, mut off) = (Vec::new(), Vec::new());
    loop {
        let last = &basis[basis.len() - 1];
        let mut next = gram(last);
        diagonal.push(dot(&next, last));
        // Twice: once leaves rounding behind.
        for q in basis.iter().chain(&basis) {
            let along = dot(&next, q);
            next.iter_mut().zip(q).for_each(|(x, q)| *x -= along * q);
        }
        let length = dot(&next, &next).sqrt();
        let scale = diagonal.iter().fold(0.0_f64, |m, d| m.max(d.abs()));
        if basis.len() == n.min(LANCZOS) || length <= 1e-12 * scale {
            break;
        }
        off.push(length);
        basis.push(next.into_iter().map(|x| x / length).collect());
    }
    let (value, small) = tridiagonal_top(&diagonal, &off);
    let mut vector = vec![0.0; n];
    for (q, y) in basis.iter().zip(small) {
        vector.iter_mut().zip(q).for_each(|(v, q)| *v += y * q);
    }
    (value > 0.0).then_some((value, unit(vector)?))
}

/// Largest eigenvalue, by bisection on the count of larger ones, and its eigenvector, by inverse iteration.
fn tridiagonal_top(diagonal: &[f64], off: &[f64]) -> (f64, Vec<f64>) {
    let n = diagonal.len();
    let at = |i: usize| if i < n - 1 { off[i].abs() } else { 0.0 };
    let reach = |i: usize| at(i) + if i > 0 { at(i - 1) } else { 0.0 };
    let mut low = (0..n).map(|i| diagonal[i] - reach(i)).fold(f64::INFINITY, f64::min);
    let mut high = (0..n).map(|i| diagonal[i] + reach(i)).fold(f64::NEG_INFINITY, f64::max);
    // Whether all eigenvalues lie below x: every pivot of T - x is negative.
    let all_below = |x: f64| {
        let mut pivot = -1.0;
        (0..n).all(|i| {
            let before = if i > 0 { off[i - 1] * off[i - 1] / pivot } else { 0.0 };
            pivot = diagonal[i] - x - before;
            pivot < 0.0
        })
    };
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if all_below(middle) { high = middle } else { low = middle }
    }
    // All pivots of T - high are negative: elimination needs no exchange of rows.
    let shift = high + (high.abs() + f64::MIN_POSITIVE) * 1e-13;
    let mut vector = vec![1.0; n];
    for _ in 0..8 {
        let mut pivots = Vec::with_capacity(n);
        for i in 0..n {
            let (before, carried) = match i.checked_sub(1) {
                Some(j) => (off[j] * off[j] / pivots[j], off[j] * vector[j] / pivots[j]),
                None => (0.0, 0.0),
            };
            pivots.push(diagonal[i] - shift - before);
            vector[i] -= carried;
        }
        for i in (0..n).rev() {
            let after = if i + 1 < n { off[i] * vector[i + 1] } else { 0.0 };
            vector[i] = (vector[i] - after) / pivots[i];
        }
        let length = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|v| *v /= length);
    }
    (high, vector)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unit(mut vector: Vec<f64>) -> Option<Vec<f64>> {
    let length = dot(&vector, &vector).sqrt();
    vector.iter_mut().for_each(|v| *v /= length);
    (length > 0.0 && length.is_finite()).then_some(vector)
}

fn null(means: impl Iterator<Item = f64>) -> Option<Null> {
    Summary::of(means).map(|s| Null { mean: s.mean, deviation: s.deviation })
}

/// Mean cosine when each cosine's sign is drawn; `folded`: the direction then turns so that the mean is positive.
fn null_of_signs(cosines: &[f64], folded: bool) -> Option<Null> {
    let mut stream = Stream::new(CHEAP_DRAWS as u64);
    let draw = |_| {
        let mean = cosines.iter().map(|c| c * stream.sign()).sum::<f64>() / cosines.len() as f64;
        if folded { mean.abs() } else { mean }
    };
    null((0..CHEAP_DRAWS).map(draw).collect::<Vec<_>>().into_iter())
}
