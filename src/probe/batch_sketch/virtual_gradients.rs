//! Gradients of weights that do not train, taken from the backward pass while it has both factors at hand. Nothing is
//! updated with them.

use crate::kernels::{LinearShape, accumulate, linear_backward_weight};
use crate::ops::{BackwardObserver, LinearBackward, Place, VectorBackward};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Gradients by name, summed over samples and micro-batches.
pub(in crate::probe) type Gradients = BTreeMap<String, Vec<f32>>;

/// Sums the gradients of some frozen weights over a step.
#[derive(Clone, Debug)]
pub(in crate::probe) struct VirtualGradients {
    watched: Arc<Watched>,
    /// By member of a team: members run side by side, and sums have an order.
    members: Vec<Arc<Inner>>,
}

#[derive(Debug)]
struct Watched {
    /// The weights, and where they stand.
    names: BTreeSet<String>,
    places: BTreeSet<Place>,
    /// Whether an encoder of which nothing trains runs backward for this.
    frozen_encoder: bool,
}

/// What one member's passes showed.
#[derive(Debug)]
struct Inner {
    watched: Arc<Watched>,
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
        Self { watched: Arc::new(Watched { names, places, frozen_encoder }), members: Vec::new() }
    }

    /// What was seen since this was last asked, and the time that seeing took.
    pub(in crate::probe) fn take(&self) -> (Gradients, Duration) {
        let mut all = Sums::default();
        for member in &self.members {
            let own = std::mem::take(&mut *member.sums.lock().unwrap_or_else(PoisonError::into_inner));
            all.spent += own.spent;
            for (name, gradient) in own.gradients {
                match all.gradients.entry(name) {
                    Entry::Vacant(free) => drop(free.insert(gradient)),
                    Entry::Occupied(mut sum) => {
                        let sum = sum.get_mut();
                        sum.resize(sum.len().max(gradient.len()), 0.0);
                        accumulate(&mut sum[..gradient.len()], &gradient, true);
                    }
                }
            }
        }
        (all.gradients, all.spent)
    }

    /// For the backward pass of a micro-batch that `member` runs.
    pub(in crate::probe) fn observer(&mut self, member: usize) -> Arc<dyn BackwardObserver> {
        while self.members.len() <= member {
            self.members.push(Arc::new(Inner { watched: self.watched.clone(), sums: Mutex::default() }));
        }
        self.members[member].clone()
    }
}

impl Inner {
    fn add(&self, weight: &str, work: impl FnOnce(&mut Vec<f32>)) {
        if !self.watched.names.contains(weight) {
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
        !trains && self.watched.places.contains(&place)
    }

    fn wants_frozen_encoder(&self) -> bool {
        self.watched.frozen_encoder
    }
}
