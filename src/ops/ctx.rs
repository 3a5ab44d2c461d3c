//! What travels with a forward pass: whether gradients are recorded, who watches, and where random draws come from.

use super::graph;
use super::observer::{BackwardObserver, LayerId, Place};
use super::weight::{GradSlot, Weight};
use candle_core::{DType, Device, Result, Tensor, Var};
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
    compute: Option<DType>,
    /// Gradients reach no slot: every weight is as if frozen, but an observer sees what it would get.
    slots_closed: bool,
    /// `None` outside training: dropout is then the identity.
    pub draw: Option<Draw>,
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("recording", &self.is_recording())
            .field("place", &self.place)
            .field("compute", &self.compute)
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
        let anchor = Var::zeros(1, DType::F32, device)?;
        Ok(Self { anchor: Some(anchor.as_tensor().clone()), ..Self::default() })
    }

    /// The same, with random draws.
    #[must_use]
    pub fn with_draw(mut self, draw: Draw) -> Self {
        self.draw = Some(draw);
        self
    }

    /// The same, computing in `dtype`: weights enter operations in it, their gradients come back in their own type.
    #[must_use]
    pub fn computing_in(mut self, dtype: DType) -> Self {
        self.compute = Some(dtype);
        self
    }

    /// The type that activations have; `None` where it is the weights' own.
    #[must_use]
    pub fn compute(&self) -> Option<DType> {
        self.compute
    }

    /// The same, watched.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn BackwardObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The same with every weight's slot closed: the backward pass shows an observer what it wants to see and leaves
    /// all gradients as they are.
    #[must_use]
    pub fn with_closed_slots(mut self) -> Self {
        self.slots_closed = true;
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

    /// Observer and place, when both are set and gradients are recorded.
    pub(super) fn watched(&self) -> Option<(Arc<dyn BackwardObserver>, Place)> {
        let observer = self.observer.as_ref().filter(|_| self.is_recording())?;
        Some((observer.clone(), self.place?))
    }

    /// Whether an observer wants a vision encoder to run backward of which nothing trains.
    #[must_use]
    pub fn watches_frozen_encoder(&self) -> bool {
        self.observer.as_ref().is_some_and(|observer| observer.wants_frozen_encoder())
    }

    /// The slot of `weight` if this pass records and the weight trains.
    #[must_use]
    pub fn slot<'w>(&self, weight: &'w Weight) -> Option<&'w Arc<GradSlot>> {
        if self.is_recording() && !self.slots_closed { weight.slot() } else { None }
    }

    /// The weight's value as an operand of composed tensor operations, in the type that this pass computes in: tracked,
    /// its gradient going to the weight's slot, when this pass records and the weight trains (a copy of the value); the
    /// plain value otherwise.
    pub fn operand(&self, weight: &Weight) -> Result<Tensor> {
        self.operand_in(weight, self.compute.unwrap_or_else(|| weight.tensor().dtype()))
    }

    /// The same in the weight's own type: for statistics and sums that the compute type is too short for.
    pub fn master(&self, weight: &Weight) -> Result<Tensor> {
        self.operand_in(weight, weight.tensor().dtype())
    }

    fn operand_in(&self, weight: &Weight, dtype: DType) -> Result<Tensor> {
        let value = weight.value_in(dtype)?;
        let (Some(anchor), Some(slot)) = (&self.anchor, self.slot(weight).cloned()) else { return Ok(value) };
        graph::carry("operand", anchor, value, move |grad| {
            slot.accumulate(grad)?;
            Ok(None)
        })
    }
}
