//! Products of matrices, and of many rows with few, as fast as the processor allows.

mod matmul;
mod products;
mod rows;

pub(crate) use matmul::{Product, product, product_into};
pub(crate) use products::{distance2_rows, products};
pub use rows::Real;
pub(crate) use rows::{Rows, mean};

use fearless_simd::{Level as Simd, WithSimd};

/// How wide this processor's vectors are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// 8 numbers of float32, with fused products.
    Wide,
    /// What every processor has.
    Least,
}

/// A computation that is compiled once for each kind of vectors.
pub(crate) trait Compute {
    type Output;
    /// Must be inlined (`#[inline(always)]`), with all that it calls, to gain.
    fn compute(self, level: Level) -> Self::Output;
}

struct Dispatched<Op>(Op, Level);

impl<Op: Compute> WithSimd for Dispatched<Op> {
    type Output = Op::Output;

    #[inline(always)]
    fn with_simd<S: fearless_simd::Simd>(self, _: S) -> Op::Output {
        self.0.compute(self.1)
    }
}

/// Runs `op` compiled for this processor's vectors.
pub(crate) fn dispatch<Op: Compute>(op: Op) -> Op::Output {
    let simd = Simd::new();
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let level = if simd.as_avx2().is_some() { Level::Wide } else { Level::Least };
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    let level = if cfg!(target_arch = "aarch64") { Level::Wide } else { Level::Least };
    simd.dispatch(Dispatched(op, level))
}
