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
use crate::probe::sums::ROUNDING;
use std::collections::BTreeMap;
use std::sync::Arc;

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

/// A pair of samples with its cosine; `None` where a gradient is zero or nothing but rounding.
pub(super) type Cosine = (usize, usize, Option<Estimate>);

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
    /// Norms of the samples' gradients.
    norms: Vec<f64>,
    /// Norms up to which they are nothing but rounding.
    floors: Vec<f64>,
    sketched: Vec<Sketched<'u>>,
}

/// A unit with an error.
#[derive(Clone, Debug)]
struct Sketched<'u> {
    half: &'u [f64],
    /// Its own norms of the samples' gradients.
    norms: Arc<[f64]>,
}

fn norms(dots: &[f64], n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(move |i| dots[i * n + i].sqrt())
}

/// Every layer and module of `units`, each layer whole, each module over all layers, and everything. What is less than
/// [`ROUNDING`] of a sample's whole gradient has no direction.
pub(super) fn cells(units: &[Unit], n: usize) -> BTreeMap<CellId, Cell<'_>> {
    let mut groups: BTreeMap<CellId, Vec<(&Unit, Arc<[f64]>)>> = BTreeMap::new();
    for unit in units {
        let own: Arc<[f64]> = norms(&unit.dots, n).collect();
        for layer in [Some(unit.layer), None] {
            for module in [Some(unit.module), None] {
                groups.entry(CellId { layer, module }).or_default().push((unit, own.clone()));
            }
        }
    }
    let mut cells: BTreeMap<CellId, Cell<'_>> =
        groups.into_iter().map(|(id, units)| (id, Cell::of(units, n))).collect();
    let whole = cells.get(&CellId { layer: None, module: None });
    let floors: Vec<f64> = whole.into_iter().flat_map(|cell| &cell.norms).map(|norm| norm * ROUNDING).collect();
    cells.values_mut().for_each(|cell| cell.floors.clone_from(&floors));
    cells
}

impl<'u> Cell<'u> {
    /// The sum of `units`, of `n` samples.
    pub(super) fn new(units: &[&'u Unit], n: usize) -> Self {
        Self::of(units.iter().map(|unit| (*unit, norms(&unit.dots, n).collect())).collect(), n)
    }

    /// The same of units and their norms.
    fn of(units: Vec<(&'u Unit, Arc<[f64]>)>, n: usize) -> Self {
        let mut dots = vec![0.0; n * n];
        for (unit, _) in &units {
            dots.iter_mut().zip(&unit.dots).for_each(|(sum, dot)| *sum += dot);
        }
        let sketched = |(unit, norms): (&'u Unit, _)| unit.half.as_deref().map(|half| Sketched { half, norms });
        let sketched = units.into_iter().filter_map(sketched).collect();
        Self { n, norms: norms(&dots, n).collect(), floors: vec![0.0; n], dots, sketched }
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
        let mut error = Variance::default();
        self.sketched.iter().for_each(|unit| error.add(variance(unit)));
        error.around(self.dot(i, j))
    }

    /// `||g_i||`.
    pub(super) fn norm(&self, i: usize) -> f64 {
        self.norms[i]
    }

    /// Pairs whose second sample is `apart` or more after the first.
    fn pairs(&self, apart: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let n = self.n;
        (0..n).flat_map(move |i| (i + apart..n).map(move |j| (i, j)))
    }

    /// Whether sample `i` has no gradient here, or none but rounding. One that is not finite is shown.
    fn silent(&self, i: usize) -> bool {
        self.norms[i] <= self.floors[i]
    }

    /// Cosines of all pairs `i < j`; `None` where a gradient is zero or nothing but rounding.
    pub(super) fn cosines(&self) -> Vec<Cosine> {
        let n = self.n;
        let inverse: Vec<f64> = self.norms.iter().map(|norm| norm.recip()).collect();
        let cosines: Vec<f64> = self.pairs(1).map(|(i, j)| self.dot(i, j) * inverse[i] * inverse[j]).collect();
        let mut errors = vec![Variance::default(); cosines.len()];
        let (mut shifts, mut shares) = (vec![0.0; cosines.len()], vec![0.0; cosines.len()]);
        for unit in &self.sketched {
            let share: Vec<f64> = unit.norms.iter().zip(&inverse).map(|(own, inverse)| own * inverse).collect();
            // What the unit's half differences do to the squared norms, as shares of them.
            let own: Vec<f64> = (0..n).map(|i| unit.half[i * n + i] * inverse[i] * inverse[i]).collect();
            let mut at = 0;
            for i in 0..n {
                let row = &unit.half[i * n..(i + 1) * n];
                for j in i + 1..n {
                    shares[at] = share[i] * share[j];
                    let dot = row[j] * inverse[i] * inverse[j];
                    shifts[at] = (dot - cosines[at] / 2.0 * (own[i] + own[j])) / shares[at];
                    at += 1;
                }
            }
            let variance = pooled(shifts.iter().copied());
            errors.iter_mut().zip(&shares).for_each(|(error, share)| error.add(variance * share * share));
        }
        let zero = |i: usize, j: usize| self.silent(i) || self.silent(j);
        let one = |((i, j), (error, cosine)): ((usize, usize), (&Variance, &f64))| {
            (i, j, (!zero(i, j)).then(|| error.around(*cosine)))
        };
        self.pairs(1).zip(errors.iter().zip(&cosines)).map(one).collect()
    }

    /// Cosine of each sample's gradient with the sum of the others'; `None` where either is zero or nothing but rounding.
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
        let mut errors = vec![Variance::default(); n];
        for unit in &self.sketched {
            let share = |i: usize| unit.norms[i] / self.norms[i];
            let parts = sums(unit.half);
            let variance = pooled((0..n).map(|i| shift(whole[i], parts[i]) / share(i)));
            errors.iter_mut().enumerate().for_each(|(i, error)| error.add(variance * share(i).powi(2)));
        }
        let floors: f64 = self.floors.iter().sum();
        let one = |(i, ([along, own, rest], error)): (usize, (&[f64; 3], &Variance))| {
            // The squared norm of a sum of nothing but rounding may come out below zero.
            let silent = *rest <= (floors - self.floors[i]).powi(2);
            (!self.silent(i) && !silent).then(|| error.around(along / (own.sqrt() * rest.sqrt())))
        };
        whole.iter().zip(&errors).enumerate().map(one).collect()
    }

    /// Unbiased estimates of `|G|^2` and `tr(Sigma)`, with `n g_i` as the observations whose mean is `G`; `None` for fewer
    /// than two samples.
    pub(super) fn noise(&self) -> Option<Noise> {
        let n = self.n as f64;
        let own: f64 = (0..self.n).map(|i| self.dot(i, i)).sum();
        let total: f64 = self.dots.iter().sum();
        let grad2 = n / (n - 1.0) * (total - own);
        let trace = n / (n - 1.0) * (n * own - total);
        let silent = (0..self.n).all(|i| self.silent(i));
        let scale = if grad2 > 0.0 && !silent { Some(trace / grad2) } else { None };
        (self.n > 1).then_some(Noise { grad2, trace, scale })
    }
}

/// The variance of a sum of independent errors.
#[derive(Clone, Copy, Debug, Default)]
struct Variance {
    sum: f64,
    /// Sum of the squared variances, which tells how many of them there are in effect.
    squares: f64,
}

impl Variance {
    fn add(&mut self, variance: f64) {
        self.sum += variance;
        self.squares += variance * variance;
    }

    /// `value` with this error.
    fn around(self, value: f64) -> Estimate {
        let error = self.sum.sqrt();
        let degrees = DEGREES * self.sum * self.sum / self.squares;
        let reach = if self.sum == 0.0 { 0.0 } else { t_quantile(degrees) * error };
        Estimate { value, error, low: value - reach, high: value + reach }
    }
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
