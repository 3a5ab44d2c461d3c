//! Deep visual prompts: every block has prompts of its own, inserted after the class token before the block and taken
//! away after it (the next block inserts its own, which is the original's replacement of prompt slots).

use crate::nn::{Init, ParamBuilder};
use crate::ops::{self, Ctx, Weight};
use candle_core::{Result, Tensor, bail};

/// The prompts of one block.
#[derive(Clone, Debug)]
pub struct Prompts {
    rows: Weight,
    count: usize,
}

impl Prompts {
    /// `prompt_embeddings.{block} [1, P, D]` *beside* the tower `pb` stands at (the reference keeps prompts in the
    /// wrapper of the tower), drawn from the standard normal distribution.
    pub fn new(pb: &ParamBuilder<'_>, block: usize, count: usize, width: usize) -> Result<Self> {
        if count == 0 {
            bail!("VPT needs at least one prompt");
        }
        let rows = pb.parent().module("prompts").get(
            &[1, count, width],
            &format!("prompt_embeddings.{block}"),
            Init::Normal(1.0),
        )?;
        Ok(Self { rows, count })
    }

    /// `x [B, N, D]` to `[B, N + P, D]`.
    pub fn insert(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        ops::insert_rows(ctx, x, &self.rows, 1)
    }

    /// `x [B, N + P, D]` to `[B, N, D]`.
    pub fn remove(&self, x: &Tensor) -> Result<Tensor> {
        ops::remove_rows(x, 1, self.count)
    }

    /// Whether they train.
    #[must_use]
    pub fn train(&self) -> bool {
        self.rows.is_trainable()
    }
}
