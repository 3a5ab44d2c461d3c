//! Sketches of gradients that lie on a card, made there: only the sums come to the host.

use super::super::error::ProbeError;
use super::sketch::{Filling, Sketch};
use crate::kernels::cuda;
use crate::ops::{LayerId, Weight, engine_of, fetch, wide};
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

/// Pieces of the layers' sketches.
#[derive(Debug)]
pub(super) struct DeviceSketches {
    buckets: usize,
    layers: BTreeMap<LayerId, Pieces>,
}

#[derive(Debug, Default)]
struct Pieces {
    tables: Vec<Tensor>,
    squares: Vec<Tensor>,
    elements: u64,
}

impl DeviceSketches {
    pub(super) fn new(buckets: usize) -> Self {
        Self { buckets, layers: BTreeMap::new() }
    }

    /// Sketches the sum of the weights' gradients under `key`. `false`, and nothing is done, where not all of them lie on a
    /// card, or none has one, or the sketch is too long for a kernel.
    pub(super) fn add<'w>(
        &mut self,
        layer: LayerId,
        key: u64,
        weights: impl Iterator<Item = &'w Weight>,
    ) -> Result<bool, ProbeError> {
        if !cuda::sketch_fits(self.buckets) {
            return Ok(false);
        }
        let mut sum: Option<Tensor> = None;
        for weight in weights {
            let Some(slot) = weight.slot().filter(|slot| slot.is_filled()) else { continue };
            if weight.is_on_host() {
                return Ok(false);
            }
            let Some(gradient) = slot.tensor(weight.dims())? else { continue };
            sum = Some(match sum {
                Some(sum) => (wide(&sum)? + wide(&gradient)?)?,
                None => gradient,
            });
        }
        let Some(sum) = sum else { return Ok(false) };
        let Some(engine) = engine_of(&sum) else { return Ok(false) };
        let [tables, squares] = cuda::sketch(&engine, &sum.contiguous()?, key, self.buckets)?;
        let pieces = self.layers.entry(layer).or_default();
        pieces.tables.push(tables);
        pieces.squares.push(squares);
        pieces.elements += sum.elem_count() as u64;
        Ok(true)
    }

    /// The layers' sketches. The host waits for the card once.
    pub(super) fn finish(self) -> Result<Vec<(LayerId, Sketch)>, ProbeError> {
        let mut sums = Vec::with_capacity(self.layers.len());
        for pieces in self.layers.values() {
            let tables = Tensor::cat(&pieces.tables, 0)?;
            let Some(engine) = engine_of(&tables) else { continue };
            let square = Tensor::cat(&pieces.squares, 0)?.sum_all()?.reshape(1)?;
            sums.push(Tensor::cat(&[cuda::column_sums(&engine, &tables)?.to_dtype(DType::F64)?, square], 0)?);
        }
        let rows = fetch::<f64>(&sums)?;
        let sketch = |((layer, pieces), row): ((&LayerId, &Pieces), &Vec<f64>)| {
            let (square, sums) = row.split_last()?;
            let sums = sums.iter().map(|sum| *sum as f32).collect();
            Some((*layer, Filling::of(sums, *square, pieces.elements).finish()))
        };
        Ok(self.layers.iter().zip(&rows).filter_map(sketch).collect())
    }
}
