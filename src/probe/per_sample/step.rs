//! What the backward passes of one optimiser step showed of its samples.

use super::Plan;
use super::projections::Projections;
use crate::kernels::{self, SketchShape};
use crate::ops::{
    BackwardObserver, LayerId, LinearBackward, LinearTensors, Place, VectorBackward, VectorTensors, fetch, on_host,
    wide,
};
use crate::probe::space::without_expert;
use candle_core::{Result, Tensor};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A weight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WeightId {
    pub(super) layer: LayerId,
    pub(super) module: &'static str,
    pub(super) name: String,
    /// Where in the parameter its numbers begin.
    pub(super) offset: usize,
}

impl WeightId {
    pub(super) fn place(&self) -> Place {
        Place { layer: self.layer, module: self.module }
    }
}

/// Both factors of a linear layer's gradient in one backward pass.
#[derive(Debug)]
pub(super) struct Factors {
    /// Number of the first sample within the step.
    pub(super) first: usize,
    pub(super) samples: usize,
    pub(super) input: Vec<f32>,
    pub(super) output_grad: Vec<f32>,
}

/// A linear layer's weight.
#[derive(Debug, Default)]
pub(super) struct LinearSums {
    pub(super) trains: bool,
    pub(super) d_in: usize,
    pub(super) d_out: usize,
    /// Samples up to the last that was seen.
    pub(super) samples: usize,
    /// `[samples, 2, k / 2, k / 2]`; empty without sketches.
    pub(super) sketches: Vec<f32>,
    /// Of every pass; empty outside exact mode.
    pub(super) factors: Vec<Factors>,
}

/// Any other parameter, or a part of one.
#[derive(Debug, Default)]
pub(super) struct VectorSums {
    pub(super) trains: bool,
    /// Samples up to the last that was seen.
    pub(super) samples: usize,
    /// `[samples, n]`.
    pub(super) gradients: Vec<f32>,
}

/// Everything of one step.
#[derive(Debug, Default)]
pub(super) struct StepSums {
    pub(super) linears: BTreeMap<WeightId, LinearSums>,
    pub(super) vectors: BTreeMap<WeightId, VectorSums>,
    /// What did not fit.
    pub(super) fault: Option<String>,
    /// Rows of samples that were computed on a device and have not been read: of a linear layer's sketches, or of a vector's
    /// gradients, the number of the first sample, `[samples, ..]`.
    waiting: Vec<(WeightId, Kind, usize, Tensor)>,
    spent: Duration,
}

/// What rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Vector,
}

impl StepSums {
    /// Reads what waits on a device, all at once.
    fn read(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let numbers = fetch::<f32>(&waiting.iter().map(|(_, _, _, rows)| rows.clone()).collect::<Vec<_>>())?;
        for ((id, kind, first, rows), own) in waiting.into_iter().zip(&numbers) {
            let width = own.len() / rows.dim(0)?;
            match kind {
                Kind::Linear => add_rows(&mut self.linears.entry(id).or_default().sketches, own, first, width),
                Kind::Vector => add_rows(&mut self.vectors.entry(id).or_default().gradients, own, first, width),
            }
        }
        Ok(())
    }

    /// Time that the observers took.
    pub(super) fn spent(&self) -> Duration {
        self.spent
    }

    /// The same step with sketches made from the factors that were kept.
    pub(super) fn sketched(&self, k: usize, seed: u64) -> Self {
        let mut projections = Projections::new(seed, k);
        let mut made = Self::default();
        for (id, linear) in &self.linears {
            let (d_in, d_out) = (linear.d_in, linear.d_out);
            let projection = projections.of(&without_expert(&id.name), d_in, d_out);
            let mut sums =
                LinearSums { trains: linear.trains, d_in, d_out, samples: linear.samples, ..LinearSums::default() };
            for part in &linear.factors {
                let shape = SketchShape { samples: part.samples, d_in, d_out, k };
                let sketch =
                    kernels::kronecker_sketch(&part.input, &part.output_grad, &projection.p, &projection.q, shape);
                add_rows(&mut sums.sketches, &sketch, part.first, k * k / 2);
            }
            made.linears.insert(id.clone(), sums);
        }
        for (id, vector) in &self.vectors {
            let VectorSums { trains, samples, gradients } = vector;
            let copy = VectorSums { trains: *trains, samples: *samples, gradients: gradients.clone() };
            made.vectors.insert(id.clone(), copy);
        }
        made
    }
}

/// What the passes of a step share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Plan,
    /// Whether sketches are made, and whether factors are kept.
    pub(super) sketched: bool,
    pub(super) exact: bool,
    pub(super) projections: Arc<Mutex<Projections>>,
    pub(super) sums: Mutex<StepSums>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// What was seen, with what waited on a device.
    pub(super) fn settled(&self) -> Result<MutexGuard<'_, StepSums>> {
        let mut sums = self.lock();
        sums.read()?;
        Ok(sums)
    }

    /// The same, given away.
    pub(super) fn take(&self) -> Result<StepSums> {
        let mut sums = std::mem::take(&mut *self.settled()?);
        // Devices that run side by side are done in any order.
        sums.linears.values_mut().for_each(|linear| linear.factors.sort_by_key(|factors| factors.first));
        Ok(sums)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, StepSums> {
        lock(&self.sums)
    }
}

/// The observer of one micro-batch.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) shared: Arc<Shared>,
    /// Samples of the step before this micro-batch, and in it.
    pub(super) first: usize,
    pub(super) samples: usize,
}

impl Pass {
    fn id(place: Place, weight: &str, offset: usize) -> WeightId {
        WeightId { layer: place.layer, module: place.module, name: weight.to_owned(), offset }
    }

    /// Whether the batch that is shown is the micro-batch; says so otherwise.
    fn fits(&self, weight: &str, samples: usize) -> bool {
        if samples != self.samples {
            let fault = format!("{weight} was seen with {samples} samples in a micro-batch of {}", self.samples);
            lock(&self.shared.sums).fault.get_or_insert(fault);
        }
        samples == self.samples
    }

    fn sketch(&self, seen: &LinearBackward<'_>) -> Vec<f32> {
        let k = self.shared.plan.k;
        let key = without_expert(seen.weight);
        let projection = lock(&self.shared.projections).of(&key, seen.d_in, seen.d_out);
        let shape = SketchShape { samples: seen.samples, d_in: seen.d_in, d_out: seen.d_out, k };
        kernels::kronecker_sketch(seen.input, seen.output_grad, &projection.p, &projection.q, shape)
    }

    /// The same sketches `[samples, k^2 / 2]`, made where the factors lie.
    fn sketch_there(&self, seen: &LinearTensors<'_>) -> Result<Tensor> {
        let (k, (d_in, d_out)) = (self.shared.plan.k, seen.widths()?);
        let key = without_expert(seen.weight);
        let [p, q] = lock(&self.shared.projections).on_device(&key, d_in, d_out, seen.input.device())?;
        // Both halves by sample: [samples, rows, 2, k / 2].
        let project =
            |x: &Tensor, by: &Tensor| wide(x)?.contiguous()?.matmul(by)?.reshape((seen.samples, (), 2, k / 2));
        let p = project(seen.input, &p)?.permute((0, 2, 1, 3))?.contiguous()?;
        let q = project(seen.output_grad, &q)?.permute((0, 2, 3, 1))?.contiguous()?;
        q.matmul(&p)?.reshape((seen.samples, k * k / 2))
    }
}

/// Adds the rows of samples `first..` to `sums`, whose rows are `width` numbers; a weight may be used more than once.
fn add_rows(sums: &mut Vec<f32>, rows: &[f32], first: usize, width: usize) {
    let (from, to) = (first * width, first * width + rows.len());
    if sums.len() < to {
        sums.resize(to, 0.0);
    }
    kernels::accumulate(&mut sums[from..to], rows, true);
}

impl BackwardObserver for Pass {
    fn linear(&self, seen: &LinearBackward<'_>) {
        let begun = Instant::now();
        if !self.fits(seen.weight, seen.samples) {
            return;
        }
        let sketch = self.shared.sketched.then(|| self.sketch(seen));
        let mut sums = lock(&self.shared.sums);
        let entry = sums.linears.entry(Self::id(seen.place, seen.weight, 0)).or_default();
        (entry.trains, entry.d_in, entry.d_out) = (seen.trains, seen.d_in, seen.d_out);
        entry.samples = entry.samples.max(self.first + self.samples);
        if let Some(sketch) = sketch {
            let k = self.shared.plan.k;
            add_rows(&mut entry.sketches, &sketch, self.first, k * k / 2);
        }
        if self.shared.exact {
            let (input, output_grad) = (seen.input.to_vec(), seen.output_grad.to_vec());
            entry.factors.push(Factors { first: self.first, samples: self.samples, input, output_grad });
        }
        sums.spent += begun.elapsed();
    }

    fn vectors(&self, seen: &VectorBackward<'_>) {
        let begun = Instant::now();
        if !self.fits(seen.weight, seen.samples) {
            return;
        }
        let mut sums = lock(&self.shared.sums);
        let entry = sums.vectors.entry(Self::id(seen.place, seen.weight, seen.offset)).or_default();
        (entry.trains, entry.samples) = (seen.trains, entry.samples.max(self.first + self.samples));
        add_rows(&mut entry.gradients, seen.gradients, self.first, seen.gradients.len() / seen.samples);
        sums.spent += begun.elapsed();
    }

    fn linear_tensors(&self, seen: &LinearTensors<'_>) -> Result<()> {
        let here = on_host(seen.input) && on_host(seen.output_grad);
        if here || self.shared.exact {
            return seen.lend(|seen| self.linear(seen));
        }
        let begun = Instant::now();
        if !self.fits(seen.weight, seen.samples) {
            return Ok(());
        }
        let sketch = if self.shared.sketched { Some(self.sketch_there(seen)?) } else { None };
        let id = Self::id(seen.place, seen.weight, 0);
        let mut sums = lock(&self.shared.sums);
        let entry = sums.linears.entry(id.clone()).or_default();
        entry.trains = seen.trains;
        (entry.d_in, entry.d_out) = seen.widths()?;
        entry.samples = entry.samples.max(self.first + self.samples);
        sums.waiting.extend(sketch.map(|sketch| (id, Kind::Linear, self.first, sketch)));
        sums.spent += begun.elapsed();
        Ok(())
    }

    fn vector_tensors(&self, seen: &VectorTensors<'_>) -> Result<()> {
        let begun = Instant::now();
        if !self.fits(seen.weight, seen.samples) {
            return Ok(());
        }
        let id = Self::id(seen.place, seen.weight, seen.offset);
        let mut sums = lock(&self.shared.sums);
        let entry = sums.vectors.entry(id.clone()).or_default();
        (entry.trains, entry.samples) = (seen.trains, entry.samples.max(self.first + self.samples));
        let rows = seen.gradients.reshape((seen.samples, ()))?;
        sums.waiting.push((id, Kind::Vector, self.first, rows));
        sums.spent += begun.elapsed();
        Ok(())
    }

    fn wants(&self, place: Place, trains: bool) -> bool {
        self.shared.plan.wants(place, trains)
    }

    fn wants_frozen_encoder(&self) -> bool {
        self.shared.plan.frozen_encoder
    }
}
