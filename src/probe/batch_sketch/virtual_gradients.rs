//! Gradients of weights that do not train, taken from the backward pass while it has both factors at hand. Nothing is
//! updated with them.

use crate::kernels::{LinearShape, linear_backward_weight};
use crate::ops::{BackwardObserver, LinearBackward, Place, VectorBackward};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Gradients by name, summed over samples and micro-batches.
pub(in crate::probe) type Gradients = BTreeMap<String, Vec<f32>>;

/// Sums the gradients of some frozen weights over a step.
#[derive(Clone, Debug)]
pub(in crate::probe) struct VirtualGradients(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The weights, and where they stand.
    names: BTreeSet<String>,
    places: BTreeSet<Place>,
    /// Whether an encoder of which nothing trains runs backward for this.
    frozen_encoder: bool,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    gradients: Gradients,
    spent: Duration,
}

impl VirtualGradients {
    pub(in crate::probe) fn new(weights: impl IntoIterator<Item = (String, Place)>, frozen_encoder: bool) -> Self {
        let (names, places) = weights.into_iter().unzip();
        Self(Arc::new(Inner { names, places, frozen_encoder, sums: Mutex::default() }))
    }

    /// What was seen since this was last asked, and the time that seeing took.
    pub(in crate::probe) fn take(&self) -> (Gradients, Duration) {
        let sums = std::mem::take(&mut *self.0.sums.lock().unwrap_or_else(PoisonError::into_inner));
        (sums.gradients, sums.spent)
    }

    /// For the backward pass of a micro-batch.
    pub(in crate::probe) fn observer(&self) -> Arc<dyn BackwardObserver> {
        self.0.clone()
    }
}

impl Inner {
    fn add(&self, weight: &str, work: impl FnOnce(&mut Vec<f32>)) {
        if !self.names.contains(weight) {
            return;
        }
        let begun = Instant::now();
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        work(sums.gradients.entry(weight.to_owned()).or_default());
        sums.spent += begun.elapsed();
    }
}

impl BackwardObserver for Inner {
    fn linear(&self, seen: &LinearBackward<'_>) {
        let rows = seen.input.len() / seen.d_in.max(1);
        let shape = LinearShape { rows, d_in: seen.d_in, d_out: seen.d_out };
        self.add(seen.weight, |sum| {
            let add = !sum.is_empty();
            sum.resize(seen.d_in * seen.d_out, 0.0);
            linear_backward_weight(sum, seen.output_grad, seen.input, shape, add);
        });
    }

    fn vectors(&self, seen: &VectorBackward<'_>) {
        let width = seen.gradients.len() / seen.samples.max(1);
        self.add(seen.weight, |sum| {
            if sum.len() < seen.offset + width {
                sum.resize(seen.offset + width, 0.0);
            }
            for sample in seen.gradients.chunks(width.max(1)) {
                sum[seen.offset..].iter_mut().zip(sample).for_each(|(a, b)| *a += b);
            }
        });
    }

    fn wants(&self, place: Place, trains: bool) -> bool {
        !trains && self.places.contains(&place)
    }

    fn wants_frozen_encoder(&self) -> bool {
        self.frozen_encoder
    }
}
