//! The dense mixture of CoMoE: `out = sum_e g[b, e] * y_e[b]`.

use super::device;
use super::graph::{self, fits, host};
use super::precision::{is_short, matmul};
use super::profile;
use super::segment::{self, is_tracked};
use super::weight::{read_all_f32, read_f32};
use crate::kernels;
use candle_core::{Result, Tensor, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// `experts`: E tensors `[B, N, D]`; `weights [B, E]`; returns `[B, N, D]`.
///
/// Backward: `dy_e = g_e dout`, `dg[b, e] = <y_e[b], dout[b]>`.
///
/// A node of the library's graph takes three tensors at most; one on a segment's tape takes them all. The result's node takes the weights, one expert and a *token*, a single
/// number made by a node of the token before it and two more experts. Only the
/// result's node computes anything forward; backward it leaves its gradient where the token nodes find it.
pub fn mixture(experts: &[Tensor], weights: &Tensor) -> Result<Tensor> {
    let mut all: Vec<&Tensor> = experts.iter().collect();
    if let Some(engine) = device::fits(&all, &[])
        && device::mixture::fits(experts.len())
        && device::fits(&[weights], &[]).is_some()
    {
        return device::mixture::mixture(engine, experts, weights);
    }
    all.push(weights);
    if experts.is_empty() || !fits(&all) || weights.elem_count() == 0 || experts[0].elem_count() == 0 {
        return segment::island(&all, |x| {
            composed(&x[..x.len() - 1].iter().map(|y| (*y).clone()).collect::<Vec<_>>(), x[x.len() - 1])
        });
    }
    fused(experts, weights)
}

/// What the nodes of one mixture share.
struct Shared {
    experts: Vec<Tensor>,
    wanted: Vec<bool>,
    weights: Tensor,
    /// Gradient of the result, from the result's node to those of the tokens, which run after it.
    grad: Mutex<Option<Tensor>>,
}

impl Shared {
    fn batch(&self) -> usize {
        self.weights.dims()[0]
    }

    fn expert_grad(&self, e: usize, grad: &Tensor) -> Result<Option<Tensor>> {
        if !self.wanted[e] {
            return Ok(None);
        }
        let d = read_all_f32(&[grad, &self.weights], |of| {
            kernels::scale_samples(of[0], of[1], self.experts.len(), e, self.batch())
        })?;
        host(d, grad.dims()).map(Some)
    }

    /// The gradient that the result's node left.
    fn left(&self) -> Result<Tensor> {
        let grad = self.grad.lock().unwrap_or_else(PoisonError::into_inner).clone();
        grad.ok_or_else(|| candle_core::Error::Msg("mixture: experts reached before their sum".into()))
    }

    fn weight_grad(&self, grad: &Tensor) -> Result<Tensor> {
        let experts: Vec<&Tensor> = self.experts.iter().collect();
        let d = read_f32(grad, |g| {
            read_all_f32(&experts, |experts| kernels::mixture_backward_weights(experts, g, self.batch()))
        })??;
        host(d, self.weights.dims())
    }
}

fn fused(experts: &[Tensor], weights: &Tensor) -> Result<Tensor> {
    let (b, e) = weights.dims2()?;
    let dims = experts[0].dims();
    if e != experts.len() || dims.first() != Some(&b) || experts.iter().any(|y| y.dims() != dims) {
        bail!("mixture: weights {:?} for {} experts of shape {dims:?}", weights.dims(), experts.len());
    }
    let inputs: Vec<Tensor> = experts.iter().map(Tensor::contiguous).collect::<Result<_>>()?;
    let weights = weights.contiguous()?;
    let shared = Arc::new(Shared {
        experts: inputs.iter().map(Tensor::detach).collect(),
        wanted: inputs.iter().map(is_tracked).collect(),
        weights: weights.detach(),
        grad: Mutex::default(),
    });
    let all: Vec<&Tensor> = inputs.iter().collect();
    let y = read_f32(&weights, |w| read_all_f32(&all, |ys| kernels::mixture(ys, w, None, b)))??;
    if segment::is_open() {
        let (of_expert, of_weights) = (shared.clone(), shared);
        return taped(
            "mixture",
            &inputs,
            &weights,
            host(y, dims)?,
            move |e, grad| of_expert.expert_grad(e, grad),
            move |grad| of_weights.weight_grad(grad),
        );
    }
    let last = e - 1;
    // Untracked until the first tracked expert is in it.
    let mut token = host(vec![0.0], &[1])?;
    for pair in (0..last).step_by(2) {
        let (one, two) = (pair, (pair + 1).min(last - 1));
        let shared = shared.clone();
        token = graph::record("mixture-token", [&token, &inputs[one], &inputs[two]], vec![0.0], &[1], move |_, _| {
            let grad = shared.left()?;
            // An odd number of experts: the last pair is one expert twice, and gets its gradient once.
            let second = if one == two { Some(grad.zeros_like()?) } else { shared.expert_grad(two, &grad)? };
            Ok([Some(host(vec![0.0], &[1])?), shared.expert_grad(one, &grad)?, second])
        })?;
    }
    graph::record("mixture", [&token, &inputs[last], &weights], y, dims, move |_, grad| {
        *shared.grad.lock().unwrap_or_else(PoisonError::into_inner) = Some(grad.clone());
        let token = host(vec![0.0], &[1])?;
        Ok([Some(token), shared.expert_grad(last, grad)?, Some(shared.weight_grad(grad)?)])
    })
}

/// The result `y` as one operation of the open segment, from the gradients of single experts and of the weights.
pub(super) fn taped(
    name: &'static str,
    experts: &[Tensor],
    weights: &Tensor,
    y: Tensor,
    expert_grad: impl Fn(usize, &Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    weight_grad: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    profile::forward_done(name);
    let count = experts.len();
    let back = move |_: &Tensor, grad: &Tensor| {
        let experts = (0..count).map(|e| expert_grad(e, grad));
        experts.chain(std::iter::once(weight_grad(grad).map(Some))).collect()
    };
    let operands: Vec<&Tensor> = experts.iter().chain([weights]).collect();
    segment::record(name, &operands, y, Box::new(back))
}

/// The same in plain tensor operations.
pub(crate) fn composed(experts: &[Tensor], weights: &Tensor) -> Result<Tensor> {
    if let Some(first) = experts.first()
        && is_short(first.dtype())
    {
        // One product a sample: it accumulates in float32, over the experts and, backward, over tokens and channels.
        let (b, dims) = (first.dim(0)?, first.dims().to_vec());
        let stacked = Tensor::stack(experts, 1)?.reshape((b, experts.len(), first.elem_count() / b))?;
        return matmul(&weights.to_dtype(first.dtype())?.unsqueeze(1)?, &stacked)?.reshape(dims);
    }
    let mut sum: Option<Tensor> = None;
    for (e, y) in experts.iter().enumerate() {
        let term = y.broadcast_mul(&weights.narrow(1, e, 1)?.unsqueeze(2)?)?;
        sum = Some(match sum {
            Some(s) => (s + term)?,
            None => term,
        });
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a mixture needs at least one expert".into()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, random};
    use super::*;

    fn case(e: usize, b: usize, n: usize, d: usize) -> Case {
        let mut inputs = vec![vec![b, n, d]; e];
        inputs.push(vec![b, e]);
        Case {
            inputs,
            weights: vec![],
            fused: |_, x, _| mixture(&x[..x.len() - 1], &x[x.len() - 1]),
            composed: |_, x, _| composed(&x[..x.len() - 1], &x[x.len() - 1]),
        }
    }

    #[test]
    fn one_to_five_experts() {
        for e in 1..=5 {
            case(e, 2, 2, 3).check();
        }
    }

    #[test]
    fn large() {
        case(3, 3, 90, 400).check_large();
        case(4, 2, 70, 100).check_large();
    }

    #[test]
    fn one_tensor_as_several_experts() {
        let y = candle_core::Var::from_tensor(&random(&[2, 3, 4], 1)).unwrap();
        let (y, weights) = (y.as_tensor(), random(&[2, 4], 2));
        let experts = vec![y.clone(); 4];
        let grad = |out: Tensor| {
            let grads = (out * random(&[2, 3, 4], 3)).unwrap().sum_all().unwrap().backward().unwrap();
            grads.get(y).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (a, b) = (grad(mixture(&experts, &weights).unwrap()), grad(composed(&experts, &weights).unwrap()));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let y = random(&[2, 3, 4], 1);
        assert!(mixture(&[], &random(&[2, 0], 1)).is_err());
        assert!(mixture(std::slice::from_ref(&y), &random(&[2, 2], 1)).is_err());
        assert!(mixture(&[y], &random(&[3, 1], 1)).is_err());
    }
}
