//! The multimodal model: vision tower, projector, language model, and the text encoder that asks for the context.
//!
//! `pixels -> tower(text vector) -> projector -> spliced into the token embeddings at the image mark -> LLaMA -> loss`.
//! Every sample has an image; a text-only sample's is zeros, runs through the tower and gives no row to the sequence.

mod losses;

pub use losses::SampleLosses;

use super::bert::Bert;
use super::covft::LayerRouting;
use super::llama::{Llama, language_trains};
use super::projector::Projector;
use super::shapes::ModelShapes;
use super::splice::Spliced;
use super::towers::{Tower, VisionOutput};
use super::tuning::vision_trains;
use crate::config::model::{Checkpointing, LanguageMethod, ModelConfig, TextMethod, Tuning, VisionMethod};
use crate::nn::{Linear, ParamBuilder, ParamStore, Part, Role, TensorSource};
use crate::ops::profile::{self, Direction};
use crate::ops::{self, Ctx, IGNORE_INDEX};
use candle_core::{DType, Device, Result, Tensor, bail};
use std::sync::Arc;

pub use super::save::{load_recipe, save_checkpoint};
pub use super::source::open_source;
pub use super::splice::IMAGE_TOKEN;

/// Where the tower's parameters stand in LLaVA's names.
pub const VISION_PREFIX: &str = "model.vision_tower.vision_tower";
/// Where the projector's stand.
pub const PROJECTOR_PREFIX: &str = "model.mm_projector";
/// Where the text encoder's stand.
pub const TEXT_PREFIX: &str = "model.context_embedding_model";
/// The head that tells tasks apart.
pub const TASK_HEAD_PREFIX: &str = "model.context_task_head";

/// A batch as the model takes it.
#[derive(Clone, Debug)]
pub struct MllmInput {
    /// `[B, 3, S, S]`, zeros for text-only samples.
    pub pixels: Tensor,
    /// Token ids of each sample, of different lengths; [`IMAGE_TOKEN`] marks the image.
    pub input_ids: Vec<Vec<i64>>,
    /// As long as the ids; -100 carries no loss.
    pub labels: Vec<Vec<i64>>,
    /// The text encoder's ids of each sample's context text, special tokens included.
    pub context_ids: Vec<Vec<u32>>,
    /// Class of each sample's task, for [`TextMethod::Tasks`]; `u32::MAX` for a sample without one.
    pub task_ids: Option<Vec<u32>>,
}

/// What a forward pass gives.
#[derive(Clone, Debug)]
pub struct MllmOutput {
    /// Sum of the labelled tokens' losses, a tracked scalar.
    pub loss_sum: Tensor,
    /// Sum over the samples of the loss of telling tasks apart, a tracked scalar.
    pub text_loss_sum: Option<Tensor>,
    /// Loss of each sample, summed over its labelled tokens.
    pub sample_losses: SampleLosses,
    /// Labelled tokens of each sample, after truncation.
    pub sample_tokens: Vec<usize>,
    /// Context and routing of each CoMoE layer, detached.
    pub routing: Vec<LayerRouting>,
    /// Rows through the language model, padding included.
    pub sequence_tokens: usize,
}

/// The model.
#[derive(Debug)]
pub struct Mllm {
    pub(super) tower: Tower,
    pub(super) projector: Projector,
    pub(super) language: Llama,
    pub(super) text: Bert,
    task_head: Option<Linear>,
    shapes: ModelShapes,
    max_length: usize,
    vision_trains: bool,
    wants_text: bool,
    compute: DType,
}

impl Mllm {
    /// Builds the model and its table of parameters. `tasks` is the number of classes that the text encoder learns to
    /// tell apart under [`TextMethod::Tasks`]; 0 otherwise.
    ///
    /// # Errors
    /// Sizes that are missing, a tensor that is missing or of another shape; the message says which and where.
    pub fn build(
        config: &ModelConfig,
        tuning: &Tuning,
        source: &dyn TensorSource,
        seed: u64,
        device: &Device,
        tasks: usize,
    ) -> Result<(Self, ParamStore)> {
        let rule = |name: &str, role: &Role| trains(tuning, name, role);
        Self::assemble(config, tuning, ParamBuilder::new(source, &rule, seed, device), tasks)
    }

    /// The table of parameters of the same model, without their values: what `inspect` counts. Shapes are compared
    /// with the source's.
    ///
    /// # Errors
    /// As [`build`](Self::build), but for tensors that cannot be read.
    pub fn plan(
        config: &ModelConfig,
        tuning: &Tuning,
        source: &dyn TensorSource,
        tasks: usize,
    ) -> Result<(ModelShapes, ParamStore)> {
        let rule = |name: &str, role: &Role| trains(tuning, name, role);
        let (model, store) = Self::assemble(config, tuning, ParamBuilder::planning(source, &rule), tasks)?;
        Ok((model.shapes, store))
    }

    fn assemble(
        config: &ModelConfig,
        tuning: &Tuning,
        root: ParamBuilder<'_>,
        tasks: usize,
    ) -> Result<(Self, ParamStore)> {
        let shapes = ModelShapes::resolve(config)?;
        let checkpointing = tuning.checkpointing;
        let tower = Tower::new(
            &root.part(Part::Vision).pp(VISION_PREFIX),
            &shapes.vision,
            &tuning.vision,
            shapes.text.width,
            checkpointing != Checkpointing::None,
        )?;
        let (d_vision, d_language) = (shapes.vision.width, shapes.language.width);
        let projector =
            Projector::new(&root.part(Part::Projector).pp(PROJECTOR_PREFIX), config.projector, d_vision, d_language)?;
        let again = checkpointing == Checkpointing::All;
        let language = Llama::new(&root.part(Part::Language), &shapes.language, &tuning.language, again)?;
        let text_root = root.part(Part::Text);
        let text = Bert::new(&text_root.pp(TEXT_PREFIX), &shapes.text, config.text.pool)?;
        let task_head = match (tuning.text, tasks) {
            (TextMethod::Freeze, _) => None,
            (TextMethod::Tasks, 0) => bail!("the text encoder is to tell tasks apart, but the data name no task"),
            (TextMethod::Tasks, n) => Some(Linear::new(&text_root.pp(TASK_HEAD_PREFIX), shapes.text.width, n, true)?),
        };
        let store = root.finish();
        let vision_trains = store.trainable().any(|p| p.role.part == Part::Vision);
        let wants_text = matches!(tuning.vision, VisionMethod::Covft { .. });
        let max_length = shapes.language.positions;
        let compute = DType::F32;
        let model = Self {
            tower,
            projector,
            language,
            text,
            task_head,
            shapes,
            max_length,
            vision_trains,
            wants_text,
            compute,
        };
        Ok((model, store))
    }

    /// Sequences are cut to this many rows after the image mark became features; the language model's longest
    /// sequence at first.
    pub fn set_max_length(&mut self, rows: usize) {
        self.max_length = rows;
    }

    /// Rows that sequences are cut to.
    #[must_use]
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Computes in `dtype` from now on; parameters and their gradients stay float32, and so do the loss, the statistics
    /// of norms and softmax, and what [`MllmOutput::routing`] says.
    pub fn set_compute(&mut self, dtype: DType) {
        self.compute = dtype;
    }

    /// The type of its activations.
    #[must_use]
    pub fn compute(&self) -> DType {
        self.compute
    }

    pub(super) fn computing(&self, ctx: &Ctx) -> Ctx {
        ctx.clone().computing_in(self.compute)
    }

    /// Sizes of the parts.
    #[must_use]
    pub fn shapes(&self) -> &ModelShapes {
        &self.shapes
    }

    /// The loss of a batch.
    pub fn forward(&self, ctx: &Ctx, input: &MllmInput) -> Result<MllmOutput> {
        let ctx = &self.computing(ctx);
        let part = |name| profile::enter(name, Direction::Forward);
        part("text encoder");
        let (text, text_loss_sum) = self.text(ctx, input)?;
        part("vision encoder");
        let vision = self.see(ctx, &input.pixels, text.as_ref())?;
        part("projector");
        let projected = self.projected(ctx, &vision.features)?;
        part("language model");
        let spliced = self.spliced(input)?;
        let states = self.states(ctx, &projected, &spliced)?;
        part("output head and loss");
        let (mut rows, mut targets) = spliced.labelled();
        if rows.is_empty() {
            // A batch whose labels were all cut off: one row without a label gives loss 0 and zero gradients.
            (rows, targets) = (vec![0], vec![IGNORE_INDEX]);
        }
        let states = ops::gather_rows(&states.flatten_to(1)?, &rows)?;
        let loss = ops::cross_entropy(&self.language.logits(ctx, &states)?, &targets)?;
        let samples = input.input_ids.len();
        let labelled = rows.iter().zip(&targets);
        let samples_of = labelled.map(|(row, target)| (*target != IGNORE_INDEX).then(|| *row as usize / spliced.len));
        let sample_losses = SampleLosses::new(loss.rows, samples_of.collect(), samples);
        Ok(MllmOutput {
            loss_sum: loss.sum,
            text_loss_sum,
            sample_tokens: sample_losses.tokens(),
            sample_losses,
            routing: vision.routing,
            sequence_tokens: samples * spliced.len,
        })
    }

    /// Logits of every row `[B, L, V]` and the valid rows of each sample; rows past those hold nothing of meaning.
    pub fn logits(&self, ctx: &Ctx, input: &MllmInput) -> Result<(Tensor, Arc<[usize]>)> {
        let ctx = &self.computing(ctx);
        let vision = self.vision(ctx, &input.pixels, &input.context_ids)?;
        let projected = self.projected(ctx, &vision.features)?;
        let spliced = self.spliced(input)?;
        let states = self.states(ctx, &projected, &spliced)?;
        Ok((self.language.logits(ctx, &states)?, spliced.lengths))
    }

    /// The tower's features `[B, P, D]` of `pixels [B, 3, S, S]`, asked for by the contexts' texts where the tuning
    /// method wants them.
    pub fn vision(&self, ctx: &Ctx, pixels: &Tensor, context_ids: &[Vec<u32>]) -> Result<VisionOutput> {
        let text = if self.wants_text { Some(self.text_vector(context_ids)?) } else { None };
        self.see(&self.computing(ctx), pixels, text.as_ref())
    }

    /// The text encoder's vectors `[B, C]` of the contexts; records nothing.
    pub fn text_vector(&self, context_ids: &[Vec<u32>]) -> Result<Tensor> {
        self.text.vector(&self.computing(&Ctx::eval()), context_ids)
    }

    /// Image features `[B, P, D]` in the language model's space.
    pub fn projected(&self, ctx: &Ctx, features: &Tensor) -> Result<Tensor> {
        self.projector.forward(&self.computing(ctx), features)
    }

    /// The batch's layout after every image mark became features.
    pub fn spliced(&self, input: &MllmInput) -> Result<Spliced> {
        Spliced::new(&input.input_ids, &input.labels, self.shapes.vision.patches(), self.max_length)
    }

    fn see(&self, ctx: &Ctx, pixels: &Tensor, text: Option<&Tensor>) -> Result<VisionOutput> {
        let pixels = pixels.to_dtype(self.compute)?;
        if self.vision_trains || ctx.watches_frozen_encoder() {
            self.tower.forward(ctx, &pixels, text)
        } else {
            self.tower.forward(&ctx.without_recording(), &pixels, text)
        }
    }

    /// The vector for the tower, a constant to it, and the loss of telling tasks apart where that is trained.
    fn text(&self, ctx: &Ctx, input: &MllmInput) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(head) = &self.task_head else {
            let text = if self.wants_text { Some(self.text_vector(&input.context_ids)?) } else { None };
            return Ok((text, None));
        };
        let vector = self.text.vector(ctx, &input.context_ids)?;
        let Some(tasks) = &input.task_ids else {
            bail!("the text encoder is to tell tasks apart, but the batch says no tasks");
        };
        let targets: Vec<i64> =
            tasks.iter().map(|t| if *t == u32::MAX { IGNORE_INDEX } else { i64::from(*t) }).collect();
        let loss = ops::cross_entropy(&head.forward(ctx, &vector)?, &targets)?;
        Ok((self.wants_text.then(|| vector.detach()), Some(loss.sum)))
    }

    /// The sequences `[B, L, D]` as the language model takes them.
    pub(super) fn embedded(&self, ctx: &Ctx, projected: &Tensor, spliced: &Spliced) -> Result<Tensor> {
        let b = spliced.lengths.len();
        let ids = Tensor::from_slice(&spliced.text_ids, (b, spliced.text_len), projected.device())?;
        ops::splice_rows(&self.language.embed(&self.computing(ctx), &ids)?, projected, &spliced.plan, b)
    }

    fn states(&self, ctx: &Ctx, projected: &Tensor, spliced: &Spliced) -> Result<Tensor> {
        self.language.states(ctx, &self.embedded(ctx, projected, spliced)?, &spliced.lengths)
    }
}

/// Whether a parameter trains under a stage's tuning.
#[must_use]
pub fn trains(tuning: &Tuning, name: &str, role: &Role) -> bool {
    match role.part {
        Part::Vision => vision_trains(&tuning.vision, name, role),
        Part::Projector => tuning.projector,
        Part::Language => !matches!(tuning.language, LanguageMethod::Freeze) && language_trains(&tuning.language, name),
        Part::Text => tuning.text == TextMethod::Tasks && role.reached,
    }
}

#[cfg(test)]
mod tests;
