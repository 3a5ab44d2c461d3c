//! Every tensor of a folder is read or named; what tuned a checkpoint is kept, merged or refused.

use super::account::account;
use super::checkpoint::{Safetensors, write_safetensors};
use super::golden::{clip, path};
use super::mllm::{Mllm, MllmInput, open_source};
use super::save::{load_recipe, save_checkpoint};
use crate::config::model::{
    LanguageConfig, LanguageMethod, ModelConfig, Pool, ProjectorKind, TextConfig, Tuning, VisionMethod,
};
use crate::nn::{ParamStore, TensorSource};
use crate::ops::Ctx;
use candle_core::{DType, Device, Tensor};
use std::path::Path;
use tempfile::TempDir;

/// The fixture's tower and text encoder beside a LLaMA of `llama-gqa`.
fn parts() -> ModelConfig {
    let text: TextConfig = serde_json::from_value(serde_json::json!({ "weights": path("bert") })).unwrap();
    ModelConfig {
        checkpoint: None,
        merge: false,
        vision: clip(),
        projector: ProjectorKind::Mlp2xGelu,
        language: LanguageConfig { weights: Some(path("llama-gqa")), tokenizer: None, sizes: None },
        text,
    }
}

fn tuning(vision: VisionMethod) -> Tuning {
    let mut tuning: Tuning = serde_json::from_str("{}").unwrap();
    tuning.vision = vision;
    tuning
}

fn lora(rank: usize, alpha: f64) -> VisionMethod {
    VisionMethod::Lora { rank, alpha, dropout: 0.0 }
}

fn covft(experts: usize) -> VisionMethod {
    serde_json::from_value(serde_json::json!({ "type": "covft", "experts": experts, "start_layer": 3 })).unwrap()
}

/// A copy of a fixture folder, its tensors changed by `change`.
fn changed(folder: &str, change: impl FnOnce(&mut Vec<(String, Tensor)>)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = Safetensors::open(&path(folder)).unwrap();
    let mut tensors: Vec<(String, Tensor)> =
        file.names().map(|name| (name.to_owned(), file.get(name).unwrap().unwrap())).collect();
    change(&mut tensors);
    let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write_safetensors(&dir.path().join("model.safetensors"), &tensors).unwrap();
    std::fs::copy(path(folder).join("config.json"), dir.path().join("config.json")).unwrap();
    dir
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap()
}

fn language(folder: &Path) -> ModelConfig {
    let config = parts();
    ModelConfig { language: LanguageConfig { weights: Some(folder.to_owned()), ..config.language }, ..config }
}

fn says(config: &ModelConfig, tuning: &Tuning) -> String {
    // Without the backtrace that the tensor library may hang on it.
    account(config, tuning, 0).unwrap_err().to_string().lines().next().unwrap_or_default().to_owned()
}

#[test]
fn plain_folders_are_read_to_the_last_tensor() {
    let accounts = account(&parts(), &tuning(VisionMethod::Freeze), 0).unwrap();
    for (account, folder) in accounts.iter().zip(["clip", "llama-gqa", "bert"]) {
        let there = Safetensors::open(&path(folder)).unwrap().names().count();
        let left: usize = account.unused.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(account.read + left, there, "{account}");
        assert!(account.to_string().ends_with(folder), "{account}");
    }
    assert_eq!(accounts[0].part, "vision");
    // Experts begin as the feed-forward layers, which are read for them.
    assert_eq!(account(&parts(), &tuning(covft(4)), 0).unwrap()[0].read, accounts[0].read);
}

#[test]
fn a_tensor_that_nobody_takes_is_refused_by_name() {
    let frozen = tuning(VisionMethod::Freeze);
    let biased = changed("llama-gqa", |t| t.push(("model.layers.0.self_attn.q_proj.bias".into(), zeros(&[48]))));
    let error = says(&language(biased.path()), &frozen);
    assert!(error.contains("takes model.layers.0.self_attn.q_proj.bias: "), "{error}");
    let deeper = changed("llama-gqa", |t| {
        let more: Vec<_> = t
            .iter()
            .filter(|(name, _)| name.starts_with("model.layers.2."))
            .map(|(name, tensor)| (name.replace("layers.2.", "layers.3."), tensor.clone()))
            .collect();
        t.extend(more);
    });
    let error = says(&language(deeper.path()), &frozen);
    assert!(error.contains("model.layers.3.") && error.contains(" more: "), "{error}");
    let lacking = changed("llama-gqa", |t| t.retain(|(name, _)| name != "model.norm.weight"));
    assert!(says(&language(lacking.path()), &frozen).contains("lack model.norm.weight"));
    let misshapen = changed("llama-gqa", |t| {
        t.iter_mut().filter(|(name, _)| name == "model.norm.weight").for_each(|(_, tensor)| *tensor = zeros(&[5]));
    });
    let error = says(&language(misshapen.path()), &frozen);
    assert!(error.contains("[5]") && error.contains("[48]"), "{error}");
}

#[test]
fn two_names_of_one_parameter_hold_the_same_numbers() {
    let (ours, theirs) = ("model.norm.weight", "language_model.model.norm.weight");
    let twice = |change: f64| {
        changed("llama-gqa", |tensors| {
            let (_, norm) = tensors.iter().find(|(name, _)| name == ours).unwrap().clone();
            tensors.push((theirs.to_owned(), (norm + change).unwrap()));
        })
    };
    let other = twice(0.5);
    let error = says(&language(other.path()), &tuning(VisionMethod::Freeze));
    assert!(error.starts_with(&format!("{theirs} and {ours} both stand for {ours} and hold other numbers")), "{error}");
    let same = twice(0.0);
    account(&language(same.path()), &tuning(VisionMethod::Freeze), 0).unwrap();
}

#[test]
fn a_tensor_of_another_shape_is_told_by_its_own_name_and_folder() {
    let name = "vision_model.encoder.layers.0.mlp.fc1.bias";
    let dir = changed("clip", |tensors| tensors.iter_mut().find(|(n, _)| n == name).unwrap().1 = zeros(&[7]));
    let mut config = parts();
    config.vision.weights = Some(dir.path().to_owned());
    let error = says(&config, &tuning(VisionMethod::Freeze));
    assert!(error.starts_with(&format!("{name} has shape [7], the configuration needs [")), "{error}");
    assert!(error.ends_with(&format!("]: {}", dir.path().display())), "{error}");
}

#[test]
fn what_is_harmless_is_told_with_its_reason() {
    let folder = changed("llama-gqa", |t| {
        t.push(("lm_head.weight".into(), zeros(&[96, 48])));
        t.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), zeros(&[4])));
    });
    let line = account(&language(folder.path()), &tuning(VisionMethod::Freeze), 0).unwrap()[1].to_string();
    assert!(line.contains("lm_head.weight (the head is the embedding table)"), "{line}");
    assert!(line.contains("inv_freq (made from rope_theta)"), "{line}");
    let whole_clip = changed("clip", |t| {
        t.push(("text_model.embeddings.token_embedding.weight".into(), zeros(&[3, 4])));
        t.push(("logit_scale".into(), zeros(&[1])));
        t.push(("vision_model.embeddings.position_ids".into(), zeros(&[1, 17])));
    });
    let mut config = parts();
    config.vision.weights = Some(whole_clip.path().to_owned());
    let account = account(&config, &tuning(VisionMethod::Full), 0).unwrap().remove(0);
    assert_eq!(account.unused.len(), 3, "{account}");
}

#[test]
fn numbers_that_are_none_are_refused_by_name_and_count() {
    let broken = changed("llama-gqa", |t| {
        let values = [f32::NAN, f32::INFINITY].into_iter().chain([1.0; 46]).collect::<Vec<_>>();
        let bad = Tensor::from_vec(values, 48, &Device::Cpu).unwrap();
        t.iter_mut().filter(|(name, _)| name == "model.norm.weight").for_each(|(_, tensor)| *tensor = bad.clone());
    });
    let config = language(broken.path());
    let tuning = tuning(VisionMethod::Freeze);
    account(&config, &tuning, 0).unwrap();
    let source = open_source(&config).unwrap();
    let error = Mllm::build(&config, &tuning, source.as_ref(), 0, &Device::Cpu, 0).unwrap_err().to_string();
    assert!(error.starts_with("model.norm.weight: 2 of 48 numbers are not finite"), "{error}");
}

/// Numbers that are not zero.
fn waves(dims: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..dims.iter().product()).map(|i: usize| 0.3 * (i as f32 * 1.7).sin()).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// A checkpoint of `tuning`, whose factors are not zero.
fn checkpoint(tuning: &Tuning) -> (TempDir, Mllm) {
    let config = parts();
    let source = open_source(&config).unwrap();
    let (model, store) = Mllm::build(&config, tuning, source.as_ref(), 1, &Device::Cpu, 0).unwrap();
    let dir = tempfile::tempdir().unwrap();
    save_checkpoint(&store, &config, tuning, model.shapes(), dir.path(), &[]).unwrap();
    let file = Safetensors::open(dir.path()).unwrap();
    let drawn = |name: &str, tensor: Tensor| {
        let up = name.contains("lora_up");
        if up { waves(tensor.dims()) } else { tensor }
    };
    let tensors: Vec<(String, Tensor)> =
        file.names().map(|n| (n.to_owned(), drawn(n, file.get(n).unwrap().unwrap()))).collect();
    let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write_safetensors(&dir.path().join("model.safetensors"), &tensors).unwrap();
    (dir, model)
}

/// A recipe that begins from `folder`, with the tower's folder beside it as people write it.
fn from(folder: &Path, merge: bool) -> ModelConfig {
    let plain = parts();
    ModelConfig {
        checkpoint: Some(folder.to_owned()),
        merge,
        language: LanguageConfig { weights: None, ..plain.language.clone() },
        ..plain
    }
}

fn build(config: &ModelConfig, tuning: &Tuning) -> (Mllm, ParamStore) {
    let source = open_source(config).unwrap();
    Mllm::build(config, tuning, source.as_ref(), 9, &Device::Cpu, 0).unwrap()
}

fn logits(model: &Mllm) -> Tensor {
    let pixels: Vec<f32> = (0..3 * 28 * 28).map(|i| (i as f32 * 0.37).sin()).collect();
    let input = MllmInput {
        pixels: Tensor::from_vec(pixels, (1, 3, 28, 28), &Device::Cpu).unwrap(),
        input_ids: vec![vec![1, super::mllm::IMAGE_TOKEN, 5, 6]],
        labels: vec![vec![-100, -100, -100, 6]],
        context_ids: vec![vec![2, 7, 3]],
        task_ids: None,
    };
    model.logits(&Ctx::eval(), &input).unwrap().0
}

#[test]
fn a_lora_checkpoint_goes_on_is_merged_or_is_refused() {
    let (dir, _) = checkpoint(&tuning(lora(4, 16.0)));
    let told = account(&from(dir.path(), false), &tuning(lora(4, 16.0)), 0).unwrap();
    assert_eq!(told[0].tuned, ["vision: goes on with lora (rank 4, alpha 16)"]);
    for other in [VisionMethod::Freeze, VisionMethod::Full, lora(4, 64.0), lora(2, 16.0), covft(4)] {
        let error = says(&from(dir.path(), false), &tuning(other));
        assert!(error.contains("lora (rank 4, alpha 16)") && error.contains("model.merge = true"), "{error}");
    }
    let (adapted, _) = build(&from(dir.path(), false), &tuning(lora(4, 16.0)));
    let config = from(dir.path(), true);
    for method in [VisionMethod::Freeze, VisionMethod::Full, lora(2, 4.0), covft(4)] {
        let tuning = tuning(method);
        let told = account(&config, &tuning, 0).unwrap();
        assert_eq!(told[0].tuned, ["vision: lora (rank 4, alpha 16) merged into the weights"]);
        let (merged, _) = build(&config, &tuning);
        let difference = super::golden::difference(&logits(&merged), &logits(&adapted));
        assert!(difference < 1e-5, "{tuning:?}: {difference}");
    }
    // What a merged run saves is not merged again.
    let (model, store) = build(&config, &tuning(VisionMethod::Freeze));
    let again = tempfile::tempdir().unwrap();
    save_checkpoint(&store, &config, &tuning(VisionMethod::Freeze), model.shapes(), again.path(), &[]).unwrap();
    let (config, kept) = load_recipe(again.path()).unwrap();
    assert!(!config.merge && account(&config, &kept, 0).unwrap()[0].tuned.is_empty());
}

#[test]
fn factors_without_a_stored_alpha_take_the_recipes_and_cannot_be_merged() {
    let (dir, _) = checkpoint(&tuning(lora(4, 16.0)));
    let path = dir.path().join("config.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("covft_probe");
    std::fs::write(&path, json.to_string()).unwrap();
    let told = account(&from(dir.path(), false), &tuning(lora(4, 8.0)), 0).unwrap();
    assert!(told[0].tuned[0].contains("the recipe's alpha is taken"), "{:?}", told[0].tuned);
    assert!(says(&from(dir.path(), false), &tuning(VisionMethod::Freeze)).contains("alpha not stored"));
    assert!(
        says(&from(dir.path(), true), &tuning(VisionMethod::Freeze))
            .contains("alpha of the adapters is stored nowhere")
    );
}

#[test]
fn a_covft_checkpoint_is_never_opened_as_a_plain_tower() {
    let (dir, _) = checkpoint(&tuning(covft(4)));
    let told = account(&from(dir.path(), false), &tuning(covft(4)), 0).unwrap();
    assert_eq!(told[0].tuned, ["vision: goes on with covft (4 experts in blocks 3..5, router dense)"]);
    assert_eq!(told[1].read, 0, "the tower's folder gives nothing: {}", told[1]);
    for other in [VisionMethod::Freeze, VisionMethod::Full, covft(2), lora(4, 16.0)] {
        for merge in [false, true] {
            let error = says(&from(dir.path(), merge), &tuning(other.clone()));
            assert!(error.contains("covft (4 experts in blocks 3..5") && error.contains("merge"), "{error}");
        }
    }
    // As a tower alone, too.
    let mut config = parts();
    config.vision.weights = Some(dir.path().to_owned());
    assert!(says(&config, &tuning(VisionMethod::Freeze)).contains("covft (4 experts"));
    // A gate that is missing is not drawn anew.
    without(dir.path(), |name| name.ends_with("layers.4.mlp.gate.weight"));
    let error = says(&from(dir.path(), false), &tuning(covft(4)));
    assert!(error.contains("lack") && error.contains("layers.4.mlp.gate.weight"), "{error}");
}

/// The checkpoint in `dir` without the tensors that `gone` names.
fn without(dir: &Path, gone: impl Fn(&str) -> bool) {
    let file = Safetensors::open(dir).unwrap();
    let rest: Vec<(String, Tensor)> =
        file.names().filter(|n| !gone(n)).map(|n| (n.to_owned(), file.get(n).unwrap().unwrap())).collect();
    let rest: Vec<(&str, &Tensor)> = rest.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write_safetensors(&dir.join("model.safetensors"), &rest).unwrap();
}

#[test]
fn a_checkpoint_without_anything_of_what_tuned_it_is_refused() {
    let vpt = VisionMethod::Vpt { prompts: 2 };
    let mut adapted = tuning(VisionMethod::Freeze);
    adapted.language = LanguageMethod::Lora { rank: 2, alpha: 4.0, dropout: 0.0 };
    let cases = [
        (tuning(lora(4, 16.0)), "lora tuned the vision weights"),
        (tuning(vpt), "vpt tuned the vision weights"),
        (tuning(covft(4)), "covft tuned the vision weights"),
        (adapted, "lora tuned the language weights"),
    ];
    for (tuning, words) in cases {
        let (dir, _) = checkpoint(&tuning);
        account(&from(dir.path(), false), &tuning, 0).unwrap();
        without(dir.path(), |name| ["lora_", "prompt_embeddings", "experts"].iter().any(|added| name.contains(added)));
        for merge in [false, true] {
            let error = says(&from(dir.path(), merge), &tuning);
            assert!(error.contains(&format!("config.json says that {words}, and none")), "{error}");
        }
    }
}

#[test]
fn the_pool_that_context_vectors_were_trained_upon_is_kept() {
    let (dir, _) = checkpoint(&tuning(covft(4)));
    let mut config = from(dir.path(), false);
    config.text.pool = Pool::Mean;
    let error = says(&config, &tuning(covft(4)));
    assert!(error.contains("model.text.pool") && error.contains("\"mean\"") && error.contains("\"cls\""), "{error}");
    let (dir, _) = checkpoint(&tuning(VisionMethod::Full));
    config.checkpoint = Some(dir.path().to_owned());
    account(&config, &tuning(VisionMethod::Full), 0).unwrap();
}

/// A published checkpoint carries no recipe of ours; its plain layers are missing, and the recipe names where they are.
#[test]
fn a_published_covft_checkpoint_lends_its_other_parts_with_a_warning() {
    let mut config = from(&path("llava"), false);
    let told = account(&config, &tuning(lora(4, 16.0)), 0).unwrap();
    assert!(told[0].tuned[0].starts_with("warning: its covft (4 experts in blocks 3..5) are NOT used"), "{}", told[0]);
    assert_eq!(told[0].unused[0].0, "the mixture, which plain layers replace");
    assert!(told[1].read > 0, "the plain layers: {}", told[1]);
    assert!(account(&config, &tuning(covft(4)), 0).unwrap()[0].tuned[0].contains("goes on"));
    config.vision = vision_sizes();
    assert!(says(&config, &tuning(lora(4, 16.0))).contains("were tuned by covft"));
}

/// The fixture's tower as a recipe writes it without a folder.
fn vision_sizes() -> crate::config::model::VisionConfig {
    let sizes = serde_json::json!({"kind": "clip", "image_size": 28, "patch_size": 7, "width": 32, "layers": 6, "heads": 4,
        "ffn": 64});
    serde_json::from_value(sizes).unwrap()
}

#[test]
fn prompts_go_on_or_are_refused() {
    let vpt = |prompts| VisionMethod::Vpt { prompts };
    let (dir, _) = checkpoint(&tuning(vpt(5)));
    account(&from(dir.path(), false), &tuning(vpt(5)), 0).unwrap();
    for other in [VisionMethod::Freeze, vpt(6)] {
        let error = says(&from(dir.path(), true), &tuning(other));
        assert!(error.contains("vpt (5 prompts a block)") && error.contains("only LoRA can be merged"), "{error}");
    }
    let mut config = parts();
    config.vision.weights = Some(dir.path().to_owned());
    assert!(account(&config, &tuning(vpt(5)), 0).unwrap()[0].tuned[0].contains("goes on"));
}

#[test]
fn a_language_models_adapters_are_not_lost_either() {
    let tuned =
        Tuning { language: LanguageMethod::Lora { rank: 2, alpha: 4.0, dropout: 0.0 }, ..tuning(VisionMethod::Freeze) };
    let (dir, _) = checkpoint(&tuned);
    account(&from(dir.path(), false), &tuned, 0).unwrap();
    let full = tuning(VisionMethod::Freeze);
    assert!(says(&from(dir.path(), false), &full).contains("language weights were tuned by lora (rank 2, alpha 4)"));
    let (adapted, _) = build(&from(dir.path(), false), &tuned);
    account(&from(dir.path(), true), &full, 0).unwrap();
    let (merged, _) = build(&from(dir.path(), true), &full);
    let difference = super::golden::difference(&logits(&merged), &logits(&adapted));
    assert!(difference < 1e-5, "{difference}");
}
