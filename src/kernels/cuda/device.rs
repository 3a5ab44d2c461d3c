//! Opening a card, and launching on it.

use super::compile::compiled;
use super::engine::{Arg, Grid, Source};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::{CUdevice_attribute, CUmemPool_attribute};
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg, result};
use candle_core::{CudaDevice, CudaStorage, DType, Device, Result, bail};

/// Card number `ordinal`, with a stream of its own that all threads share, and a memory pool that keeps what is freed.
///
/// The stream that candle would choose is another one in every thread, and its tensors are then ordered by events, two a
/// tensor. With one stream, order is the order of the calls; nothing else is needed. Without a threshold the pool gives freed memory back
/// to the driver whenever the host waits for the card, once a step, and every step would ask for all of it again.
pub fn open(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    let Device::Cuda(card) = &device else { bail!("cuda:{ordinal} is not a CUDA device") };
    // SAFETY: all work of this process on this card is queued on this one stream: a tensor is made, used and freed in the
    // order of the calls.
    unsafe { card.disable_event_tracking() };
    let stream = card.cuda_stream();
    let mut keep = u64::MAX;
    // SAFETY: the device is open; the attribute is a 64-bit number, which `keep` is.
    unsafe {
        let pool = result::device::get_default_mem_pool(stream.context().cu_device()).w()?;
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, std::ptr::from_mut(&mut keep).cast()).w()?;
    }
    Ok(device)
}

/// The most bytes that lay in tensors at once since the last call, and the most that the pool held; starts counting anew.
/// What libraries take for themselves (cuBLAS, the context) is not in it.
pub fn peak_memory(device: &Device) -> Result<[u64; 2]> {
    let Device::Cuda(card) = device else { bail!("only a card has a pool of memory") };
    let stream = card.cuda_stream();
    stream.synchronize().w()?;
    let [mut used, mut reserved, mut zero] = [0_u64; 3];
    // SAFETY: the device is open; all four attributes are 64-bit numbers; writing 0 to a high-water mark resets it.
    unsafe {
        let pool = result::device::get_default_mem_pool(stream.context().cu_device()).w()?;
        let marks = [
            (CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, &mut used),
            (CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, &mut reserved),
        ];
        for (mark, value) in marks {
            result::mem_pool::get_attribute(pool, mark, std::ptr::from_mut(value).cast()).w()?;
            result::mem_pool::set_attribute(pool, mark, std::ptr::from_mut(&mut zero).cast()).w()?;
        }
    }
    Ok([used, reserved])
}

/// Room for numbers that a kernel is to write.
pub(super) fn room(card: &CudaDevice, dtype: DType, len: usize) -> Result<CudaStorage> {
    // SAFETY: whoever asks for room launches a kernel that writes all of it before anything reads it.
    unsafe {
        Ok(match dtype {
            DType::F32 => CudaStorage::wrap_cuda_slice(card.alloc::<f32>(len)?, card.clone()),
            DType::BF16 => CudaStorage::wrap_cuda_slice(card.alloc::<half::bf16>(len)?, card.clone()),
            DType::F64 => CudaStorage::wrap_cuda_slice(card.alloc::<f64>(len)?, card.clone()),
            _ => bail!("no kernel makes {dtype:?}"),
        })
    }
}

/// Queues a kernel.
///
/// # Safety
/// As [`Engine::launch`](super::engine::Engine::launch).
pub(super) unsafe fn launch(
    card: &CudaDevice,
    source: &'static Source,
    entry: &str,
    grid: Grid,
    args: &[Arg],
) -> Result<()> {
    let context = card.cuda_stream().context().clone();
    let major = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR).w()?;
    let minor = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR).w()?;
    let ptx = compiled(source, 10 * major + minor)?;
    let kernel = card.get_or_load_custom_func(entry, source.name, &ptx)?;
    let mut builder = kernel.builder();
    for arg in args {
        match arg {
            Arg::Pointer(address) => builder.arg(address),
            Arg::Int(value) => builder.arg(value),
            Arg::Long(value) => builder.arg(value),
            Arg::Float(value) => builder.arg(value),
        };
    }
    let [x, y, z] = grid.blocks;
    let config = LaunchConfig { grid_dim: (x, y, z), block_dim: (grid.threads, 1, 1), shared_mem_bytes: grid.shared };
    // SAFETY: the caller's.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}
