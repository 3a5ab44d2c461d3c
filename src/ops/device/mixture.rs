//! The dense mixture of CoMoE.

use super::super::graph;
use super::super::mixture::taped;
use super::super::segment::{self, is_tracked};
use super::whole;
use crate::kernels::cuda::{self, Engine, MAX_EXPERTS};
use candle_core::{DType, Result, Tensor, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// Whether the kernels take so many experts.
pub(in super::super) const fn fits(experts: usize) -> bool {
    experts <= MAX_EXPERTS
}

/// What the nodes of one mixture share; they hang together as those of the CPU's form do (see there).
struct Shared {
    engine: Engine,
    experts: Vec<Tensor>,
    wanted: Vec<bool>,
    /// Float32.
    weights: Tensor,
    weights_type: DType,
    grad: Mutex<Option<Tensor>>,
}

impl Shared {
    fn expert_grad(&self, e: usize, grad: &Tensor) -> Result<Option<Tensor>> {
        self.wanted[e].then(|| cuda::mixture_expert(&self.engine, grad, &self.weights, e)).transpose()
    }

    /// The gradient that the result's node left.
    fn left(&self) -> Result<Tensor> {
        let grad = self.grad.lock().unwrap_or_else(PoisonError::into_inner).clone();
        grad.ok_or_else(|| candle_core::Error::Msg("mixture: experts reached before their sum".into()))
    }

    fn weight_grad(&self, grad: &Tensor) -> Result<Tensor> {
        let experts: Vec<&Tensor> = self.experts.iter().collect();
        cuda::mixture_weights(&self.engine, &experts, grad, self.weights.dim(0)?)?.to_dtype(self.weights_type)
    }
}

pub(in super::super) fn mixture(engine: Engine, experts: &[Tensor], weights: &Tensor) -> Result<Tensor> {
    let (b, e) = weights.dims2()?;
    let dims = experts[0].dims();
    if e != experts.len() || dims.first() != Some(&b) || experts.iter().any(|y| y.dims() != dims) {
        bail!("mixture: weights {:?} for {} experts of shape {dims:?}", weights.dims(), experts.len());
    }
    let inputs: Vec<Tensor> = experts.iter().map(whole).collect::<Result<_>>()?;
    let weights = whole(weights)?;
    let shared = Arc::new(Shared {
        engine,
        experts: inputs.iter().map(Tensor::detach).collect(),
        wanted: inputs.iter().map(is_tracked).collect(),
        weights: weights.detach().to_dtype(DType::F32)?,
        weights_type: weights.dtype(),
        grad: Mutex::default(),
    });
    let all: Vec<&Tensor> = shared.experts.iter().collect();
    let y = cuda::mixture(&shared.engine, &all, &shared.weights)?;
    if segment::is_open() {
        let (of_expert, of_weights) = (shared.clone(), shared);
        return taped(
            "mixture-kernel",
            &inputs,
            &weights,
            y.into_tensor(dims)?,
            move |e, grad| of_expert.expert_grad(e, grad),
            move |grad| of_weights.weight_grad(grad),
        );
    }
    let last = e - 1;
    let zero = Tensor::zeros(1, DType::F32, weights.device())?;
    let mut token = zero.clone();
    for pair in (0..last).step_by(2) {
        let (one, two) = (pair, (pair + 1).min(last - 1));
        let (shared, zero) = (shared.clone(), zero.clone());
        let output = cuda::sum(&shared.engine, &zero)?;
        token =
            graph::record("mixture-token-kernel", [&token, &inputs[one], &inputs[two]], output, &[1], move |_, _| {
                let grad = shared.left()?;
                // An odd number of experts: the last pair is one expert twice, and gets its gradient once.
                let second = if one == two { Some(grad.zeros_like()?) } else { shared.expert_grad(two, &grad)? };
                Ok([Some(zero.clone()), shared.expert_grad(one, &grad)?, second])
            })?;
    }
    graph::record("mixture-kernel", [&token, &inputs[last], &weights], y, dims, move |_, grad| {
        *shared.grad.lock().unwrap_or_else(PoisonError::into_inner) = Some(grad.clone());
        Ok([Some(zero.clone()), shared.expert_grad(last, grad)?, Some(shared.weight_grad(grad)?)])
    })
}
