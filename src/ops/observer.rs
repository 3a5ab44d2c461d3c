//! What a probe may see of a backward pass, handed down through each forward's [`Ctx`](super::Ctx), never a global.

use super::weight::read_numbers;
use candle_core::{D, Result, Tensor};
use std::fmt;
use std::sync::Arc;

/// A layer of the vision encoder, counted as in the checkpoint's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerId {
    /// Patch, class and position embeddings, and the norm before the first block.
    Embeddings,
    /// Transformer block `i`, from 0.
    Block(usize),
    /// The norm after the last block.
    FinalNorm,
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embeddings => f.write_str("embeddings"),
            Self::Block(i) => write!(f, "{i}"),
            Self::FinalNorm => f.write_str("final_norm"),
        }
    }
}

/// Where in the vision encoder an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The layer.
    pub layer: LayerId,
    /// One of `attention`, `mlp`, `experts`, `cve`, `gate`, `layer_norm`, `layer_scale`, `lora`, `prompts`, `embeddings`.
    pub module: &'static str,
}

/// Sees what a backward pass says of each weight of the vision encoder, sample by sample.
///
/// A linear layer's gradient is `dW = sum over rows r of d_r a_r^T`; rows are `[sample, token]` flattened, sample-major,
/// so a sample's gradient is the sum over its own rows. The gradients of everything else are small and handed over as
/// they are. A layer that runs again in the backward pass (checkpointing) is seen once.
pub trait BackwardObserver: Send + Sync {
    /// Called once per linear layer and backward pass, while both factors of its weight's gradient are at hand.
    fn linear(&self, seen: &LinearBackward<'_>);

    /// The samples' gradients of a bias, a norm's scale or shift, a layer scale, rows of embeddings or prompts.
    fn vectors(&self, seen: &VectorBackward<'_>) {
        let _ = seen;
    }

    /// How [`linear`](Self::linear) is called: with both factors as tensors, wherever they lie; by default their numbers are lent
    /// from the host or copied from a device.
    ///
    /// # Errors
    /// A tensor operation that fails.
    fn linear_tensors(&self, seen: &LinearTensors<'_>) -> Result<()> {
        seen.lend(|seen| self.linear(seen))
    }

    /// [`vectors`](Self::vectors) of gradients that are a tensor on a device; by default they are copied from there.
    ///
    /// # Errors
    /// A tensor operation that fails.
    fn vector_tensors(&self, seen: &VectorTensors<'_>) -> Result<()> {
        seen.copied(|seen| self.vectors(seen))
    }

    /// Whether it wants to see a weight that stands at `place`; `trains` is false for frozen ones. The backward pass is
    /// extended to every weight that is wanted (a *virtual* gradient: nothing is updated).
    fn wants(&self, place: Place, trains: bool) -> bool {
        let _ = place;
        trains
    }

    /// Whether a vision encoder of which nothing trains runs backward for this observer all the same.
    fn wants_frozen_encoder(&self) -> bool {
        false
    }
}

/// The arguments of [`BackwardObserver::linear`].
#[derive(Debug)]
pub struct LinearBackward<'a> {
    /// Layer and module.
    pub place: Place,
    /// Name of the weight, as in the checkpoint.
    pub weight: &'a str,
    /// Whether the weight trains.
    pub trains: bool,
    /// `[rows, d_in]`.
    pub input: &'a [f32],
    /// `[rows, d_out]`.
    pub output_grad: &'a [f32],
    /// Samples in the batch; `rows / samples` tokens each.
    pub samples: usize,
    /// Input width.
    pub d_in: usize,
    /// Output width.
    pub d_out: usize,
}

/// The arguments of [`BackwardObserver::vectors`].
#[derive(Debug)]
pub struct VectorBackward<'a> {
    /// Layer and module.
    pub place: Place,
    /// Name of the parameter, as in the checkpoint.
    pub weight: &'a str,
    /// Whether it trains.
    pub trains: bool,
    /// Where in the flattened parameter these numbers begin: one parameter may be seen in several parts.
    pub offset: usize,
    /// `[samples, gradients.len() / samples]`.
    pub gradients: &'a [f32],
    /// Samples in the batch.
    pub samples: usize,
}

/// The arguments of [`BackwardObserver::linear_tensors`].
#[derive(Debug)]
pub struct LinearTensors<'a> {
    /// Layer and module.
    pub place: Place,
    /// Name of the weight, as in the checkpoint.
    pub weight: &'a str,
    /// Whether the weight trains.
    pub trains: bool,
    /// `[rows, d_in]`, in the type of the activations.
    pub input: &'a Tensor,
    /// `[rows, d_out]`, likewise.
    pub output_grad: &'a Tensor,
    /// Samples in the batch; `rows / samples` tokens each.
    pub samples: usize,
}

impl LinearTensors<'_> {
    /// Both widths.
    pub fn widths(&self) -> Result<(usize, usize)> {
        Ok((self.input.dim(D::Minus1)?, self.output_grad.dim(D::Minus1)?))
    }

    /// Lends both factors to `show`, or copies them from their device for it.
    pub fn lend(&self, show: impl FnOnce(&LinearBackward<'_>)) -> Result<()> {
        let &Self { place, weight, trains, samples, .. } = self;
        let (d_in, d_out) = self.widths()?;
        read_numbers(self.input, |input| {
            read_numbers(self.output_grad, |output_grad| {
                show(&LinearBackward { place, weight, trains, input, output_grad, samples, d_in, d_out });
            })
        })?
    }
}

/// The arguments of [`BackwardObserver::vector_tensors`].
#[derive(Debug)]
pub struct VectorTensors<'a> {
    /// Layer and module.
    pub place: Place,
    /// Name of the parameter, as in the checkpoint.
    pub weight: &'a str,
    /// Whether it trains.
    pub trains: bool,
    /// Where in the flattened parameter these numbers begin.
    pub offset: usize,
    /// `[samples, ..]`, float32.
    pub gradients: &'a Tensor,
    /// Samples in the batch.
    pub samples: usize,
}

impl VectorTensors<'_> {
    /// Copies the gradients to the host for `show`.
    pub fn copied(&self, show: impl FnOnce(&VectorBackward<'_>)) -> Result<()> {
        let &Self { place, weight, trains, offset, samples, .. } = self;
        read_numbers(self.gradients, |gradients| {
            show(&VectorBackward { place, weight, trains, offset, gradients, samples });
        })
    }
}

/// Several observers of one pass, told in order.
#[derive(Clone, Default)]
pub struct Observers(pub Vec<Arc<dyn BackwardObserver>>);

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}

impl Observers {
    /// The only observer of the list, a list of several, or `None` for an empty one.
    #[must_use]
    pub fn joined(mut self) -> Option<Arc<dyn BackwardObserver>> {
        if self.0.len() > 1 { Some(Arc::new(self)) } else { self.0.pop() }
    }
}

impl BackwardObserver for Observers {
    fn linear(&self, seen: &LinearBackward<'_>) {
        self.0.iter().filter(|o| o.wants(seen.place, seen.trains)).for_each(|o| o.linear(seen));
    }

    fn vectors(&self, seen: &VectorBackward<'_>) {
        self.0.iter().filter(|o| o.wants(seen.place, seen.trains)).for_each(|o| o.vectors(seen));
    }

    fn linear_tensors(&self, seen: &LinearTensors<'_>) -> Result<()> {
        self.0.iter().filter(|o| o.wants(seen.place, seen.trains)).try_for_each(|o| o.linear_tensors(seen))
    }

    fn vector_tensors(&self, seen: &VectorTensors<'_>) -> Result<()> {
        self.0.iter().filter(|o| o.wants(seen.place, seen.trains)).try_for_each(|o| o.vector_tensors(seen))
    }

    fn wants(&self, place: Place, trains: bool) -> bool {
        self.0.iter().any(|o| o.wants(place, trains))
    }

    fn wants_frozen_encoder(&self) -> bool {
        self.0.iter().any(|o| o.wants_frozen_encoder())
    }
}
