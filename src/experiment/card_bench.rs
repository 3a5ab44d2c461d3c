//! One training step on a device, timed and weighed: the twin of `scripts/torch_step.py --device cuda`.

use super::bench_input::DrawnBatch;
use super::step_bench::Preset;
use crate::config::model::{
    Checkpointing, LanguageMethod, LanguageSizes, ModelConfig, TextMethod, TextSizes, Tuning, VisionMethod,
};
use crate::config::train::{MomentType, Stage, StageConfig, check_stages};
use crate::models::mllm::{Mllm, MllmInput};
use crate::nn::MapSource;
use crate::ops::Ctx;
use crate::train::{AdamW, clip_factor, global_norm};
use candle_core::{DType, Device, Result};
use serde::Serialize;
use std::time::Instant;

/// Sizes of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardPreset {
    /// Those of a preset for the CPU.
    Small(Preset),
    /// CLIP-L/14 at 336 pixels, a LLaMA of 7 B numbers, BERT base.
    ClipL,
}

/// What is timed.
#[derive(Clone, Debug)]
pub struct CardBench {
    /// Sizes.
    pub preset: CardPreset,
    /// Blocks of the language model, if not the preset's.
    pub language_layers: Option<usize>,
    /// How the vision encoder is tuned.
    pub method: VisionMethod,
    /// Type of the activations.
    pub dtype: DType,
    /// Type of the optimiser's moments.
    pub moments: MomentType,
    /// Whether bfloat16 copies of the weights are kept.
    pub bf16_copies: bool,
    /// Which blocks are run again backward.
    pub checkpointing: Checkpointing,
    /// Samples.
    pub batch: usize,
    /// Text tokens after the image, all labelled.
    pub text_len: usize,
    /// Tokens of the text encoder.
    pub question_len: usize,
    /// Timed steps, after two that are not.
    pub steps: usize,
}

/// What was measured; times in seconds, each until the device is done.
#[derive(Clone, Debug, Serialize)]
pub struct CardReport {
    /// Median step time.
    pub step_s: f64,
    /// Every step's time.
    pub all: Vec<f64>,
    /// Samples per second.
    pub samples_per_s: f64,
    /// Tokens through the language model per second.
    pub tokens_per_s: f64,
    /// Trained numbers.
    pub trainable: usize,
    /// Numbers of the model.
    pub parameters: usize,
    /// MiB in tensors at most, over the timed steps; null on the CPU.
    pub peak_mib: Option<u64>,
    /// MiB that the pool of memory held at most.
    pub pool_mib: Option<u64>,
    /// Seconds that building the model took.
    pub build_s: f64,
    /// Loss of the first step and of the last.
    pub losses: [f64; 2],
}

impl CardBench {
    /// Builds the model from nothing, runs and times the steps.
    ///
    /// # Errors
    /// Sizes that do not fit each other, memory that does not suffice, a gradient that is missing or not finite.
    pub fn run(&self, device: &Device) -> Result<CardReport> {
        let began = Instant::now();
        let config = self.config();
        let tuning = Tuning {
            vision: self.method.clone(),
            projector: true,
            language: LanguageMethod::Full,
            text: TextMethod::Freeze,
            checkpointing: self.checkpointing,
        };
        let (mut model, params) = Mllm::build(&config, &tuning, &MapSource::default(), 0, device, 0)?;
        model.set_compute(self.dtype);
        params.keep_copies(self.bf16_copies);
        let mut optimizer = AdamW::new(&params, &self.stage(&tuning));
        let input = self.input(&config, device)?;
        device.synchronize()?;
        let build_s = began.elapsed().as_secs_f64();
        let (mut all, mut losses, mut sequence) = (Vec::new(), Vec::new(), 0);
        for step in 0..self.steps + 2 {
            if step == 2 {
                peak(device)?;
            }
            let began = Instant::now();
            let output = model.forward(&Ctx::train(device)?, &input)?;
            sequence = output.sequence_tokens;
            let tokens: usize = output.sample_tokens.iter().sum();
            let mean = (output.loss_sum / tokens as f64)?;
            drop(mean.backward()?);
            let norm = global_norm(&params).map_err(|fault| candle_core::Error::Msg(format!("{fault:?}")))?;
            optimizer.step(1.0, clip_factor(norm, 1.0))?;
            params.clear_gradients();
            device.synchronize()?;
            if step >= 2 {
                all.push(began.elapsed().as_secs_f64());
            }
            losses.push(f64::from(mean.to_scalar::<f32>()?));
        }
        let mut sorted = all.clone();
        sorted.sort_by(f64::total_cmp);
        let step_s = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        let peaks = peak(device)?;
        let count = |trains: bool| {
            let of = params.iter().filter(|p| !trains || p.weight.is_trainable());
            of.map(|p| p.weight.tensor().elem_count()).sum()
        };
        Ok(CardReport {
            step_s,
            samples_per_s: self.batch as f64 / step_s,
            tokens_per_s: sequence as f64 / step_s,
            trainable: count(true),
            parameters: count(false),
            peak_mib: peaks.map(|[used, _]| used >> 20),
            pool_mib: peaks.map(|[_, held]| held >> 20),
            build_s,
            losses: [losses.first().copied().unwrap_or(f64::NAN), losses.last().copied().unwrap_or(f64::NAN)],
            all,
        })
    }

    fn config(&self) -> ModelConfig {
        let mut config = match self.preset {
            CardPreset::Small(preset) => preset.config(),
            CardPreset::ClipL => clip_l(),
        };
        if let (Some(layers), Some(sizes)) = (self.language_layers, &mut config.language.sizes) {
            sizes.layers = layers;
        }
        config
    }

    fn stage(&self, tuning: &Tuning) -> Stage {
        let text = "name = 'bench'\nsteps = 1\nbatch_size = 1\nlearning_rate = 1e-5\n[tuning]\n";
        let mut stage: StageConfig = toml::from_str(text).expect("the text above is a stage");
        stage.tuning = tuning.clone();
        stage.moments = self.moments;
        check_stages(&[stage]).expect("the values above are valid").remove(0)
    }

    fn input(&self, config: &ModelConfig, device: &Device) -> Result<MllmInput> {
        let (samples, text_len, question_len) = (self.batch, self.text_len, self.question_len);
        DrawnBatch { name: "card-bench", samples, text_len, question_len }.draw(config, device)
    }
}

fn clip_l() -> ModelConfig {
    let mut config = Preset::Real.config();
    let vision = &mut config.vision;
    (vision.image_size, vision.patch_size) = (Some(336), Some(14));
    (vision.width, vision.ffn, vision.layers, vision.heads) = (Some(1024), Some(4096), Some(24), Some(16));
    let language = LanguageSizes {
        width: 4096,
        ffn: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        vocabulary: Some(32_000),
        tied: false,
        rope_theta: 1e4,
    };
    config.language.sizes = Some(language);
    let text = TextSizes { width: 768, ffn: 3072, layers: 12, heads: 12, vocabulary: Some(30_522), positions: 512 };
    config.text.sizes = Some(text);
    config
}

#[cfg(feature = "cuda")]
fn peak(device: &Device) -> Result<Option<[u64; 2]>> {
    if device.is_cpu() { Ok(None) } else { crate::kernels::cuda::peak_memory(device).map(Some) }
}

#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "fails where there is a card")]
const fn peak(_: &Device) -> Result<Option<[u64; 2]>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_step_runs_on_the_cpu_and_its_loss_is_that_of_guessing() {
        let bench = CardBench {
            preset: CardPreset::Small(Preset::Tiny),
            language_layers: Some(1),
            method: VisionMethod::Freeze,
            dtype: DType::F32,
            moments: MomentType::F32,
            bf16_copies: true,
            checkpointing: Checkpointing::None,
            batch: 2,
            text_len: 6,
            question_len: 4,
            steps: 1,
        };
        let report = bench.run(&Device::Cpu).unwrap();
        assert!((report.losses[0] - 1024f64.ln()).abs() < 0.5, "{report:?}");
        assert!(report.step_s > 0.0 && report.parameters > report.trainable && report.peak_mib.is_none());
    }

    #[test]
    fn the_large_model_has_the_size_it_says() {
        let covft = VisionMethod::Covft {
            experts: 4,
            start_layer: None,
            end_layer: None,
            router: crate::config::model::Router::Dense,
        };
        let count = |vision: VisionMethod| {
            let tuning = Tuning {
                vision,
                projector: true,
                language: LanguageMethod::Full,
                text: TextMethod::Freeze,
                checkpointing: Checkpointing::All,
            };
            let (_, params) = Mllm::plan(&clip_l(), &tuning, &MapSource::default(), 0).unwrap();
            let numbers = |p: &crate::nn::Param| p.weight.dims().iter().product::<usize>();
            let trained: usize = params.trainable().map(numbers).sum();
            (trained as f64 / 1e9, params.iter().map(numbers).sum::<usize>() as f64 / 1e9)
        };
        let counts = [count(VisionMethod::Freeze), count(VisionMethod::Full), count(covft)];
        println!("trained and all numbers in 10^9, frozen, full, CoVFT: {counts:?}");
        // LLaMA-7B has 6.738, the projector 0.021.
        assert!((counts[0].0 - 6.759).abs() < 0.001, "{counts:?}");
        assert!(counts[1].0 > 7.0 && counts[2].1 > counts[1].1, "{counts:?}");
    }
}
