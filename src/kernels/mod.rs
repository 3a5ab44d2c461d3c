//! Loops over plain slices: no tensors, no graph. The only place of the project with `unsafe`.
//!
//! Every kernel is one body, compiled three times (AVX-512, AVX2 with FMA, and the target's baseline) and chosen at run
//! time; products go through the `gemm` crate, which chooses by itself. Work is split into pieces whose size depends on
//! the shapes alone, and partial sums are added in the order of the pieces: the number of threads never changes a bit.

#![expect(unsafe_code, reason = "vector code chosen at run time, buffers written once, shared output regions")]

mod activation;
mod adamw;
mod alloc;
mod attention;
mod attention_pool;
mod buffer;
mod cross_entropy;
pub mod cuda;
mod dispatch;
mod dropout;
mod kronecker;
mod linear;
mod math;
mod matmul;
mod mixture;
mod norm;
mod parallel;
mod reduce;
mod rope;
mod rows;
mod sketch;
mod threads;

pub use activation::{Pointwise, activate, activate_backward, silu_mul, silu_mul_backward};
pub use adamw::{AdamWStep, Moved, adamw_update, adamw_update_measured};
pub use alloc::PoolAllocator;
pub use attention::{AttentionShape, attention, attention_backward};
pub use attention_pool::{PoolFactors, PoolGradients, PoolShape, Pooled, attention_pool, attention_pool_backward};
pub use cross_entropy::{cross_entropy, cross_entropy_backward};
pub use dispatch::dispatch_level;
pub use dropout::{DropoutKey, dropout};
pub use kronecker::{SketchShape, kronecker_sketch};
pub use linear::{LinearShape, linear, linear_backward_input, linear_backward_weight};
pub use matmul::{Matrix, matmul_into};
pub use mixture::{mixture, mixture_backward_weights, scale_samples};
pub use norm::{NormKind, norm, norm_backward, norm_backward_samples};
pub use reduce::{
    accumulate, all_finite, column_sums_into, dot, fill, sample_sums, scale_in_place, squared_distance, squared_norm,
};
pub use rope::rotate;
pub use rows::{add_rows, copy_rows, scale_channels, scale_channels_backward, scatter_add_rows, unfold_patches};
pub use sketch::{SKETCH_RUN, sketch_add, sketch_fold};
pub use threads::{compute_on_this_thread, quiet_tensor_threads};

#[cfg(test)]
pub(crate) use dispatch::{available_levels, with_level};
