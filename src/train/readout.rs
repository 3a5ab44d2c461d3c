//! Numbers that the host wants of a step, read from their device in one copy: every read waits for all that is queued
//! there, and a card has nothing to do while the host thinks.

use crate::ops;
use candle_core::{DType, Device, Result, Tensor};
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

impl Readout {
    /// Asks for the numbers of `tensor`.
    pub(super) fn ask(&mut self, tensor: &Tensor) -> Result<Ticket> {
        let from = self.values.len();
        let flat = tensor.detach().flatten_all()?.to_dtype(DType::F64)?;
        if ops::on_host(tensor) {
            self.values.extend(flat.to_vec1::<f64>()?);
        } else {
            self.values.resize(from + flat.elem_count(), f64::NAN);
            self.waiting.push((from, flat));
        }
        Ok(Ticket(from..self.values.len()))
    }

    /// Fetches what waits: all at once.
    pub(super) fn read(&mut self) -> Result<()> {
        let Some((_, first)) = self.waiting.first() else { return Ok(()) };
        #[cfg(test)]
        READS.set(READS.get() + 1);
        let device = first.device().clone();
        let all: Vec<Tensor> = self.waiting.iter().map(|(_, t)| t.to_device(&device)).collect::<Result<_>>()?;
        let all: Vec<f64> = Tensor::cat(&all, 0)?.to_device(&Device::Cpu)?.to_vec1()?;
        let mut rest = all.as_slice();
        for (from, tensor) in self.waiting.drain(..) {
            let (own, others) = rest.split_at(tensor.elem_count());
            self.values[from..from + own.len()].copy_from_slice(own);
            rest = others;
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
