//! The steps x parameters matrix of one layer or several, through sketches: sums of rows, and inner products with them.

use super::sketches::LayerSketches;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

/// Columns that are summed at once.
const COLUMNS: usize = 512;

/// Rows of one layer that belong to the block's steps.
struct Part<'a> {
    sketches: &'a LayerSketches,
    rows: Vec<usize>,
    /// Exact squared norm of each row's gradient.
    exact: Vec<f64>,
    /// Squared norm of each row's sketch.
    own: Vec<f64>,
}

/// The gradients of some steps, over the layers of its parts. All vectors over the steps are in their order.
pub(super) struct Block<'a> {
    pub steps: Vec<u64>,
    /// Exact norms over all parts.
    pub norms: Vec<f64>,
    /// Steps left out: not in all layers, of norm zero or not finite.
    pub skipped: Vec<u64>,
    parts: Vec<Part<'a>>,
}

impl<'a> Block<'a> {
    /// The steps that every one of `layers` has with finite numbers, and where the gradient over all is not zero.
    pub(super) fn new(layers: &[&'a LayerSketches]) -> Self {
        // Runs that were joined repeat their step numbers: rows are matched by place where all layers have the same steps.
        let aligned = layers.windows(2).all(|pair| pair[0].steps == pair[1].steps);
        let first = layers.first().map_or(&[][..], |l| &l.steps);
        let place = |layer: &LayerSketches, i: usize| {
            if aligned { Some(i) } else { layer.steps.iter().position(|step| *step == first[i]) }
        };
        let (mut steps, mut norms, mut rows) = (Vec::new(), Vec::new(), vec![Vec::new(); layers.len()]);
        let mut skipped = Vec::new();
        for (i, step) in first.iter().enumerate() {
            let Some(places) = layers.iter().map(|l| place(l, i)).collect::<Option<Vec<_>>>() else {
                skipped.push(*step);
                continue;
            };
            let finite = |(l, at): (&&LayerSketches, &usize)| {
                l.norms[*at].is_finite() && l.scales[*at].is_finite() && l.row(*at).iter().all(|v| v.is_finite())
            };
            let square: f64 = layers.iter().zip(&places).map(|(l, at)| l.norms[*at].powi(2)).sum();
            if !layers.iter().zip(&places).all(finite) || square <= 0.0 || !square.is_finite() {
                skipped.push(*step);
                continue;
            }
            steps.push(*step);
            norms.push(square.sqrt());
            rows.iter_mut().zip(places).for_each(|(rows, at)| rows.push(at));
        }
        let part = |(sketches, rows): (&&'a LayerSketches, Vec<usize>)| {
            let exact = rows.iter().map(|at| sketches.norms[*at].powi(2)).collect();
            let own = |at: &usize| {
                let row = read(sketches.row(*at));
                dot(&row, &row) * f64::from(sketches.scales[*at]).powi(2)
            };
            let own = rows.par_iter().map(own).collect();
            Part { sketches, rows, exact, own }
        };
        let parts = layers.iter().zip(rows).map(part).collect();
        Self { steps, norms, skipped, parts }
    }

    /// T.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Exact squared norms by part: `[parts][steps]`.
    pub(super) fn exact(&self) -> impl Iterator<Item = &[f64]> {
        self.parts.iter().map(|part| &part.exact[..])
    }

    /// Sketch size of each part.
    pub(super) fn buckets(&self) -> impl Iterator<Item = f64> {
        self.parts.iter().map(|part| part.sketches.buckets as f64)
    }

    /// `sum over s != t of w_s <x_t, x_s>` of every row t, from sketches: `[parts][steps]`.
    pub(super) fn others(&self, weights: &[f64]) -> Vec<Vec<f64>> {
        let of = |part: &Part<'_>| {
            let dots = part.dots(&part.sum(weights));
            let terms = weights.iter().zip(&part.own).zip(dots);
            terms.map(|((w, own), dot)| dot - w * own).collect()
        };
        self.parts.iter().map(of).collect()
    }
}

impl Part<'_> {
    /// `sum_t w_t x_t`, `[K]`.
    fn sum(&self, weights: &[f64]) -> Vec<f32> {
        let mut sum = vec![0.0; self.sketches.buckets];
        sum.par_chunks_mut(COLUMNS).enumerate().for_each(|(chunk, sum)| {
            let mut row = vec![0.0; sum.len()];
            let mut total = vec![0.0_f64; sum.len()];
            for (at, weight) in self.rows.iter().zip(weights) {
                let from = chunk * COLUMNS;
                self.sketches.row(*at)[from..from + row.len()].convert_to_f32_slice(&mut row);
                let weight = weight * f64::from(self.sketches.scales[*at]);
                total.iter_mut().zip(&row).for_each(|(t, v)| *t += weight * f64::from(*v));
            }
            sum.iter_mut().zip(total).for_each(|(s, t)| *s = t as f32);
        });
        sum
    }

    /// `<x_t, v>` of every row.
    fn dots(&self, v: &[f32]) -> Vec<f64> {
        let one = |at: &usize| dot(&read(self.sketches.row(*at)), v) * f64::from(self.sketches.scales[*at]);
        self.rows.par_iter().map(one).collect()
    }
}

fn read(row: &[f16]) -> Vec<f32> {
    let mut numbers = vec![0.0; row.len()];
    row.convert_to_f32_slice(&mut numbers);
    numbers
}

/// In float64, in eight sums, so that the additions can be vectorised.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks(8), b.chunks(8));
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum()
}
