//! Quantiles of Student's t.

/// The 97.5 % quantile of Student's t with `degrees` degrees of freedom, 1 or more and not always whole: half the width of
/// a 95 % interval in standard errors. NaN for NaN.
pub(super) fn t_quantile(degrees: f64) -> f64 {
    /// From any table (Fisher and Yates), 1 to 12 degrees of freedom.
    const TABLE: [f64; 12] =
        [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788];
    let degrees = if degrees < 1.0 { 1.0 } else { degrees };
    let whole = degrees.floor();
    if whole < TABLE.len() as f64 {
        // Between two values the quantile is almost linear in 1 / degrees.
        let at = whole as usize;
        let (below, above) = (1.0 / whole, 1.0 / (whole + 1.0));
        let part = (1.0 / degrees - above) / (below - above);
        return TABLE[at] + (TABLE[at - 1] - TABLE[at]) * part;
    }
    // The quantile of the normal distribution, expanded in 1 / degrees (Abramowitz and Stegun 26.7.5).
    let z = 1.959_963_984_540_054_f64;
    let z2 = z * z;
    let terms = [
        (z2 + 1.0) / 4.0,
        ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0,
        (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0,
        ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) / 92_160.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| (sum + term * z) / degrees) + z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_tables() {
        let known = [(1.0, 12.7062), (4.0, 2.7764), (12.0, 2.1788), (13.0, 2.1604), (20.0, 2.0860), (120.0, 1.9799)];
        for (degrees, value) in known {
            assert!((t_quantile(degrees) - value).abs() < 1e-4, "{degrees}: {}", t_quantile(degrees));
        }
        // scipy.stats.t.ppf(0.975, 2.5) and 7.5.
        assert!((t_quantile(2.5) - 3.5746).abs() < 0.1 && (t_quantile(7.5) - 2.3332).abs() < 1e-2);
        assert!(t_quantile(0.0) == t_quantile(1.0) && (t_quantile(1e6) - 1.96).abs() < 1e-4);
        assert!(t_quantile(f64::NAN).is_nan());
    }
}
