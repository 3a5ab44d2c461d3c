//! A model small enough to train in milliseconds, with everything the loop must cope with: parts, norms, dropout, a
//! frozen parameter and one that no loss reaches.

use crate::config::train::{GradClip, Length, PartRates, Schedule, SpikeConfig, Stage, Warmup};
use crate::data::Split;
use crate::models::mllm::SampleLosses;
use crate::nn::{Init, LayerNorm, Linear, MapSource, ParamBuilder, ParamStore, Part, Stream, TensorSource};
use crate::ops::{self, Ctx, LayerId, RowLosses, Weight};
use crate::train::hook::{EvalRow, EvalView, GradientView, Hook, HookResult, SampleInfo, StepId, StepView};
use crate::train::step::{BatchSource, Evaluation, Evaluator, ForwardOutput, Objective, Scope, StepBatch, StepModel};
use crate::train::trainer::StagePlan;
use crate::train::{BoxError, Outcome, Trainer};
use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(super) const VOCABULARY: usize = 12;
const WIDTH: usize = 8;
const TOKENS: usize = 5;
pub(super) const SAMPLES: usize = 24;

#[derive(Debug)]
pub(super) struct Toy {
    pub(super) params: ParamStore,
    table: Weight,
    norm: LayerNorm,
    projector: Linear,
    head: Linear,
    pub(super) dropout: f64,
    /// Multiplies the loss of this sample with infinity.
    pub(super) poison: Option<&'static str>,
    /// Leaves the projector out, though the table of parameters says that the loss reaches it.
    pub(super) forgets_projector: bool,
    /// Fails, or panics, at the first forward pass.
    pub(super) fails: bool,
    pub(super) panics: bool,
    pub(super) objective: bool,
    /// Type of the activations.
    pub(super) compute: DType,
    device: Device,
}

impl Toy {
    pub(super) fn new() -> Self {
        Self::from_source(&MapSource::default())
    }

    pub(super) fn from_source(source: &dyn TensorSource) -> Self {
        Self::build(source, |name| name != "tower.frozen.weight")
    }

    pub(super) fn build(source: &dyn TensorSource, trains: impl Fn(&str) -> bool) -> Self {
        let rule = |name: &str, _: &crate::nn::Role| trains(name);
        let device = ops::testing::device();
        let pb = ParamBuilder::new(source, &rule, 7, &device);
        let tower = pb.part(Part::Vision).layer(LayerId::Block(0)).pp("tower");
        let table = tower.get(&[VOCABULARY, WIDTH], "table.weight", Init::Normal(1.0)).unwrap();
        let norm = LayerNorm::new(&tower.pp("layer_norm1"), WIDTH, 1e-5).unwrap();
        tower.get(&[WIDTH], "frozen.weight", Init::Ones).unwrap();
        tower.unreached().get(&[WIDTH], "post_layernorm.weight", Init::Ones).unwrap();
        let projector = Linear::new(&pb.part(Part::Projector).pp("projector"), WIDTH, WIDTH, true).unwrap();
        let head = Linear::new(&pb.part(Part::Language).pp("head"), WIDTH, VOCABULARY, true).unwrap();
        Self {
            table,
            norm,
            projector,
            head,
            params: pb.finish(),
            dropout: 0.1,
            poison: None,
            forgets_projector: false,
            fails: false,
            panics: false,
            objective: false,
            compute: DType::F32,
            device,
        }
    }

    pub(super) fn bytes(&self) -> Vec<(String, Vec<u32>)> {
        let bits = |w: &Weight| w.read_host(|v| v.iter().map(|x| x.to_bits()).collect()).unwrap();
        self.params.iter().map(|p| (p.weight.name().to_owned(), bits(&p.weight))).collect()
    }
}

#[derive(Clone, Debug)]
pub(super) struct ToySample {
    id: Arc<str>,
    ids: Vec<u32>,
    labels: Vec<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct ToyBatch {
    pub(super) samples: Vec<ToySample>,
    /// Added to what the batch announces.
    pub(super) lie: usize,
}

impl StepBatch for ToyBatch {
    fn samples(&self) -> Vec<SampleInfo> {
        let info = |s: &ToySample| SampleInfo {
            id: s.id.clone(),
            index: s.id[1..].parse().unwrap(),
            split: Split::Train,
            task: None,
            has_image: true,
        };
        self.samples.iter().map(info).collect()
    }

    fn labelled_tokens(&self) -> usize {
        self.samples.iter().flat_map(|s| &s.labels).filter(|l| **l >= 0).count() + self.lie
    }
}

impl StepModel for Toy {
    type Batch = ToyBatch;

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn forward(&self, ctx: &Ctx, batch: &ToyBatch) -> Result<ForwardOutput> {
        if self.fails {
            candle_core::bail!("out of toys");
        }
        assert!(!self.panics, "a toy that panics");
        let ctx = &ctx.at(LayerId::Block(0), "mlp").computing_in(self.compute);
        let rows = batch.samples.len();
        let ids: Vec<u32> = batch.samples.iter().flat_map(|s| s.ids.iter().copied()).collect();
        let targets: Vec<i64> = batch.samples.iter().flat_map(|s| s.labels.iter().copied()).collect();
        let x = ops::embedding(ctx, &Tensor::from_vec(ids, (rows, TOKENS), &self.device)?, &self.table)?;
        let x = ops::dropout(ctx, &self.norm.forward(ctx, &x)?, self.dropout, 1)?;
        let x = if self.forgets_projector { x } else { self.projector.forward(ctx, &x)? };
        let logits = self.head.forward(ctx, &ops::quick_gelu(&x)?)?;
        let loss = ops::cross_entropy(&logits.reshape((rows * TOKENS, VOCABULARY))?, &targets)?;
        let poison = |row: usize| {
            let poisoned = self.poison == Some(&*batch.samples[row / TOKENS].id) && targets[row] >= 0;
            if poisoned { f32::INFINITY } else { 1.0 }
        };
        let poison: Vec<f32> = (0..rows * TOKENS).map(poison).collect();
        let losses = match loss.rows {
            RowLosses::Host(losses) => RowLosses::Host(losses.iter().zip(&poison).map(|(l, p)| l * p).collect()),
            RowLosses::Device(losses) => {
                RowLosses::Device((losses * Tensor::from_vec(poison, rows * TOKENS, &self.device)?)?)
            }
        };
        let samples_of = (0..rows * TOKENS).map(|row| (targets[row] >= 0).then_some(row / TOKENS)).collect();
        let objectives = if self.objective {
            vec![Objective { name: "size", sum: ops::wide(&x)?.sqr()?.sum_all()? }]
        } else {
            Vec::new()
        };
        Ok(ForwardOutput {
            losses: SampleLosses::new(losses, samples_of, rows),
            loss_sum: loss.sum,
            objectives,
            routing: Vec::new(),
            sequence_tokens: rows * TOKENS,
        })
    }
}

/// Shuffled passes over the samples; the position is the number of samples drawn.
#[derive(Debug)]
pub(super) struct ToySource {
    samples: Vec<ToySample>,
    pub(super) batch_size: usize,
    pub(super) accumulation: usize,
    drawn: usize,
    pub(super) lie: usize,
    pub(super) unlabelled: bool,
}

impl ToySource {
    pub(super) fn new(batch_size: usize, accumulation: usize) -> Self {
        let samples = (0..SAMPLES).map(|i| {
            let mut stream = Stream::new(3, &format!("sample {i}"));
            let ids: Vec<u32> = (0..TOKENS).map(|_| stream.rng().random_range(0..VOCABULARY as u32)).collect();
            // The next token is a function of this one; the first i % 4 tokens carry no label.
            let label = |(t, id): (usize, &u32)| if t < i % 4 { -100 } else { i64::from((id * 5 + 1) % 12) };
            let labels = ids.iter().enumerate().map(label).collect();
            ToySample { id: format!("s{i}").into(), ids, labels }
        });
        let samples = samples.collect();
        Self { samples, batch_size, accumulation, drawn: 0, lie: 0, unlabelled: false }
    }

    fn draw(&mut self) -> ToySample {
        let (epoch, at) = (self.drawn / SAMPLES, self.drawn % SAMPLES);
        self.drawn += 1;
        let mut order: Vec<usize> = (0..SAMPLES).collect();
        let mut stream = Stream::new(5, &format!("epoch {epoch}"));
        for i in (1..SAMPLES).rev() {
            order.swap(i, stream.rng().random_range(0..=i));
        }
        let mut sample = self.samples[order[at]].clone();
        if self.unlabelled {
            sample.labels.fill(-100);
        }
        sample
    }
}

impl BatchSource for ToySource {
    type Batch = ToyBatch;

    fn next_step(&mut self) -> std::result::Result<Vec<ToyBatch>, BoxError> {
        let batch = |source: &mut Self| ToyBatch {
            samples: (0..source.batch_size).map(|_| source.draw()).collect(),
            lie: source.lie,
        };
        Ok((0..self.accumulation).map(|_| batch(self)).collect())
    }

    fn position(&self) -> serde_json::Value {
        self.drawn.into()
    }

    fn seek(&mut self, position: &serde_json::Value) -> std::result::Result<(), BoxError> {
        self.drawn = position.as_u64().ok_or("not a number of samples")? as usize;
        Ok(())
    }
}

pub(super) fn stage(schedule: Schedule, warmup: u64) -> Stage {
    Stage {
        name: "toy".into(),
        length: Length::Steps(10),
        batch_size: 8,
        accumulation: 1,
        learning_rate: 0.02,
        learning_rates: PartRates::default(),
        weight_decay: 0.01,
        betas: [0.9, 0.999],
        eps: 1e-8,
        moments: crate::config::train::MomentType::F32,
        schedule,
        warmup: Warmup::Steps(warmup),
        clip: GradClip::Norm(1.0),
        tasks: None,
        paired_with: None,
        seed: None,
        order_seed: None,
        eval_every: None,
        eval_at_start: false,
        eval_at_end: crate::config::train::EvalAtEnd::Whole,
        eval_samples: 4,
        generate_samples: None,
        generate_at_end: None,
        checkpoint_every: None,
        keep_last: 2,
        keep_best: true,
        keep_end: true,
        reuse: false,
        spikes: SpikeConfig::default(),
        tuning: toml::from_str("").unwrap(),
    }
}

pub(super) fn plan(stage: Stage, steps: u64) -> StagePlan {
    StagePlan {
        stage,
        index: 0,
        steps,
        steps_before: 0,
        steps_in_run: steps,
        seed: 11,
        stop_after: None,
        stop: Arc::new(AtomicBool::new(false)),
    }
}

/// Everything that hooks are told.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) losses: Vec<f64>,
    pub(super) norms: Vec<f64>,
    pub(super) factors: Vec<f64>,
    pub(super) rates: Vec<f64>,
    pub(super) objectives: Vec<f64>,
    pub(super) gradients: Vec<Vec<f32>>,
    pub(super) first_moments: Vec<bool>,
    pub(super) evaluations: Vec<(u64, String)>,
    pub(super) warnings: Vec<String>,
    pub(super) events: Vec<String>,
    pub(super) stop_at: Option<(u64, Arc<AtomicBool>)>,
}

impl Hook for Log {
    fn stage_start(&mut self, view: &crate::train::hook::StageView<'_>) -> HookResult {
        self.events.push(format!("start {}", view.start_step));
        Ok(())
    }

    fn wants_gradients(&self, _: StepId<'_>) -> bool {
        true
    }

    fn gradients(&mut self, view: &GradientView<'_>) -> HookResult {
        let mut all = Vec::new();
        for param in view.params.trainable().filter(|p| p.role.reached) {
            let slot = param.weight.slot().ok_or("a trainable parameter has a slot")?;
            let gradient = slot.tensor(param.weight.dims())?.ok_or("an empty slot")?;
            ops::read_numbers(&gradient, |g| all.extend_from_slice(g))?;
        }
        self.gradients.push(all);
        self.first_moments.push(view.first_moments.first_moment("head.weight")?.is_some());
        Ok(())
    }

    fn step(&mut self, view: &StepView<'_>) -> HookResult {
        self.losses.push(view.loss);
        self.norms.push(view.grad_norm);
        self.factors.push(view.clip_factor);
        self.rates.push(view.learning_rates[0].1);
        self.objectives.extend(view.objectives.iter().map(|(_, mean)| *mean));
        if let Some((_, stop)) = self.stop_at.as_ref().filter(|(step, _)| *step == view.at.step) {
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        Ok(())
    }

    fn evaluated(&mut self, view: &EvalView<'_>) -> HookResult {
        self.evaluations.push((view.at.step, view.split.to_owned()));
        Ok(())
    }

    fn before_checkpoint(&mut self, at: StepId<'_>) -> HookResult {
        self.events.push(format!("checkpoint {}", at.global_step));
        Ok(())
    }

    fn save_state(&self) -> Option<(&'static str, serde_json::Value)> {
        Some(("log", self.losses.len().into()))
    }

    fn load_state(&mut self, states: &std::collections::BTreeMap<String, serde_json::Value>) -> HookResult {
        self.events.push(format!("state {}", states["log"]));
        // What the hook counts goes on where it was.
        let seen = states["log"].as_u64().ok_or("not a number")? as usize;
        self.losses.resize(seen, f64::NAN);
        Ok(())
    }

    fn warn(&mut self, line: &str) -> HookResult {
        self.warnings.push(line.to_owned());
        Ok(())
    }

    fn stage_end(&mut self, _: &crate::train::hook::StageView<'_>) -> HookResult {
        self.events.push("end".into());
        Ok(())
    }
}

/// Held-out losses that are known beforehand.
#[derive(Debug)]
pub(super) struct Script(pub(super) Vec<f64>);

impl Evaluator<Toy> for Script {
    fn evaluate(&mut self, _: &Toy, scope: Scope) -> std::result::Result<Evaluation, BoxError> {
        let loss = if self.0.is_empty() { return Err("no loss left".into()) } else { self.0.remove(0) };
        let row = EvalRow {
            task: "all".into(),
            loss,
            tokens: 1,
            samples: 1,
            score: None,
            scorer: None,
            scored: 0,
            chance: None,
        };
        let split = if scope == Scope::Whole { "val" } else { "val-subset" };
        Ok(Evaluation { split: split.into(), rows: vec![row], predictions: Vec::new() })
    }
}

/// Trains a new toy without dropout and gives its parameters and what the hooks saw.
pub(super) fn trained(plan: &StagePlan, batch_size: usize, accumulation: usize) -> (Toy, Log) {
    let mut toy = Toy::new();
    toy.dropout = 0.0;
    let (mut source, mut log) = (ToySource::new(batch_size, accumulation), Log::default());
    let outcome = Trainer::new(plan, &toy, &mut source).unwrap().with_hook(&mut log).run().unwrap();
    assert_eq!(outcome, Outcome::Finished);
    (toy, log)
}
