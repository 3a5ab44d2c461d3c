//! Kernels of our own for CUDA cards: sources compiled at run time for the card at hand, and for each a safe function that
//! checks what it is given and launches it. Tests run the same sources on the CPU (`emulation.rs`).
//!
//! Unlike the loops beside it this module knows tensors: it takes them where they lie and gives back fresh ones. Work on a
//! card is queued on the one stream of its device; nothing here waits for it.

mod activation;
mod adamw;
mod attention;
mod call;
#[cfg(feature = "cuda")]
mod compile;
mod cross_entropy;
#[cfg(feature = "cuda")]
mod device;
#[cfg(test)]
mod emulation;
mod engine;
mod memory;
mod mixture;
#[cfg(feature = "nccl")]
mod nccl;
mod norm;
mod reduce;
mod rope;
mod sketch;

pub use activation::{activate, activate_backward, silu_mul, silu_mul_backward};
pub use adamw::{AdamWState, adamw_update, moved};
pub use attention::{AttentionMask, attention, attention_backward, attention_fits};
pub use cross_entropy::{cross_entropy, cross_entropy_backward};
#[cfg(feature = "cuda")]
pub use device::{open, peak_memory};
pub use engine::Engine;
pub use memory::Fresh;
pub use mixture::{MAX_EXPERTS, mixture, mixture_expert, mixture_weights};
#[cfg(feature = "nccl")]
pub use nccl::{Communicator, communicators};
pub use norm::{norm, norm_backward, norm_weights};
pub use reduce::{accumulate, add_bias, column_sums, squared_norms, sum};
pub use rope::rotate;
pub use sketch::{sketch, sketch_fits};
#[cfg(test)]
pub(crate) use {emulation::test_device, engine::launched};
