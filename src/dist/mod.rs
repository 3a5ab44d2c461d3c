//! Members that train one model side by side, each with a copy of it on a device of its own, and what goes between them: sums
//! over all, and numbers that one gives to all.
//!
//! All members live in one process, a thread each. Cards are joined by NCCL (`--features nccl`), members on the CPU through
//! memory.

#[cfg(feature = "nccl")]
mod cards;
mod memory;

use candle_core::{Device, Result, Tensor, bail};
use std::fmt;

/// One member's end of what joins it to the others. Every member calls the same methods in the same order, with the same
/// shapes: a sum waits for all of them.
pub trait Collective: Send + fmt::Debug {
    /// Replaces numbers on the host by their sums over all members, the same bytes everywhere.
    ///
    /// # Errors
    /// A member that is gone; numbers that lie elsewhere than this joins.
    fn sum_host(&self, numbers: &mut [f32]) -> Result<()>;

    /// The same for tensors on the member's device: contiguous, float32, numbers that nothing else holds. They are queued, not
    /// waited for.
    ///
    /// # Errors
    /// As [`sum_host`](Self::sum_host).
    fn sum_there(&self, tensors: &[Tensor]) -> Result<()>;

    /// Replaces numbers on the host by those of member `from`.
    ///
    /// # Errors
    /// As [`sum_host`](Self::sum_host).
    fn spread_host(&self, numbers: &mut [f32], from: usize) -> Result<()>;

    /// The same for tensors as in [`sum_there`](Self::sum_there), each with the member whose numbers it takes.
    ///
    /// # Errors
    /// As [`sum_host`](Self::sum_host).
    fn spread_there(&self, tensors: &[(Tensor, usize)]) -> Result<()>;
}

/// Whether this program can join cards.
pub const JOINS_CARDS: bool = cfg!(feature = "nccl");

/// Joins one member a device; the ends in the order of `devices`.
///
/// # Errors
/// Devices of different kinds; cards, in a program that was built without NCCL or where it fails.
pub fn join(devices: &[Device]) -> Result<Vec<Box<dyn Collective>>> {
    if devices.iter().all(Device::is_cpu) {
        return Ok(memory::join(devices.len()));
    }
    if devices.iter().any(Device::is_cpu) {
        bail!("members on cards and on the CPU cannot be joined");
    }
    cards(devices)
}

#[cfg(feature = "nccl")]
fn cards(devices: &[Device]) -> Result<Vec<Box<dyn Collective>>> {
    cards::join(devices)
}

#[cfg(not(feature = "nccl"))]
fn cards(devices: &[Device]) -> Result<Vec<Box<dyn Collective>>> {
    bail!("{} cards need NCCL, which this program was built without: build it with --features nccl", devices.len())
}
