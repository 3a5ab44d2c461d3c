//! Next-token cross-entropy with an ignore index.

use candle_core::{D, Result, Tensor, bail};

/// The label of a token that carries no loss.
pub const IGNORE_INDEX: i64 = -100;

/// Result of [`cross_entropy`].
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// Sum over the labelled rows, a tracked scalar. Divide by the step's labelled tokens, over all micro-batches.
    pub sum: Tensor,
    /// Loss of each row, 0 where ignored.
    pub rows: Vec<f32>,
    /// Labelled rows.
    pub labelled: usize,
}

/// `logits [R, V]`, `targets` (R of them, [`IGNORE_INDEX`] or a class).
pub fn cross_entropy(logits: &Tensor, targets: &[i64]) -> Result<CrossEntropy> {
    composed(logits, targets)
}

/// The same in plain tensor operations.
pub fn composed(logits: &Tensor, targets: &[i64]) -> Result<CrossEntropy> {
    let (rows, vocabulary) = logits.dims2()?;
    if rows != targets.len() {
        bail!("cross entropy: {rows} rows of logits, {} targets", targets.len());
    }
    if let Some(bad) = targets.iter().find(|t| **t != IGNORE_INDEX && !(0..vocabulary as i64).contains(*t)) {
        bail!("cross entropy: target {bad} outside a vocabulary of {vocabulary}");
    }
    let keep: Vec<f32> = targets.iter().map(|t| if *t == IGNORE_INDEX { 0.0 } else { 1.0 }).collect();
    let labelled = keep.iter().filter(|k| **k > 0.0).count();
    let index: Vec<u32> = targets.iter().map(|t| (*t).max(0) as u32).collect();
    let index = Tensor::from_vec(index, (rows, 1), logits.device())?;
    let keep = Tensor::from_vec(keep, rows, logits.device())?.to_dtype(logits.dtype())?;
    let log_p = candle_nn::ops::log_softmax(logits, D::Minus1)?.gather(&index, 1)?.squeeze(1)?;
    let losses = (log_p.neg()? * keep)?;
    let rows = losses.detach().to_dtype(candle_core::DType::F32)?.to_vec1()?;
    Ok(CrossEntropy { sum: losses.sum_all()?, rows, labelled })
}
