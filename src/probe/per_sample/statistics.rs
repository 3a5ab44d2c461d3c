//! Cosines, alignment and noise of a layer and module, each with the error that its sketches show.
//!
//! Every sketched unit gives half the difference of its two halves for every inner product: an estimate of its error. They
//! are pooled over the step's pairs, each scaled by the pair's norms, because one alone says little; a sum over units has the
//! sum of their variances. A unit's pooled variance counts as two degrees of freedom (its pairs share their projections), and
//! units of unequal weight as fewer than there are (Satterthwaite): intervals then hold the truth in 92 to 98 of 100 cases.
//!
//! A cosine's error takes the errors of its norms into account, to first order:
//! `d c = (d dot - c/2 (d n_i^2 n_j / n_i + d n_j^2 n_i / n_j)) / (n_i n_j)`.

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

/// Degrees of freedom of one unit's pooled variance.
const DEGREES: f64 = 2.0;

/// Inner products of one cell.
#[derive(Clone, Debug)]
pub(super) struct Cell<'u> {
    pub(super) n: usize,
    dots: Vec<f64>,
    sketched: Vec<Sketched<'u>>,
}

/// A unit with an error.
#[derive(Clone, Debug)]
struct Sketched<'u> {
    half: &'u [f64],
    /// Its own norms of the samples' gradients.
    norms: Vec<f64>,
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
        let sketched = |unit: &&'u Unit| {
            let norms = (0..n).map(|i| unit.dots[i * n + i].sqrt()).collect();
            unit.half.as_deref().map(|half| Sketched { half, norms })
        };
        Self { n, dots, sketched: units.iter().filter_map(sketched).collect() }
    }

    /// `<g_i, g_j>`.
    pub(super) fn dot(&self, i: usize, j: usize) -> f64 {
        self.dots[i * self.n + j]
    }

    /// `<g_i, g_j>` with its interval.
    pub(super) fn dot_estimate(&self, i: usize, j: usize) -> Estimate {
        let alike = || self.pairs(0).filter(|(a, b)| (a == b) == (i == j));
        let variance = |unit: &Sketched<'_>| {
            let share = |a: usize, b: usize| unit.norms[a] * unit.norms[b];
            pooled(alike().map(|(a, b)| unit.half[a * self.n + b] / share(a, b))) * share(i, j).powi(2)
        };
        estimate(self.dot(i, j), self.sketched.iter().map(variance))
    }

    /// `||g_i||`.
    pub(super) fn norm(&self, i: usize) -> f64 {
        self.dot(i, i).sqrt()
    }

    /// Pairs whose second sample is `apart` or more after the first.
    fn pairs(&self, apart: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let n = self.n;
        (0..n).flat_map(move |i| (i + apart..n).map(move |j| (i, j)))
    }

    /// Cosines of all pairs `i < j`; `None` where a gradient is zero.
    pub(super) fn cosines(&self) -> Vec<(usize, usize, Option<Estimate>)> {
        let norms: Vec<f64> = (0..self.n).map(|i| self.norm(i)).collect();
        let share = |unit: &Sketched<'_>, i: usize, j: usize| unit.norms[i] * unit.norms[j] / (norms[i] * norms[j]);
        let of = |unit: &Sketched<'_>| {
            let shift = |(i, j)| self.cosine_shift(unit.half, i, j) / share(unit, i, j);
            pooled(self.pairs(1).map(shift))
        };
        let units: Vec<f64> = self.sketched.iter().map(of).collect();
        let one = |i: usize, j: usize| {
            let scale = norms[i] * norms[j];
            let variances = self.sketched.iter().zip(&units).map(|(unit, s2)| s2 * share(unit, i, j).powi(2));
            (scale != 0.0).then(|| estimate(self.dot(i, j) / scale, variances))
        };
        self.pairs(1).map(|(i, j)| (i, j, one(i, j))).collect()
    }

    /// What a unit's half differences do to the cosine of a pair.
    fn cosine_shift(&self, half: &[f64], i: usize, j: usize) -> f64 {
        let at = |i: usize, j: usize| half[i * self.n + j];
        shift([self.dot(i, j), self.dot(i, i), self.dot(j, j)], [at(i, j), at(i, i), at(j, j)])
    }

    /// Cosine of each sample's gradient with the sum of the others'; `None` where either is zero.
    pub(super) fn alignments(&self) -> Vec<Option<Estimate>> {
        let n = self.n;
        // <g_i, rest>, |g_i|^2 and |rest|^2 of every sample.
        let sums = |of: &[f64]| -> Vec<[f64; 3]> {
            let rows: Vec<f64> = (0..n).map(|i| of[i * n..(i + 1) * n].iter().sum()).collect();
            let total: f64 = rows.iter().sum();
            (0..n)
                .map(|i| (of[i * n + i], rows[i]))
                .map(|(own, row)| [row - own, own, total - 2.0 * row + own])
                .collect()
        };
        let whole = sums(&self.dots);
        let share = |unit: &Sketched<'_>, i: usize| unit.norms[i] / self.norm(i);
        let of = |unit: &Sketched<'_>| {
            let parts = sums(unit.half);
            pooled((0..n).map(|i| shift(whole[i], parts[i]) / share(unit, i)))
        };
        let units: Vec<f64> = self.sketched.iter().map(of).collect();
        let one = |i: usize| {
            let [along, own, rest] = whole[i];
            let variances = self.sketched.iter().zip(&units).map(|(unit, s2)| s2 * share(unit, i).powi(2));
            // The squared norm of a sum of nothing but rounding may come out below zero.
            (own != 0.0 && !(rest <= 0.0)).then(|| estimate(along / (own.sqrt() * rest.sqrt()), variances))
        };
        (0..n).map(one).collect()
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
}

/// A value whose error is the sum of independent ones of these variances.
fn estimate(value: f64, variances: impl Iterator<Item = f64>) -> Estimate {
    let (sum, squares) = variances.fold((0.0, 0.0), |(sum, squares), v| (sum + v, squares + v * v));
    let error = f64::sqrt(sum);
    let reach = if sum == 0.0 { 0.0 } else { t_quantile(DEGREES * sum * sum / squares) * error };
    Estimate { value, error, low: value - reach, high: value + reach }
}

/// First-order change of `dot / sqrt(a b)` when `dot`, `a`, `b` change by `by`.
fn shift([dot, a, b]: [f64; 3], by: [f64; 3]) -> f64 {
    let scale = a.sqrt() * b.sqrt();
    let cosine = dot / scale;
    by[0] / scale - cosine / 2.0 * (by[1] / a + by[2] / b)
}

/// Mean of the squares; 0 for none. What is not finite (a sample whose gradient is zero) does not count.
fn pooled(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.filter(|v| v.is_finite()).fold((0.0, 0u32), |(sum, n), v| (sum + v * v, n + 1));
    if n == 0 { 0.0 } else { sum / f64::from(n) }
}
