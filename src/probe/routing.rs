//! Rows of contexts and routing.

use super::drift::depth;
use super::error::ProbeError;
use crate::ops::LayerId;
use crate::train::hook::{MicroBatch, StepId};
use candle_core::{DType, Tensor};
use covft_analyses::store::{ContextRow, RoutingRow};
use half::f16;

type Result<T> = std::result::Result<T, ProbeError>;

fn rows(tensor: &Tensor, layer: usize, micro: &MicroBatch, at: StepId<'_>) -> Result<Vec<Vec<f32>>> {
    let rows = tensor.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    if rows.len() == micro.samples.len() {
        return Ok(rows);
    }
    let samples = micro.samples.len();
    Err(ProbeError::RoutingRows { layer, rows: rows.len(), samples, stage: at.stage.to_owned(), step: at.step })
}

/// Entropy in nats of weights that sum to 1.
fn entropy(weights: &[f32]) -> f32 {
    let nats: f64 = weights.iter().filter(|w| **w > 0.0).map(|w| -f64::from(*w) * f64::from(*w).ln()).sum();
    nats as f32
}

/// Routing of every sample with an image (what text alone sends through the tower reaches no loss), layer by layer.
pub(super) fn routing(micro: &MicroBatch, at: StepId<'_>, blocks: usize) -> Result<Vec<RoutingRow>> {
    let mut all = Vec::new();
    for layer in &micro.routing {
        let logits = rows(&layer.logits, layer.layer, micro, at)?;
        let weights = rows(&layer.weights, layer.layer, micro, at)?;
        let samples = micro.samples.iter().zip(logits.into_iter().zip(weights));
        all.extend(samples.filter(|(sample, _)| sample.has_image).map(|(sample, (logits, weights))| RoutingRow {
            stage: at.stage.to_owned(),
            step: at.step,
            sample: sample.id.to_string(),
            layer: layer.layer.to_string(),
            depth: Some(depth(LayerId::Block(layer.layer), blocks)),
            tracked: false,
            entropy: entropy(&weights),
            logits,
            weights,
        }));
    }
    Ok(all)
}

/// Context vectors of every sample with an image, of all `CoMoE` layers or of the last alone.
pub(super) fn contexts(
    micro: &MicroBatch,
    at: StepId<'_>,
    blocks: usize,
    every_layer: bool,
) -> Result<Vec<ContextRow>> {
    let last = micro.routing.iter().map(|r| r.layer).max();
    let mut all = Vec::new();
    for layer in micro.routing.iter().filter(|r| every_layer || Some(r.layer) == last) {
        let vectors = rows(&layer.context, layer.layer, micro, at)?;
        let samples = micro.samples.iter().zip(vectors).filter(|(sample, _)| sample.has_image);
        all.extend(samples.map(|(sample, vector)| ContextRow {
            stage: at.stage.to_owned(),
            step: at.step,
            sample: sample.id.to_string(),
            layer: layer.layer.to_string(),
            depth: Some(depth(LayerId::Block(layer.layer), blocks)),
            tracked: false,
            vector: vector.into_iter().map(f16::from_f32).collect(),
        }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_in_nats() {
        assert!((entropy(&[0.25; 4]) - 4_f32.ln()).abs() < 1e-6);
        assert_eq!(entropy(&[0.0, 1.0]), 0.0);
    }
}
