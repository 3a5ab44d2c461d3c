//! Count sketches of tensors where they lie.

use super::super::SKETCH_RUN;
use super::call::{Call, typed};
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent};
use candle_core::{DType, Result, Tensor};

pub(super) static SOURCE: Source = source!("sketch");

/// Runs of a block.
const RUNS: usize = 512;
/// Shared memory of a block that every card has.
const SHARED: usize = 48 * 1024;

/// Whether a table of so many buckets fits a block.
#[must_use]
pub fn sketch_fits(buckets: usize) -> bool {
    (buckets + SKETCH_RUN) * size_of::<f32>() <= SHARED
}

/// Tables of pieces of `x`, float32 `[pieces, buckets + 16]`, whose sum is what
/// [`sketch_add`](crate::kernels::sketch_add) makes of `x` from its first coordinate on (up to the order of the additions), and
/// sums of squares of the pieces, float64.
pub fn sketch(engine: &Engine, x: &Tensor, key: u64, buckets: usize) -> Result<[Tensor; 2]> {
    let (n, dtype, length) = (x.elem_count(), x.dtype(), buckets + SKETCH_RUN);
    let pieces = n.div_ceil(RUNS * SKETCH_RUN);
    let mut tables = Fresh::new(engine, DType::F32, pieces * length)?;
    let mut squares = Fresh::new(engine, DType::F64, pieces)?;
    let lent = Lent::of(x)?;
    Call::new(engine, &SOURCE, typed("sketch", dtype)?)
        .input(&lent, dtype, n)?
        .output(&mut tables, DType::F32, pieces * length)?
        .output(&mut squares, DType::F64, pieces)?
        .long(n)
        .long(key as usize)
        .int(buckets)?
        .int(RUNS)?
        .run([pieces as u32, 1, 1], 32, (length * size_of::<f32>()) as u32)?;
    Ok([tables.into_tensor(&[pieces, length])?, squares.into_tensor(&[pieces])?])
}

#[cfg(test)]
mod tests {
    use super::super::{column_sums, test_device};
    use super::*;
    use crate::kernels::sketch_add;

    #[test]
    #[ignore = "runs the kernels for cards: scripts/cuda-emulate"]
    fn sketches_are_those_of_the_host() {
        let (buckets, device) = (100, test_device().unwrap());
        for n in [1, 16, 40, RUNS * SKETCH_RUN, 2 * RUNS * SKETCH_RUN + 77] {
            for dtype in [DType::F32, DType::BF16] {
                let x: Vec<f32> = (0..n).map(|i| ((i + 1) as f32 * 0.7).sin()).collect();
                let x = Tensor::from_vec(x, n, &device).unwrap().to_dtype(dtype).unwrap();
                let engine = Engine::under_test(&x);
                let [tables, squares] = sketch(&engine, &x, 9, buckets).unwrap();
                let got: Vec<f32> = column_sums(&engine, &tables).unwrap().to_vec1().unwrap();
                let numbers: Vec<f32> = x.to_dtype(DType::F32).unwrap().to_vec1().unwrap();
                let mut want = vec![0.0; buckets + SKETCH_RUN];
                let square = sketch_add(&mut want, 9, 0, &numbers);
                let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-5 * largest), "{n} {dtype:?}");
                let sum: f64 = squares.to_vec1::<f64>().unwrap().iter().sum();
                assert!((sum - square).abs() < 1e-9 * square);
            }
        }
        assert!(sketch_fits(4096) && !sketch_fits(1 << 14));
    }
}
