//! One training step of fixed sizes on random tokens, timed phase by phase: the twin of `scripts/torch_step.py`.

use crate::config::model::{
    LanguageConfig, LanguageMethod, LanguageSizes, ModelConfig, ProjectorKind, TextConfig, TextMethod, TextSizes,
    TowerKind, Tuning, VisionConfig, VisionMethod,
};
use crate::config::train::{StageConfig, check_stages};
use crate::models::mllm::{IMAGE_TOKEN, Mllm, MllmInput};
use crate::nn::{MapSource, ParamStore, Stream};
use crate::ops::Ctx;
use crate::train::{AdamW, clip_factor, global_norm};
use candle_core::{Device, Result, Tensor};
use rand::Rng;
use serde::Serialize;
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

/// What is timed.
#[derive(Clone, Debug)]
pub struct StepBench {
    /// Sizes.
    pub preset: Preset,
    /// How the vision encoder is tuned.
    pub method: VisionMethod,
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
#[derive(Clone, Debug, Serialize)]
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

impl StepBench {
    /// Builds the model from nothing, runs and times the steps.
    pub fn run(&self) -> Result<StepReport> {
        let device = Device::Cpu;
        let config = self.preset.config();
        let tuning = Tuning {
            vision: self.method.clone(),
            projector: true,
            language: LanguageMethod::Full,
            text: TextMethod::Freeze,
            checkpointing: crate::config::model::Checkpointing::None,
        };
        let (model, params) = Mllm::build(&config, &tuning, &MapSource::default(), 0, &device, 0)?;
        let mut optimizer = AdamW::new(&params, &checked_stage(&tuning));
        let input = self.input(&config, &device)?;
        let mut times: [Vec<f64>; 4] = Default::default();
        let mut loss = 0.0;
        for step in 0..self.steps + 2 {
            let began = Instant::now();
            let ctx = Ctx::train(&device)?;
            let output = model.forward(&ctx, &input)?;
            let tokens: usize = output.sample_tokens.iter().sum();
            let mean = (output.loss_sum / tokens as f64)?;
            let forward = began.elapsed().as_secs_f64();
            drop(mean.backward()?);
            let backward = began.elapsed().as_secs_f64();
            let factor =
                clip_factor(global_norm(&params).map_err(|fault| candle_core::Error::Msg(format!("{fault:?}")))?, 1.0);
            optimizer.step(1.0, factor)?;
            params.clear_gradients();
            let total = began.elapsed().as_secs_f64();
            loss = f64::from(mean.to_scalar::<f32>()?);
            if step >= 2 {
                for (list, time) in times.iter_mut().zip([total, forward, backward - forward, total - backward]) {
                    list.push(time);
                }
            }
        }
        let [step, forward, backward, optimizer] = times.each_ref().map(|list| median(list));
        Ok(StepReport {
            step_s: step,
            forward_s: forward,
            backward_s: backward,
            optimizer_s: optimizer,
            samples_per_s: self.batch as f64 / step,
            trainable: trainable(&params),
            peak_mib: crate::probe::memory::peak().map(|bytes| bytes >> 20),
            loss,
            all: std::mem::take(&mut times[0]),
        })
    }

    fn input(&self, config: &ModelConfig, device: &Device) -> Result<MllmInput> {
        let side = config.vision.image_size.unwrap_or(224);
        let mut stream = Stream::new(0, "step-bench");
        let pixels = stream.normal(self.batch * 3 * side * side, 1.0);
        let pixels = Tensor::from_vec(pixels, (self.batch, 3, side, side), device)?;
        let vocabulary = |v: Option<usize>| v.unwrap_or(2) as u32;
        let words = vocabulary(config.language.sizes.as_ref().and_then(|s| s.vocabulary));
        let questions = vocabulary(config.text.sizes.as_ref().and_then(|s| s.vocabulary));
        let rng = stream.rng();
        let text: Vec<Vec<i64>> = (0..self.batch)
            .map(|_| (0..self.text_len).map(|_| i64::from(rng.random_range(0..words))).collect())
            .collect();
        let context_ids =
            (0..self.batch).map(|_| (0..self.question_len).map(|_| rng.random_range(0..questions)).collect()).collect();
        let with_image = |mark: i64, text: &[i64]| [&[mark], text].concat();
        Ok(MllmInput {
            pixels,
            input_ids: text.iter().map(|t| with_image(IMAGE_TOKEN, t)).collect(),
            labels: text.iter().map(|t| with_image(crate::ops::IGNORE_INDEX, t)).collect(),
            context_ids,
            task_ids: None,
        })
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
        let text =
            TextConfig { weights: None, tokenizer: None, pool: crate::config::model::Pool::Cls, sizes: Some(sizes) };
        ModelConfig { checkpoint: None, vision, projector: ProjectorKind::Mlp2xGelu, language, text }
    }
}

fn checked_stage(tuning: &Tuning) -> crate::config::train::Stage {
    let text = "name = 'bench'\nsteps = 1\nbatch_size = 1\nlearning_rate = 1e-5\n[tuning]\n";
    let mut stage: StageConfig = toml::from_str(text).expect("the text above is a stage");
    stage.tuning = tuning.clone();
    check_stages(&[stage]).expect("the values above are valid").remove(0)
}

fn trainable(params: &ParamStore) -> usize {
    params.trainable().map(|p| p.weight.tensor().elem_count()).sum()
}

fn median(values: &[f64]) -> f64 {
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
        let bench = StepBench {
            preset: Preset::Tiny,
            method: VisionMethod::Freeze,
            batch: 2,
            text_len: 6,
            question_len: 4,
            steps: 1,
        };
        let report = bench.run().unwrap();
        assert!((report.loss - 1024f64.ln()).abs() < 0.5, "{report:?}");
        assert!(report.step_s > 0.0 && report.trainable > 1_000_000);
    }
}
