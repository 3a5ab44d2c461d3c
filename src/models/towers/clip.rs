//! What is particular to CLIP's ViT: embeddings without patch bias, a norm *before* the blocks, and the names.

use super::block::BlockNames;
use super::sizes::TowerSizes;
use crate::nn::{Init, LayerNorm, ParamBuilder};
use crate::ops::{self, Ctx, LayerId, Weight};
use candle_core::{Result, Tensor, bail};

pub(super) const NAMES: BlockNames = BlockNames {
    norms: ["layer_norm1", "layer_norm2"],
    projections: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"],
    scales: None,
};

/// Where block `i` stands below the tower.
pub(super) fn block(i: usize) -> String {
    format!("vision_model.encoder.layers.{i}")
}

/// The norm after the blocks.
pub(super) const FINAL_NORM: &str = "vision_model.post_layernorm";

/// Spread of random position embeddings. Larger than the usual 0.02, which is small beside random patch embeddings.
const POSITION_DEVIATION: f64 = 0.3;

/// Pixels to the first block's input.
#[derive(Clone, Debug)]
pub(super) struct Embeddings {
    class: Weight,
    patch: Weight,
    position: Weight,
    norm: LayerNorm,
    patch_size: usize,
    image_size: usize,
}

impl Embeddings {
    /// `vision_model.embeddings` and `vision_model.pre_layrnorm` (so written in every CLIP checkpoint) below `pb`.
    pub(super) fn new(pb: &ParamBuilder<'_>, sizes: &TowerSizes) -> Result<Self> {
        let (d, p) = (sizes.width, sizes.patch_size);
        let at = pb.pp("vision_model.embeddings");
        let class = at.get(&[d], "class_embedding", Init::Normal(1.0 / (d as f64).sqrt()))?;
        let patch = at.get(&[d, 3, p, p], "patch_embedding.weight", Init::linear(3 * p * p))?;
        let position =
            at.get(&[sizes.position_rows, d], "position_embedding.weight", Init::Normal(POSITION_DEVIATION))?;
        let norm = LayerNorm::new(&pb.module("layer_norm").pp("vision_model.pre_layrnorm"), d, sizes.norm_eps)?;
        Ok(Self { class, patch, position, norm, patch_size: p, image_size: sizes.image_size })
    }

    /// `pixels [B, 3, H, W]` to `[B, 1 + P, D]`.
    pub(super) fn forward(&self, ctx: &Ctx, pixels: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = pixels.dims4()?;
        if (h, w) != (self.image_size, self.image_size) {
            bail!("a CLIP tower for images of {0} x {0} pixels was given {h} x {w}", self.image_size);
        }
        let at = ctx.at(LayerId::Embeddings, "embeddings");
        let x = ops::linear(&at, &ops::unfold_patches(pixels, self.patch_size)?, &self.patch, None)?;
        let x = ops::insert_rows(&at, &x, &self.class, 0)?;
        let x = ops::add_rows(&at, &x, &self.position)?;
        self.norm.forward(&ctx.at(LayerId::Embeddings, "layer_norm"), &x)
    }
}
