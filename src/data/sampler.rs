//! Which samples a step takes.

use super::batch::BatchPosition;
use super::group_by_length;
use super::permutation::Permutation;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};

/// Order of the samples within an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they stand in the set (evaluation).
    Sequential,
    /// Shuffled anew every epoch.
    Shuffled,
    /// LLaVA's `group_by_modality_length` over these lengths ([`Dataset::modality_lengths`]).
    ///
    /// [`Dataset::modality_lengths`]: super::Dataset::modality_lengths
    Grouped(Arc<[i32]>),
}

/// Where a sampler stands: enough to go on from, in whatever process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplerState {
    /// Seed of the shuffles.
    pub seed: u64,
    /// Epoch of the next step.
    pub epoch: u64,
    /// Samples of that epoch that earlier steps took.
    pub position: u64,
}

/// Deals the samples of every epoch into steps of `accumulation` micro-batches of `batch` samples. Every sample comes
/// once an epoch; the last step of an epoch may be short, as in the reference trainer.
#[derive(Debug)]
pub struct Sampler {
    samples: usize,
    batch: usize,
    accumulation: usize,
    seed: u64,
    order: Order,
    /// The grouped order of the epoch last asked for.
    grouped: Mutex<Option<(u64, Arc<[u32]>)>>,
}

impl Sampler {
    /// A sampler over `samples` samples. `batch` and `accumulation` are taken as at least 1.
    #[must_use]
    pub fn new(samples: usize, batch: usize, accumulation: usize, seed: u64, order: Order) -> Self {
        let (batch, accumulation) = (batch.max(1), accumulation.max(1));
        Self { samples, batch, accumulation, seed, order, grouped: Mutex::new(None) }
    }

    /// One pass in order, for evaluation.
    #[must_use]
    pub fn sequential(samples: usize, batch: usize) -> Self {
        Self::new(samples, batch, 1, 0, Order::Sequential)
    }

    /// Micro-batches of an epoch.
    #[must_use]
    pub fn micro_batches_per_epoch(&self) -> u64 {
        self.samples.div_ceil(self.batch) as u64
    }

    /// Steps of an epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        self.micro_batches_per_epoch().div_ceil(self.accumulation as u64)
    }

    /// State before step `step`.
    #[must_use]
    pub fn state(&self, step: u64) -> SamplerState {
        let steps = self.steps_per_epoch().max(1);
        let position = (step % steps) * (self.batch * self.accumulation) as u64;
        SamplerState { seed: self.seed, epoch: step / steps, position }
    }

    /// Step at which a sampler of this shape stands in `state`; `None` if the state is another sampler's.
    #[must_use]
    pub fn step_of(&self, state: &SamplerState) -> Option<u64> {
        let step = state.epoch * self.steps_per_epoch() + state.position / (self.batch * self.accumulation) as u64;
        (self.state(step) == *state).then_some(step)
    }

    /// Number of the first micro-batch of step `step`, counted over all epochs.
    #[must_use]
    pub fn first_micro_batch(&self, step: u64) -> u64 {
        let steps = self.steps_per_epoch().max(1);
        (step / steps) * self.micro_batches_per_epoch() + (step % steps) * self.accumulation as u64
    }

    /// Micro-batch `number` (counted over all epochs): its place in the run and its samples. Empty only over an empty
    /// set.
    #[must_use]
    pub fn micro_batch(&self, number: u64) -> (BatchPosition, Vec<usize>) {
        let per_epoch = self.micro_batches_per_epoch().max(1);
        let (epoch, within) = (number / per_epoch, number % per_epoch);
        let accumulation = self.accumulation as u64;
        let step = within / accumulation;
        let at = BatchPosition {
            step: epoch * self.steps_per_epoch() + step,
            micro: (within % accumulation) as usize,
            of: (per_epoch - step * accumulation).min(accumulation) as usize,
        };
        let start = within as usize * self.batch;
        let places = start..self.samples.min(start + self.batch);
        (at, self.samples_at(epoch, places))
    }

    fn samples_at(&self, epoch: u64, places: std::ops::Range<usize>) -> Vec<usize> {
        match &self.order {
            Order::Sequential => places.collect(),
            Order::Shuffled => match Permutation::new(self.samples as u64, self.seed, epoch) {
                Some(shuffle) => places.map(|i| shuffle.get(i as u64) as usize).collect(),
                None => Vec::new(),
            },
            Order::Grouped(lengths) => {
                let order = self.grouped_order(lengths, epoch);
                places.map(|i| order[i] as usize).collect()
            }
        }
    }

    fn grouped_order(&self, lengths: &[i32], epoch: u64) -> Arc<[u32]> {
        let mut held = self.grouped.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((of, order)) if *of == epoch => Arc::clone(order),
            _ => {
                let order: Arc<[u32]> =
                    group_by_length::order(lengths, self.batch, self.accumulation, self.seed, epoch).into();
                *held = Some((epoch, Arc::clone(&order)));
                order
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(n: usize) -> Order {
        Order::Grouped((0..n).map(|i| (i as i32 * 7) % 13 + 1).map(|l| if l % 3 == 0 { -l } else { l }).collect())
    }

    #[test]
    fn every_epoch_takes_every_sample_once() {
        for order in [Order::Sequential, Order::Shuffled, lengths(23)] {
            let sampler = Sampler::new(23, 3, 2, 9, order);
            assert_eq!((sampler.micro_batches_per_epoch(), sampler.steps_per_epoch()), (8, 4));
            for epoch in 0..3 {
                let mut seen: Vec<usize> = (0..8).flat_map(|m| sampler.micro_batch(epoch * 8 + m).1).collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..23).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn positions_count_steps_and_short_ends() {
        let sampler = Sampler::new(23, 3, 3, 0, Order::Shuffled);
        let at = |n| {
            let (at, samples) = sampler.micro_batch(n);
            (at.step, at.micro, at.of, samples.len())
        };
        assert_eq!((at(0), at(2), at(3)), ((0, 0, 3, 3), (0, 2, 3, 3), (1, 0, 3, 3)));
        assert_eq!((at(6), at(7), at(8)), ((2, 0, 2, 3), (2, 1, 2, 2), (3, 0, 3, 3)));
        for step in 0..20 {
            let (at, _) = sampler.micro_batch(sampler.first_micro_batch(step));
            assert_eq!((at.step, at.micro), (step, 0));
        }
    }

    #[test]
    fn resuming_from_a_state_goes_on_alike() {
        for order in [Order::Shuffled, lengths(40)] {
            let first = Sampler::new(40, 4, 3, 5, order.clone());
            let straight: Vec<_> = (0..30).map(|n| first.micro_batch(n)).collect();
            for step in [0, 1, 3, 4, 6] {
                let json = serde_json::to_string(&first.state(step)).unwrap();
                let second = Sampler::new(40, 4, 3, 5, order.clone());
                let step = second.step_of(&serde_json::from_str(&json).unwrap()).unwrap();
                let start = second.first_micro_batch(step);
                let resumed: Vec<_> = (start..30).map(|n| second.micro_batch(n)).collect();
                assert_eq!(resumed, straight[start as usize..]);
            }
        }
    }

    #[test]
    fn a_state_of_another_sampler_is_refused() {
        let sampler = Sampler::new(40, 4, 3, 5, Order::Shuffled);
        assert_eq!(sampler.step_of(&SamplerState { seed: 6, epoch: 0, position: 0 }), None);
        assert_eq!(sampler.step_of(&SamplerState { seed: 5, epoch: 0, position: 5 }), None);
        assert_eq!(sampler.step_of(&SamplerState { seed: 5, epoch: 2, position: 12 }), Some(9));
    }
}
