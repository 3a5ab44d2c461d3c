//! `covft-probe generate CHECKPOINT --image --prompt`.

use super::out::say;
use super::table::Table;
use crate::config::Recipe;
use crate::config::data::{DataConfig, ImageAspect, Template};
use crate::config::model::{TextMethod, Tuning};
use crate::data::{Preparation, Tokenizers, picture};
use crate::experiment::session::image_spec;
use crate::models::account::account;
use crate::models::covft::LayerRouting;
use crate::models::generate::{GenerateOptions, Question, Sampling};
use crate::models::mllm::Mllm;
use crate::models::save::load_recipe;
use crate::models::shapes::image_aspect_ratio;
use crate::models::source::open_source;
use anyhow::Context;
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe generate runs/scenes/checkpoints/step-000520 --image runs/scenes/images/val-0000.png --prompt 'how many circles?'
  covft-probe generate RUN/checkpoints/step-000260 --image photo.jpg --prompt 'What is on the table?' --temperature 0.7")]
pub(super) struct Args {
    /// A checkpoint folder of a run.
    checkpoint: PathBuf,
    /// Picture to ask about; text alone if left out.
    #[arg(long)]
    image: Option<PathBuf>,
    /// The question.
    #[arg(long)]
    prompt: String,
    /// Longest answer in tokens.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Draw tokens at this temperature instead of taking the likeliest.
    #[arg(long)]
    temperature: Option<f64>,
    /// Draw from the likeliest tokens that together reach this probability.
    #[arg(long, default_value_t = 1.0, requires = "temperature")]
    top_p: f64,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Prompt template, for checkpoints that were not made here: v1, plain or chatml.
    #[arg(long)]
    template: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = &args.checkpoint;
    let (model_config, tuning) = load_recipe(folder)?;
    // The head that told tasks apart answers no question.
    let tuning = Tuning { text: TextMethod::Freeze, ..tuning };
    let data = data_config(folder, args.template.as_deref())?;
    let device = Device::Cpu;
    account(&model_config, &tuning, 0)?;
    let source = open_source(&model_config)?;
    let (mut model, _) = Mllm::build(&model_config, &tuning, source.as_ref(), 0, &device, 0)?;
    model.set_max_length(data.max_length);
    let vision = &model.shapes().vision;
    let spec = image_spec(vision, data.image_aspect);
    let named = |path: &Option<PathBuf>, beside: &str| path.clone().unwrap_or_else(|| folder.join(beside));
    let tokenizers = Tokenizers::load(
        &named(&model_config.language.tokenizer, "tokenizer.json"),
        &named(&model_config.text.tokenizer, "context_tokenizer.json"),
        data.context_length.min(model.shapes().text.positions),
    )?;
    let side = vision.image_size;
    let pixels = match &args.image {
        Some(path) => {
            let opened = picture::open(path, data.exif).map_err(|e| anyhow::anyhow!("{e}: {}", path.display()))?;
            spec.pixels(&opened.pixels)
        }
        None => vec![0.0; spec.values()],
    };
    let preparation = Preparation::new(&data, tokenizers, spec, vision.patches());
    let pixels = Tensor::from_vec(pixels, (1, 3, side, side), &device)?;
    let input_ids = preparation.prompt_ids(&args.prompt, args.image.is_some())?;
    let context_ids = preparation.context_ids(&args.prompt)?;
    let tokenizer = &preparation.tokenizers.language;
    let sampling = args.temperature.map_or(Sampling::Greedy, |temperature| Sampling::TopP {
        temperature,
        top_p: args.top_p,
        seed: args.seed,
    });
    let options = GenerateOptions { max_new_tokens: args.max_new_tokens, stop: vec![tokenizer.end()], sampling };
    let question = Question { pixels: &pixels, input_ids: &input_ids, context_ids: &context_ids };
    let answer = model.generate(&question, &options)?;
    say!("{}", tokenizer.decode(&answer.ids)?.trim());
    if !answer.routing.is_empty() {
        say!("");
        routing(&answer.routing)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How the run prepared its data; defaults where the checkpoint does not say.
fn data_config(folder: &Path, template: Option<&str>) -> anyhow::Result<DataConfig> {
    let path = folder.join("recipe.toml");
    let mut data = if path.exists() { Recipe::read(&path, &[])?.data } else { DataConfig::default() };
    if let (false, Some(name)) = (path.exists(), image_aspect_ratio(folder)?) {
        data.image_aspect = ImageAspect::called(&name).unwrap_or_default();
    }
    if let Some(name) = template {
        let text = format!("\"{name}\"");
        data.template = serde_json::from_str::<Template>(&text).with_context(|| format!("--template {name}"))?;
    }
    Ok(data)
}

fn routing(layers: &[LayerRouting]) -> anyhow::Result<()> {
    let experts = layers[0].weights.dim(1)?;
    let header: Vec<String> = std::iter::once("routing by layer".to_owned())
        .chain((0..experts).map(|e| format!("expert {e}")))
        .chain(["entropy".to_owned()])
        .collect();
    let mut table = Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for layer in layers {
        let weights = layer.weights.flatten_all()?.to_vec1::<f32>()?;
        let entropy: f32 = -weights.iter().filter(|w| **w > 0.0).map(|w| w * w.ln()).sum::<f32>();
        let cells = weights.iter().map(|w| format!("{w:.4}"));
        table.row(std::iter::once(layer.layer.to_string()).chain(cells).chain([format!("{entropy:.3}")]));
    }
    table.print();
    Ok(())
}
