//! Mini-batches (Sculley 2010) for data that are too many for whole passes: each sample drawn pulls its centroid by one
//! over the number of samples that the centroid has seen.

use super::lloyd::nearest;
use crate::linalg::Rows;
use crate::stats::Stream;

/// Moves `centroids` by `steps` batches of `batch` samples.
pub(super) fn minibatch(x: &Rows, centroids: &Rows, batch: usize, steps: u64, stream: &mut Stream) -> Rows {
    let (k, stride) = (centroids.len(), x.stride());
    let mut means: Vec<f64> = (0..k).flat_map(|c| centroids.row(c)).map(|v| f64::from(*v)).collect();
    let mut seen = vec![0_u64; k];
    for _ in 0..steps {
        let now = Rows::from_sums(&means, stride);
        let drawn: Vec<usize> = (0..batch).map(|_| stream.below(x.len())).collect();
        nearest(x, &drawn, &now, |i, label, _, _| {
            let label = label as usize;
            seen[label] += 1;
            let pull = 1.0 / seen[label] as f64;
            let mean = &mut means[label * stride..(label + 1) * stride];
            mean.iter_mut().zip(x.row(i)).for_each(|(m, v)| *m += pull * (f64::from(*v) - *m));
        });
    }
    Rows::from_sums(&means, stride)
}
