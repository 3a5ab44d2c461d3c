//! One count sketch and what it is of.

use crate::kernels::{SKETCH_RUN, sketch_add, sketch_fold};

/// Key of the hashes of the tensor `name` (FNV-1a).
#[must_use]
pub fn tensor_key(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// A count sketch with the exact squared norm of what went in, as long as nothing was merged over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    sums: Vec<f32>,
    square: f64,
    elements: u64,
}

impl Sketch {
    /// An empty one of `buckets` numbers.
    #[must_use]
    pub fn new(buckets: usize) -> Self {
        Self { sums: vec![0.0; buckets], square: 0.0, elements: 0 }
    }

    /// The numbers, K of them.
    #[must_use]
    pub fn sums(&self) -> &[f32] {
        &self.sums
    }

    /// Elements that went in.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Norm of what went in.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.square.sqrt()
    }

    /// Adds other coordinates of the same gradient (another tensor, another piece), sketched apart.
    pub fn join(&mut self, other: &Self) {
        self.add(other);
        self.square += other.square;
        self.elements += other.elements;
    }

    /// Adds a sketch over the *same* coordinates: of another micro-batch or rank. The norm is then the sketch's own
    /// estimate, with a relative error of about `1 / sqrt(2 K)`.
    pub fn merge(&mut self, other: &Self) {
        self.add(other);
        self.square = self.sums.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
        self.elements = self.elements.max(other.elements);
    }

    /// Estimate of the inner product of what two sketches are of.
    #[must_use]
    pub fn dot(&self, other: &Self) -> f64 {
        self.sums.iter().zip(&other.sums).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    fn add(&mut self, other: &Self) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
    }
}

/// A sketch that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    sums: Vec<f32>,
    square: f64,
    elements: u64,
}

impl Filling {
    /// Sums with their scratch, made elsewhere.
    pub(super) fn of(sums: Vec<f32>, square: f64, elements: u64) -> Self {
        Self { sums, square, elements }
    }

    pub(super) fn new(buckets: usize) -> Self {
        Self { sums: vec![0.0; buckets + SKETCH_RUN], square: 0.0, elements: 0 }
    }

    /// Adds the coordinates from `first` on of the tensor of `key`; `first` is a multiple of [`SKETCH_RUN`].
    pub(super) fn add(&mut self, key: u64, first: usize, x: &[f32]) {
        debug_assert_eq!(first % SKETCH_RUN, 0);
        self.square += sketch_add(&mut self.sums, key, (first / SKETCH_RUN) as u64, x);
        self.elements += x.len() as u64;
    }

    pub(super) fn finish(mut self) -> Sketch {
        sketch_fold(&mut self.sums);
        self.sums.truncate(self.sums.len() - SKETCH_RUN);
        Sketch { sums: self.sums, square: self.square, elements: self.elements }
    }
}
