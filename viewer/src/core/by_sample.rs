//! What the gradients say of each sample: how many of its pairs are in conflict, and how it is aligned with its step.

use crate::data::{Place, RunData};
use covft_analyses::conflict::Tally;

/// Numbers by sample.
#[derive(Debug, Default)]
pub(crate) struct BySample {
    pairs: Vec<Option<Tally>>,
    alignments: Vec<f32>,
}

impl BySample {
    /// Over pairs of `place`, and alignments in its space, up to step `until` of the run.
    pub(crate) fn new(data: &RunData, place: Option<&Place>, until: u32) -> Self {
        let starts = data.stage_starts();
        let wanted = |stage: u16, step: u32| starts[usize::from(stage)] + step <= until;
        let n = data.samples.len();
        let space = place.map_or("trainable", |p| p.space.as_str());
        Self {
            pairs: place.map(|p| data.pairs.by_sample(p, n, wanted)).unwrap_or_default(),
            alignments: if data.gradients.has_alignments() {
                data.gradients.by_sample(space, n, wanted)
            } else {
                Vec::new()
            },
        }
    }

    /// What is known of a sample's pairs.
    pub(crate) fn tally(&self, sample: u32) -> Option<&Tally> {
        self.pairs.get(sample as usize)?.as_ref()
    }

    /// Share of its pairs in conflict.
    pub(crate) fn conflict(&self, sample: u32) -> Option<f64> {
        self.tally(sample)?.conflict_share()
    }

    /// Mean cosine of its gradient with the sum of the other samples' of its step.
    pub(crate) fn alignment(&self, sample: u32) -> Option<f64> {
        self.alignments.get(sample as usize).filter(|v| v.is_finite()).map(|v| f64::from(*v))
    }
}
