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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Init, MapSource, ParamBuilder, Part, Role};
    use crate::ops::LayerId;
    use candle_core::{Device, Tensor};

    /// A frozen weight `[2, 3]` with factors of rank 1 in layer 0, a norm of two numbers in layer 1.
    fn store() -> ParamStore {
        let nothing = MapSource::default();
        let trains = |name: &str, _: &Role| name != "q.weight";
        let root = ParamBuilder::new(&nothing, &trains, 0, &Device::Cpu);
        let layer = root.part(Part::Vision).layer(LayerId::Block(0));
        layer.module("attention").get(&[2, 3], "q.weight", Init::Ones).unwrap();
        layer.module("lora").get(&[1, 3], "q.lora_down.weight", Init::Ones).unwrap();
        layer.module("lora").get(&[2, 1], "q.lora_up.weight", Init::Zeros).unwrap();
        let next = root.part(Part::Vision).layer(LayerId::Block(1));
        next.module("layer_norm").get(&[2], "n.weight", Init::Ones).unwrap();
        root.finish()
    }

    fn set(params: &ParamStore, name: &str, values: &[f32]) {
        let weight = &params.get(name).unwrap().weight;
        weight.assign(&Tensor::from_slice(values, weight.dims(), &Device::Cpu).unwrap()).unwrap();
    }

    #[test]
    fn factors_count_with_the_weight_they_make_and_equal_runs_are_at_zero() {
        let (a, b) = (store(), store());
        let start = MapSource::default();
        let view = StageView {
            stage: "s",
            index: 0,
            steps: 2,
            steps_in_run: 2,
            start_step: 0,
            params: &a,
            start_values: &start,
        };
        let mut distances = Distances::new(&view, Some(2.0)).unwrap();
        let rows = distances.measure(0, ("a", &a), ("b", &b)).unwrap();
        assert!(rows.iter().all(|row| row.distance == 0.0));
        set(&a, "q.lora_up.weight", &[1.0, 0.0]);
        set(&b, "q.lora_up.weight", &[0.0, 1.0]);
        set(&b, "q.lora_down.weight", &[1.0, 2.0, 2.0]);
        set(&a, "n.weight", &[1.0, 4.0]);
        let rows = distances.measure(1, ("a", &a), ("b", &b)).unwrap();
        let of = |layer: &str, module: &str| {
            let row = rows.iter().find(|row| (row.layer.as_str(), row.module.as_str()) == (layer, module));
            row.unwrap_or_else(|| panic!("no row {layer} {module}")).clone()
        };
        // 2 [[1 1 1], [0 0 0]] against 2 [[0 0 0], [1 2 2]]: 4 (3 + 9).
        let weight = of("0", "attention");
        assert!((weight.distance - 48_f64.sqrt()).abs() < 1e-12, "{weight:?}");
        assert!(
            (weight.distance_relative.unwrap() - 8_f64.sqrt()).abs() < 1e-12,
            "the start's norm is that of six ones"
        );
        assert!((of("0", "all").distance - 48_f64.sqrt()).abs() < 1e-12, "factors are not counted twice");
        // The factors themselves: (1, -1) and (0, 1, 1).
        assert!((of("0", "lora").distance - 2.0).abs() < 1e-12);
        assert!((of("1", "layer_norm").distance - 3.0).abs() < 1e-12);
        let all = of("all", "all");
        assert!((all.distance - 57_f64.sqrt()).abs() < 1e-12 && all.run_a == "a" && all.step == 1, "{all:?}");
    }
}
