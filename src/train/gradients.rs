//! The gradients of a step: complete, finite, and their global norm.

use super::readout::{Readout, Ticket};
use crate::kernels::cuda;
use crate::nn::ParamStore;
use crate::ops;
use candle_core::{D, DType, Result as TensorResult, Tensor};

/// Why a step's gradients cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The parameter trains and is reached, but nothing was added to its slot.
    Missing(String),
    /// The parameter's gradient holds NaN or infinity.
    NotFinite(String),
    /// The gradients could not be read from their device.
    Unreadable(String),
}

/// Global L2 norm of the gradients of all trainable parameters; squares are added in float64 on the host and by the kernels
/// of a card, in float32 by tensor operations; the sums of a device are read together.
///
/// # Errors
/// The first parameter, in the store's order, without a gradient though the loss reaches it, or with one that is not
/// finite.
pub fn global_norm(params: &ParamStore) -> Result<f64, Fault> {
    let mut readout = Readout::default();
    let norm = Norm::ask(params, &mut readout)?;
    readout.read()?;
    norm.finish(&readout)
}

impl From<candle_core::Error> for Fault {
    fn from(error: candle_core::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Sums of squares by parameter, some of which wait to be read.
#[derive(Debug, Default)]
pub(super) struct Norm<'p> {
    squares: Vec<(&'p str, Square)>,
    /// The first parameter without a gradient; none after it is looked at.
    missing: Option<&'p str>,
}

#[derive(Debug)]
enum Square {
    Here(f64),
    /// Sums of pieces of this gradient.
    Waits(Ticket, Tensor),
}

impl<'p> Norm<'p> {
    /// Computes what is on the host, and asks for the rest.
    pub(super) fn ask(params: &'p ParamStore, readout: &mut Readout) -> Result<Self, Fault> {
        let mut norm = Self::default();
        let mut there: Vec<(&str, Tensor)> = Vec::new();
        for param in params.trainable() {
            let weight = &param.weight;
            let Some(slot) = weight.slot().filter(|slot| slot.is_filled()) else {
                if param.role.reached {
                    norm.missing = Some(weight.name());
                    break;
                }
                continue;
            };
            if let Some(square) = slot.with_host(|gradient| ops::squared_norm(gradient)) {
                norm.squares.push((weight.name(), Square::Here(square)));
            } else if let Some(gradient) = slot.tensor(weight.dims())? {
                there.push((weight.name(), gradient.contiguous()?));
            }
        }
        let (names, gradients): (Vec<&str>, Vec<Tensor>) = there.into_iter().unzip();
        let tickets = ask_squares(&gradients, readout)?;
        for ((name, ticket), gradient) in names.into_iter().zip(tickets).zip(gradients) {
            norm.squares.push((name, Square::Waits(ticket, gradient)));
        }
        Ok(norm)
    }

    /// After `readout` was read.
    pub(super) fn finish(self, readout: &Readout) -> Result<f64, Fault> {
        let mut total = 0.0;
        for (name, square) in self.squares {
            let sum = match square {
                Square::Here(sum) => sum,
                Square::Waits(ticket, gradient) => {
                    let sum: f64 = readout.numbers(&ticket).iter().sum();
                    // Squares may overflow float32 where the numbers do not: only such a gradient is looked at itself.
                    if sum.is_finite() { sum } else { ops::read_numbers(&gradient, ops::squared_norm)? }
                }
            };
            // Squares of float32 numbers cannot overflow float64: the sum is finite exactly when the numbers are.
            if !sum.is_finite() {
                return Err(Fault::NotFinite(name.to_owned()));
            }
            total += sum;
        }
        match self.missing {
            Some(name) => Err(Fault::Missing(name.to_owned())),
            None => Ok(total.sqrt()),
        }
    }
}

/// The sum of squares of each of these tensors, which lie on the host or on one device, contiguous.
pub(super) fn squares(tensors: &[Tensor]) -> TensorResult<Vec<f64>> {
    if tensors.iter().all(ops::on_host) {
        return tensors.iter().map(|tensor| ops::read_numbers(tensor, ops::squared_norm)).collect();
    }
    let mut readout = Readout::default();
    let tickets = ask_squares(tensors, &mut readout)?;
    readout.read()?;
    Ok(tickets.iter().map(|ticket| readout.numbers(ticket).iter().sum()).collect())
}

/// Asks for sums of squares of pieces of gradients that lie on one device, contiguous.
fn ask_squares(gradients: &[Tensor], readout: &mut Readout) -> TensorResult<Vec<Ticket>> {
    let Some(first) = gradients.first() else { return Ok(Vec::new()) };
    if let Some(engine) = ops::engine_of(first) {
        let (sums, counts) = cuda::squared_norms(&engine, &gradients.iter().collect::<Vec<_>>())?;
        let all = readout.ask(&sums)?;
        let mut skipped = 0;
        let part = |count: &usize| {
            skipped += count;
            all.part(skipped - count, *count)
        };
        return Ok(counts.iter().map(part).collect());
    }
    let one = |gradient: &Tensor| {
        let squares = gradient.to_dtype(DType::F32)?.sqr()?;
        // Row by row first: no sum is longer than it must be.
        let rows = if squares.rank() > 1 { squares.sum(D::Minus1)? } else { squares };
        readout.ask(&rows.sum_all()?)
    };
    gradients.iter().map(one).collect()
}

/// The factor that PyTorch's `clip_grad_norm_` multiplies gradients with: `min(1, max_norm / (norm + 1e-6))`.
#[must_use]
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}
