//! What travels with a forward pass: whether gradients are recorded, who watches, and where random draws come from.

use super::observer::{BackwardObserver, LayerId, Place};
use super::weight::{GradSlot, Weight};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Storage, Tensor, Var, bail};
use std::fmt;
use std::sync::Arc;

/// The counter that random draws inside a step come from: a recomputed block draws the same numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// The run's seed.
    pub seed: u64,
    /// Steps since the run began, over all stages.
    pub step: u64,
    /// Micro-batch within the step.
    pub micro: u32,
}

/// Context of one forward pass. Cheap to clone.
#[derive(Clone, Default)]
pub struct Ctx {
    anchor: Option<Tensor>,
    observer: Option<Arc<dyn BackwardObserver>>,
    place: Option<Place>,
    /// `None` outside training: dropout is then the identity.
    pub draw: Option<Draw>,
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("recording", &self.is_recording())
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Ctx {
    /// Nothing is recorded, nothing dropped out.
    #[must_use]
    pub fn eval() -> Self {
        Self::default()
    }

    /// Records gradients of trainable weights.
    pub fn train(device: &Device) -> Result<Self> {
        let anchor = Var::zeros(1, candle_core::DType::F32, device)?;
        Ok(Self { anchor: Some(anchor.as_tensor().clone()), ..Self::default() })
    }

    /// The same, with random draws.
    #[must_use]
    pub fn with_draw(mut self, draw: Draw) -> Self {
        self.draw = Some(draw);
        self
    }

    /// The same, watched.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn BackwardObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The same, but recording nothing (draws stay): the first pass of a checkpointed block.
    #[must_use]
    pub fn without_recording(&self) -> Self {
        Self { anchor: None, ..self.clone() }
    }

    /// The same, standing in `layer` and `module` of the vision encoder.
    #[must_use]
    pub fn at(&self, layer: LayerId, module: &'static str) -> Self {
        Self { place: Some(Place { layer, module }), ..self.clone() }
    }

    /// Whether gradients are recorded.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.anchor.is_some()
    }

    /// A tracked scalar that puts an operation with an untracked input into the graph; `None` when not recording.
    #[must_use]
    pub fn anchor(&self) -> Option<&Tensor> {
        self.anchor.as_ref()
    }

    /// Observer and place, when both are set.
    #[must_use]
    pub fn watched(&self) -> Option<(Arc<dyn BackwardObserver>, Place)> {
        Some((self.observer.clone()?, self.place?))
    }

    /// The slot of `weight` if this pass records and the weight trains.
    #[must_use]
    pub fn slot<'w>(&self, weight: &'w Weight) -> Option<&'w Arc<GradSlot>> {
        if self.is_recording() { weight.slot() } else { None }
    }

    /// The weight's value as an operand of composed tensor operations: tracked, its gradient going to the weight's slot,
    /// when this pass records and the weight trains (a copy of the value); the plain value otherwise.
    pub fn operand(&self, weight: &Weight) -> Result<Tensor> {
        match (&self.anchor, weight.slot()) {
            (Some(anchor), Some(slot)) => {
                anchor.apply_op1(Operand { value: weight.tensor().clone(), slot: slot.clone() })
            }
            _ => Ok(weight.tensor().clone()),
        }
    }
}

/// Identity on a weight's value; the backward pass puts the gradient into the slot.
struct Operand {
    value: Tensor,
    slot: Arc<GradSlot>,
}

impl CustomOp1 for Operand {
    fn name(&self) -> &'static str {
        "operand"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let copy = self.value.copy()?;
        let (storage, _) = copy.storage_and_layout();
        match &*storage {
            Storage::Cpu(cpu) => Ok((cpu.clone(), self.value.shape().clone())),
            _ => bail!("operand {:?} is not on the CPU", self.value.shape()),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &candle_core::CudaStorage, _: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (storage, layout) = self.value.storage_and_layout();
        match &*storage {
            Storage::Cuda(cuda) => Ok((cuda.try_clone(layout)?, self.value.shape().clone())),
            _ => bail!("operand {:?} is not on the CUDA device", self.value.shape()),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.slot.accumulate(grad)?;
        Ok(None)
    }
}
