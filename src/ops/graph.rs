//! How a fused operation enters candle's graph: its output is computed first, by kernels; a node then carries that
//! output in, without a copy, and remembers how to go back.

use super::ctx::Ctx;
use super::{path, profile, segment};
use crate::kernels::cuda::Fresh;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Storage, Tensor,
    bail,
};
use std::sync::{Mutex, PoisonError};

/// Whether the fused forms apply: everything is float32 on the CPU. Operations ask first thing, so a profile's clock for
/// them starts here.
pub(super) fn fits(tensors: &[&Tensor]) -> bool {
    profile::begin();
    path::fuses() && tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
}

/// A tensor that takes over `numbers`.
pub(super) fn host(numbers: Vec<f32>, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(numbers, dims, &Device::Cpu)
}

/// What ties a node into the graph: `x`, or the anchor if `x` is untracked but a weight trains.
pub(super) fn anchored(ctx: &Ctx, x: &Tensor, trains: bool) -> Result<Tensor> {
    segment::check(x)?;
    Ok(match ctx.anchor() {
        Some(anchor) if trains && !segment::is_tracked(x) => anchor.clone(),
        _ => x.clone(),
    })
}

/// `(result, its gradient)` to the gradients of the inputs. The gradient is contiguous and detached. An input that is
/// tracked and not a leaf must get one; what untracked inputs get is dropped.
type Backward<const N: usize> = dyn Fn(&Tensor, &Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync;

/// What a node carries in.
pub(super) enum Output {
    Host(Vec<f32>),
    /// Of a kernel on a card.
    Fresh(Fresh),
}

impl Output {
    fn len(&self) -> usize {
        match self {
            Self::Host(numbers) => numbers.len(),
            Self::Fresh(numbers) => numbers.len(),
        }
    }

    fn into_tensor(self, dims: &[usize]) -> Result<Tensor> {
        match self {
            Self::Host(numbers) => host(numbers, dims),
            Self::Fresh(numbers) => numbers.into_tensor(dims),
        }
    }
}

impl From<Vec<f32>> for Output {
    fn from(numbers: Vec<f32>) -> Self {
        Self::Host(numbers)
    }
}

impl From<Fresh> for Output {
    fn from(numbers: Fresh) -> Self {
        Self::Fresh(numbers)
    }
}

pub(super) struct Node<const N: usize> {
    name: &'static str,
    /// What a profile books the way back under.
    part: &'static str,
    output: Mutex<Option<Output>>,
    shape: Shape,
    backward: Box<Backward<N>>,
}

impl<const N: usize> Node<N> {
    fn take(&self) -> Result<Storage> {
        match self.output.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(Output::Host(output)) => Ok(Storage::Cpu(CpuStorage::F32(output))),
            Some(Output::Fresh(output)) => Ok(output.into_storage()),
            None => bail!("{} entered the graph twice", self.name),
        }
    }

    fn take_host(&self) -> Result<(CpuStorage, Shape)> {
        match self.take()? {
            Storage::Cpu(output) => Ok((output, self.shape.clone())),
            _ => bail!("{}: made on a card, but its input is not there", self.name),
        }
    }

    fn take_card(&self) -> Result<(CudaStorage, Shape)> {
        match self.take()? {
            Storage::Cuda(output) => Ok((output, self.shape.clone())),
            _ => bail!("{}: its input is on a card, but it was not made there", self.name),
        }
    }

    fn back(&self, inputs: [&Tensor; N], result: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; N]> {
        profile::begin();
        let mut grads = (self.backward)(&result.detach(), &grad.contiguous()?.detach())?;
        profile::backward_done(self.part, self.name);
        for (grad, input) in grads.iter_mut().zip(inputs) {
            if !input.track_op() {
                *grad = None;
            }
        }
        Ok(grads)
    }
}

impl CustomOp1 for Node<1> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take_host()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take_card()
    }

    fn bwd(&self, a: &Tensor, result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.back([a], result, grad).map(|[a]| a)
    }
}

impl CustomOp2 for Node<2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take_host()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take_card()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, result: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.back([a, b], result, grad).map(|[a, b]| (a, b))
    }
}

impl CustomOp3 for Node<3> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.take_host()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take_card()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.back([a, b, c], result, grad).map(|[a, b, c]| (a, b, c))
    }
}

/// One to three inputs of a node.
pub(super) trait Inputs<const N: usize> {
    fn enter(self, node: Node<N>) -> Result<Tensor>;
}

impl Inputs<1> for [&Tensor; 1] {
    fn enter(self, node: Node<1>) -> Result<Tensor> {
        self[0].apply_op1(node)
    }
}

impl Inputs<2> for [&Tensor; 2] {
    fn enter(self, node: Node<2>) -> Result<Tensor> {
        self[0].apply_op2(self[1], node)
    }
}

impl Inputs<3> for [&Tensor; 3] {
    fn enter(self, node: Node<3>) -> Result<Tensor> {
        self[0].apply_op3(self[1], self[2], node)
    }
}

/// The tensor of `output`, shaped `dims`, with `backward` behind it if any of the inputs is tracked.
pub(super) fn record<'a, const N: usize>(
    name: &'static str,
    inputs: [&'a Tensor; N],
    output: impl Into<Output>,
    dims: &[usize],
    backward: impl Fn(&Tensor, &Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
) -> Result<Tensor>
where
    [&'a Tensor; N]: Inputs<N>,
{
    profile::forward_done(name);
    let output = output.into();
    if segment::is_open() {
        let backward = move |result: &Tensor, grad: &Tensor| backward(result, grad).map(Vec::from);
        return segment::record(name, &inputs, output.into_tensor(dims)?, Box::new(backward));
    }
    if !inputs.iter().any(|t| t.track_op()) {
        return output.into_tensor(dims);
    }
    let shape = Shape::from(dims);
    if shape.elem_count() != output.len() {
        bail!("{name}: {} numbers for a result of shape {dims:?}", output.len());
    }
    let node =
        Node { name, part: profile::part(), output: Mutex::new(Some(output)), shape, backward: Box::new(backward) };
    inputs.enter(node)
}

/// From the gradient of a carried tensor to the gradient of the node's input.
type CarriedBackward = dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync;

/// A node that brings a ready tensor of any type, on any device, into the graph (a copy of it).
struct Carried {
    name: &'static str,
    output: Mutex<Option<Tensor>>,
    backward: Box<CarriedBackward>,
}

impl Carried {
    fn take(&self) -> Result<Tensor> {
        match self.output.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Storage is copied from its beginning: a view into the middle of one is made whole first.
            Some(output) if output.is_contiguous() && output.layout().start_offset() == 0 => Ok(output),
            Some(output) => output.force_contiguous(),
            None => bail!("{} entered the graph twice", self.name),
        }
    }
}

impl CustomOp1 for Carried {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = self.take()?;
        let n = output.elem_count();
        let (storage, _) = output.storage_and_layout();
        let copy = match &*storage {
            Storage::Cpu(CpuStorage::F32(v)) => CpuStorage::F32(v[..n].to_vec()),
            Storage::Cpu(CpuStorage::F64(v)) => CpuStorage::F64(v[..n].to_vec()),
            Storage::Cpu(CpuStorage::BF16(v)) => CpuStorage::BF16(v[..n].to_vec()),
            Storage::Cpu(CpuStorage::F16(v)) => CpuStorage::F16(v[..n].to_vec()),
            _ => bail!("{}: a {:?} tensor on {:?} behind a CPU node", self.name, output.dtype(), output.device()),
        };
        Ok((copy, output.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let output = self.take()?;
        let (storage, layout) = output.storage_and_layout();
        match &*storage {
            Storage::Cuda(cuda) => Ok((cuda.try_clone(layout)?, output.shape().clone())),
            _ => bail!("{}: a tensor on {:?} behind a CUDA node", self.name, output.device()),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        (self.backward)(&grad.detach())
    }
}

/// `output` as a node behind the tracked `input`.
pub(super) fn carry(
    name: &'static str,
    input: &Tensor,
    output: Tensor,
    backward: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
) -> Result<Tensor> {
    if segment::is_open() {
        let backward = move |_: &Tensor, grad: &Tensor| backward(&grad.detach()).map(|grad| vec![grad]);
        return segment::carry(name, input, &output, Box::new(backward));
    }
    input.apply_op1(Carried { name, output: Mutex::new(Some(output)), backward: Box::new(backward) })
}
