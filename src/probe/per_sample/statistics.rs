//! Cosines, alignment and noise of a layer and module, each with the error that its sketches show.
//!
//! Every sketched unit gives half the difference of its two halves for every inner product: an estimate of its error with
//! one degree of freedom. The variance of a sum over units is the sum of their squares; with one unit alone they are pooled
//! over the step's pairs, each scaled by the pair's norms. A cosine's error takes the errors of its norms into account, to
//! first order: `d c = (d dot - c/2 (d n_i^2 n_j / n_i + d n_j^2 n_i / n_j)) / (n_i n_j)`.

use super::student::t_quantile;
use super::units::Unit;
use crate::ops::LayerId;
use std::collections::BTreeMap;

/// A layer (`None`: all of them) and a module (`None`: all of them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CellId {
    pub(super) layer: Option<LayerId>,
    pub(super) module: Option<&'static str>,
}

/// A number with its error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    /// Standard error; 0 for exact numbers.
    pub(super) error: f64,
    /// Ends of the 95 % interval.
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Gradient noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Noise {
    pub(super) grad2: f64,
    pub(super) trace: f64,
    pub(super) scale: Option<f64>,
}

/// Inner products of one cell.
#[derive(Clone, Debug)]
pub(super) struct Cell<'u> {
    pub(super) n: usize,
    dots: Vec<f64>,
    halves: Vec<&'u [f64]>,
    quantile: f64,
}

/// Every layer and module of `units`, each layer whole, each module over all layers, and everything.
pub(super) fn cells(units: &[Unit], n: usize) -> BTreeMap<CellId, Cell<'_>> {
    let mut groups: BTreeMap<CellId, Vec<&Unit>> = BTreeMap::new();
    for unit in units {
        for layer in [Some(unit.layer), None] {
            for module in [Some(unit.module), None] {
                groups.entry(CellId { layer, module }).or_default().push(unit);
            }
        }
    }
    groups.into_iter().map(|(id, units)| (id, Cell::new(&units, n))).collect()
}

impl<'u> Cell<'u> {
    /// The sum of `units`, of `n` samples.
    pub(super) fn new(units: &[&'u Unit], n: usize) -> Self {
        let mut dots = vec![0.0; n * n];
        for unit in units {
            dots.iter_mut().zip(&unit.dots).for_each(|(sum, dot)| *sum += dot);
        }
        let halves: Vec<&[f64]> = units.iter().filter_map(|unit| unit.half.as_deref()).collect();
        // One unit's differences are pooled over pairs that share projections: no more independent than the samples.
        let degrees = if halves.len() == 1 { n.max(1) } else { halves.len() };
        let quantile = if halves.is_empty() { 0.0 } else { t_quantile(degrees) };
        Self { n, dots, halves, quantile }
    }

    /// `<g_i, g_j>`.
    pub(super) fn dot(&self, i: usize, j: usize) -> f64 {
        self.dots[i * self.n + j]
    }

    /// `<g_i, g_j>` with its interval.
    pub(super) fn dot_estimate(&self, i: usize, j: usize) -> Estimate {
        let scale = (self.dot(i, i) * self.dot(j, j)).sqrt();
        let others =
            || (0..self.n).flat_map(|a| (a..self.n).map(move |b| (a, b))).filter(|(a, b)| (a == b) == (i == j));
        let error = match self.halves.as_slice() {
            [half] => {
                scale * self.pooled(others(), |a, b| half[a * self.n + b] / (self.dot(a, a) * self.dot(b, b)).sqrt())
            }
            halves => root_sum(halves.iter().map(|half| half[i * self.n + j])),
        };
        self.estimate(self.dot(i, j), error)
    }

    /// `||g_i||`.
    pub(super) fn norm(&self, i: usize) -> f64 {
        self.dot(i, i).sqrt()
    }

    /// Cosines of all pairs `i < j`; `None` where a gradient is zero.
    pub(super) fn cosines(&self) -> Vec<(usize, usize, Option<Estimate>)> {
        let pairs = || (0..self.n).flat_map(|i| (i + 1..self.n).map(move |j| (i, j)));
        let pooled = match self.halves.as_slice() {
            [half] => Some(self.pooled(pairs(), |i, j| self.cosine_shift(half, i, j))),
            _ => None,
        };
        let one = |i, j| {
            let scale = self.norm(i) * self.norm(j);
            (scale != 0.0).then(|| {
                let error = pooled.unwrap_or_else(|| root_sum(self.halves.iter().map(|h| self.cosine_shift(h, i, j))));
                self.estimate(self.dot(i, j) / scale, error)
            })
        };
        pairs().map(|(i, j)| (i, j, one(i, j))).collect()
    }

    /// What a unit's half differences do to the cosine of a pair.
    fn cosine_shift(&self, half: &[f64], i: usize, j: usize) -> f64 {
        let at = |i: usize, j: usize| half[i * self.n + j];
        shift([self.dot(i, j), self.dot(i, i), self.dot(j, j)], [at(i, j), at(i, i), at(j, j)])
    }

    /// Cosine of each sample's gradient with the sum of the others'; `None` where either is zero.
    pub(super) fn alignments(&self) -> Vec<Option<Estimate>> {
        let sums = |of: &[f64], i: usize| -> [f64; 3] {
            let others = || (0..self.n).filter(|j| *j != i);
            let along = others().map(|j| of[i * self.n + j]).sum();
            let rest = others().flat_map(|j| others().map(move |k| j * self.n + k)).map(|at| of[at]).sum();
            [along, of[i * self.n + i], rest]
        };
        let shifts = |half: &[f64]| (0..self.n).map(|i| shift(sums(&self.dots, i), sums(half, i))).collect::<Vec<_>>();
        let pooled = match self.halves.as_slice() {
            [half] => {
                let shifts = shifts(half);
                Some(mean_square(shifts.into_iter().filter(|s| s.is_finite())))
            }
            _ => None,
        };
        let all: Vec<Vec<f64>> =
            if pooled.is_some() { Vec::new() } else { self.halves.iter().map(|h| shifts(h)).collect() };
        let one = |i: usize| {
            let [along, own, rest] = sums(&self.dots, i);
            (own != 0.0 && rest != 0.0).then(|| {
                let error = pooled.unwrap_or_else(|| root_sum(all.iter().map(|s| s[i])));
                self.estimate(along / (own.sqrt() * rest.sqrt()), error)
            })
        };
        (0..self.n).map(one).collect()
    }

    /// Unbiased estimates of `|G|^2` and `tr(Sigma)`, with `n g_i` as the observations whose mean is `G`; `None` for fewer
    /// than two samples.
    pub(super) fn noise(&self) -> Option<Noise> {
        let n = self.n as f64;
        let own: f64 = (0..self.n).map(|i| self.dot(i, i)).sum();
        let total: f64 = self.dots.iter().sum();
        let grad2 = n / (n - 1.0) * (total - own);
        let trace = n / (n - 1.0) * (n * own - total);
        let scale = if grad2 > 0.0 { Some(trace / grad2) } else { None };
        (self.n > 1).then_some(Noise { grad2, trace, scale })
    }

    fn pooled(&self, pairs: impl Iterator<Item = (usize, usize)>, of: impl Fn(usize, usize) -> f64) -> f64 {
        mean_square(pairs.map(|(i, j)| of(i, j)).filter(|shift| shift.is_finite()))
    }

    fn estimate(&self, value: f64, error: f64) -> Estimate {
        let reach = if error == 0.0 { 0.0 } else { self.quantile * error };
        Estimate { value, error, low: value - reach, high: value + reach }
    }
}

/// First-order change of `dot / sqrt(a b)` when `dot`, `a`, `b` change by `by`.
fn shift([dot, a, b]: [f64; 3], by: [f64; 3]) -> f64 {
    let scale = a.sqrt() * b.sqrt();
    let cosine = dot / scale;
    by[0] / scale - cosine / 2.0 * (by[1] / a + by[2] / b)
}

fn root_sum(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Root of the mean of the squares; 0 for none.
fn mean_square(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u32), |(sum, n), v| (sum + v * v, n + 1));
    if n == 0 { 0.0 } else { (sum / f64::from(n)).sqrt() }
}
