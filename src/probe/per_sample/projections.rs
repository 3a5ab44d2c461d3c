//! The random projections of a run: drawn from counters, kept once drawn.

use crate::nn::Stream;
use candle_core::{Device, Result, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// `P [d_in, k]` and `Q [d_out, k]` of one weight, as [`kronecker_sketch`](crate::kernels::kronecker_sketch) takes them.
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
    /// The same on devices, one entry a device.
    there: HashMap<String, Vec<[Tensor; 2]>>,
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

    /// The same on `device`.
    pub(super) fn on_device(&mut self, key: &str, d_in: usize, d_out: usize, device: &Device) -> Result<[Tensor; 2]> {
        let known = self.there.get(key).into_iter().flatten().find(|known| known[0].device().same_device(device));
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let drawn = self.of(key, d_in, d_out);
        let made = [
            Tensor::from_slice(&drawn.p, (d_in, self.k), device)?,
            Tensor::from_slice(&drawn.q, (d_out, self.k), device)?,
        ];
        self.there.entry(key.to_owned()).or_default().push(made.clone());
        Ok(made)
    }

    /// A matrix `[d, k]`, columns of the first half first.
    fn draw(&self, key: &str, side: &str, d: usize) -> Vec<f32> {
        let (k, half) = (self.k, self.k / 2);
        let mut matrix = vec![0.0; d * k];
        for number in 0..2 {
            let name = format!("sketch/{key}/{side}/{number}");
            let drawn = Stream::new(self.seed, &name).normal(half * d, (half as f64).sqrt().recip());
            for (column, drawn) in drawn.chunks_exact(d).enumerate() {
                let column = matrix[number * half + column..].iter_mut().step_by(k);
                column.zip(drawn).for_each(|(to, x)| *to = *x);
            }
        }
        matrix
    }
}
