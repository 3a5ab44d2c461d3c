//! Rows of float32, centred and padded: what clustering and neighbour search work on.

use ndarray::{Array1, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

/// Rows begin this many numbers apart, or a multiple.
const PAD: usize = 16;

/// float32 or float64.
pub trait Real: Copy + Send + Sync + PartialEq + std::fmt::Debug + 'static {
    /// The number in float64.
    fn wide(self) -> f64;
    /// The nearest number.
    fn narrow(value: f64) -> Self;
}

impl Real for f32 {
    fn wide(self) -> f64 {
        self as f64
    }
    fn narrow(value: f64) -> Self {
        value as Self
    }
}

impl Real for f64 {
    fn wide(self) -> f64 {
        self
    }
    fn narrow(value: f64) -> Self {
        value
    }
}

/// Mean of each column `[D]` in float64; chunks of rows are added in their order.
pub(crate) fn mean<T: Real>(x: ArrayView2<'_, T>) -> Array1<f64> {
    let chunks: Vec<ArrayView2<'_, T>> = x.axis_chunks_iter(Axis(0), 1024).collect();
    let sums: Vec<Array1<f64>> = chunks
        .into_par_iter()
        .map(|chunk| {
            let mut sum = Array1::<f64>::zeros(chunk.ncols());
            for row in chunk.rows() {
                sum.iter_mut().zip(row).for_each(|(s, v)| *s += v.wide());
            }
            sum
        })
        .collect();
    let mut total = Array1::zeros(x.ncols());
    for sum in &sums {
        total += sum;
    }
    total / x.nrows().max(1) as f64
}

/// Rows in float32 after subtracting an origin, each padded with zeros.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    data: Vec<f32>,
    stride: usize,
    count: usize,
    norms: Vec<f32>,
}

impl Rows {
    /// The rows of `x` less `origin`.
    pub(crate) fn centred<T: Real>(x: ArrayView2<'_, T>, origin: ArrayView1<'_, f64>) -> Self {
        let stride = x.ncols().div_ceil(PAD).max(1) * PAD;
        let mut data = vec![0.0; stride * x.nrows()];
        data.par_chunks_mut(stride).enumerate().for_each(|(i, to)| {
            to.iter_mut().zip(x.row(i)).zip(origin).for_each(|((to, v), o)| *to = (v.wide() - o) as f32);
        });
        Self::padded(data, stride)
    }

    /// Rows that are padded already.
    fn padded(data: Vec<f32>, stride: usize) -> Self {
        let square = |row: &[f32]| row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() as f32;
        let norms = data.par_chunks(stride).map(square).collect();
        Self { count: data.len() / stride, data, stride, norms }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Row `i`, padding included.
    pub(crate) fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.stride..(i + 1) * self.stride]
    }

    /// Numbers a row, padding included.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Squared length of each row.
    pub(crate) fn norms(&self) -> &[f32] {
        &self.norms
    }

    /// The chosen rows.
    pub(crate) fn select(&self, which: &[usize]) -> Self {
        let data = which.iter().flat_map(|i| self.row(*i)).copied().collect();
        Self { data, stride: self.stride, count: which.len(), norms: which.iter().map(|i| self.norms[*i]).collect() }
    }

    /// Each row divided by its length; a row of zeros stays.
    pub(crate) fn normalised(mut self) -> Self {
        let norms = &self.norms;
        self.data.par_chunks_mut(self.stride).enumerate().for_each(|(i, row)| {
            let length = norms[i].sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|v| *v /= length);
            }
        });
        Self::padded(self.data, self.stride)
    }

    /// Rows of float64 numbers, `stride` apart.
    pub(crate) fn from_sums(sums: &[f64], stride: usize) -> Self {
        Self::padded(sums.iter().map(|v| *v as f32).collect(), stride)
    }
}
