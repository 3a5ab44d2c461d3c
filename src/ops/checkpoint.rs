//! Activation checkpointing: keep a block's input, run the block again in the backward pass.

use super::ctx::Ctx;
use super::graph::{self, fits};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, Var, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// A block as a function of its input.
pub type Block<A> = dyn Fn(&Ctx, &Tensor) -> Result<(Tensor, A)> + Send + Sync;

/// Runs `block` on `x` without recording and returns its output and by-product; the backward pass runs it once more.
/// Gradients of weights go to their slots, the gradient of `x` flows on. Same numbers as calling `block` directly.
///
/// The by-product `A` (contexts, routing) comes from the first run and carries no gradient.
pub fn checkpoint<A: 'static>(ctx: &Ctx, x: &Tensor, block: Arc<Block<A>>) -> Result<(Tensor, A)> {
    let Some(anchor) = ctx.anchor() else { return block(ctx, x) };
    let (y, by_product) = block(&ctx.without_recording(), &x.detach())?;
    let ctx = ctx.clone();
    let again: Arc<Again> = Arc::new(move |x: &Tensor| block(&ctx, x).map(|(y, _)| y));
    // An untracked input (the first block of a tower) still has weights to train: the anchor carries the node.
    let input = if x.track_op() { x.clone() } else { anchor.clone() };
    let op = Checkpoint { input: x.detach(), output: Mutex::new(Some(y)), again, flows: x.track_op() };
    Ok((input.apply_op1(op)?, by_product))
}

/// A scalar whose gradient with respect to `y` is `grad`.
fn seeded(y: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let grad = grad.detach();
    if !y.track_op() || !fits(&[y, &grad]) {
        return (y * grad)?.sum_all();
    }
    graph::record("seed", [y], vec![0.0], &[], move |_, _| Ok([Some(grad.clone())]))
}

type Again = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync;

struct Checkpoint {
    input: Tensor,
    output: Mutex<Option<Tensor>>,
    again: Arc<Again>,
    flows: bool,
}

impl CustomOp1 for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(output) = output else { bail!("a checkpointed block ran forward twice") };
        let output = output.contiguous()?;
        let (storage, layout) = output.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (candle_core::Storage::Cpu(CpuStorage::F32(v)), Some((a, b))) => {
                Ok((CpuStorage::F32(v[a..b].to_vec()), output.shape().clone()))
            }
            (candle_core::Storage::Cpu(CpuStorage::F64(v)), Some((a, b))) => {
                Ok((CpuStorage::F64(v[a..b].to_vec()), output.shape().clone()))
            }
            _ => bail!("checkpointing of {:?} on the CPU", output.dtype()),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &candle_core::CudaStorage, _: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(output) = output else { bail!("a checkpointed block ran forward twice") };
        let (storage, layout) = output.storage_and_layout();
        match &*storage {
            candle_core::Storage::Cuda(cuda) => Ok((cuda.try_clone(layout)?, output.shape().clone())),
            _ => bail!("checkpointed output is not on the CUDA device"),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let input = Var::from_tensor(&self.input)?;
        let y = (self.again)(input.as_tensor())?;
        let inner = seeded(&y, grad)?.backward()?;
        if !self.flows {
            return Ok(None);
        }
        Ok(Some(match inner.get(input.as_tensor()) {
            Some(g) => g.detach(),
            None => input.zeros_like()?,
        }))
    }
}
