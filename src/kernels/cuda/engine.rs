//! What runs kernels: a card, or in tests its emulation.

use candle_core::{Result, Tensor};

/// A kernel source: a file of this folder.
#[derive(Debug)]
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "compiled for cards only"))]
pub(super) struct Source {
    pub name: &'static str,
    /// What it needs beside common.cuh.
    pub header: &'static str,
    pub text: &'static str,
}

macro_rules! source {
    ($name:literal) => {
        $crate::kernels::cuda::engine::Source { name: $name, header: "", text: include_str!(concat!($name, ".cu")) }
    };
    ($name:literal, $header:literal) => {
        $crate::kernels::cuda::engine::Source {
            name: $name,
            header: include_str!(concat!($header, ".cuh")),
            text: include_str!(concat!($name, ".cu")),
        }
    };
}
pub(super) use source;

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "nothing launches"))]
pub(super) enum Arg {
    /// Address where the engine's numbers lie.
    Pointer(u64),
    Int(i32),
    Long(i64),
    Float(f32),
}

/// Blocks, threads of a block, and bytes of shared memory of a block.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "nothing launches"))]
pub(super) struct Grid {
    pub blocks: [u32; 3],
    pub threads: u32,
    pub shared: u32,
}

#[cfg(test)]
thread_local! {
    static LAUNCHED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many kernels this thread launched so far.
#[cfg(test)]
pub(crate) fn launched() -> u64 {
    LAUNCHED.get()
}

/// Runs kernels.
#[derive(Clone, Debug)]
pub struct Engine(pub(super) Kind);

#[derive(Clone, Debug)]
pub(super) enum Kind {
    #[cfg(feature = "cuda")]
    Card(candle_core::CudaDevice),
    #[cfg(test)]
    Emulated,
    /// Keeps the type inhabited where neither is compiled in.
    #[expect(dead_code, reason = "never made")]
    None,
}

impl Engine {
    /// The card that `tensor` lies on.
    pub fn of(tensor: &Tensor) -> Option<Self> {
        #[cfg(feature = "cuda")]
        if let candle_core::Device::Cuda(card) = tensor.device() {
            return Some(Self(Kind::Card(card.clone())));
        }
        let _ = tensor;
        None
    }

    /// Runs kernels on the CPU.
    #[cfg(test)]
    pub(crate) const fn emulated() -> Self {
        Self(Kind::Emulated)
    }

    /// What runs kernels on `tensor`, which lies on a [`test_device`](super::test_device).
    #[cfg(test)]
    pub(super) fn under_test(tensor: &Tensor) -> Self {
        Self::of(tensor).unwrap_or_else(Self::emulated)
    }

    /// Blocks of a loop with stride: as many as keep every multiprocessor of a large card busy.
    pub(super) const fn strided_blocks(&self) -> usize {
        match self.0 {
            // Three are enough to see that a loop strides, and a coroutine costs more than an element.
            #[cfg(test)]
            Kind::Emulated => 3,
            _ => 132 * 16,
        }
    }

    /// Blocks of a loop over `n` elements with stride.
    pub(super) fn blocks_over(&self, n: usize) -> usize {
        n.div_ceil(super::call::THREADS as usize).min(self.strided_blocks())
    }

    /// Queues `entry` of `source`.
    ///
    /// # Safety
    /// `args` must be those of the kernel, in its order, and every address must be good for what the kernel reads and
    /// writes there with this grid.
    pub(super) unsafe fn launch(&self, source: &'static Source, entry: &str, grid: Grid, args: &[Arg]) -> Result<()> {
        #[cfg(test)]
        LAUNCHED.set(LAUNCHED.get() + 1);
        match &self.0 {
            #[cfg(feature = "cuda")]
            // SAFETY: the caller's.
            Kind::Card(card) => unsafe { super::device::launch(card, source, entry, grid, args) },
            #[cfg(test)]
            // SAFETY: the caller's.
            Kind::Emulated => unsafe { super::emulation::launch(entry, grid, args) },
            Kind::None => {
                let _ = (source, grid, args);
                candle_core::bail!("{entry}: this program was built without CUDA")
            }
        }
    }
}
