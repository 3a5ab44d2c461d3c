//! Drift, updates, norms and cosines of the vision encoder's layers and modules.

use super::LayerKey;
use covft_analyses::store::LayerRow;
use std::collections::BTreeMap;

/// What a line or a map shows of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Measure {
    #[default]
    Drift,
    RelativeDrift,
    Update,
    GradNorm,
    Momentum,
}

impl Measure {
    pub(crate) const ALL: [(Self, &str); 5] = [
        (Self::Drift, "drift"),
        (Self::RelativeDrift, "relative drift"),
        (Self::Update, "update"),
        (Self::GradNorm, "gradient norm"),
        (Self::Momentum, "gradient cosine"),
    ];

    pub(crate) fn words(self) -> &'static str {
        Self::ALL.iter().find(|(measure, _)| *measure == self).map_or("", |(_, words)| words)
    }
}

/// One layer and module over the steps of a stage.
#[derive(Debug, Default)]
pub(crate) struct Series {
    pub trained: bool,
    pub steps: Vec<u32>,
    values: [Vec<Option<f32>>; 5],
}

impl Series {
    /// The numbers at [`Series::steps`]; `None` where there is none.
    pub(crate) fn values(&self, measure: Measure) -> &[Option<f32>] {
        &self.values[measure as usize]
    }

    /// The same for a line, which has a gap where there is none.
    pub(crate) fn line(&self, measure: Measure) -> impl Iterator<Item = f64> + '_ {
        self.values(measure).iter().map(|v| v.map_or(f64::NAN, f64::from))
    }
}

/// By layer and module.
pub(crate) type Stage = BTreeMap<(LayerKey, String), Series>;

/// By number of the stage.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub stages: BTreeMap<u16, Stage>,
}

impl Layers {
    pub(super) fn take(&mut self, stage: u16, row: LayerRow) {
        let series = self.stages.entry(stage).or_default().entry(((row.depth, row.layer), row.module)).or_default();
        series.trained |= row.elements > 0;
        series.steps.push(row.step as u32);
        let all = [Some(row.drift), row.drift_relative, Some(row.update), row.grad_norm, row.momentum];
        series.values.iter_mut().zip(all).for_each(|(to, v)| to.push(v.map(|v| v as f32)));
    }

    /// The last stage in which anything of the encoder trains.
    pub(crate) fn last_trained(&self) -> Option<u16> {
        self.stages.iter().rev().find(|(_, s)| s.values().any(|m| m.trained)).map(|(stage, _)| *stage)
    }
}
