//! The random projections of a run: drawn from counters, kept once drawn.

use crate::kernels::SKETCH_LANES;
use crate::nn::Stream;
use candle_core::{Device, Result, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// `P` and `Q` of one weight, in the layout of [`kronecker_sketch`](crate::kernels::kronecker_sketch).
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) p: Vec<f32>,
    pub(super) q: Vec<f32>,
}

/// Projections by name.
#[derive(Debug)]
pub(super) struct Projections {
    seed: u64,
    k: usize,
    drawn: HashMap<String, Arc<Projection>>,
    /// `P` and `Q` as matrices `[d, k]` on a device.
    there: HashMap<String, [Tensor; 2]>,
}

impl Projections {
    pub(super) fn new(seed: u64, k: usize) -> Self {
        Self { seed, k, drawn: HashMap::new(), there: HashMap::new() }
    }

    /// The projections called `key`, for gradients `[d_out, d_in]`. Their entries have variance `2 / k`: each half alone
    /// has `k / 2` rows.
    pub(super) fn of(&mut self, key: &str, d_in: usize, d_out: usize) -> Arc<Projection> {
        if let Some(known) = self.drawn.get(key) {
            return known.clone();
        }
        let (p, q) = (self.draw(key, "in", d_in), self.draw(key, "out", d_out));
        let drawn = Arc::new(Projection { p, q });
        self.drawn.insert(key.to_owned(), drawn.clone());
        drawn
    }

    /// The same as matrices `[d_in, k]` and `[d_out, k]` on `device`, columns of the first half first.
    pub(super) fn on_device(&mut self, key: &str, d_in: usize, d_out: usize, device: &Device) -> Result<[Tensor; 2]> {
        if let Some(known) = self.there.get(key).filter(|known| known[0].device().same_device(device)) {
            return Ok(known.clone());
        }
        let drawn = self.of(key, d_in, d_out);
        let matrix = |laid: &[f32], d: usize| {
            let laid = Tensor::from_slice(laid, (self.k / SKETCH_LANES, d, SKETCH_LANES), &Device::Cpu)?;
            laid.transpose(0, 1)?.reshape((d, self.k))?.contiguous()?.to_device(device)
        };
        let made = [matrix(&drawn.p, d_in)?, matrix(&drawn.q, d_out)?];
        self.there.insert(key.to_owned(), made.clone());
        Ok(made)
    }

    fn draw(&self, key: &str, side: &str, d: usize) -> Vec<f32> {
        let half = self.k / 2;
        let mut laid = vec![0.0; self.k * d];
        for number in 0..2 {
            let name = format!("sketch/{key}/{side}/{number}");
            let drawn = Stream::new(self.seed, &name).normal(half * d, (half as f64).sqrt().recip());
            for (row, drawn) in drawn.chunks_exact(d).enumerate() {
                let column = number * half + row;
                let from = column / SKETCH_LANES * d * SKETCH_LANES + column % SKETCH_LANES;
                laid[from..].iter_mut().step_by(SKETCH_LANES).zip(drawn).for_each(|(to, x)| *to = *x);
            }
        }
        laid
    }
}
