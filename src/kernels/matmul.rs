//! Matrix products on strided views, by the `gemm` crate.

use super::buffer::{Fresh, as_fresh};
use gemm::Parallelism;

/// A read-only matrix: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows x cols`, row after row.
    #[must_use]
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `rows x cols` whose rows begin `row_stride` apart.
    ///
    /// # Panics
    /// If the data is too short.
    #[must_use]
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(), "matrix view past its data");
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose; nothing is moved.
    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// `dst = a b`, or `dst += a b` if `add`; `dst` is row after row. Parallel where it pays; the numbers do not depend on
/// the number of threads.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_into(dst: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, add: bool) {
    assert_eq!(dst.len(), a.rows * b.cols, "destination of a matrix product");
    let stride = b.cols;
    // SAFETY: `dst` is exclusive, initialised and holds `rows x cols` elements.
    unsafe { product(as_fresh(dst).as_mut_ptr().cast(), stride, a, b, add, 1.0, Parallelism::Rayon(0)) };
}

/// `dst = a b` into unwritten memory, all of which it writes.
pub(super) fn matmul_fresh(dst: &mut Fresh, a: Matrix<'_>, b: Matrix<'_>) {
    assert_eq!(dst.len(), a.rows * b.cols, "destination of a matrix product");
    // SAFETY: as above, and without `add` the destination is not read.
    unsafe { product(dst.as_mut_ptr().cast(), b.cols, a, b, false, 1.0, Parallelism::Rayon(0)) };
}

/// `dst = a b`, or `dst += a b` if `add`, on one thread, rows of `dst` `stride` apart.
///
/// # Panics
/// If the shapes do not fit.
pub(super) fn matmul_strided(dst: &mut [f32], stride: usize, a: Matrix<'_>, b: Matrix<'_>, add: bool) {
    let fits = a.rows == 0 || b.cols == 0 || (stride >= b.cols && (a.rows - 1) * stride + b.cols <= dst.len());
    assert!(fits, "destination of a matrix product");
    // SAFETY: `dst` is exclusive, initialised and holds every row.
    unsafe { product_here(dst.as_mut_ptr(), stride, a, b, add, 1.0) };
}

/// `dst = scale a b (+ dst)` on one thread, rows of `dst` `stride` apart.
///
/// # Safety
/// `dst` points at `(a.rows - 1) * stride + b.cols` elements that nobody else touches; initialised if `add`.
pub(super) unsafe fn product_here(dst: *mut f32, stride: usize, a: Matrix<'_>, b: Matrix<'_>, add: bool, scale: f32) {
    // SAFETY: promised by the caller.
    unsafe { product(dst, stride, a, b, add, scale, Parallelism::None) };
}

/// # Safety
/// As [`product_here`].
unsafe fn product(
    dst: *mut f32,
    stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    add: bool,
    scale: f32,
    parallelism: Parallelism,
) {
    assert_eq!(a.cols, b.rows, "inner dimensions of a matrix product");
    let at = |n: usize| isize::try_from(n).expect("strides are smaller than the address space");
    // SAFETY: views were checked against their data when made; the caller vouches for `dst`. Dimensions of 0 are fine.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            dst,
            1,
            at(stride),
            add,
            a.data.as_ptr(),
            at(a.col_stride),
            at(a.row_stride),
            b.data.as_ptr(),
            at(b.col_stride),
            at(b.row_stride),
            1.0f32,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_and_adds() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, -1.0, 2.0, 0.5, 3.0, 1.0];
        let mut c = [10.0; 4];
        matmul_into(&mut c, Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 2), true);
        assert_eq!(c, [24.0, 13.0, 42.0, 14.5]);
        matmul_into(&mut c, Matrix::new(&a, 3, 2).t(), Matrix::new(&b, 3, 2), false);
        assert_eq!(c, [22.0, 5.5, 28.0, 6.0]);
        matmul_into(&mut c, Matrix::new(&[], 2, 0), Matrix::new(&[], 0, 2), false);
        assert_eq!(c, [0.0; 4]);
    }
}
