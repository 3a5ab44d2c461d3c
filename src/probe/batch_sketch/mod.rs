//! Count sketches of each step's exact gradient, before clipping, by layer.
//!
//! Coordinate j of a tensor goes to a bucket and gets a sign, both from a hash of (the tensor's name, j), the same in every
//! run: sketches of two runs over the same tensors can be compared. The sketch is linear: those of micro-batches, ranks
//! and layers add up ([`Sketch::merge`]).

mod on_device;
mod plan;
mod sketch;
#[cfg(test)]
mod tests;
mod virtual_gradients;

pub(super) use plan::SketchPlan;
pub use sketch::{Sketch, tensor_key};
pub(super) use virtual_gradients::{Gradients, VirtualGradients};

use super::drift::depth;
use super::error::ProbeError;
use super::space::Space;
use crate::nn::ParamStore;
use crate::train::hook::StepId;
use covft_analyses::store::GradientRow;
use half::f16;

/// The rows of a step: one a space and layer that has a gradient.
pub(super) fn rows(
    plans: &[SketchPlan],
    params: &ParamStore,
    seen: &Gradients,
    at: StepId<'_>,
    blocks: usize,
) -> Result<Vec<GradientRow>, ProbeError> {
    let mut rows = Vec::new();
    for plan in plans {
        for (layer, sketch) in plan.take(params, seen)? {
            rows.push(row(&sketch, plan.space(), at, layer.to_string(), depth(layer, blocks)));
        }
    }
    Ok(rows)
}

fn row(sketch: &Sketch, space: Space, at: StepId<'_>, layer: String, depth: i32) -> GradientRow {
    let (scale, numbers) = halves(sketch.sums());
    GradientRow {
        index: None,
        split: None,
        stage: at.stage.to_owned(),
        step: at.step,
        layer,
        depth: Some(depth),
        kind: "batch".to_owned(),
        space: space.name().to_owned(),
        sample: None,
        tracked: false,
        elements: sketch.elements(),
        norm: sketch.norm(),
        scale,
        sketch: numbers,
        error: (1.0 / sketch.sums().len() as f64).sqrt() as f32,
    }
}

/// The largest magnitude, and the numbers divided by it. Numbers that are not finite stay so, under the scale 1.
fn halves(numbers: &[f32]) -> (f32, Vec<f16>) {
    use half::slice::HalfFloatSliceExt;
    let largest = numbers.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let scale = if largest > 0.0 && numbers.iter().all(|v| v.is_finite()) { largest } else { 1.0 };
    // Below the smallest normal number a reciprocal overflows.
    let divided: Vec<f32> = numbers.iter().map(|v| v / scale).collect();
    let mut halves = vec![f16::ZERO; numbers.len()];
    halves.convert_from_f32_slice(&divided);
    (scale, halves)
}
