//! Numbers that kernels read and write.

use super::engine::{Engine, Kind};
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, DType, InplaceOp1, Layout, Result, Shape, Storage, StorageRef, Tensor, bail,
};
use std::sync::{Mutex, PoisonError};

/// Where numbers lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub address: u64,
    pub len: usize,
    pub dtype: DType,
}

impl Span {
    /// `len` of its numbers from `first` on.
    ///
    /// # Panics
    /// If it has not so many.
    pub(super) fn part(self, first: usize, len: usize) -> Self {
        assert!(first + len <= self.len, "{len} numbers from {first} on of {}", self.len);
        Self { address: self.address + (first * self.dtype.size_in_bytes()) as u64, len, ..self }
    }
}

/// A contiguous tensor's numbers, for as long as this lives.
pub(super) struct Lent<'t> {
    pub span: Span,
    _held: StorageRef<'t>,
}

impl<'t> Lent<'t> {
    pub(super) fn of(tensor: &'t Tensor) -> Result<Self> {
        let (held, layout) = tensor.storage_and_layout();
        let span = span_of(&held, layout)?;
        Ok(Self { span, _held: held })
    }
}

fn span_of(storage: &Storage, layout: &Layout) -> Result<Span> {
    match storage {
        Storage::Cpu(cpu) => host_span(cpu, layout),
        Storage::Cuda(card) => card_span(card, layout),
        Storage::Metal(_) => bail!("a tensor on Metal"),
    }
}

/// Offset and length of contiguous numbers.
fn range(layout: &Layout) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok((from, to - from)),
        None => bail!("a kernel needs contiguous numbers, not {:?} with strides {:?}", layout.shape(), layout.stride()),
    }
}

fn host_span(storage: &CpuStorage, layout: &Layout) -> Result<Span> {
    let (from, len) = range(layout)?;
    let (address, dtype) = match storage {
        CpuStorage::F32(v) => (v[from..from + len].as_ptr() as u64, DType::F32),
        CpuStorage::BF16(v) => (v[from..from + len].as_ptr() as u64, DType::BF16),
        CpuStorage::F64(v) => (v[from..from + len].as_ptr() as u64, DType::F64),
        CpuStorage::I32(v) => (v[from..from + len].as_ptr() as u64, DType::I32),
        _ => bail!("kernels take float32, bfloat16, float64 and int32"),
    };
    Ok(Span { address, len, dtype })
}

#[cfg(feature = "cuda")]
fn card_span(storage: &CudaStorage, layout: &Layout) -> Result<Span> {
    use candle_core::backend::BackendStorage;
    use candle_core::cuda_backend::CudaDType;
    use candle_core::cuda_backend::cudarc::driver::DevicePtr;

    fn start<T: CudaDType>(storage: &CudaStorage) -> Result<u64> {
        let stream = storage.device().cuda_stream();
        // The address alone: everything that is done with it is queued on the device's only stream, and so is freeing it.
        let address = storage.as_cuda_slice::<T>()?.device_ptr(&stream).0;
        Ok(address)
    }
    let (from, len) = range(layout)?;
    let dtype = storage.dtype();
    let start = match dtype {
        DType::F32 => start::<f32>(storage)?,
        DType::BF16 => start::<half::bf16>(storage)?,
        DType::F64 => start::<f64>(storage)?,
        DType::I32 => start::<i32>(storage)?,
        _ => bail!("kernels take float32, bfloat16, float64 and int32"),
    };
    Ok(Span { address: start + (from * dtype.size_in_bytes()) as u64, len, dtype })
}

#[cfg(not(feature = "cuda"))]
fn card_span(_: &CudaStorage, _: &Layout) -> Result<Span> {
    bail!("this program was built without CUDA")
}

/// New numbers that a kernel fills; they then become a tensor, or a node's storage, without a copy.
#[derive(Debug)]
pub struct Fresh {
    storage: Storage,
    len: usize,
}

impl Fresh {
    /// Room for `len` numbers, which the kernel must write all of.
    pub(super) fn new(engine: &Engine, dtype: DType, len: usize) -> Result<Self> {
        room(engine, dtype, len).map(|storage| Self { storage, len })
    }

    /// Takes over what a product made.
    #[must_use]
    pub fn from_storage(storage: Storage, len: usize) -> Self {
        Self { storage, len }
    }

    /// A copy of a contiguous tensor's numbers.
    pub fn copy_of(tensor: &Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        Ok(Self::from_storage(storage.try_clone(layout)?, tensor.elem_count()))
    }

    pub(super) fn span(&mut self) -> Result<Span> {
        span_of(&self.storage, &Layout::contiguous(self.len))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Themselves.
    #[must_use]
    pub fn into_storage(self) -> Storage {
        self.storage
    }

    /// As an untracked tensor of shape `dims`.
    pub fn into_tensor(self, dims: &[usize]) -> Result<Tensor> {
        let shape = Shape::from(dims);
        if shape.elem_count() != self.len {
            bail!("{} numbers for a tensor of shape {dims:?}", self.len);
        }
        Ok(Tensor::from_storage(self.storage, shape, BackpropOp::none(), false))
    }
}

fn room(engine: &Engine, dtype: DType, len: usize) -> Result<Storage> {
    match &engine.0 {
        #[cfg(feature = "cuda")]
        Kind::Card(card) => super::device::room(card, dtype, len).map(Storage::Cuda),
        #[cfg(test)]
        // NaN: what is not written shows.
        Kind::Emulated => Ok(Storage::Cpu(match dtype {
            DType::F32 => CpuStorage::F32(vec![f32::NAN; len]),
            DType::BF16 => CpuStorage::BF16(vec![half::bf16::NAN; len]),
            DType::F64 => CpuStorage::F64(vec![f64::NAN; len]),
            _ => bail!("no kernel makes {dtype:?}"),
        })),
        Kind::None => bail!("no room for {len} {dtype:?}: this program was built without CUDA"),
    }
}

/// Lends several tensors for changing them in place; no two may share numbers.
pub(super) fn change(tensors: &[&Tensor], work: &mut dyn FnMut(&[Span]) -> Result<()>) -> Result<()> {
    nested(tensors, &mut Vec::new(), work)
}

fn nested(tensors: &[&Tensor], spans: &mut Vec<Span>, work: &mut dyn FnMut(&[Span]) -> Result<()>) -> Result<()> {
    let Some((first, rest)) = tensors.split_first() else { return work(spans) };
    first.inplace_op1(&Change(Mutex::new(&mut |span| {
        spans.push(span);
        nested(rest, spans, work)
    })))
}

struct Change<'a>(Mutex<&'a mut dyn FnMut(Span) -> Result<()>>);

impl Change<'_> {
    fn run(&self, span: Span) -> Result<()> {
        let mut work = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(span)
    }
}

impl InplaceOp1 for Change<'_> {
    fn name(&self) -> &'static str {
        "kernel-in-place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.run(host_span(storage, layout)?)
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        self.run(card_span(storage, layout)?)
    }
}
