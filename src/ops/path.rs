//! Which forms run: fused kernels on host numbers where tensors lie on the CPU in float32, plain tensor operations
//! everywhere else. Tests pretend on the CPU that tensors lie elsewhere.

use candle_core::{DType, Tensor};

/// Whether host code may look at the numbers of `tensor`: it lies on the CPU in float32.
pub(crate) fn on_host(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32 && hosts()
}

#[cfg(not(test))]
pub(super) const fn hosts() -> bool {
    true
}

#[cfg(not(test))]
pub(super) const fn fuses() -> bool {
    true
}

#[cfg(test)]
pub(super) fn hosts() -> bool {
    !matches!(pretended::PATH.get(), Path::Device | Path::Kernels)
}

/// Whether kernels for cards run on the CPU.
#[cfg(test)]
pub(super) fn emulates() -> bool {
    pretended::PATH.get() == Path::Kernels
}

#[cfg(test)]
pub(super) fn fuses() -> bool {
    pretended::PATH.get() == Path::Host
}

/// What a test pretends, for the thread that it runs on.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Nothing: fused forms, gradients and moments on the host.
    Host,
    /// Composed forms; gradients and moments on the host.
    Composed,
    /// Composed forms; gradients and moments as tensors. Reading host numbers in place is refused.
    Device,
    /// The same with the kernels for cards, emulated, where there are some.
    Kernels,
}

#[cfg(test)]
pub(crate) use pretended::on_path;

#[cfg(test)]
mod pretended {
    use super::Path;
    use std::cell::Cell;

    thread_local! {
        pub(super) static PATH: Cell<Path> = const { Cell::new(Path::Host) };
    }

    struct Reset(Path);

    impl Drop for Reset {
        fn drop(&mut self) {
            PATH.set(self.0);
        }
    }

    /// Runs `work` pretending `path`.
    pub(crate) fn on_path<R>(path: Path, work: impl FnOnce() -> R) -> R {
        let _reset = Reset(PATH.replace(path));
        work()
    }
}
