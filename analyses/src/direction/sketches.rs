//! The batch sketches of a stage in memory, as float16: 8 KiB a layer and step.

use crate::store::{GradientRow, Result, RunDir, visit_records};
use half::f16;
use std::collections::BTreeMap;

/// Sketches of one layer's gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSketches {
    /// Layer.
    pub layer: String,
    /// Sort key.
    pub depth: Option<i32>,
    /// Numbers of a sketch, K.
    pub buckets: usize,
    /// Steps.
    pub steps: Vec<u64>,
    /// Exact norm of each step's gradient.
    pub norms: Vec<f64>,
    /// What each row of `numbers` is multiplied by.
    pub scales: Vec<f32>,
    /// `[steps, K]`.
    pub numbers: Vec<f16>,
}

/// Sketches of a stage's gradients over one space, by layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketches {
    /// Stage.
    pub stage: String,
    /// `trainable` or `shared`.
    pub space: String,
    /// Layers, from the embeddings on.
    pub layers: Vec<LayerSketches>,
}

impl LayerSketches {
    /// One more step; `false`, and nothing is taken, if its sketch has another length.
    pub fn push(&mut self, step: u64, norm: f64, scale: f32, sketch: &[f16]) -> bool {
        if sketch.len() != self.buckets {
            return false;
        }
        self.steps.push(step);
        self.norms.push(norm);
        self.scales.push(scale);
        self.numbers.extend_from_slice(sketch);
        true
    }

    /// The sketch of the step at `index`, to be multiplied by its scale.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f16] {
        &self.numbers[index * self.buckets..(index + 1) * self.buckets]
    }
}

impl Sketches {
    /// The batch sketches of `stage` (the last one that has any, if none is named) over `space`; `None` if there are none.
    /// Only this stage and space are held in memory.
    ///
    /// # Errors
    /// The run cannot be listed. Damaged parts are passed over with a warning.
    pub fn read(run: &RunDir, stage: Option<&str>, space: &str) -> Result<Option<Self>> {
        let mut name = stage.map(str::to_owned);
        let mut layers: BTreeMap<(i32, String), LayerSketches> = BTreeMap::new();
        let problems = visit_records(run, |row: GradientRow| {
            if row.kind != "batch" || row.space != space || row.tracked || stage.is_some_and(|s| s != row.stage) {
                return;
            }
            // A later stage takes the place of the one before.
            if name.as_deref() != Some(row.stage.as_str()) {
                layers.clear();
                name = Some(row.stage);
            }
            let key = (row.depth.unwrap_or(i32::MAX), row.layer);
            let layer = layers.entry(key.clone()).or_insert_with(|| LayerSketches {
                layer: key.1,
                depth: row.depth,
                buckets: row.sketch.len(),
                steps: Vec::new(),
                norms: Vec::new(),
                scales: Vec::new(),
                numbers: Vec::new(),
            });
            if !layer.push(row.step, row.norm, row.scale, &row.sketch) {
                tracing::warn!("layer {} changes the length of its sketches at step {}", layer.layer, row.step);
            }
        })?;
        problems.iter().for_each(|problem| tracing::warn!("{problem}"));
        let layers: Vec<LayerSketches> = layers.into_values().collect();
        let found = name.filter(|_| !layers.is_empty());
        Ok(found.map(|stage| Self { stage, space: space.to_owned(), layers }))
    }

    /// The steps of several runs as if they were one, in order (their step numbers repeat): what direction they share.
    /// Layers that not all have, or have with another K, are left out; `None` without runs or without a common layer.
    #[must_use]
    pub fn joined(runs: &[Self]) -> Option<Self> {
        let (first, rest) = runs.split_first()?;
        let same = |a: &LayerSketches, b: &LayerSketches| a.layer == b.layer && a.buckets == b.buckets;
        let join = |layer: &LayerSketches| {
            let mut layer = layer.clone();
            for run in rest {
                let other = run.layers.iter().find(|other| same(other, &layer))?;
                layer.steps.extend_from_slice(&other.steps);
                layer.norms.extend_from_slice(&other.norms);
                layer.scales.extend_from_slice(&other.scales);
                layer.numbers.extend_from_slice(&other.numbers);
            }
            Some(layer)
        };
        let layers: Vec<LayerSketches> = first.layers.iter().filter_map(join).collect();
        (!layers.is_empty()).then(|| Self { stage: first.stage.clone(), space: first.space.clone(), layers })
    }
}
