//! Outputs of three real pretrained models (DINOv2-S, SmolLM2-135M, MiniLM-L6) against numbers computed independently.

use crate::config::model::{LanguageConfig, LanguageMethod, Pool, TextConfig, VisionConfig, VisionMethod};
use crate::models::bert::Bert;
use crate::models::checkpoint::Safetensors;
use crate::models::llama::Llama;
use crate::models::shapes::{LanguageShape, TextShape};
use crate::models::towers::{Tower, TowerSizes};
use crate::nn::{ParamBuilder, Part};
use crate::ops::Ctx;
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::path::Path;
use tokenizers::Tokenizer;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One compared quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct RealRow {
    /// What was compared.
    pub what: String,
    /// Largest absolute difference (0 or 1 for what must be equal).
    pub worst: f64,
    /// Largest difference that passes.
    pub tolerance: f64,
}

impl RealRow {
    /// Whether the difference is within its tolerance.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.worst <= self.tolerance
    }

    fn equal(what: impl Into<String>, equal: bool) -> Self {
        Self { what: what.into(), worst: f64::from(u8::from(!equal)), tolerance: 0.0 }
    }
}

/// Compares the models under `weights` (`dinov2-small`, `smollm2-135m`, `minilm-l6`) with the numbers in `expected`.
///
/// # Errors
/// A folder or file that is missing or damaged.
pub fn check(weights: &Path, expected: &Path) -> Result<Vec<RealRow>> {
    let text = std::fs::read_to_string(expected).map_err(|e| format!("cannot read {}: {e}", expected.display()))?;
    let expected: Value = serde_json::from_str(&text)?;
    let mut rows = vision(&weights.join("dinov2-small"), &expected["dinov2-small"])?;
    rows.extend(language(&weights.join("smollm2-135m"), &expected["smollm2-135m"])?);
    rows.extend(sentences(&weights.join("minilm-l6"), &expected["minilm-l6"])?);
    Ok(rows)
}

fn vision(folder: &Path, expected: &Value) -> Result<Vec<RealRow>> {
    const TOLERANCE: f64 = 2e-4;
    let source = Safetensors::open(folder)?;
    let config = VisionConfig { image_size: Some(224), ..VisionConfig::from_folder(folder) };
    let sizes = TowerSizes::resolve(&config)?;
    let frozen = |_: &str, _: &crate::nn::Role| false;
    let pb = ParamBuilder::new(&source, &frozen, 0, &Device::Cpu).part(Part::Vision);
    let tower = Tower::new(&pb, &sizes, &VisionMethod::Freeze, 1, false)?;
    let pixel = |c: usize, y: usize, x: usize| 1.5 * (0.05 * x as f64 + 0.03 * y as f64 + c as f64).sin();
    let pixels: Vec<f32> = (0..3 * 224 * 224).map(|i| pixel(i / (224 * 224), i / 224 % 224, i % 224) as f32).collect();
    let pixels = Tensor::from_vec(pixels, (1, 3, 224, 224), &Device::Cpu)?;
    let ctx = Ctx::eval();
    let states = tower.hidden_states(&ctx, &pixels, None)?;
    let last = tower.final_norm(&ctx, states.last().ok_or("a tower without states")?)?;
    let mut rows = Vec::new();
    for (key, state) in [
        ("embeddings", &states[0]),
        ("after_layer_0", &states[1]),
        ("after_layer_5", &states[6]),
        ("after_layer_11", &states[12]),
        ("final_layernorm", &last),
    ] {
        let state = state.squeeze(0)?.to_vec2::<f32>()?;
        let pairs = [0, 100].iter().enumerate().flat_map(|(i, token)| {
            let wanted = numbers(&expected[key][i]);
            wanted.into_iter().zip(state[*token].clone()).map(|(w, s)| (f64::from(s) - w).abs()).collect::<Vec<_>>()
        });
        let worst = pairs.fold(f64::NAN, f64::max);
        rows.push(RealRow { what: format!("DINOv2-S {key}"), worst, tolerance: TOLERANCE });
    }
    let norms = numbers(&expected["final_norms"]);
    let last = last.squeeze(0)?.to_vec2::<f32>()?;
    let norm = |token: usize| last[token].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let worst = (norm(0) - norms[0]).abs().max((norm(100) - norms[1]).abs());
    rows.push(RealRow { what: "DINOv2-S final norms".into(), worst, tolerance: TOLERANCE });
    Ok(rows)
}

fn language(folder: &Path, expected: &Value) -> Result<Vec<RealRow>> {
    const TOLERANCE: f64 = 2e-3;
    let source = Safetensors::open(folder)?;
    let config = LanguageConfig { weights: Some(folder.to_path_buf()), tokenizer: None, sizes: None };
    let shape = LanguageShape::resolve(&config, None)?;
    let frozen = |_: &str, _: &crate::nn::Role| false;
    let pb = ParamBuilder::new(&source, &frozen, 0, &Device::Cpu).part(Part::Language);
    let model = Llama::new(&pb, &shape, &LanguageMethod::Freeze, false)?;
    let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))?;
    let mut rows = Vec::new();
    for (i, prompt) in list(&expected["prompts"]).iter().enumerate() {
        let text = prompt["text"].as_str().unwrap_or_default();
        let ids = tokenizer.encode(text, false)?.get_ids().to_vec();
        rows.push(RealRow::equal(format!("SmolLM2 ids of prompt {i}"), ids == ids_of(&prompt["ids"])));
        let logits = logits(&model, &ids)?;
        let last = &logits[logits.len() - 1];
        let top = list(&prompt["last_logits_top5"]);
        let worst = top
            .iter()
            .map(|pair| {
                (f64::from(last[pair[0].as_u64().unwrap_or(0) as usize]) - pair[1].as_f64().unwrap_or(0.0)).abs()
            })
            .fold(f64::NAN, f64::max);
        rows.push(RealRow { what: format!("SmolLM2 top logits of prompt {i}"), worst, tolerance: TOLERANCE });
        let nll = (1..ids.len()).map(|t| surprise(&logits[t - 1], ids[t])).sum::<f64>() / (ids.len() - 1) as f64;
        let worst = (nll - prompt["mean_nll"].as_f64().unwrap_or(f64::NAN)).abs();
        rows.push(RealRow { what: format!("SmolLM2 mean loss of prompt {i}"), worst, tolerance: TOLERANCE });
    }
    let first = expected["prompts"][0]["text"].as_str().unwrap_or_default();
    let mut ids = tokenizer.encode(first, false)?.get_ids().to_vec();
    let begin = ids.len();
    for _ in 0..8 {
        let logits = logits(&model, &ids)?;
        let last = &logits[logits.len() - 1];
        let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap_or(0);
        ids.push(best as u32);
    }
    let greedy = &ids[begin..];
    rows.push(RealRow::equal("SmolLM2 greedy ids", greedy == ids_of(&expected["greedy_8_after_first_prompt"])));
    let text = tokenizer.decode(greedy, false)?;
    rows.push(RealRow::equal("SmolLM2 greedy text", expected["greedy_text"].as_str() == Some(text.as_str())));
    Ok(rows)
}

fn sentences(folder: &Path, expected: &Value) -> Result<Vec<RealRow>> {
    const TOLERANCE: f64 = 2e-4;
    let source = Safetensors::open(folder)?;
    let config = TextConfig { weights: Some(folder.to_path_buf()), tokenizer: None, pool: Pool::Mean, sizes: None };
    let shape = TextShape::resolve(&config, None)?;
    let frozen = |_: &str, _: &crate::nn::Role| false;
    let pb = ParamBuilder::new(&source, &frozen, 0, &Device::Cpu).part(Part::Text);
    let model = Bert::new(&pb, &shape, Pool::Mean)?;
    let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))?;
    tokenizer.with_padding(None).with_truncation(None)?;
    let mut rows = Vec::new();
    let mut vectors = Vec::new();
    for (i, prompt) in list(&expected["prompts"]).iter().enumerate() {
        let text = prompt["text"].as_str().unwrap_or_default();
        let ids = tokenizer.encode(text, true)?.get_ids().to_vec();
        rows.push(RealRow::equal(format!("MiniLM ids of prompt {i}"), ids == ids_of(&prompt["ids"])));
        let vector = model.vector(&Ctx::eval(), &[ids])?.squeeze(0)?.to_vec1::<f32>()?;
        let norm = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let unit: Vec<f64> = vector.iter().map(|x| f64::from(*x) / norm).collect();
        let wanted = numbers(&prompt["embedding_first_8"]);
        let worst = wanted.iter().zip(&unit).map(|(w, u)| (w - u).abs()).fold(f64::NAN, f64::max);
        rows.push(RealRow { what: format!("MiniLM embedding of prompt {i}"), worst, tolerance: TOLERANCE });
        vectors.push(unit);
    }
    let cosine: f64 = vectors[0].iter().zip(&vectors[1]).map(|(a, b)| a * b).sum();
    let worst = (cosine - expected["cosine"].as_f64().unwrap_or(f64::NAN)).abs();
    rows.push(RealRow { what: "MiniLM cosine of the prompts".into(), worst, tolerance: TOLERANCE });
    Ok(rows)
}

/// Logits `[T, V]` of one text.
fn logits(model: &Llama, ids: &[u32]) -> candle_core::Result<Vec<Vec<f32>>> {
    let ctx = Ctx::eval();
    let tokens = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
    let states = model.states(&ctx, &model.embed(&ctx, &tokens)?, &[ids.len()].into())?;
    model.logits(&ctx, &states)?.squeeze(0)?.to_vec2()
}

/// `-log softmax(logits)[target]`.
fn surprise(logits: &[f32], target: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
    sum.ln() - f64::from(logits[target as usize] - largest)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().filter_map(Value::as_f64).collect()
}

fn ids_of(value: &Value) -> Vec<u32> {
    list(value).iter().filter_map(|v| v.as_u64().map(|n| n as u32)).collect()
}
