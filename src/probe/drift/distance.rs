//! Distance of the vision encoders of two runs that began alike, by layer and module: `||theta_a - theta_b||`, of
//! effective weights under `LoRA`. Groups, rows and what they leave out are those of the drift.

use super::{Pair, Result, Shift, VisionTracker, blocks};
use crate::nn::ParamStore;
use crate::ops::read_numbers;
use crate::probe::lora::{self, Factors};
use crate::probe::sums;
use crate::train::hook::StageView;
use covft_analyses::store::{DistanceRow, LayerRow};

/// Measures distances in one stage.
#[derive(Debug)]
pub struct Distances {
    tracker: VisionTracker,
    blocks: usize,
    stage: String,
}

impl Distances {
    /// For runs whose stage begins like `view`; `lora_scale` is alpha / r of the stage's vision encoder.
    ///
    /// # Errors
    /// Parameters that cannot be read; factors without their scale.
    pub fn new(view: &StageView<'_>, lora_scale: Option<f64>) -> Result<Self> {
        let tracker = VisionTracker::new(view, lora_scale)?;
        Ok(Self { tracker, blocks: blocks(view.params), stage: view.stage.to_owned() })
    }

    /// The rows of two runs after `step`; each is its label and its parameters.
    ///
    /// # Errors
    /// Parameters that cannot be read.
    pub fn measure(&mut self, step: u64, a: (&str, &ParamStore), b: (&str, &ParamStore)) -> Result<Vec<DistanceRow>> {
        self.tracker.measure_between(a.1, b.1)?;
        let row = |row: LayerRow| DistanceRow {
            stage: row.stage,
            step: row.step,
            layer: row.layer,
            depth: row.depth,
            module: row.module,
            run_a: a.0.to_owned(),
            run_b: b.0.to_owned(),
            elements: row.elements,
            distance: row.drift,
            distance_relative: row.drift_relative,
            distance_per_element: row.drift_per_element,
        };
        Ok(self.tracker.rows(&self.stage, step, self.blocks).into_iter().map(row).collect())
    }
}

impl VisionTracker {
    /// Puts the squared distances of `a` and `b` where the drift stands.
    fn measure_between(&mut self, a: &ParamStore, b: &ParamStore) -> Result<()> {
        for i in 0..self.pairs.len() {
            let drift = self.pair_distance(&self.pairs[i], a, b)?;
            self.pairs[i].shift = Shift { drift, update: 0.0 };
        }
        for tracked in &mut self.tracked {
            let (Some(a), Some(b)) = (a.get(&tracked.name), b.get(&tracked.name)) else { continue };
            let (a, b) = (a.weight.tensor(), b.weight.tensor());
            let drift = read_numbers(a, |a| read_numbers(b, |b| sums::square_distance(a, b)))??;
            tracked.shift = Shift { drift, update: 0.0 };
        }
        Ok(())
    }

    fn pair_distance(&self, pair: &Pair, a: &ParamStore, b: &ParamStore) -> Result<f64> {
        let factor = |params: &ParamStore, which: usize| {
            let param = params.get(&self.tracked[which].name);
            param.map(|p| read_numbers(p.weight.tensor(), <[f32]>::to_vec)).transpose()
        };
        let all = (factor(a, pair.up)?, factor(a, pair.down)?, factor(b, pair.up)?, factor(b, pair.down)?);
        let (Some(up_a), Some(down_a), Some(up_b), Some(down_b)) = all else { return Ok(0.0) };
        let rank = pair.rank;
        let (a, b) = (Factors { up: &up_a, down: &down_a, rank }, Factors { up: &up_b, down: &down_b, rank });
        Ok(self.lora_scale.powi(2) * lora::square_distance(a, b))
    }
}
