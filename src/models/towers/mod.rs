//! Vision towers: from pixels to patch features, with whatever the tuning method adds.

mod block;
mod clip;
mod dinov2;
mod position;
mod preprocess;
mod sizes;
#[cfg(test)]
mod tests;

pub use sizes::{SizesError, TowerSizes, remarks};

use super::covft::LayerRouting;
use crate::config::model::{TowerKind, VisionMethod};
use crate::nn::{LayerNorm, ParamBuilder};
use crate::ops::{self, Ctx, LayerId};
use block::{Block, BlockPlan};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;
use std::sync::Arc;

/// What the tower hands to the projector.
#[derive(Clone, Debug)]
pub struct VisionOutput {
    /// Patch features `[B, P, D]` of the selected hidden state, class token dropped.
    pub features: Tensor,
    /// One entry a CoMoE layer, in order; empty for other methods.
    pub routing: Vec<LayerRouting>,
}

/// A vision transformer.
#[derive(Clone, Debug)]
pub struct Tower {
    sizes: TowerSizes,
    embeddings: Embeddings,
    blocks: Vec<Arc<Block>>,
    final_norm: LayerNorm,
    checkpointing: bool,
}

#[derive(Clone, Debug)]
enum Embeddings {
    Clip(clip::Embeddings),
    Dinov2(dinov2::Embeddings),
}

impl Tower {
    /// Asks for every parameter of the tower, also those past the selected layer (marked as unreached): a checkpoint
    /// goes out as whole as it came in. `pb` stands at `model.vision_tower.vision_tower` with the vision part;
    /// `context_width` is the text vector's width C; `checkpointing` runs each block again in the backward pass.
    ///
    /// # Errors
    /// Missing or misshapen tensors; CoMoE layers outside the used blocks.
    pub fn new(
        pb: &ParamBuilder<'_>,
        sizes: &TowerSizes,
        method: &VisionMethod,
        context_width: usize,
        checkpointing: bool,
    ) -> Result<Self> {
        let (names, block_at, final_norm): (_, fn(usize) -> String, _) = match sizes.kind {
            TowerKind::Clip => (clip::NAMES, clip::block, clip::FINAL_NORM),
            TowerKind::Dinov2 => (dinov2::NAMES, dinov2::block, dinov2::FINAL_NORM),
        };
        let mixture = mixture_layers(sizes, method)?;
        let start = pb.layer(LayerId::Embeddings).module("embeddings");
        let embeddings = match sizes.kind {
            TowerKind::Clip => Embeddings::Clip(clip::Embeddings::new(&start, sizes)?),
            TowerKind::Dinov2 => Embeddings::Dinov2(dinov2::Embeddings::new(&start, sizes)?),
        };
        let mut blocks = Vec::with_capacity(sizes.layers);
        for i in 0..sizes.layers {
            let at = pb.layer(LayerId::Block(i));
            let at = if i < sizes.used_layers() { at } else { at.unreached() };
            let plan = BlockPlan::new(i, sizes, method, &mixture, context_width);
            blocks.push(Arc::new(Block::new(&at.pp(block_at(i)), &at, sizes, names, plan)?));
        }
        let at = pb.layer(LayerId::FinalNorm).module("layer_norm").unreached();
        let final_norm = LayerNorm::new(&at.pp(final_norm), sizes.width, sizes.norm_eps)?;
        Ok(Self { sizes: sizes.clone(), embeddings, blocks, final_norm, checkpointing })
    }

    /// `pixels [B, 3, H, W]`, already normalised; `text [B, C]` where the tower has CoMoE layers. Blocks past the
    /// selected hidden state are not run.
    pub fn forward(&self, ctx: &Ctx, pixels: &Tensor, text: Option<&Tensor>) -> Result<VisionOutput> {
        let x = self.embed(ctx, pixels)?;
        let blocks = &self.blocks[..self.sizes.used_layers()];
        let stack = |x: &Tensor| {
            let (mut x, mut routing) = (x.clone(), Vec::new());
            for block in blocks {
                let (y, routed) = self.run(ctx, block, &x, text)?;
                x = y;
                routing.extend(routed);
            }
            Ok((x, routing))
        };
        let chains = blocks.iter().all(|block| block.chains());
        let (x, routing) = if chains { ops::segment(ctx, &x, stack)? } else { stack(&x)? };
        Ok(VisionOutput { features: ops::remove_rows(&x, 0, 1)?, routing })
    }

    /// The first block's input and every block's output, `layers + 1` tensors `[B, 1 + P, D]`, as Hugging Face counts
    /// hidden states (`select_layer` indexes this list).
    pub fn hidden_states(&self, ctx: &Ctx, pixels: &Tensor, text: Option<&Tensor>) -> Result<Vec<Tensor>> {
        let mut states = vec![self.embed(ctx, pixels)?];
        for block in &self.blocks {
            let (next, _) = self.run(ctx, block, &states[states.len() - 1], text)?;
            states.push(next);
        }
        Ok(states)
    }

    /// The norm after the last block (`post_layernorm` of CLIP, `layernorm` of DINOv2), which features do not pass.
    pub fn final_norm(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        self.final_norm.forward(&ctx.at(LayerId::FinalNorm, "layer_norm"), x)
    }

    /// Width D of the features.
    #[must_use]
    pub fn width(&self) -> usize {
        self.sizes.width
    }

    /// Image tokens P of a square image of the configured size.
    #[must_use]
    pub fn patches(&self) -> usize {
        self.sizes.patches()
    }

    /// The tower's sizes.
    #[must_use]
    pub fn sizes(&self) -> &TowerSizes {
        &self.sizes
    }

    fn embed(&self, ctx: &Ctx, pixels: &Tensor) -> Result<Tensor> {
        match &self.embeddings {
            Embeddings::Clip(clip) => clip.forward(ctx, pixels),
            Embeddings::Dinov2(dino) => dino.forward(ctx, pixels),
        }
    }

    fn run(
        &self,
        ctx: &Ctx,
        block: &Arc<Block>,
        x: &Tensor,
        text: Option<&Tensor>,
    ) -> Result<(Tensor, Option<LayerRouting>)> {
        // A frozen block behind frozen ones has nothing to run again for.
        if !self.checkpointing || !(block.trains || ops::is_tracked(x)) {
            return block.forward(ctx, x, text);
        }
        let (block, text) = (block.clone(), text.map(Tensor::detach));
        ops::checkpoint(ctx, x, Arc::new(move |ctx: &Ctx, x: &Tensor| block.forward(ctx, x, text.as_ref())))
    }
}

/// The blocks whose feed-forward layer `method` replaces: by default the second half of those that run.
pub(in crate::models) fn mixture_layers(sizes: &TowerSizes, method: &VisionMethod) -> Result<Range<usize>> {
    let VisionMethod::Covft { start_layer, end_layer, .. } = *method else { return Ok(0..0) };
    let used = sizes.used_layers();
    let (start, end) = (start_layer.unwrap_or(used / 2), end_layer.unwrap_or(used));
    if start >= end || end > used {
        bail!(
            "CoMoE in layers {start}..{end} does not fit: start_layer must be below end_layer, and end_layer at most \
             {used}, the blocks that run up to the selected layer"
        );
    }
    Ok(start..end)
}
