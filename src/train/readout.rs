//! Numbers that the host wants of a step, read from their device in one copy: every read waits for all that is queued
//! there, and a card has nothing to do while the host thinks.

use crate::ops;
use candle_core::{DType, Result, Tensor};
use std::ops::Range;

/// What was asked for, and, after [`read`](Self::read), what it is. On the host nothing waits.
#[derive(Debug, Default)]
pub(super) struct Readout {
    values: Vec<f64>,
    waiting: Vec<(usize, Tensor)>,
}

/// Where numbers will stand.
#[derive(Clone, Debug)]
pub(super) struct Ticket(Range<usize>);

impl Ticket {
    /// Of `count` of these numbers after the first `skipped`.
    pub(super) fn part(&self, skipped: usize, count: usize) -> Self {
        let from = self.0.start + skipped;
        Self(from..from + count)
    }
}

impl Readout {
    /// Asks for the numbers of `tensor`.
    pub(super) fn ask(&mut self, tensor: &Tensor) -> Result<Ticket> {
        let from = self.values.len();
        if ops::on_host(tensor) {
            self.values.extend(tensor.detach().flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
        } else {
            self.values.resize(from + tensor.elem_count(), f64::NAN);
            self.waiting.push((from, tensor.detach()));
        }
        Ok(Ticket(from..self.values.len()))
    }

    /// Fetches what waits: all at once.
    pub(super) fn read(&mut self) -> Result<()> {
        let (places, tensors): (Vec<usize>, Vec<Tensor>) = self.waiting.drain(..).unzip();
        #[cfg(test)]
        READS.set(READS.get() + u64::from(!tensors.is_empty()));
        for (from, numbers) in places.into_iter().zip(ops::fetch::<f64>(&tensors)?) {
            self.values[from..from + numbers.len()].copy_from_slice(&numbers);
        }
        Ok(())
    }

    /// The numbers behind a ticket; NaN before they were read.
    pub(super) fn numbers(&self, ticket: &Ticket) -> &[f64] {
        &self.values[ticket.0.clone()]
    }
}

#[cfg(test)]
thread_local! {
    static READS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How often this thread fetched numbers so far.
#[cfg(test)]
pub(super) fn reads() -> u64 {
    READS.get()
}
