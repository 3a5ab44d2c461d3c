//! Rows of contexts and routing.

use super::drift::depth;
use super::error::ProbeError;
use crate::models::covft::LayerRouting;
use crate::ops::{LayerId, fetch};
use crate::train::hook::{MicroBatch, StepId};
use candle_core::Tensor;
use covft_analyses::store::{ContextRow, RoutingRow};
use half::f16;

type Result<T> = std::result::Result<T, ProbeError>;

/// What is wanted of the `CoMoE` layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) routing: bool,
    pub(super) contexts: Contexts,
}

/// Of which layers context vectors are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contexts {
    None,
    Last,
    All,
}

impl Wanted {
    /// Logits and weights, and context vectors, if they are wanted of this layer.
    fn of<'t>(self, layer: &'t LayerRouting, micro: &'t MicroBatch) -> [Option<&'t Tensor>; 3] {
        let context = match self.contexts {
            Contexts::None => false,
            Contexts::Last => micro.routing.iter().all(|other| other.layer <= layer.layer),
            Contexts::All => true,
        };
        let routing = |tensor| self.routing.then_some(tensor);
        [routing(&layer.logits), routing(&layer.weights), context.then_some(&layer.context)]
    }
}

/// Entropy in nats of weights that sum to 1.
fn entropy(weights: &[f32]) -> f32 {
    let nats: f64 = weights.iter().filter(|w| **w > 0.0).map(|w| -f64::from(*w) * f64::from(*w).ln()).sum();
    nats as f32
}

/// Rows of every sample with an image (what text alone sends through the tower reaches no loss), layer by layer. What lies
/// on a device is read together: the host waits once.
pub(super) fn rows(
    micro_batches: &[MicroBatch],
    wanted: Wanted,
    at: StepId<'_>,
    blocks: usize,
    tracked: bool,
) -> Result<(Vec<RoutingRow>, Vec<ContextRow>)> {
    let layers = || micro_batches.iter().flat_map(|micro| micro.routing.iter().map(move |layer| (micro, layer)));
    let mut tensors = Vec::new();
    for (micro, layer) in layers() {
        for tensor in wanted.of(layer, micro).into_iter().flatten() {
            let (rows, samples) = (tensor.dim(0)?, micro.samples.len());
            if rows != samples {
                let (stage, layer) = (at.stage.to_owned(), layer.layer);
                return Err(ProbeError::RoutingRows { layer, rows, samples, stage, step: at.step });
            }
            tensors.push(tensor.clone());
        }
    }
    let mut numbers = fetch::<f32>(&tensors)?.into_iter();
    let (mut routing, mut contexts) = (Vec::new(), Vec::new());
    for (micro, layer) in layers() {
        let [logits, weights, vectors] =
            wanted.of(layer, micro).map(|wanted| wanted.and_then(|_| numbers.next()).unwrap_or_default());
        let own = |numbers: &[f32], sample: usize| {
            let width = numbers.len() / micro.samples.len();
            numbers[sample * width..][..width].to_vec()
        };
        let (id, place) = (layer.layer.to_string(), Some(depth(LayerId::Block(layer.layer), blocks)));
        for (number, sample) in micro.samples.iter().enumerate().filter(|(_, sample)| sample.has_image) {
            if !weights.is_empty() {
                let weights = own(&weights, number);
                routing.push(RoutingRow {
                    stage: at.stage.to_owned(),
                    step: at.step,
                    sample: sample.id.to_string(),
                    index: Some(sample.index),
                    split: Some(sample.split.name().into()),
                    layer: id.clone(),
                    depth: place,
                    tracked,
                    entropy: entropy(&weights),
                    logits: own(&logits, number),
                    weights,
                });
            }
            if !vectors.is_empty() {
                contexts.push(ContextRow {
                    stage: at.stage.to_owned(),
                    step: at.step,
                    sample: sample.id.to_string(),
                    index: Some(sample.index),
                    split: Some(sample.split.name().into()),
                    layer: id.clone(),
                    depth: place,
                    tracked,
                    vector: own(&vectors, number).into_iter().map(f16::from_f32).collect(),
                });
            }
        }
    }
    Ok((routing, contexts))
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
