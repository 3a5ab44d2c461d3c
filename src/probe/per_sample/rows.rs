//! Records of what a step's samples have to do with each other.

use super::statistics::{Cell, CellId, Cosine, Estimate};
use super::units::{LayerSketch, folding_error};
use crate::probe::drift::depth;
use crate::train::hook::SampleInfo;
use covft_analyses::store::{
    ALL, ConflictRow, GradientRow, Name, NoiseRow, PairRow, RecordWriter, SampleGradientRow, StoreError,
};
use half::f16;

/// Rows of one step.
#[derive(Clone, Debug, Default)]
pub(in crate::probe) struct Rows {
    pub(in crate::probe) pairs: Vec<PairRow>,
    pub(in crate::probe) conflict: Vec<ConflictRow>,
    pub(in crate::probe) samples: Vec<SampleGradientRow>,
    pub(in crate::probe) noise: Vec<NoiseRow>,
    /// The sketches themselves, where they are asked for.
    pub(in crate::probe) gradients: Vec<GradientRow>,
}

impl Rows {
    /// Hands them to the writer; their size in memory, bytes.
    ///
    /// # Errors
    /// What stopped the writer.
    pub(in crate::probe) fn write(&self, writer: &mut RecordWriter) -> Result<u64, StoreError> {
        Ok(writer.push(&self.pairs)?
            + writer.push(&self.conflict)?
            + writer.push(&self.samples)?
            + writer.push(&self.noise)?
            + writer.push(&self.gradients)?)
    }
}

/// What all rows of one space and mode have in common.
#[derive(Clone, Debug)]
pub(super) struct Common<'a> {
    pub(super) step: u64,
    pub(super) blocks: usize,
    pub(super) stage: Name,
    pub(super) space: Name,
    /// `sketch` or `exact`.
    pub(super) mode: Name,
    /// Whether they are tracked samples.
    pub(super) tracked: bool,
    pub(super) samples: &'a [SampleInfo],
    /// Samples with a gradient; number `i` of a cell is sample `keep[i]`.
    pub(super) keep: &'a [usize],
}

/// Null for a gradient that is zero; what is not finite stays what it is.
fn positive(norm: f64) -> Option<f64> {
    (norm != 0.0).then_some(norm)
}

impl Common<'_> {
    fn names(&self, id: CellId) -> (Name, Option<i32>, Name) {
        let layer = id.layer.map_or_else(|| ALL.into(), |layer| layer.to_string().into());
        (layer, id.layer.map(|layer| depth(layer, self.blocks)), id.module.unwrap_or(ALL).into())
    }

    fn sample(&self, i: usize) -> &SampleInfo {
        &self.samples[self.keep[i]]
    }

    /// Tracked samples are no step's: there is no noise of theirs to speak of.
    pub(super) fn noise(&self, id: CellId, cell: &Cell<'_>, rows: &mut Rows) {
        if self.tracked {
            return;
        }
        let (layer, depth, module) = self.names(id);
        rows.noise.extend(cell.noise().map(|noise| NoiseRow {
            stage: self.stage.to_string(),
            step: self.step,
            layer: layer.to_string(),
            depth,
            module: module.to_string(),
            space: self.space.to_string(),
            mode: self.mode.to_string(),
            samples: cell.n as u64,
            grad2: noise.grad2,
            trace: noise.trace,
            scale: noise.scale,
        }));
    }

    /// Pairs of one cell: each if `each` is asked for, and their counts. A sample that came twice makes no pair with itself.
    pub(super) fn pairs(&self, id: CellId, cell: &Cell<'_>, cosines: &[Cosine], each: bool, rows: &mut Rows) {
        let (layer, depth, module) = self.names(id);
        let mut counts: [Option<ConflictRow>; 3] = [None, None, None];
        let mut row = PairRow {
            stage: self.stage.clone(),
            step: self.step,
            layer,
            depth,
            module,
            space: self.space.clone(),
            tracked: self.tracked,
            mode: self.mode.clone(),
            sample_a: "".into(),
            index_a: None,
            sample_b: "".into(),
            index_b: None,
            split: self.samples.first().map(|sample| sample.split.name().into()),
            task_a: None,
            task_b: None,
            dot: 0.0,
            cosine: None,
            error: None,
            low: None,
            high: None,
        };
        for &(i, j, cosine) in cosines {
            let (a, b) = (self.sample(i), self.sample(j));
            if a.place() == b.place() {
                continue;
            }
            let number = |of: fn(Estimate) -> f64| cosine.map(|c| of(c) as f32);
            (row.cosine, row.error) = (number(|c| c.value), number(|c| c.error));
            (row.low, row.high) = (number(|c| c.low), number(|c| c.high));
            row.dot = cell.dot(i, j);
            let relation = match (&a.task, &b.task) {
                (Some(a), Some(b)) => usize::from(a != b),
                _ => 2,
            };
            (row.sample_a, row.sample_b) = (a.id.clone().into(), b.id.clone().into());
            (row.index_a, row.index_b) = (Some(a.index), Some(b.index));
            (row.task_a, row.task_b) = (a.task.clone().map(Name::from), b.task.clone().map(Name::from));
            counts[relation].get_or_insert_with(|| ConflictRow::like(&row)).count(&row);
            if each {
                rows.pairs.push(row.clone());
            }
        }
        rows.conflict.extend(counts.into_iter().flatten());
    }

    /// The samples' sketches of one layer; `cell` is the layer whole.
    pub(super) fn sketches(&self, of: &LayerSketch, cell: &Cell<'_>, rows: &mut Rows) {
        let width = of.sketches.len() / cell.n.max(1);
        let errors = cell.cosines().into_iter().filter_map(|(_, _, cosine)| cosine.map(|c| c.error.powi(2)));
        let (sum, count) = errors.fold((0.0, 0u32), |(sum, n), e| (sum + e, n + 1));
        let spread = if count == 0 { 0.0 } else { sum / f64::from(count) };
        for (i, sketch) in of.sketches.chunks_exact(width.max(1)).enumerate() {
            let scale = sketch.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let number = |x: &f32| f16::from_f32(if scale == 0.0 { 0.0 } else { x / scale });
            rows.gradients.push(GradientRow {
                stage: self.stage.to_string(),
                step: self.step,
                layer: of.layer.to_string(),
                depth: Some(depth(of.layer, self.blocks)),
                kind: "sample".to_owned(),
                space: self.space.to_string(),
                sample: Some(self.sample(i).id.to_string()),
                index: Some(self.sample(i).index),
                split: Some(self.sample(i).split.name().into()),
                tracked: self.tracked,
                elements: of.elements,
                norm: cell.norm(i),
                scale,
                sketch: sketch.iter().map(number).collect(),
                error: (spread + folding_error().powi(2)).sqrt() as f32,
            });
        }
    }

    /// Samples without an image have a row too, of nulls.
    pub(super) fn gradients(&self, id: CellId, cell: &Cell<'_>, alignments: &[Option<Estimate>], rows: &mut Rows) {
        let (layer, depth, module) = self.names(id);
        for (number, sample) in self.samples.iter().enumerate() {
            let place = self.keep.binary_search(&number).ok();
            let alignment = place.and_then(|i| alignments[i]);
            rows.samples.push(SampleGradientRow {
                stage: self.stage.clone(),
                step: self.step,
                sample: sample.id.clone().into(),
                index: Some(sample.index),
                split: Some(sample.split.name().into()),
                layer: layer.clone(),
                depth,
                module: module.clone(),
                space: self.space.clone(),
                tracked: self.tracked,
                mode: self.mode.clone(),
                task: sample.task.clone().map(Name::from),
                norm: place.and_then(|i| positive(cell.norm(i))),
                alignment: alignment.map(|a| a.value as f32),
                error: alignment.map(|a| a.error as f32),
            });
        }
    }
}
