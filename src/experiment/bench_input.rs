//! What a benchmark's step eats: drawn pixels and words.

use crate::config::model::ModelConfig;
use crate::models::mllm::{IMAGE_TOKEN, MllmInput};
use crate::nn::Stream;
use crate::ops::IGNORE_INDEX;
use candle_core::{Device, Result, Tensor};
use rand::Rng;

/// Sizes of a drawn batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrawnBatch {
    /// Names the stream that the numbers come from.
    pub(super) name: &'static str,
    pub(super) samples: usize,
    /// Words of a sample after its image, all of them labelled.
    pub(super) text_len: usize,
    /// Words of the text that asks for the context.
    pub(super) question_len: usize,
}

impl DrawnBatch {
    /// A batch for a model of `config`, on `device`.
    pub(super) fn draw(self, config: &ModelConfig, device: &Device) -> Result<MllmInput> {
        let Self { name, samples, text_len, question_len } = self;
        let side = config.vision.image_size.unwrap_or(224);
        let mut stream = Stream::new(0, name);
        let pixels = stream.normal(samples * 3 * side * side, 1.0);
        let pixels = Tensor::from_vec(pixels, (samples, 3, side, side), device)?;
        let vocabulary = |v: Option<usize>| v.unwrap_or(2) as u32;
        let words = vocabulary(config.language.sizes.as_ref().and_then(|s| s.vocabulary));
        let questions = vocabulary(config.text.sizes.as_ref().and_then(|s| s.vocabulary));
        let rng = stream.rng();
        let mut draw = |n: usize, below: u32| (0..n).map(|_| rng.random_range(0..below)).collect::<Vec<u32>>();
        let text: Vec<Vec<u32>> = (0..samples).map(|_| draw(text_len, words)).collect();
        let context_ids = (0..samples).map(|_| draw(question_len, questions)).collect();
        let behind = |mark: i64| {
            let row = |text: &Vec<u32>| std::iter::once(mark).chain(text.iter().map(|t| i64::from(*t))).collect();
            text.iter().map(row).collect()
        };
        Ok(MllmInput {
            pixels,
            input_ids: behind(IMAGE_TOKEN),
            labels: behind(IGNORE_INDEX),
            context_ids,
            task_ids: None,
        })
    }
}
