//! What the gradients of samples say of a step: alignment with the other samples, and the noise scale.

use super::table::{Result, Table};
use super::{ALL, Keys, LayerKey};
use covft_analyses::conflict::NoisePoint;
use covft_analyses::store::NoiseRow;
use std::collections::BTreeMap;

/// A sample's alignment with the others of its step, over the whole encoder.
#[derive(Clone, Copy, Debug)]
struct Alignment {
    stage: u16,
    step: u32,
    sample: u32,
    value: f32,
}

/// Over what the noise scale is.
pub(crate) type NoisePlace = (LayerKey, String, String, String);

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct SampleGradients {
    /// By space and mode; rows of the whole encoder alone, the steps' own samples.
    alignments: BTreeMap<(String, String), Vec<Alignment>>,
    /// By stage, then by layer, module, space and mode.
    pub noise: BTreeMap<u16, BTreeMap<NoisePlace, Vec<NoisePoint>>>,
}

impl SampleGradients {
    pub(super) fn take_alignments(&mut self, table: Table<'_>, keys: &mut Keys<'_>) -> Result<()> {
        let [stage, layer, module, space, mode] = [
            table.words("stage")?,
            table.words("layer")?,
            table.words("module")?,
            table.words("space")?,
            table.words("mode")?,
        ];
        let (sample, step, tracked) = (table.words("sample")?, table.counts("step")?, table.flags("tracked")?);
        let (place, value) = (table.places("index")?, table.some_singles("alignment")?);
        for (i, step) in step.iter().enumerate() {
            if layer.value(i) != ALL || module.value(i) != ALL || tracked.value(i) {
                continue;
            }
            let row = Alignment {
                stage: keys.stages.number(stage.value(i)) as u16,
                step: *step as u32,
                sample: keys.samples.number(place(i), sample.value(i)),
                value: value(i).unwrap_or(f32::NAN),
            };
            let key = (space.value(i).to_owned(), mode.value(i).to_owned());
            self.alignments.entry(key).or_default().push(row);
        }
        Ok(())
    }

    pub(super) fn take_noise(&mut self, stage: u16, row: NoiseRow) {
        let place = ((row.depth, row.layer.clone()), row.module.clone(), row.space.clone(), row.mode.clone());
        self.noise.entry(stage).or_default().entry(place).or_default().push(row.into());
    }

    /// Mean alignment of every sample in a space (the sketched one where both are there), by number of the sample; NaN where
    /// there is none. `space`: any where there is no such one.
    pub(crate) fn by_sample(&self, space: &str, samples: usize, wanted: impl Fn(u16, u32) -> bool) -> Vec<f32> {
        let key = |(s, mode): &&(String, String)| (s != space, mode != "sketch");
        let rows = self.alignments.keys().min_by_key(key).map_or(&[][..], |key| &self.alignments[key]);
        let mut sums = vec![(0.0_f64, 0_u32); samples];
        for row in rows.iter().filter(|r| wanted(r.stage, r.step) && r.value.is_finite()) {
            if let Some((sum, n)) = sums.get_mut(row.sample as usize) {
                *sum += f64::from(row.value);
                *n += 1;
            }
        }
        sums.into_iter().map(|(sum, n)| if n > 0 { (sum / f64::from(n)) as f32 } else { f32::NAN }).collect()
    }

    pub(crate) fn has_alignments(&self) -> bool {
        !self.alignments.is_empty()
    }
}
