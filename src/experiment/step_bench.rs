//! One training step of fixed sizes on random tokens, timed phase by phase: the twin of `scripts/torch_step.py`.

use super::bench_input::DrawnBatch;
use crate::config::model::{
    Checkpointing, LanguageConfig, LanguageMethod, LanguageSizes, ModelConfig, Pool, ProjectorKind, Router, TextConfig,
    TextMethod, TextSizes, TowerKind, Tuning, VisionConfig, VisionMethod,
};
use crate::config::train::{StageConfig, check_stages};
use crate::models::mllm::{Mllm, MllmInput};
use crate::nn::{MapSource, ParamStore};
use crate::ops::Ctx;
use crate::ops::profile::{self, Direction, Spent};
use crate::train::{AdamW, clip_factor, global_norm};
use candle_core::{Device, Result};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Sizes of `scripts/torch_step.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The sizes of the built-in recipe.
    Tiny,
    /// DINOv2-S, SmolLM2-135M, MiniLM.
    Real,
    /// The same at 112 pixels.
    Real112,
}

/// How the vision encoder is tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// CoVFT in the upper half of its blocks.
    Covft,
    /// All of it trains.
    Full,
    /// None of it does.
    Freeze,
}

/// Departures from a preset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resized {
    /// Side of the image in pixels.
    pub image_size: Option<usize>,
    /// Blocks of the vision encoder, the unused last one included.
    pub tower_layers: Option<usize>,
    /// Blocks of the language model.
    pub language_layers: Option<usize>,
    /// Experts of each CoMoE layer (4 otherwise).
    pub experts: Option<usize>,
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBench {
    /// Sizes.
    pub preset: Preset,
    /// What differs from them.
    pub resized: Resized,
    /// How the vision encoder is tuned.
    pub method: Method,
    /// Samples.
    pub batch: usize,
    /// Text tokens after the image, all labelled.
    pub text_len: usize,
    /// Tokens of the text encoder.
    pub question_len: usize,
    /// Timed steps, after two that are not.
    pub steps: usize,
}

/// What was measured; times in seconds, medians over the steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepReport {
    /// Median step time.
    pub step_s: f64,
    /// Every step's time.
    pub all: Vec<f64>,
    /// Median forward time.
    pub forward_s: f64,
    /// Median backward time.
    pub backward_s: f64,
    /// Median time of clipping and optimiser.
    pub optimizer_s: f64,
    /// Samples per second.
    pub samples_per_s: f64,
    /// Trained numbers.
    pub trainable: usize,
    /// Largest resident size of the process so far in MiB, where the system tells.
    pub peak_mib: Option<u64>,
    /// Loss of the last step.
    pub loss: f64,
}

/// Model, optimiser and input, ready for one step after the other.
pub struct PreparedStep {
    model: Mllm,
    params: ParamStore,
    optimizer: AdamW,
    input: MllmInput,
    device: Device,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct StepTimes {
    /// Seconds of the forward pass.
    pub forward: f64,
    /// Seconds of the backward pass.
    pub backward: f64,
    /// Seconds of clipping and optimiser.
    pub optimizer: f64,
    /// Mean loss of its tokens.
    pub loss: f64,
}

impl StepTimes {
    /// Seconds of all.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.forward + self.backward + self.optimizer
    }
}

impl PreparedStep {
    /// Forward, backward, clipping at 1, AdamW.
    ///
    /// # Errors
    /// A gradient that is missing or not finite; a tensor operation that fails.
    pub fn step(&mut self) -> Result<StepTimes> {
        let began = Instant::now();
        let ctx = Ctx::train(&self.device)?;
        let output = self.model.forward(&ctx, &self.input)?;
        let tokens: usize = output.sample_tokens.iter().sum();
        let mean = (output.loss_sum / tokens as f64)?;
        let forward = began.elapsed().as_secs_f64();
        profile::enter("sums of gradients", Direction::Backward);
        drop(mean.backward()?);
        let backward = began.elapsed().as_secs_f64();
        profile::enter("clipping", Direction::Update);
        let norm = global_norm(&self.params).map_err(|fault| candle_core::Error::Msg(format!("{fault:?}")))?;
        profile::enter("AdamW", Direction::Update);
        self.optimizer.step(1.0, clip_factor(norm, 1.0))?;
        self.params.clear_gradients();
        let total = began.elapsed().as_secs_f64();
        profile::enter("outside", Direction::Update);
        let loss = f64::from(mean.to_scalar::<f32>()?);
        Ok(StepTimes { forward, backward: backward - forward, optimizer: total - backward, loss })
    }

    /// Trained numbers.
    #[must_use]
    pub fn trainable(&self) -> usize {
        self.params.trainable().map(|p| p.weight.tensor().elem_count()).sum()
    }
}

impl StepBench {
    /// Builds the model from nothing.
    ///
    /// # Errors
    /// Sizes that do not fit each other.
    pub fn prepare(&self) -> Result<PreparedStep> {
        let device = Device::Cpu;
        let config = self.resized.apply(self.preset.config());
        let tuning = Tuning {
            vision: self.method.tuning(self.resized.experts),
            projector: true,
            language: LanguageMethod::Full,
            text: TextMethod::Freeze,
            checkpointing: Checkpointing::None,
        };
        let (model, params) = Mllm::build(&config, &tuning, &MapSource::default(), 0, &device, 0)?;
        let optimizer = AdamW::new(&params, &checked_stage(&tuning));
        let input = self.input(&config, &device)?;
        Ok(PreparedStep { model, params, optimizer, input, device })
    }

    /// Runs and times the steps.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`PreparedStep::step`].
    pub fn run(&self) -> Result<StepReport> {
        let mut prepared = self.warm()?;
        let steps = (0..self.steps).map(|_| prepared.step()).collect::<Result<Vec<StepTimes>>>()?;
        let of = |part: fn(&StepTimes) -> f64| steps.iter().map(part).collect::<Vec<f64>>();
        let all = of(StepTimes::total);
        let step_s = median(&all);
        Ok(StepReport {
            step_s,
            forward_s: median(&of(|t| t.forward)),
            backward_s: median(&of(|t| t.backward)),
            optimizer_s: median(&of(|t| t.optimizer)),
            samples_per_s: self.batch as f64 / step_s,
            trainable: prepared.trainable(),
            peak_mib: crate::probe::memory::peak().map(|bytes| bytes >> 20),
            loss: steps.last().map_or(f64::NAN, |t| t.loss),
            all,
        })
    }

    /// Runs the steps with the clock of [`profile`] on.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile(&self) -> Result<Spent> {
        let mut prepared = self.warm()?;
        let (done, spent) = profile::profiled(|| (0..self.steps).try_for_each(|_| prepared.step().map(drop)));
        done.map(|()| spent)
    }

    fn warm(&self) -> Result<PreparedStep> {
        let mut prepared = self.prepare()?;
        for _ in 0..2 {
            prepared.step()?;
        }
        Ok(prepared)
    }

    fn input(&self, config: &ModelConfig, device: &Device) -> Result<MllmInput> {
        let (samples, text_len, question_len) = (self.batch, self.text_len, self.question_len);
        DrawnBatch { name: "step-bench", samples, text_len, question_len }.draw(config, device)
    }
}

impl Method {
    fn tuning(self, experts: Option<usize>) -> VisionMethod {
        match self {
            Self::Covft => VisionMethod::Covft {
                experts: experts.unwrap_or(4),
                start_layer: None,
                end_layer: None,
                router: Router::Dense,
            },
            Self::Full => VisionMethod::Full,
            Self::Freeze => VisionMethod::Freeze,
        }
    }
}

impl Resized {
    fn apply(&self, mut config: ModelConfig) -> ModelConfig {
        config.vision.image_size = self.image_size.or(config.vision.image_size);
        config.vision.layers = self.tower_layers.or(config.vision.layers);
        if let (Some(layers), Some(sizes)) = (self.language_layers, &mut config.language.sizes) {
            sizes.layers = layers;
        }
        config
    }
}

impl Preset {
    /// A model of these sizes, from nothing.
    #[must_use]
    pub fn config(self) -> ModelConfig {
        let (vision, language, text) = match self {
            Self::Tiny => ((128, 512, 6, 4, 64, 8), (192, 512, 4, 6, 6, 1024), (128, 512, 2, 4, 1024)),
            Self::Real => ((384, 1536, 12, 6, 224, 14), (576, 1536, 30, 9, 3, 49152), (384, 1536, 6, 12, 30522)),
            Self::Real112 => ((384, 1536, 12, 6, 112, 14), (576, 1536, 30, 9, 3, 49152), (384, 1536, 6, 12, 30522)),
        };
        let (width, ffn, layers, heads, image, patch) = vision;
        let vision = VisionConfig {
            weights: None,
            kind: Some(TowerKind::Clip),
            image_size: Some(image),
            patch_size: Some(patch),
            width: Some(width),
            layers: Some(layers),
            heads: Some(heads),
            ffn: Some(ffn),
            select_layer: -2,
        };
        let (width, ffn, layers, heads, kv_heads, vocabulary) = language;
        let tied = vocabulary == 49152;
        let sizes =
            LanguageSizes { width, ffn, layers, heads, kv_heads, vocabulary: Some(vocabulary), tied, rope_theta: 1e4 };
        let language = LanguageConfig { weights: None, tokenizer: None, sizes: Some(sizes) };
        let (width, ffn, layers, heads, vocabulary) = text;
        let sizes = TextSizes { width, ffn, layers, heads, vocabulary: Some(vocabulary), positions: 512 };
        let text = TextConfig { weights: None, tokenizer: None, pool: Pool::Cls, sizes: Some(sizes) };
        ModelConfig { checkpoint: None, merge: false, vision, projector: ProjectorKind::Mlp2xGelu, language, text }
    }
}

fn checked_stage(tuning: &Tuning) -> crate::config::train::Stage {
    let text = "name = 'bench'\nsteps = 1\nbatch_size = 1\nlearning_rate = 1e-5\n[tuning]\n";
    let mut stage: StageConfig = toml::from_str(text).expect("the text above is a stage");
    stage.tuning = tuning.clone();
    check_stages(&[stage]).expect("the values above are valid").remove(0)
}

/// The middle value, or the middle of the two middle ones; NaN without any.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.is_empty() {
        f64::NAN
    } else if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_tiny_step_runs_and_its_loss_is_that_of_guessing() {
        let report = tiny(Method::Freeze).run().unwrap();
        assert!((report.loss - 1024f64.ln()).abs() < 0.5, "{report:?}");
        assert!(report.step_s > 0.0 && report.trainable > 1_000_000);
    }

    #[test]
    fn what_is_resized_is() {
        let trainable = |bench: StepBench| bench.prepare().unwrap().trainable();
        let base = tiny(Method::Covft);
        let with = |resized: Resized| trainable(StepBench { resized, ..base });
        let at_first = trainable(base);
        assert!(with(Resized { experts: Some(8), ..Resized::default() }) > at_first);
        assert!(with(Resized { language_layers: Some(2), ..Resized::default() }) < at_first);
        assert!(with(Resized { tower_layers: Some(4), ..Resized::default() }) < at_first);
        let larger = Resized { image_size: Some(128), ..Resized::default() };
        let prepared = StepBench { resized: larger, ..base }.prepare().unwrap();
        assert_eq!(prepared.input.pixels.dims(), [2, 3, 128, 128]);
    }

    #[test]
    fn a_profile_accounts_for_the_whole_step() {
        use crate::ops::profile::Direction;
        let bench = StepBench { steps: 2, ..tiny(Method::Covft) };
        let began = Instant::now();
        let spent = bench.profile().unwrap();
        let all = began.elapsed().as_secs_f64();
        let booked: f64 = spent.values().map(|s| s.0.as_secs_f64()).sum();
        assert!(booked > 0.0 && booked < all);
        let calls = |part: &str, op: &str, direction| {
            spent
                .iter()
                .filter(|(e, _)| e.part == part && e.op == op && e.direction == direction)
                .map(|e| e.1.1)
                .sum::<usize>()
        };
        // Two steps of four blocks with seven projections each, two of them with the residual, and one output head.
        let both = [Direction::Forward, Direction::Backward];
        assert_eq!(both.map(|d| calls("language model", "linear", d)), [40; 2]);
        assert_eq!(both.map(|d| calls("language model", "linear-add", d)), [16; 2]);
        assert_eq!(both.map(|d| calls("output head and loss", "linear", d)), [2; 2]);
        // Three CoMoE blocks.
        assert_eq!(both.map(|d| calls("vision encoder", "mixture", d)), [6; 2]);
    }

    fn tiny(method: Method) -> StepBench {
        let resized = Resized::default();
        StepBench { preset: Preset::Tiny, resized, method, batch: 2, text_len: 6, question_len: 4, steps: 1 }
    }
}
