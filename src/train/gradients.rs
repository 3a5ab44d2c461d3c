//! The gradients of a step: complete, finite, and their global norm.

use crate::kernels::cuda;
use crate::nn::ParamStore;
use crate::ops;
use candle_core::{D, DType, Device, Result as TensorResult, Tensor};

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
    let unreadable = |e: candle_core::Error| Fault::Unreadable(e.to_string());
    let mut total = Total::default();
    for param in params.trainable() {
        let weight = &param.weight;
        let Some(slot) = weight.slot().filter(|slot| slot.is_filled()) else {
            if param.role.reached {
                // A fault of a parameter before this one comes first.
                total.finish()?;
                return Err(Fault::Missing(weight.name().to_owned()));
            }
            continue;
        };
        match slot.with_host(|gradient| ops::squared_norm(gradient)) {
            // Squares of float32 numbers cannot overflow float64: the sum is finite exactly when the numbers are.
            Some(sum) => total.squares.push((weight.name(), sum)),
            None => {
                total
                    .push_device(weight.name(), slot.tensor(weight.dims()).map_err(unreadable)?)
                    .map_err(unreadable)?;
            }
        }
    }
    total.finish()
}

/// Sums of squares by parameter; those on a device wait to be read.
#[derive(Default)]
struct Total<'p> {
    squares: Vec<(&'p str, f64)>,
    /// Index in `squares`, the gradient, and sums of squares of its pieces, float64.
    waiting: Vec<(usize, Tensor, Tensor)>,
}

impl<'p> Total<'p> {
    fn push_device(&mut self, name: &'p str, gradient: Option<Tensor>) -> TensorResult<()> {
        if let Some(gradient) = gradient {
            let sums = if let Some(engine) = ops::engine_of(&gradient) {
                cuda::squared_norms(&engine, &gradient.contiguous()?)?
            } else {
                let squares = gradient.to_dtype(DType::F32)?.sqr()?;
                // Row by row first: no sum is longer than it must be.
                let sum = if squares.rank() > 1 { squares.sum(D::Minus1)?.sum_all()? } else { squares.sum_all()? };
                sum.to_dtype(DType::F64)?.reshape(1)?
            };
            self.waiting.push((self.squares.len(), gradient, sums));
            self.squares.push((name, 0.0));
        }
        Ok(())
    }

    /// One read for all the sums that wait.
    fn read(&mut self) -> TensorResult<()> {
        let Some((_, _, first)) = self.waiting.first() else { return Ok(()) };
        let device = first.device().clone();
        let sums: Vec<Tensor> =
            self.waiting.iter().map(|(_, _, sum)| sum.to_device(&device)).collect::<TensorResult<_>>()?;
        let all: Vec<f64> = Tensor::cat(&sums, 0)?.to_device(&Device::Cpu)?.to_vec1()?;
        let mut rest = all.as_slice();
        for (at, gradient, sums) in self.waiting.drain(..) {
            let (own, others) = rest.split_at(sums.elem_count());
            rest = others;
            let sum: f64 = own.iter().sum();
            // Squares may overflow float32 where the numbers do not: only such a gradient is looked at itself.
            let exact = if sum.is_finite() { sum } else { ops::read_numbers(&gradient, ops::squared_norm)? };
            self.squares[at].1 = exact;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<f64, Fault> {
        self.read().map_err(|e| Fault::Unreadable(e.to_string()))?;
        match self.squares.iter().find(|(_, sum)| !sum.is_finite()) {
            Some((name, _)) => Err(Fault::NotFinite((*name).to_owned())),
            None => Ok(self.squares.iter().map(|(_, sum)| sum).sum::<f64>().sqrt()),
        }
    }
}

/// The factor that PyTorch's `clip_grad_norm_` multiplies gradients with: `min(1, max_norm / (norm + 1e-6))`.
#[must_use]
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}
