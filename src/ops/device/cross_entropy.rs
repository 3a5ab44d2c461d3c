//! Cross-entropy.

use super::super::cross_entropy::{CrossEntropy, RowLosses};
use super::super::graph;
use super::whole;
use crate::kernels::cuda::{self, Engine};
use candle_core::{Result, Tensor};

/// `targets` are checked. The host does not wait: the rows' losses stay on the card until somebody reads them.
pub(in super::super) fn cross_entropy(engine: Engine, logits: &Tensor, targets: &[i64]) -> Result<CrossEntropy> {
    let logits = whole(logits)?;
    let labelled = targets.iter().filter(|t| **t >= 0).count();
    let targets: Vec<i32> = targets.iter().map(|t| i32::try_from(*t).unwrap_or(-1).max(-1)).collect();
    let targets = Tensor::from_vec(targets, logits.dim(0)?, logits.device())?;
    let kept = logits.detach();
    let [losses, lse] = cuda::cross_entropy(&engine, &kept, &targets)?;
    let total = cuda::sum(&engine, &losses)?;
    let sum = graph::record("cross-entropy-kernel", [&logits], total, &[], move |_, grad| {
        Ok([Some(cuda::cross_entropy_backward(&engine, &kept, &targets, &lse, grad)?)])
    })?;
    Ok(CrossEntropy { sum, rows: RowLosses::Device(losses), labelled })
}
