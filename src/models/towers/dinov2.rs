//! What is particular to DINOv2: patch bias, layer scale, a position table that fits any resolution, and the names.

use super::block::BlockNames;
use super::position::{resize_gradients, resize_matrix};
use super::sizes::TowerSizes;
use crate::nn::{Init, Linear, ParamBuilder};
use crate::ops::{self, Ctx, LayerId, Weight};
use candle_core::{Result, Tensor, bail};

pub(super) const NAMES: BlockNames = BlockNames {
    norms: ["norm1", "norm2"],
    projections: [
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
        "attention.output.dense",
    ],
    scales: Some(["layer_scale1", "layer_scale2"]),
};

/// Where block `i` stands below the tower.
pub(super) fn block(i: usize) -> String {
    format!("encoder.layer.{i}")
}

/// The norm after the blocks.
pub(super) const FINAL_NORM: &str = "layernorm";

/// Pixels to the first block's input.
#[derive(Clone, Debug)]
pub(super) struct Embeddings {
    class: Weight,
    patch: Linear,
    position: Weight,
    patch_size: usize,
    width: usize,
    /// Side of the position table's grid.
    grid: usize,
}

impl Embeddings {
    /// `embeddings` below `pb`. The mask token of the pretraining task rides along where the checkpoint has it.
    pub(super) fn new(pb: &ParamBuilder<'_>, sizes: &TowerSizes) -> Result<Self> {
        let (d, p) = (sizes.width, sizes.patch_size);
        let at = pb.pp("embeddings");
        let class = at.get(&[1, 1, d], "cls_token", Init::Normal(0.02))?;
        if at.contains("mask_token")? {
            at.unreached().get(&[1, d], "mask_token", Init::Zeros)?;
        }
        let position = at.get(&[1, sizes.position_rows, d], "position_embeddings", Init::Normal(0.02))?;
        let projection = at.pp("patch_embeddings.projection");
        let patch = Linear {
            weight: projection.get(&[d, 3, p, p], "weight", Init::linear(3 * p * p))?,
            bias: Some(projection.get(&[d], "bias", Init::linear(3 * p * p))?),
        };
        let grid = (sizes.position_rows - 1).isqrt();
        if grid * grid + 1 != sizes.position_rows {
            bail!("a position table of {} rows is no square grid with a class token", sizes.position_rows);
        }
        Ok(Self { class, patch, position, patch_size: p, width: d, grid })
    }

    /// `pixels [B, 3, H, W]` to `[B, 1 + P, D]`; the position table is resized when `H / p x W / p` is not its grid.
    pub(super) fn forward(&self, ctx: &Ctx, pixels: &Tensor) -> Result<Tensor> {
        let ctx = ctx.at(LayerId::Embeddings, "embeddings");
        let (_, _, h, w) = pixels.dims4()?;
        let x = self.patch.forward(&ctx, &ops::unfold_patches(pixels, self.patch_size)?)?;
        let x = ops::insert_rows(&ctx, &x, &self.class, 0)?;
        let grid = (h / self.patch_size, w / self.patch_size);
        if grid == (self.grid, self.grid) {
            return ops::add_rows(&ctx, &x, &self.position);
        }
        let table = ctx.master(&self.position)?.reshape((1 + self.grid * self.grid, self.width))?;
        let matrix = resize_matrix((self.grid, self.grid), grid, pixels.device())?.to_dtype(table.dtype())?;
        let resized = matrix.matmul(&table.narrow(0, 1, self.grid * self.grid)?)?;
        let rows = Tensor::cat(&[&table.narrow(0, 0, 1)?, &resized], 0)?;
        let (from, to, width) = (self.grid, grid, self.width);
        let x = ops::wide(&x)?.broadcast_add(&rows)?.to_dtype(x.dtype())?;
        ops::observe(&ctx, x, &self.position, 0, move |grad, _| resize_gradients(grad, (from, from), to, width))
    }
}
