//! Statistics: plain functions over slices, in float64, without surprises at the edges.

mod bootstrap;
mod finite;
mod stream;
mod undefined;

pub use bootstrap::{Interval, pearson_interval, weighted_pearson_interval};
pub use finite::{NotFinite, finite};
pub(crate) use stream::Stream;
pub use undefined::{LEAST, Undefined};

/// Count, mean, deviation and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Numbers that are finite.
    pub n: usize,
    /// Numbers that are not; they are in none of the rest.
    pub not_finite: NotFinite,
    /// Mean.
    pub mean: f64,
    /// Standard deviation with `n - 1`; 0 for one number.
    pub deviation: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Summary {
    /// The summary of `values`; `None` if none is finite.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (finite, not_finite) = NotFinite::split(values);
        let n = finite.len();
        let mean = (n > 0).then(|| finite.iter().sum::<f64>() / n as f64)?;
        let squares: f64 = finite.iter().map(|v| (v - mean).powi(2)).sum();
        let deviation = if n > 1 { (squares / (n - 1) as f64).sqrt() } else { 0.0 };
        let min = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let max = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self { n, not_finite, mean, deviation, min, max })
    }
}

/// The quantiles `at` (0..=1) of `values`, interpolated linearly between order statistics (numpy's default); `None`
/// without a value or with one that is not finite.
#[must_use]
pub fn quantiles(values: &[f64], at: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || !values.iter().all(|v| v.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    let one = |q: &f64| {
        let place = q.clamp(0.0, 1.0) * last as f64;
        let below = place.floor() as usize;
        let above = (below + 1).min(last);
        (sorted[above] - sorted[below]).mul_add(place - below as f64, sorted[below])
    };
    Some(at.iter().map(one).collect())
}

/// Cosine of two vectors; `None` where either is zero or not finite, or the lengths differ.
#[must_use]
pub fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let norms = (dot(a, a).sqrt(), dot(b, b).sqrt());
    (a.len() == b.len() && norms.0 != 0.0 && norms.1 != 0.0).then(|| dot(a, b) / norms.0 / norms.1).and_then(finite)
}

/// Whether values differ by no more than rounding.
fn alike(x: &[f64]) -> bool {
    let (low, high) = x.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    high - low <= 1e-12 * low.abs().max(high.abs())
}

/// Pearson's correlation; `None` for fewer than two pairs, unequal lengths, a number that is not finite, or a side that is
/// constant up to rounding.
#[must_use]
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 || !a.iter().chain(b).all(|v| v.is_finite()) || alike(a) || alike(b) {
        return None;
    }
    let centred = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter().map(|v| v - mean).collect::<Vec<_>>()
    };
    cosine(&centred(a), &centred(b)).map(|r| r.clamp(-1.0, 1.0))
}

/// Exponential mean, corrected for its start: the first value is its own. `past` (0..1) is the weight of what was; values
/// that are not finite leave the mean as it is.
#[must_use]
pub fn smooth(values: &[f64], past: f64) -> Vec<f64> {
    let (mut mean, mut weight) = (0.0, 0.0);
    values
        .iter()
        .map(|value| {
            if value.is_finite() {
                mean = past * mean + (1.0 - past) * value;
                weight = past * weight + (1.0 - past);
            }
            if weight > 0.0 { mean / weight } else { *value }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_leaves_out_what_is_not_finite() {
        let s = Summary::of([1.0, 2.0, f64::NAN, 6.0]).unwrap();
        assert_eq!((s.n, s.not_finite.nan, s.mean, s.min, s.max), (3, 1, 3.0, 1.0, 6.0));
        assert!((s.deviation - 7_f64.sqrt()).abs() < 1e-15);
        assert_eq!(Summary::of([4.0]).unwrap().deviation, 0.0);
        assert_eq!(Summary::of([f64::NAN]), None);
    }

    #[test]
    fn quantiles_as_numpy() {
        // numpy.quantile([3, 1, 2, 10], [0, .1, .5, .9, 1])
        let q = quantiles(&[3.0, 1.0, 2.0, 10.0], &[0.0, 0.1, 0.5, 0.9, 1.0]).unwrap();
        let expected = [1.0, 1.3, 2.5, 7.9, 10.0];
        assert!(q.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{q:?}");
        assert_eq!(quantiles(&[], &[0.5]), None);
    }

    #[test]
    fn cosine_and_pearson() {
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), Some(0.0));
        assert_eq!(cosine(&[0.0], &[1.0]), None);
        // numpy.corrcoef([1, 2, 3, 4], [2, 1, 4, 9])
        let r = pearson(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 9.0]).unwrap();
        assert!((r - 0.870_571_500_132_014).abs() < 1e-12, "{r}");
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), None);
        // The mean of three times 0.1 is not 0.1.
        assert_eq!(pearson(&[0.1; 3], &[1.0, 2.0, 4.0]), None);
        assert_eq!(pearson(&[1.0, f64::INFINITY, 2.0], &[1.0, 2.0, 4.0]), None);
        assert_eq!((cosine(&[f64::NAN], &[1.0]), quantiles(&[1.0, f64::INFINITY], &[0.5])), (None, None));
    }

    #[test]
    fn smoothing_starts_at_the_first_value() {
        assert_eq!(smooth(&[2.0, 2.0, f64::NAN, 2.0], 0.9), [2.0; 4]);
        let s = smooth(&[1.0, 0.0], 0.5);
        assert!((s[1] - 1.0 / 3.0).abs() < 1e-15);
    }
}
