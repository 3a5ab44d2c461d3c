//! Spearman's rank correlation.

/// Rank correlation, and how likely it is by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// Spearman's rho, -1..1.
    pub rho: f64,
    /// Pairs.
    pub n: usize,
    /// Share of all orders of the one side with a rho at least as far from 0: exact up to nine pairs, beyond by the normal
    /// approximation.
    pub p: f64,
}

/// Largest number of pairs whose orders are all gone through.
const EXACT: usize = 9;

/// Spearman's rho of `a` and `b`, ties at their mean rank; `None` for fewer than three pairs, unequal lengths, a side
/// without any difference, or a number that is not finite.
#[must_use]
pub fn spearman(a: &[f64], b: &[f64]) -> Option<Rank> {
    let n = a.len();
    if n < 3 || n != b.len() || !a.iter().chain(b).all(|x| x.is_finite()) {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    let rho = crate::stats::pearson(&a, &b)?;
    let p = if n <= EXACT { exact(&a, &b, rho) } else { normal_tails(rho.abs() * ((n - 1) as f64).sqrt()) };
    Some(Rank { rho, n, p })
}

/// Ranks from 1, ties at their mean.
fn ranks(x: &[f64]) -> Vec<f64> {
    let below = |v: f64| x.iter().filter(|w| **w < v).count() as f64;
    let equal = |v: f64| x.iter().filter(|w| **w == v).count() as f64;
    x.iter().map(|v| below(*v) + f64::midpoint(equal(*v), 1.0)).collect()
}

/// Share of the orders of `b` whose rho with `a` is at least as far from 0 as `rho`.
fn exact(a: &[f64], b: &[f64], rho: f64) -> f64 {
    let mean = f64::midpoint(a.len() as f64, 1.0);
    let product = |b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    // Orders have the same norms: comparing products compares correlations.
    let limit = product(b).abs().max(rho.abs() * 1e-9) - 1e-9;
    let (mut extreme, mut all) = (0_u64, 0_u64);
    let mut order = b.to_vec();
    // Heap's algorithm, without recursion.
    let mut counters = vec![0; order.len()];
    let mut count = |order: &[f64]| {
        all += 1;
        extreme += u64::from(product(order).abs() >= limit);
    };
    count(&order);
    let mut i = 1;
    while i < order.len() {
        if counters[i] < i {
            order.swap(if i % 2 == 0 { 0 } else { counters[i] }, i);
            count(&order);
            counters[i] += 1;
            i = 1;
        } else {
            counters[i] = 0;
            i += 1;
        }
    }
    extreme as f64 / all as f64
}

/// `P(|Z| >= z)` of a standard normal, by the rational approximation 7.1.26 of Abramowitz and Stegun (error below 2e-7).
fn normal_tails(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / 0.327_591_1_f64.mul_add(x, 1.0);
    let terms = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let polynomial = terms.iter().fold(0.0_f64, |sum, c| sum.mul_add(t, *c)) * t;
    (polynomial * (-x * x).exp()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_scipy() {
        // scipy.stats.spearmanr([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]).statistic = 0.8
        let r = spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]).unwrap();
        assert!((r.rho - 0.8).abs() < 1e-12 && r.n == 5, "{r:?}");
        // Of the 120 orders 8 have rho >= 0.8 (1 + 4 at 0.9 and 3 at 0.8), and as many rho <= -0.8.
        assert!((r.p - 16.0 / 120.0).abs() < 1e-12, "{r:?}");
        let up = spearman(&[0.1, 0.2, 0.3, 7.0], &[1.0, 10.0, 11.0, 12.0]).unwrap();
        assert!((up.rho - 1.0).abs() < 1e-12 && (up.p - 2.0 / 24.0).abs() < 1e-12, "{up:?}");
        // Ties: scipy gives 0.9486832980505139.
        let ties = spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 2.0, 3.0]).unwrap();
        assert!((ties.rho - 0.948_683_298_050_513_9).abs() < 1e-12, "{ties:?}");
    }

    #[test]
    fn long_sides_use_the_normal_approximation() {
        let a: Vec<f64> = (0..12).map(f64::from).collect();
        let down: Vec<f64> = a.iter().map(|x| -x).collect();
        let r = spearman(&a, &down).unwrap();
        // 2 (1 - Phi(sqrt(11))) = 0.000911...
        assert!((r.rho + 1.0).abs() < 1e-12 && (r.p - 9.11e-4).abs() < 2e-6, "{r:?}");
    }

    #[test]
    fn nothing_can_be_said_of_two_or_of_equals() {
        assert_eq!(spearman(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[4.0; 3]), None);
        assert_eq!(spearman(&[1.0, 2.0, f64::NAN], &[4.0, 5.0, 6.0]), None);
    }
}
