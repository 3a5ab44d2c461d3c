//! Context vectors and routing of one layer, row by row.

use super::table::{Result, Table};
use super::{Keys, LayerKey, Rows};
use half::f16;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Chunks that are kept apart; more are joined, so that a long live run stays quick.
const CHUNKS: usize = 64;

/// Vectors of some rows, one after the other. Shared with the work behind the window.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub vectors: Vec<f16>,
}

/// The context vectors of one layer.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    pub width: usize,
    pub rows: Rows,
    pub tracked: Vec<bool>,
    pub chunks: Vec<Arc<Chunk>>,
}

impl Contexts {
    fn push_chunk(&mut self, vectors: Vec<f16>) {
        self.chunks.push(Arc::new(Chunk { vectors }));
        if self.chunks.len() > CHUNKS {
            // The first ones are large by then; what came since is joined.
            let late = self.chunks.split_off(CHUNKS / 2);
            let vectors = late.iter().flat_map(|c| c.vectors.iter().copied()).collect();
            self.chunks.push(Arc::new(Chunk { vectors }));
        }
    }

    /// The vector of a row `[C]`.
    pub(crate) fn vector(&self, row: usize) -> &[f16] {
        let mut at = row * self.width;
        for chunk in &self.chunks {
            if at < chunk.vectors.len() {
                return &chunk.vectors[at..at + self.width];
            }
            at -= chunk.vectors.len();
        }
        &[]
    }
}

/// The routing of one layer.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    pub experts: usize,
    pub rows: Rows,
    /// `[rows, experts]`
    pub weights: Vec<f32>,
    pub entropy: Vec<f32>,
}

impl Routing {
    pub(crate) fn weights(&self, row: usize) -> &[f32] {
        &self.weights[row * self.experts..(row + 1) * self.experts]
    }

    /// The expert with the largest weight of a row; `None` where a weight is not finite.
    pub(crate) fn expert(&self, row: usize) -> Option<u16> {
        let weights = self.weights(row);
        let largest = (0..weights.len()).fold(0, |best, i| if weights[i] > weights[best] { i } else { best });
        weights.iter().all(|w| w.is_finite()).then_some(largest as u16)
    }
}

/// Walks over the rows of a table in runs of equal stage and layer.
fn each_run(
    table: Table<'_>,
    keys: &mut Keys<'_>,
    mut take: impl FnMut(LayerKey, u16, std::ops::Range<usize>),
) -> Result<()> {
    let (stages, layers, depth) = (table.words("stage")?, table.words("layer")?, table.depths()?);
    let mut from = 0;
    while from < table.rows() {
        let (stage, layer) = (stages.value(from), layers.value(from));
        let same = |i: &usize| stages.value(*i) == stage && layers.value(*i) == layer;
        let to = (from + 1..table.rows()).find(|i| !same(i)).unwrap_or(table.rows());
        take((depth(from), layer.to_owned()), keys.stages.number(stage) as u16, from..to);
        from = to;
    }
    Ok(())
}

pub(super) fn take_contexts(
    all: &mut BTreeMap<LayerKey, Contexts>,
    table: Table<'_>,
    keys: &mut Keys<'_>,
) -> Result<()> {
    let (samples, steps, tracked) = (table.words("sample")?, table.counts("step")?, table.flags("tracked")?);
    let (vectors, width) = table.vectors16("vector")?;
    let mut fresh: BTreeMap<LayerKey, Vec<f16>> = BTreeMap::new();
    let mut other = None;
    let mut numbers: Vec<u32> = Vec::with_capacity(table.rows());
    let place = table.places("index")?;
    numbers.extend((0..table.rows()).map(|i| keys.samples.number(place(i), samples.value(i))));
    each_run(table, keys, |layer, stage, range| {
        let into = all.entry(layer.clone()).or_default();
        if into.width == 0 {
            into.width = width;
        }
        if into.width == width {
            into.rows.take(&numbers[range.clone()], stage, &steps[range.clone()]);
            into.tracked.extend(range.clone().map(|i| tracked.value(i)));
            fresh.entry(layer).or_default().extend_from_slice(&vectors[range.start * width..range.end * width]);
        } else {
            other.get_or_insert((layer, into.width));
        }
    })?;
    for (layer, vectors) in fresh {
        all.entry(layer).or_default().push_chunk(vectors);
    }
    other.map_or(Ok(()), |(layer, first)| Err(table.odd_width(&layer.1, width, first)))
}

pub(super) fn take_routing(all: &mut BTreeMap<LayerKey, Routing>, table: Table<'_>, keys: &mut Keys<'_>) -> Result<()> {
    let (samples, steps, entropy) = (table.words("sample")?, table.counts("step")?, table.singles("entropy")?);
    let (weights, experts) = table.vectors32("weights")?;
    let place = table.places("index")?;
    let numbers: Vec<u32> = (0..table.rows()).map(|i| keys.samples.number(place(i), samples.value(i))).collect();
    let mut other = None;
    each_run(table, keys, |layer, stage, range| {
        let into = all.entry(layer.clone()).or_default();
        if into.experts == 0 {
            into.experts = experts;
        }
        if into.experts == experts {
            into.rows.take(&numbers[range.clone()], stage, &steps[range.clone()]);
            into.weights.extend_from_slice(&weights[range.start * experts..range.end * experts]);
            into.entropy.extend_from_slice(&entropy[range]);
        } else {
            other.get_or_insert((layer, into.experts));
        }
    })?;
    other.map_or(Ok(()), |(layer, first)| Err(table.odd_width(&layer.1, experts, first)))
}
