//! Distances of the two runs of a study that this run belongs to, by layer and step.

use super::{ALL, LayerKey};
use covft_analyses::store::DistanceRow;
use std::collections::BTreeMap;

/// What a distance is measured in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Far {
    #[default]
    Plain,
    Relative,
    PerElement,
}

impl Far {
    pub(crate) const ALL: [(Self, &str); 3] = [
        (Self::Plain, "distance"),
        (Self::Relative, "over the norm of the start"),
        (Self::PerElement, "over the root of the elements"),
    ];
}

/// Stage and the labels of the two runs.
pub(crate) type PairOfRuns = (String, String, String);

/// One pair of runs: by layer, the step and the distance in each measure.
pub(crate) type ByLayer = BTreeMap<LayerKey, Vec<(u32, [f32; 3])>>;

/// All distances; whole layers alone.
#[derive(Debug, Default)]
pub(crate) struct Distances {
    pub pairs: BTreeMap<PairOfRuns, ByLayer>,
    /// Whether the run belongs to a study of two runs.
    pub expected: bool,
}

impl Distances {
    pub(super) fn take(&mut self, row: DistanceRow) {
        if row.module != ALL {
            return;
        }
        let number = |v: Option<f64>| v.map_or(f32::NAN, |v| v as f32);
        let values = [row.distance as f32, number(row.distance_relative), number(row.distance_per_element)];
        let layers = self.pairs.entry((row.stage, row.run_a, row.run_b)).or_default();
        layers.entry((row.depth, row.layer)).or_default().push((row.step as u32, values));
    }
}
