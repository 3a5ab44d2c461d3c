//! Elementary functions as short branch-free polynomials, which the compiler turns into vector code.

/// `a * b + c`, in one rounding where that is one instruction.
#[inline(always)]
pub(super) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x`, relative error below 2e-7 (1e-7 with FMA) for `x` in [-87, 88]; clamped outside, NaN stays NaN.
///
/// `x = n ln 2 + r` with `n` rounded by adding 1.5 * 2^23, `e^r` by its Taylor polynomial, `2^n` put into the exponent.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    // Comparisons this way round keep a NaN.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    // ln 2 in two pieces: the first has few bits, so that n times it is exact.
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.0 / 5040.0;
    p = fma::<FMA>(p, r, 1.0 / 720.0);
    p = fma::<FMA>(p, r, 1.0 / 120.0);
    p = fma::<FMA>(p, r, 1.0 / 24.0);
    p = fma::<FMA>(p, r, 1.0 / 6.0);
    p = fma::<FMA>(p, r, 0.5);
    p = fma::<FMA>(p, r, 1.0);
    p = fma::<FMA>(p, r, 1.0);
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// The normal distribution function of `x`, and `e^(-x^2/2)`, which its derivative needs.
///
/// `Phi(-|x|) = e^(-x^2/2) t P(t)` with `t = 1 / (1 + |x|/4)`; `P` interpolates at Chebyshev nodes, relative error 1.2e-8
/// before rounding.
#[inline(always)]
pub(super) fn normal_cdf<const FMA: bool>(x: f32) -> (f32, f32) {
    const P: [f32; 10] = [
        9.975_179e-2,
        9.941_662e-2,
        9.615_086e-2,
        6.901_164e-2,
        9.537_557e-2,
        -3.677_959_4e-3,
        4.831_808_3e-2,
        3.661_525_5e-2,
        -5.634_546_4e-2,
        1.538_360_3e-2,
    ];
    let t = 1.0 / fma::<FMA>(x.abs(), 0.25, 1.0);
    let bell = exp::<FMA>(-0.5 * x * x);
    let mut p = P[9];
    let mut i = 9;
    while i > 0 {
        i -= 1;
        p = fma::<FMA>(p, t, P[i]);
    }
    let tail = bell * t * p;
    (if x > 0.0 { 1.0 - tail } else { tail }, bell)
}

/// Width of the partial sums below: two AVX-512 registers.
pub(super) const LANES: usize = 32;

/// Sum of partial sums, pairwise.
#[inline(always)]
pub(super) fn fold(mut acc: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        let mut i = 0;
        while i < width {
            acc[i] += acc[i + width];
            i += 1;
        }
        width /= 2;
    }
    acc[0]
}

/// `sum x`.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    let mut acc = [0.0; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for c in chunks {
        for i in 0..LANES {
            acc[i] += c[i];
        }
    }
    for (a, v) in acc.iter_mut().zip(tail) {
        *a += v;
    }
    fold(acc)
}

/// `sum x y`.
#[inline(always)]
pub(super) fn dot<const FMA: bool>(x: &[f32], y: &[f32]) -> f32 {
    let mut acc = [0.0; LANES];
    let ((xs, x_tail), (ys, y_tail)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (a, b) in xs.iter().zip(ys) {
        for i in 0..LANES {
            acc[i] = fma::<FMA>(a[i], b[i], acc[i]);
        }
    }
    for (s, (a, b)) in acc.iter_mut().zip(x_tail.iter().zip(y_tail)) {
        *s = fma::<FMA>(*a, *b, *s);
    }
    fold(acc)
}

/// `sum (x - mean)^2`.
#[inline(always)]
pub(super) fn centred_squares<const FMA: bool>(x: &[f32], mean: f32) -> f32 {
    let mut acc = [0.0; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for c in chunks {
        for i in 0..LANES {
            let v = c[i] - mean;
            acc[i] = fma::<FMA>(v, v, acc[i]);
        }
    }
    for (a, v) in acc.iter_mut().zip(tail) {
        let v = v - mean;
        *a = fma::<FMA>(v, v, *a);
    }
    fold(acc)
}

/// Largest value; negative infinity for none.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let mut acc = [f32::NEG_INFINITY; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for c in chunks {
        for i in 0..LANES {
            acc[i] = if c[i] > acc[i] { c[i] } else { acc[i] };
        }
    }
    for (a, v) in acc.iter_mut().zip(tail) {
        *a = if *v > *a { *v } else { *a };
    }
    let mut width = LANES / 2;
    while width > 0 {
        let mut i = 0;
        while i < width {
            acc[i] = if acc[i + width] > acc[i] { acc[i + width] } else { acc[i] };
            i += 1;
        }
        width /= 2;
    }
    acc[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The normal distribution function by its series, accurate to 1e-15 for |x| < 6.
    fn reference(x: f64) -> f64 {
        if x < -2.0 {
            // Continued fraction of the tail.
            let f = (1..=200).rev().fold(0.0, |f, k| f64::from(k) / (-x + f));
            return (-x * x / 2.0).exp() / (std::f64::consts::TAU.sqrt() * (-x + f));
        }
        if x > 2.0 {
            return 1.0 - reference(-x);
        }
        let (mut term, mut sum) = (x, x);
        for k in 1..100 {
            term *= -x * x / (2.0 * f64::from(k));
            sum += term / (2.0 * f64::from(k) + 1.0);
        }
        0.5 + sum / std::f64::consts::TAU.sqrt()
    }

    #[test]
    fn exp_is_accurate_and_keeps_nan() {
        for i in -86_999..=87_999_i32 {
            let x = i as f32 * 1e-3;
            let want = f64::from(x).exp();
            assert!((f64::from(exp::<true>(x)) / want - 1.0).abs() < 1.2e-7, "{x}");
            assert!((f64::from(exp::<false>(x)) / want - 1.0).abs() < 3e-7, "{x}");
        }
        assert!(exp::<true>(f32::NAN).is_nan());
        assert_eq!(exp::<true>(0.0), 1.0);
        assert!(exp::<true>(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn normal_cdf_is_accurate_in_the_tail_too() {
        for i in -8_000..=8_000_i32 {
            let x = i as f32 * 1e-3;
            let (got, want) = (f64::from(normal_cdf::<true>(x).0), reference(f64::from(x)));
            assert!((got / want - 1.0).abs() < 3e-6, "{x}: {got} {want}");
            assert!((got - want).abs() < 2e-7, "{x}: {got} {want}");
        }
        assert!(normal_cdf::<true>(f32::NAN).0.is_nan());
    }

    #[test]
    fn sums_take_every_element() {
        for n in [0, 1, 31, 32, 33, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32 - 7.0).collect();
            let exact: f32 = x.iter().sum();
            assert_eq!(sum(&x), exact);
            assert_eq!(dot::<true>(&x, &x), x.iter().map(|v| v * v).sum::<f32>());
            assert_eq!(centred_squares::<false>(&x, 1.0), x.iter().map(|v| (v - 1.0) * (v - 1.0)).sum::<f32>());
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
