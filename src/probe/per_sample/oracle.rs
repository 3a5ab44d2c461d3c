//! Gram matrices of a single backward pass, for checks against reference numbers.

use super::projections::Projections;
use super::statistics::Cell;
use super::step::{Pass, Shared};
use super::units::{self, Unit};
use super::{Plan, Space};
use crate::ops::{BackwardObserver, LayerId};
use candle_core::Result;
use std::sync::{Arc, Mutex};

/// Watches one backward pass and keeps both factors of every trained linear layer.
#[derive(Debug)]
pub struct Oracle {
    shared: Arc<Shared>,
    samples: usize,
}

/// An inner product and its stated 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GramEntry {
    /// The estimate.
    pub value: f64,
    /// Ends of the interval; both the value itself where it is exact.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Oracle {
    /// For a batch of `samples`, over what trains.
    #[must_use]
    pub fn new(samples: usize) -> Self {
        let plan = Plan {
            spaces: vec![Space::Trainable],
            modules: Vec::new(),
            k: 16,
            frozen_encoder: false,
            by_module: true,
            keeps_sketches: false,
        };
        let projections = Arc::new(Mutex::new(Projections::new(0, plan.k)));
        let shared = Shared { plan, sketched: false, exact: true, projections, sums: Mutex::default() };
        Self { shared: Arc::new(shared), samples }
    }

    /// The observer to hand to the forward pass.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn BackwardObserver> {
        Arc::new(Pass { shared: self.shared.clone(), first: 0, samples: self.samples })
    }

    /// Exact Gram matrices of the pass.
    ///
    /// # Errors
    /// Numbers that cannot be copied from their device.
    pub fn exact(&self) -> Result<Grams> {
        let keep: Vec<usize> = (0..self.samples).collect();
        let units = units::exact(&*self.shared.settled()?, Space::Trainable, &keep);
        Ok(Grams { units, samples: self.samples })
    }

    /// Gram matrices from sketches of `k` projections drawn from `seed`, of the same pass.
    ///
    /// # Errors
    /// Numbers that cannot be copied from their device.
    pub fn sketched(&self, k: usize, seed: u64) -> Result<Grams> {
        let keep: Vec<usize> = (0..self.samples).collect();
        let sums = self.shared.settled()?.sketched(k, seed);
        let units = units::sketched(&sums, &[Space::Trainable], k, &keep, seed).concat();
        Ok(Grams { units, samples: self.samples })
    }
}

/// Inner products between samples, by layer.
#[derive(Clone, Debug)]
pub struct Grams {
    units: Vec<Unit>,
    samples: usize,
}

impl Grams {
    /// The matrix `[samples, samples]` of one layer, of all layers for `None`.
    #[must_use]
    pub fn matrix(&self, layer: Option<LayerId>) -> Vec<GramEntry> {
        let units: Vec<&Unit> = self.units.iter().filter(|u| layer.is_none_or(|layer| u.layer == layer)).collect();
        let cell = Cell::new(&units, self.samples);
        let entry = |at: usize| {
            let estimate = cell.dot_estimate(at / self.samples, at % self.samples);
            GramEntry { value: estimate.value, low: estimate.low, high: estimate.high }
        };
        (0..self.samples * self.samples).map(entry).collect()
    }
}
