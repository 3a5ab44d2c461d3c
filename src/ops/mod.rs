//! Differentiable operations: one file an operation, each with its equation, shapes, a fused CPU form with its own
//! backward, and a *composed* twin in plain tensor operations that says what the fused form must equal.
//!
//! Parameters enter as [`Weight`]s, not as tracked tensors: the backward pass adds a parameter's gradient straight into
//! its [`GradSlot`], so frozen operands cost nothing, micro-batches accumulate in place and nothing is folded over a
//! hash map. Activations are ordinary candle tensors and flow through candle's own backward pass.

mod activation;
mod attention;
mod attention_pool;
#[cfg(test)]
mod bench;
#[doc(hidden)]
pub mod cases;
mod checkpoint;
mod cross_entropy;
mod ctx;
mod device;
mod dropout;
mod embedding;
mod graph;
mod linear;
mod mixture;
mod norm;
mod observer;
mod patch;
mod path;
mod precision;
pub mod profile;
mod rope;
mod rows;
#[cfg(test)]
mod rows_tests;
mod segment;
#[cfg(test)]
pub(crate) mod testing;
mod watch;
mod weight;

pub use activation::{Activation, activate, gelu_erf, gelu_tanh, quick_gelu, silu_mul};
pub use attention::{AttentionSpec, attention};
pub use attention_pool::{PoolWeights, attention_pool};
pub use checkpoint::{Block, checkpoint};
pub use cross_entropy::{CrossEntropy, IGNORE_INDEX, RowLosses, cross_entropy};
pub use ctx::{Ctx, Draw};
pub(crate) use device::engine_of;
pub use dropout::dropout;
pub use embedding::embedding;
pub use linear::{linear, linear_add};
pub use mixture::mixture;
pub use norm::{layer_norm, rms_norm};
pub use observer::{
    BackwardObserver, LayerId, LinearBackward, LinearTensors, Observers, Place, VectorBackward, VectorTensors,
};
pub use patch::unfold_patches;
pub(crate) use path::on_host;
#[cfg(test)]
pub(crate) use path::{Path, on_path};
pub use precision::{add_bias, matmul, softmax, wide};
pub use rope::{RopeTable, rope};
pub use rows::{RowSource, add_rows, gather_rows, insert_rows, remove_rows, scale_channels, splice_rows};
pub(crate) use segment::is_tracked;
pub use segment::{add, island, segment};
pub use watch::{observe, observe_bias};
pub(crate) use weight::fetch;
pub use weight::{GradSlot, LentGradient, Weight, read_numbers};

// The optimiser's loops have no gradient of their own and work on host numbers.
pub use crate::kernels::{AdamWStep, Moved, adamw_update, adamw_update_measured, scale_in_place, squared_norm};
