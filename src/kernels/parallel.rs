//! How work is split: into pieces whose size depends on the shape alone.

use rayon::prelude::*;

/// Elements of one piece of elementwise work: 64 KiB a tensor, so that a piece of a few tensors stays in the L2 cache.
pub(super) const PIECE: usize = 16_384;

/// Rows of width `d` that make about one piece.
pub(super) fn rows_per_piece(d: usize) -> usize {
    (PIECE / d.max(1)).max(1)
}

/// Runs `f(0..n)`, in parallel when there is more than one piece.
pub(super) fn for_each(n: usize, f: impl Fn(usize) + Send + Sync) {
    if n <= 1 {
        (0..n).for_each(f);
    } else {
        (0..n).into_par_iter().with_max_len(8).for_each(f);
    }
}

/// Results of `f(0..n)` in order.
pub(super) fn map<R: Send>(n: usize, f: impl Fn(usize) -> R + Send + Sync) -> Vec<R> {
    if n <= 1 { (0..n).map(f).collect() } else { (0..n).into_par_iter().map(f).collect() }
}

/// The part `piece` of a slice cut into `size`.
#[inline(always)]
pub(super) fn part<T>(slice: &[T], piece: usize, size: usize) -> &[T] {
    let start = piece * size;
    &slice[start..(start + size).min(slice.len())]
}
