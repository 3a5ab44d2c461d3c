//! What a probe may see of a backward pass, handed down through each forward's [`Ctx`](super::Ctx), never a global.

use std::fmt;

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

/// Sees both factors of every linear layer's weight gradient while the backward pass has them in hand.
///
/// `dW = sum over rows r of d_r a_r^T`; rows are `[sample, token]` flattened, sample-major, so a per-sample gradient is
/// the sum over one sample's `tokens_per_sample` rows.
pub trait BackwardObserver: Send + Sync {
    /// Called once per linear layer and backward pass, before the factors are dropped.
    ///
    /// `input` is `[rows, d_in]`, `output_grad` is `[rows, d_out]`, both row-major.
    fn linear(&self, seen: &LinearBackward<'_>);
}

/// The arguments of [`BackwardObserver::linear`].
#[derive(Debug)]
pub struct LinearBackward<'a> {
    /// Layer and module.
    pub place: Place,
    /// Name of the weight, as in the checkpoint.
    pub weight: &'a str,
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
