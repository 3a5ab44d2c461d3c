//! What a recipe will train and roughly cost, without reading a weight.

use super::session::{SessionError, known_vocabularies};
use crate::config::model::{Checkpointing, ModelConfig, TextMethod, Tuning, VisionMethod};
use crate::config::train::{Length, MomentType, Stage, check_stages};
use crate::config::{Compute, Devices, Recipe};
use crate::models::account::account;
use crate::models::checkpoint::{Empty, holds_weights};
use crate::models::mllm::Mllm;
use crate::models::shapes::{ModelShapes, remarks};
use crate::nn::{Param, Part};
use crate::ops::LayerId;
use indexmap::IndexMap;
use std::time::Instant;

/// One parameter.
#[derive(Clone, Debug)]
pub struct TensorPlan {
    /// Name in the checkpoint.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Layer of the vision encoder.
    pub layer: Option<LayerId>,
    /// Whether it trains.
    pub trained: bool,
    /// Whether the loss depends on it.
    pub reached: bool,
}

impl TensorPlan {
    /// `trained`, `frozen` or `trained, unreached`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.trained, self.reached) {
            (true, true) => "trained",
            (true, false) => "trained, unreached",
            (false, _) => "frozen",
        }
    }
}

/// Parameters of one part and module.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// Part of the model.
    pub part: Part,
    /// Module.
    pub module: &'static str,
    /// Tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub numbers: usize,
    /// Numbers that train and are reached.
    pub trained: usize,
    /// Numbers that would train but no loss reaches.
    pub unreached: usize,
}

/// What one stage trains and costs. Bytes are estimates of the peak.
#[derive(Clone, Debug)]
pub struct StageEstimate {
    /// Stage.
    pub name: String,
    /// How the vision encoder is tuned.
    pub method: String,
    /// By part and module, in the model's order.
    pub groups: Vec<GroupPlan>,
    /// Every tensor.
    pub tensors: Vec<TensorPlan>,
    /// Bytes of the weights.
    pub weights: u64,
    /// Bytes of the gradients.
    pub gradients: u64,
    /// Bytes of AdamW's moments, and of the copies that drift is measured from.
    pub moments: u64,
    /// Bytes of what the backward pass keeps.
    pub activations: u64,
    /// Floating-point operations of one optimiser step.
    pub flops: f64,
    /// Seconds a step, where this machine's rate could be measured.
    pub seconds: Option<f64>,
    /// Optimiser steps, where the recipe says.
    pub steps: Option<u64>,
}

impl StageEstimate {
    /// All numbers.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.groups.iter().map(|g| g.numbers).sum()
    }

    /// Numbers that train and are reached.
    #[must_use]
    pub fn trained(&self) -> usize {
        self.groups.iter().map(|g| g.trained).sum()
    }

    /// Numbers that train and are not reached.
    #[must_use]
    pub fn unreached(&self) -> usize {
        self.groups.iter().map(|g| g.unreached).sum()
    }

    /// Bytes in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.moments + self.activations
    }
}

/// Every stage of the recipe. Reads sizes (`config.json`) and tokenizers, no weights and no data.
///
/// # Errors
/// Sizes that are missing or do not fit.
pub fn stages(recipe: &Recipe) -> Result<Vec<StageEstimate>, SessionError> {
    let model = known_vocabularies(recipe)?;
    let shapes = ModelShapes::resolve(&model)?;
    let rate = recipe.devices().on_cpu().then(measured_flops);
    let stages = check_stages(&recipe.stages).expect("a recipe is checked when it is read");
    stages.iter().map(|stage| estimate(stage, recipe, &model, &shapes, rate)).collect()
}

/// What the first stage takes out of the folders of weights that are there and what not, and what is to be told of their
/// descriptions; one line each. Reads headers.
///
/// # Errors
/// Weights that are damaged or of another model, or that tuning left in a state the stage would lose.
pub fn weights(recipe: &Recipe) -> Result<Vec<String>, SessionError> {
    let model = known_vocabularies(recipe)?;
    // The head that tells tasks apart is as wide as the data have tasks, and is never in a folder of weights.
    let tuning = Tuning { text: TextMethod::Freeze, ..recipe.stages[0].tuning.clone() };
    let folders = [&model.checkpoint, &model.vision.weights, &model.language.weights, &model.text.weights];
    // Sizes can be had without the weights.
    let bare = |folder: &std::path::PathBuf| !holds_weights(folder);
    if folders.into_iter().flatten().any(bare) {
        return Ok(remarks(&model)?);
    }
    let accounts = account(&model, &tuning, 0)?;
    Ok(accounts.iter().map(ToString::to_string).chain(remarks(&model)?).collect())
}

fn estimate(
    stage: &Stage,
    recipe: &Recipe,
    model: &ModelConfig,
    shapes: &ModelShapes,
    rate: Option<f64>,
) -> Result<StageEstimate, SessionError> {
    // The task head's width hardly matters for a table of sizes; the real number comes with the data.
    let tasks = if stage.tuning.text == TextMethod::Tasks { 8 } else { 0 };
    let (_, params) = Mllm::plan(model, &stage.tuning, &Empty, tasks)?;
    let mut groups: IndexMap<(Part, &'static str), GroupPlan> = IndexMap::new();
    let mut tensors = Vec::new();
    for param in params.iter() {
        let numbers = param.weight.dims().iter().product::<usize>();
        let key = (param.role.part, param.role.module);
        let empty = GroupPlan { part: key.0, module: key.1, tensors: 0, numbers: 0, trained: 0, unreached: 0 };
        let group = groups.entry(key).or_insert(empty);
        group.tensors += 1;
        group.numbers += numbers;
        if param.weight.is_trainable() {
            *(if param.role.reached { &mut group.trained } else { &mut group.unreached }) += numbers;
        }
        tensors.push(plan(param));
    }
    let groups: Vec<GroupPlan> = groups.into_values().collect();
    let numbers = |part: Part| groups.iter().filter(move |g| g.part == part);
    let all: usize = groups.iter().map(|g| g.numbers).sum();
    let trained: usize = groups.iter().map(|g| g.trained).sum();
    let vision_trained: usize = numbers(Part::Vision).map(|g| g.trained).sum();
    let cost = Cost::new(stage, recipe, shapes, vision_trained > 0);
    let (bytes, members) = (NumberBytes::of(recipe, stage), recipe.devices().members() as u64);
    Ok(StageEstimate {
        name: stage.name.clone(),
        method: method(&stage.tuning.vision),
        weights: bytes.value * all as u64,
        gradients: bytes.gradient * trained as u64,
        // Devices that train together share them.
        moments: (bytes.moments * trained as u64 + bytes.start * vision_trained as u64).div_ceil(members),
        activations: cost.activations,
        flops: cost.flops,
        seconds: rate.map(|rate| cost.flops / rate),
        steps: match stage.length {
            Length::Steps(steps) => Some(steps),
            Length::Epochs(_) => None,
        },
        groups,
        tensors,
    })
}

fn plan(param: &Param) -> TensorPlan {
    TensorPlan {
        name: param.weight.name().to_owned(),
        shape: param.weight.dims().to_vec(),
        layer: param.role.layer,
        trained: param.weight.is_trainable(),
        reached: param.role.reached,
    }
}

fn method(method: &VisionMethod) -> String {
    serde_json::to_string(method).unwrap_or_default()
}

/// Bytes for each number, by what is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NumberBytes {
    /// Every number.
    value: u64,
    /// Numbers that train.
    gradient: u64,
    /// First and second moment of them.
    moments: u64,
    /// Numbers of the vision encoder that train: where they started, for drift.
    start: u64,
}

impl NumberBytes {
    fn of(recipe: &Recipe, stage: &Stage) -> Self {
        let short = recipe.dtype == Compute::Bf16;
        Self {
            // In bfloat16 the copy that products read stays beside the value, unless the recipe says otherwise.
            value: if short && recipe.bf16_copies { 6 } else { 4 },
            // A sum over micro-batches or devices is float32; a single one's gradients stay as they came.
            gradient: if short && stage.accumulation == 1 && recipe.devices().members() == 1 { 2 } else { 4 },
            moments: if stage.moments == MomentType::Bf16 { 4 } else { 8 },
            // On the CPU also the step before.
            start: if recipe.devices().on_cpu() { 8 } else { 4 },
        }
    }
}

/// Operations and kept activations of a step, from the sizes alone.
struct Cost {
    flops: f64,
    activations: u64,
}

/// Text tokens of a sample that nothing is known of yet.
const TYPICAL_TEXT: usize = 64;

impl Cost {
    fn new(stage: &Stage, recipe: &Recipe, shapes: &ModelShapes, vision_trains: bool) -> Self {
        let (vision, language) = (&shapes.vision, &shapes.language);
        let batch = stage.batch_size;
        let patches = vision.patches() + 1;
        let rows = (vision.patches() + TYPICAL_TEXT).min(recipe.data.max_length);
        // A linear layer is 2 d_in d_out a row forward, and as much again for each gradient that is wanted.
        let mlps = match stage.tuning.vision {
            VisionMethod::Covft { experts, .. } => f64::midpoint(1.0, experts as f64),
            _ => 1.0,
        };
        let (d, f) = (vision.width as f64, vision.ffn as f64);
        let vision_block = 2.0 * (4.0 * d * d + 2.0 * d * f * mlps) + 4.0 * patches as f64 * d;
        let vision_forward = (batch * patches * vision.used_layers()) as f64 * vision_block;
        let (d, f) = (language.width as f64, language.ffn as f64);
        let kv = (language.kv_heads * language.head_dim) as f64;
        let language_block = 2.0 * (2.0 * d * d + 2.0 * d * kv + 3.0 * d * f) + 4.0 * rows as f64 * d;
        let head = 2.0 * (batch * TYPICAL_TEXT) as f64 * d * language.vocabulary as f64;
        let language_forward = (batch * rows * language.layers) as f64 * language_block + head;
        let passes = |trains: bool| if trains { 3.0 } else { 1.0 };
        let language_trains = stage.tuning.language != crate::config::model::LanguageMethod::Freeze;
        let again = |on: bool, forward: f64| if on { forward } else { 0.0 };
        let checkpointing = stage.tuning.checkpointing;
        let language_passes = if language_trains { 3.0 } else { 2.0 };
        let flops = vision_forward * passes(vision_trains)
            + language_forward * language_passes
            + again(checkpointing != Checkpointing::None, vision_forward)
            + again(checkpointing == Checkpointing::All, language_forward);
        let bytes = if recipe.dtype == Compute::Bf16 { 2 } else { 4 };
        let kept = |rows, layers, width, ffn, mlps| bytes * kept(rows, layers, width, ffn, mlps);
        let vision_kept = kept(batch * patches, vision.used_layers(), vision.width, vision.ffn, mlps);
        let vision_kept = if vision_trains { vision_kept } else { 0 };
        let language_kept = kept(batch * rows, language.layers, language.width, 2 * language.ffn, 1.0);
        let one = |layers: usize, all: u64, on: bool| if on { all / layers.max(1) as u64 } else { all };
        let logits = 8 * (batch * TYPICAL_TEXT * language.vocabulary) as u64;
        let activations = one(vision.used_layers(), vision_kept, checkpointing != Checkpointing::None)
            + one(language.layers, language_kept, checkpointing == Checkpointing::All)
            + logits;
        Self { flops: flops * stage.accumulation as f64, activations }
    }
}

/// Numbers that the backward pass of `layers` blocks keeps: about ten widths and two inner widths a row.
fn kept(rows: usize, layers: usize, width: usize, ffn: usize, mlps: f64) -> u64 {
    ((rows * layers) as f64 * (10.0 * width as f64 + 2.0 * ffn as f64 * mlps)) as u64
}

/// Floating-point operations a second of this machine, from one matrix product of a typical shape.
fn measured_flops() -> f64 {
    const SIDE: usize = 768;
    let (a, b) = (vec![0.5_f32; SIDE * SIDE], vec![0.25_f32; SIDE * SIDE]);
    let mut out = vec![0.0_f32; SIDE * SIDE];
    let mut best = f64::INFINITY;
    for _ in 0..4 {
        let began = Instant::now();
        let (a, b) = (crate::kernels::Matrix::new(&a, SIDE, SIDE), crate::kernels::Matrix::new(&b, SIDE, SIDE));
        crate::kernels::matmul_into(&mut out, a, b, false);
        best = best.min(began.elapsed().as_secs_f64());
    }
    // A whole step reaches about half of what one product does.
    0.5 * 2.0 * (SIDE * SIDE * SIDE) as f64 / best
}

/// Bytes of memory for each of `devices`; `None` where it cannot be told.
#[must_use]
pub fn memory_of(devices: &Devices) -> Option<u64> {
    let Devices::Cpu(members) = devices else { return None };
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| 1024 * kib / *members as u64)
}
