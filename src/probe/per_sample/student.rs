//! Quantiles of Student's t.

/// The 97.5 % quantile of Student's t with `degrees` degrees of freedom: half the width of a 95 % interval in standard
/// errors. Infinite for 0.
#[must_use]
pub fn t_quantile(degrees: usize) -> f64 {
    /// From any table (Fisher and Yates), 1 to 10 degrees of freedom.
    const TABLE: [f64; 10] = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281];
    if degrees == 0 {
        return f64::INFINITY;
    }
    if let Some(value) = TABLE.get(degrees - 1) {
        return *value;
    }
    // The quantile of the normal distribution, expanded in 1 / degrees (Abramowitz and Stegun 26.7.5).
    let (z, n) = (1.959_963_984_540_054_f64, degrees as f64);
    let z2 = z * z;
    let terms = [
        (z2 + 1.0) / 4.0,
        ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0,
        (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0,
        ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) / 92_160.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| (sum + term * z) / n) + z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_tables() {
        let known = [(1, 12.7062), (4, 2.7764), (11, 2.2010), (12, 2.1788), (20, 2.0860), (30, 2.0423), (120, 1.9799)];
        for (degrees, value) in known {
            assert!((t_quantile(degrees) - value).abs() < 1e-4, "{degrees}: {}", t_quantile(degrees));
        }
        assert!(t_quantile(0).is_infinite() && (t_quantile(1_000_000) - 1.96).abs() < 1e-4);
    }
}
