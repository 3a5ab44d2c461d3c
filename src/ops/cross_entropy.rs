//! Next-token cross-entropy with an ignore index.

use super::device;
use super::graph::{self, fits, host};
use super::path;
use super::precision::wide;
use super::weight::read_f32;
use crate::kernels;
use candle_core::{D, DType, Result, Tensor, bail};
use std::borrow::Cow;

/// The label of a token that carries no loss.
pub const IGNORE_INDEX: i64 = -100;

/// Result of [`cross_entropy`].
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// Sum over the labelled rows, a tracked scalar. Divide by the step's labelled tokens, over all micro-batches.
    pub sum: Tensor,
    /// Loss of each row, 0 where ignored.
    pub rows: RowLosses,
    /// Labelled rows.
    pub labelled: usize,
}

/// Losses of rows, where they were computed.
#[derive(Clone, Debug)]
pub enum RowLosses {
    /// Ready.
    Host(Vec<f32>),
    /// Float32 on a device: reading them waits for all that is queued there.
    Device(Tensor),
}

impl RowLosses {
    /// The numbers.
    pub fn read(&self) -> Result<Cow<'_, [f32]>> {
        match self {
            Self::Host(rows) => Ok(rows.into()),
            Self::Device(rows) => rows.to_vec1().map(Cow::Owned),
        }
    }
}

/// `logits [R, V]`, `targets` (R of them, [`IGNORE_INDEX`] or a class).
///
/// Backward: `softmax(logits) - onehot(target)` in labelled rows, zero in the others.
pub fn cross_entropy(logits: &Tensor, targets: &[i64]) -> Result<CrossEntropy> {
    if let Some(engine) = device::fits(&[logits], &[]) {
        check(logits, targets)?;
        return device::cross_entropy::cross_entropy(engine, logits, targets);
    }
    if !fits(&[logits]) || logits.elem_count() == 0 {
        return composed(logits, targets);
    }
    let logits = logits.contiguous()?;
    check(&logits, targets)?;
    let targets: Vec<Option<usize>> = targets.iter().map(|t| usize::try_from(*t).ok()).collect();
    let labelled = targets.iter().flatten().count();
    let (rows, lse) = read_f32(&logits, |x| kernels::cross_entropy(x, &targets))?;
    let total: f64 = rows.iter().map(|l| f64::from(*l)).sum();
    let kept = logits.detach();
    let sum = graph::record("cross-entropy", [&logits], vec![total as f32], &[], move |_, grad| {
        let scale = grad.to_scalar::<f32>()?;
        let d = read_f32(&kept, |x| kernels::cross_entropy_backward(x, &targets, &lse, scale))?;
        Ok([Some(host(d, kept.dims())?)])
    })?;
    Ok(CrossEntropy { sum, rows: RowLosses::Host(rows), labelled })
}

/// Rows and classes, if every target is one of them.
fn check(logits: &Tensor, targets: &[i64]) -> Result<(usize, usize)> {
    let (rows, vocabulary) = logits.dims2()?;
    if rows != targets.len() {
        bail!("cross entropy: {rows} rows of logits, {} targets", targets.len());
    }
    if let Some(bad) = targets.iter().find(|t| **t != IGNORE_INDEX && !(0..vocabulary as i64).contains(*t)) {
        bail!("cross entropy: target {bad} outside a vocabulary of {vocabulary}");
    }
    Ok((rows, vocabulary))
}

/// The same in plain tensor operations.
pub(crate) fn composed(logits: &Tensor, targets: &[i64]) -> Result<CrossEntropy> {
    let (rows, _) = check(logits, targets)?;
    let logits = &wide(logits)?;
    let keep: Vec<f32> = targets.iter().map(|t| if *t == IGNORE_INDEX { 0.0 } else { 1.0 }).collect();
    let labelled = keep.iter().filter(|k| **k > 0.0).count();
    let index: Vec<u32> = targets.iter().map(|t| (*t).max(0) as u32).collect();
    let index = Tensor::from_vec(index, (rows, 1), logits.device())?;
    let keep = Tensor::from_vec(keep, rows, logits.device())?.to_dtype(logits.dtype())?;
    let log_p = candle_nn::ops::log_softmax(logits, D::Minus1)?.gather(&index, 1)?.squeeze(1)?;
    let losses = (log_p.neg()? * keep)?;
    let rows = losses.detach().to_dtype(DType::F32)?;
    let rows = if path::on_host(&rows) { RowLosses::Host(rows.to_vec1()?) } else { RowLosses::Device(rows) };
    Ok(CrossEntropy { sum: losses.sum_all()?, rows, labelled })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, random};
    use super::*;

    fn targets(x: &Tensor) -> Vec<i64> {
        let (rows, v) = x.dims2().unwrap();
        (0..rows).map(|r| if r % 3 == 1 { IGNORE_INDEX } else { (r * 7 % v) as i64 }).collect()
    }

    fn case(rows: usize, v: usize) -> Case {
        Case {
            inputs: vec![vec![rows, v]],
            weights: vec![],
            fused: |_, x, _| cross_entropy(&(&x[0] * 3.0)?, &targets(&x[0]))?.sum * 0.1,
            composed: |_, x, _| composed(&(&x[0] * 3.0)?, &targets(&x[0]))?.sum * 0.1,
        }
    }

    #[test]
    fn small() {
        case(5, 7).check();
        case(1, 40).check();
    }

    #[test]
    fn large() {
        case(40, 1003).check_large();
    }

    #[test]
    fn counts_and_rows() {
        let x = random(&[5, 7], 1);
        let (a, b) = (cross_entropy(&x, &targets(&x)).unwrap(), composed(&x, &targets(&x)).unwrap());
        let (a_rows, b_rows) = (a.rows.read().unwrap(), b.rows.read().unwrap());
        assert_eq!((a.labelled, b.labelled, a_rows[1], a_rows[4]), (3, 3, 0.0, 0.0));
        assert!(a_rows.iter().zip(&*b_rows).all(|(a, b)| (a - b).abs() < 1e-6));
        let none = cross_entropy(&x, &[IGNORE_INDEX; 5]).unwrap();
        assert_eq!((none.labelled, none.sum.to_scalar::<f32>().unwrap()), (0, 0.0));
        assert!(cross_entropy(&x, &[0, 1, 2, 3]).is_err());
        assert!(cross_entropy(&x, &[0, 1, 2, 3, 7]).is_err());
        assert!(cross_entropy(&x, &[0, 1, 2, 3, -1]).is_err());
    }

    #[test]
    fn nan_is_not_swallowed() {
        let x = Tensor::new(&[[0.0f32, f32::NAN, 1.0]], &candle_core::Device::Cpu).unwrap();
        assert!(cross_entropy(&x, &[0]).unwrap().rows.read().unwrap()[0].is_nan());
    }
}
