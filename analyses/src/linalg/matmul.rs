//! Matrix products by the `gemm` crate, on the calling thread.
#![expect(unsafe_code, reason = "the one call into gemm, whose views ndarray has checked")]

use gemm::Parallelism;
use ndarray::{Array2, ArrayView2};

/// Numbers that gemm multiplies.
pub(crate) trait Product: Copy + Default + 'static {
    const ONE: Self;
}

impl Product for f32 {
    const ONE: Self = 1.0;
}

impl Product for f64 {
    const ONE: Self = 1.0;
}

/// `a b` of `a [M, K]` and `b [K, N]`, transposed or strided as they may be.
///
/// # Panics
/// The inner dimensions differ.
pub(crate) fn product<T: Product>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) -> Array2<T> {
    let mut out = Array2::from_elem((a.nrows(), b.ncols()), T::default());
    product_into(a, b, &mut out);
    out
}

/// The same into an array that is there.
///
/// # Panics
/// The dimensions differ, or `out` is not row after row.
pub(crate) fn product_into<T: Product>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>, out: &mut Array2<T>) {
    let ((m, k), n) = (a.dim(), b.ncols());
    assert!(
        b.nrows() == k && out.dim() == (m, n) && out.is_standard_layout(),
        "a product of {m} x {k} and {:?}",
        b.dim()
    );
    let (stride_a, stride_b) = (a.strides(), b.strides());
    let width = isize::try_from(n).expect("sizes are smaller than the address space");
    // SAFETY: views hold valid numbers at all their places; `out` is exclusive, initialised and m rows of n.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            width,
            false,
            a.as_ptr(),
            stride_a[1],
            stride_a[0],
            b.as_ptr(),
            stride_b[1],
            stride_b[0],
            T::default(),
            T::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    #[test]
    fn as_ndarray_has_it() {
        let number = |(i, j): (usize, usize)| ((i * 31 + j * 17) as f64).sin();
        let (a, b) = (Array2::from_shape_fn((7, 40), number), Array2::from_shape_fn((33, 9), number));
        let (left, right) = (a.slice(s![..;2, 3..36]), b.view());
        let close = |x: &Array2<f64>, y: &Array2<f64>| (x - y).iter().all(|d| d.abs() < 1e-12);
        assert!(close(&product(left, right), &left.dot(&right)));
        assert!(close(&product(right.t(), left.t()), &right.t().dot(&left.t())));
        assert_eq!(product(a.slice(s![..0, ..33]), right).dim(), (0, 9));
        let zero = product(a.slice(s![.., ..0]), b.slice(s![..0, ..]));
        assert!(zero.dim() == (7, 9) && zero.iter().all(|v| *v == 0.0));
    }
}
