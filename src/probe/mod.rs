//! What is measured while training: a [`Recorder`] listens to the loop and writes the run's record streams.
//!
//! Row t holds loss, gradient and cosines at theta_t, the update to theta_(t+1), and the drift after it, from the start of
//! the *stage*. Probes change nothing: they read parameters and gradients and draw no random number.

pub mod batch_sketch;
mod budget;
mod drift;
mod error;
mod lora;
pub mod memory;
pub mod per_sample;
mod recorder;
mod routing;
pub mod space;
mod sums;
#[cfg(test)]
mod tests;

pub use drift::Distances;
pub use error::ProbeError;
pub use recorder::{Recorder, RecorderSetup};
