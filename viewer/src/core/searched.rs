//! What the search asks of a sample.

use super::by_sample::BySample;
use super::query::Fields;
use crate::data::RunData;
use std::borrow::Cow;
use std::sync::Arc;

/// A sample with its cluster, for the search.
pub(crate) struct Searched<'a> {
    pub data: &'a RunData,
    pub sample: u32,
    pub cluster: Option<u16>,
    pub expert: Option<u16>,
    pub gradients: Arc<BySample>,
}

impl Fields for Searched<'_> {
    fn words(&self, column: &str) -> Option<Cow<'_, str>> {
        let samples = &self.data.samples;
        let row = || samples.row(self.sample);
        Some(match column {
            "id" => samples.id(self.sample).into(),
            "task" => samples.task(self.sample).into(),
            "split" => row()?.split.as_str().into(),
            "question" => row()?.question.as_str().into(),
            "answer" => row()?.answer.as_str().into(),
            "image" => row()?.image.as_deref()?.into(),
            "prediction" => samples.look(self.sample)?.prediction.as_ref()?.0.as_str().into(),
            _ => return None,
        })
    }

    fn number(&self, column: &str) -> Option<f64> {
        if column == "index" {
            return self.data.samples.place(self.sample).map(|place| place.index() as f64);
        }
        let sample = self.data.samples.look(self.sample)?;
        match column {
            "loss" => sample.loss,
            "tokens" => Some(f64::from(sample.tokens)),
            "seen" => Some(f64::from(sample.seen)),
            "correct" => sample.prediction.as_ref()?.1,
            "cluster" => self.cluster.map(f64::from),
            "expert" => self.expert.map(f64::from),
            "conflict" => self.gradients.conflict(self.sample),
            "alignment" => self.gradients.alignment(self.sample),
            _ => None,
        }
    }
}
