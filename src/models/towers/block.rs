//! A pre-norm transformer block, shared by all towers; they differ in names, layer scale and activation.
//!
//! `x += s1 * attention(norm1(x))`, `x += s2 * ffn(norm2(x))`, where the feed-forward part may be a CoMoE and prompts
//! may join for the block's duration.

use super::sizes::TowerSizes;
use crate::config::model::VisionMethod;
use crate::models::covft::{ContextualMoe, LayerRouting, MoeSizes};
use crate::models::feed_forward::{FeedForward, FeedForwardSizes};
use crate::models::tuning::{LoraLinear, LoraSpec, Prompts};
use crate::nn::{Init, LayerNorm, ParamBuilder};
use crate::ops::{self, AttentionSpec, Ctx, LayerId, Weight};
use candle_core::{Result, Tensor, bail};

/// What the parts of a block are called in a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockNames {
    pub(super) norms: [&'static str; 2],
    /// Query, key, value, output.
    pub(super) projections: [&'static str; 4],
    /// Layer scales, where the architecture has them.
    pub(super) scales: Option<[&'static str; 2]>,
}

/// What a tuning method makes of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockPlan {
    pub(super) index: usize,
    /// CoMoE in place of the feed-forward layer.
    pub(super) mixture: Option<MoeSizes>,
    pub(super) lora: Option<LoraSpec>,
    /// Number of prompts.
    pub(super) prompts: Option<usize>,
}

impl BlockPlan {
    /// The plan of block `index` under `method`; `mixture` is the range of CoMoE blocks.
    pub(super) fn new(
        index: usize,
        sizes: &TowerSizes,
        method: &VisionMethod,
        mixture: &std::ops::Range<usize>,
        context: usize,
    ) -> Self {
        let mut plan = Self { index, mixture: None, lora: None, prompts: None };
        match *method {
            VisionMethod::Lora { rank, alpha, dropout } => plan.lora = Some(LoraSpec { rank, alpha, dropout }),
            VisionMethod::Vpt { prompts } => plan.prompts = Some(prompts),
            VisionMethod::Covft { experts, router, .. } if mixture.contains(&index) => {
                let TowerSizes { width, ffn, activation, .. } = *sizes;
                plan.mixture = Some(MoeSizes { width, ffn, context, experts, activation, router });
            }
            _ => {}
        }
        plan
    }
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    layer: LayerId,
    norms: [LayerNorm; 2],
    attention: Attention,
    feed_forward: Inner,
    scales: Option<[Weight; 2]>,
    prompts: Option<Prompts>,
    /// Whether any of its parameters trains.
    pub(super) trains: bool,
}

#[derive(Clone, Debug)]
enum Inner {
    Plain(FeedForward),
    Mixture(Box<ContextualMoe>),
}

impl Block {
    /// `pb` stands at the block, `tower` at the tower (prompts stand beside it); both know layer and reach.
    pub(super) fn new(
        pb: &ParamBuilder<'_>,
        tower: &ParamBuilder<'_>,
        sizes: &TowerSizes,
        names: BlockNames,
        plan: BlockPlan,
    ) -> Result<Self> {
        let norm = |name: &str| LayerNorm::new(&pb.module("layer_norm").pp(name), sizes.width, sizes.norm_eps);
        let scale = |name: &str| pb.module("layer_scale").pp(name).get(&[sizes.width], "lambda1", Init::Ones);
        let attention = Attention::new(&pb.module("attention"), sizes, names.projections, plan.lora)?;
        let norms = [norm(names.norms[0])?, norm(names.norms[1])?];
        let feed_forward = if let Some(moe) = plan.mixture {
            Inner::Mixture(Box::new(ContextualMoe::new(&pb.pp("mlp"), plan.index, moe)?))
        } else {
            let plain = FeedForwardSizes { width: sizes.width, hidden: sizes.ffn, activation: sizes.activation };
            Inner::Plain(FeedForward::new(&pb.module("mlp").pp("mlp"), plain)?)
        };
        let scales = names.scales.map(|[a, b]| Ok::<_, candle_core::Error>([scale(a)?, scale(b)?])).transpose()?;
        let prompts = plan.prompts.map(|p| Prompts::new(tower, plan.index, p, sizes.width)).transpose()?;
        let trains = pb.any_trainable() || prompts.as_ref().is_some_and(Prompts::train);
        Ok(Self { layer: LayerId::Block(plan.index), norms, attention, feed_forward, scales, prompts, trains })
    }

    /// Whether it can stand inside a segment: it has no adapters and no prompts, and asks for no even mixture.
    pub(super) fn chains(&self) -> bool {
        let even = matches!(&self.feed_forward, Inner::Mixture(moe) if moe.is_uniform());
        self.attention.is_plain() && self.prompts.is_none() && !even
    }

    /// `x [B, N, D]`, `text [B, C]`; same shape out, and the routing of a CoMoE block.
    pub(super) fn forward(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        text: Option<&Tensor>,
    ) -> Result<(Tensor, Option<LayerRouting>)> {
        let at = |module| ctx.at(self.layer, module);
        let x = match &self.prompts {
            Some(prompts) => prompts.insert(&at("prompts"), x)?,
            None => x.clone(),
        };
        let (x, routing) = match &self.feed_forward {
            Inner::Plain(plain) => {
                self.chained(ctx, &x, |x| Ok((self.after(ctx, plain, &self.attended(ctx, x)?)?, None)))?
            }
            Inner::Mixture(moe) => {
                let Some(text) = text else { bail!("the tower has CoMoE layers: it needs the text vector") };
                // What asks for an even mixture is outside the loss, and stays outside of a segment.
                if moe.is_uniform() {
                    let (x, ()) = self.chained(ctx, &x, |x| Ok((self.attended(ctx, x)?, ())))?;
                    self.mixed(ctx, moe, &x, text)?
                } else {
                    self.chained(ctx, &x, |x| self.mixed(ctx, moe, &self.attended(ctx, x)?, text))?
                }
            }
        };
        let x = match &self.prompts {
            Some(prompts) => prompts.remove(&x)?,
            None => x,
        };
        Ok((x, routing))
    }

    /// A part of the block as one segment, unless it has adapters, which are plain tensor operations.
    fn chained<A>(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        part: impl FnOnce(&Tensor) -> Result<(Tensor, A)>,
    ) -> Result<(Tensor, A)> {
        if self.attention.is_plain() { ops::segment(ctx, x, part) } else { part(x) }
    }

    /// `x + s1 * attention(norm1(x))`.
    fn attended(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        let at = |module| ctx.at(self.layer, module);
        let h = self.norms[0].forward(&at("layer_norm"), x)?;
        // Without layer scale the residual rides along in the last linear layer.
        let residual = self.scales.is_none().then_some(x);
        let y = self.attention.forward(&at("attention"), &at("lora"), &h, residual)?;
        if residual.is_some() { Ok(y) } else { ops::add(x, &self.scaled(ctx, y, 0)?) }
    }

    /// `x + s2 * ffn(norm2(x))`.
    fn after(&self, ctx: &Ctx, plain: &FeedForward, x: &Tensor) -> Result<Tensor> {
        let at = |module| ctx.at(self.layer, module);
        let h = self.norms[1].forward(&at("layer_norm"), x)?;
        match &self.scales {
            None => plain.forward_add(&at("mlp"), &h, x),
            Some(_) => ops::add(x, &self.scaled(ctx, plain.forward(&at("mlp"), &h)?, 1)?),
        }
    }

    /// `x + s2 * moe(norm2(x))`, and what was routed how.
    fn mixed(
        &self,
        ctx: &Ctx,
        moe: &ContextualMoe,
        x: &Tensor,
        text: &Tensor,
    ) -> Result<(Tensor, Option<LayerRouting>)> {
        let h = self.norms[1].forward(&ctx.at(self.layer, "layer_norm"), x)?;
        let (y, routing) = moe.forward(ctx, &h, text)?;
        Ok((ops::add(x, &self.scaled(ctx, y, 1)?)?, Some(routing)))
    }

    /// `y` times the layer scale of one of the two parts, where the architecture has them.
    fn scaled(&self, ctx: &Ctx, y: Tensor, part: usize) -> Result<Tensor> {
        match &self.scales {
            Some(scales) => ops::scale_channels(&ctx.at(self.layer, "layer_scale"), &y, &scales[part]),
            None => Ok(y),
        }
    }
}

/// Multi-head self-attention, each projection with a bias and perhaps an adapter.
#[derive(Clone, Debug)]
struct Attention {
    q: LoraLinear,
    k: LoraLinear,
    v: LoraLinear,
    out: LoraLinear,
    heads: usize,
}

impl Attention {
    fn new(
        pb: &ParamBuilder<'_>,
        sizes: &TowerSizes,
        [q, k, v, out]: [&'static str; 4],
        lora: Option<LoraSpec>,
    ) -> Result<Self> {
        let square = (sizes.width, sizes.width);
        let project = |name: &str| LoraLinear::new(&pb.pp(name), square, true, lora.map(|spec| (spec, "lora")));
        Ok(Self { q: project(q)?, k: project(k)?, v: project(v)?, out: project(out)?, heads: sizes.heads })
    }

    /// Whether no projection has an adapter.
    fn is_plain(&self) -> bool {
        [&self.q, &self.k, &self.v, &self.out].iter().all(|projection| projection.is_plain())
    }

    /// `h [B, N, D]`; the residual, where given, is added.
    fn forward(&self, ctx: &Ctx, lora: &Ctx, h: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let q = self.q.forward(ctx, lora, h)?;
        let k = self.k.forward(ctx, lora, h)?;
        let v = self.v.forward(ctx, lora, h)?;
        let attended = ops::attention(&q, &k, &v, &AttentionSpec::bidirectional(self.heads))?;
        match residual {
            Some(residual) => self.out.forward_add(ctx, lora, &attended, residual),
            None => self.out.forward(ctx, lora, &attended),
        }
    }
}
