use super::*;
use crate::config::model::{LanguageSizes, Pool, ProjectorKind, TextConfig, TextSizes, TowerKind, VisionConfig};
use crate::models::checkpoint::{Safetensors, StoreSource};
use crate::models::generate::{GenerateOptions, Question, Sampling};
use crate::models::test_support::{Fixture, close};
use crate::nn::MapSource;
use candle_core::{D, DType};

mod elsewhere;

fn covft() -> VisionMethod {
    serde_json::from_str(r#"{"type": "covft", "experts": 3}"#).unwrap()
}

/// A model from nothing: 16 patches, two used blocks, CoMoE in the last of them, grouped queries, tied embeddings.
fn config() -> ModelConfig {
    ModelConfig {
        checkpoint: None,
        merge: false,
        vision: VisionConfig {
            weights: None,
            kind: Some(TowerKind::Clip),
            image_size: Some(16),
            patch_size: Some(4),
            width: Some(16),
            layers: Some(3),
            heads: Some(2),
            ffn: Some(32),
            select_layer: -2,
        },
        projector: ProjectorKind::Mlp2xGelu,
        language: crate::config::model::LanguageConfig {
            weights: None,
            tokenizer: None,
            sizes: Some(LanguageSizes {
                width: 32,
                ffn: 48,
                layers: 2,
                heads: 4,
                kv_heads: 2,
                vocabulary: Some(50),
                tied: true,
                rope_theta: 1e4,
            }),
        },
        text: TextConfig {
            weights: None,
            tokenizer: None,
            pool: Pool::Cls,
            sizes: Some(TextSizes { width: 24, ffn: 32, layers: 1, heads: 2, vocabulary: Some(40), positions: 16 }),
        },
    }
}

fn tuning(json: &str) -> Tuning {
    serde_json::from_str(json).unwrap()
}

fn full_covft(checkpointing: Checkpointing) -> Tuning {
    Tuning { vision: covft(), checkpointing, ..tuning("{}") }
}

fn build(tuning: &Tuning, tasks: usize) -> (Mllm, ParamStore) {
    Mllm::build(&config(), tuning, &MapSource::default(), 7, &Device::Cpu, tasks).unwrap()
}

fn pixels(samples: usize) -> Tensor {
    let values = (0..samples * 3 * 16 * 16).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_vec(values, (samples, 3, 16, 16), &Device::Cpu).unwrap()
}

fn input() -> MllmInput {
    let ignore = IGNORE_INDEX;
    MllmInput {
        pixels: pixels(2),
        input_ids: vec![vec![1, IMAGE_TOKEN, 9, 10, 11], vec![1, 12, 13]],
        labels: vec![vec![ignore, ignore, ignore, 10, 11], vec![ignore, ignore, 13]],
        context_ids: vec![vec![2, 5, 6, 3], vec![2, 7, 3]],
        task_ids: Some(vec![1, 0]),
    }
}

fn gradients(tuning: &Tuning, input: &MllmInput, tasks: usize) -> (ParamStore, MllmOutput) {
    let (model, store) = build(tuning, tasks);
    // Experts begin equal, which makes the gate's gradient zero: take them apart.
    for param in store.iter().filter(|p| p.weight.name().contains("experts.1")) {
        param.weight.update_host(|w| w.iter_mut().enumerate().for_each(|(i, w)| *w += (i as f32).sin() * 0.1)).unwrap();
    }
    let output = model.forward(&Ctx::train(&Device::Cpu).unwrap(), input).unwrap();
    let mut loss = output.loss_sum.clone();
    if let Some(text) = &output.text_loss_sum {
        loss = (loss + text).unwrap();
    }
    loss.backward().unwrap();
    (store, output)
}

fn gradient(store: &ParamStore, name: &str) -> Tensor {
    let weight = &store.get(name).unwrap_or_else(|| panic!("no {name}")).weight;
    weight.slot().unwrap().tensor(weight.dims()).unwrap().unwrap_or_else(|| panic!("{name} has no gradient"))
}

#[test]
fn running_blocks_again_changes_no_gradient() {
    let (plain, _) = gradients(&full_covft(Checkpointing::None), &input(), 0);
    assert!(plain.trainable().filter(|p| p.role.reached).count() > 60);
    for checkpointing in [Checkpointing::Vision, Checkpointing::All] {
        let (again, _) = gradients(&full_covft(checkpointing), &input(), 0);
        for param in plain.trainable().filter(|p| p.role.reached) {
            let name = param.weight.name();
            close(&gradient(&again, name), &gradient(&plain, name), 1e-5, name);
        }
    }
}

#[test]
fn losses_are_counted_by_sample_and_do_not_depend_on_company() {
    let (model, _) = build(&full_covft(Checkpointing::None), 0);
    let together = model.forward(&Ctx::eval(), &input()).unwrap();
    assert_eq!(together.sample_tokens, [2, 1]);
    assert_eq!(together.sequence_tokens, 2 * 20);
    assert_eq!(together.routing.len(), 1);
    let sum = f64::from(together.loss_sum.to_scalar::<f32>().unwrap());
    assert!((together.sample_losses.read().unwrap().iter().sum::<f64>() - sum).abs() < 1e-4);
    let all = input();
    let alone = MllmInput {
        pixels: all.pixels.narrow(0, 1, 1).unwrap().contiguous().unwrap(),
        input_ids: all.input_ids[1..].to_vec(),
        labels: all.labels[1..].to_vec(),
        context_ids: all.context_ids[1..].to_vec(),
        task_ids: None,
    };
    let alone = model.forward(&Ctx::eval(), &alone).unwrap();
    assert!((alone.sample_losses.read().unwrap()[0] - together.sample_losses.read().unwrap()[1]).abs() < 1e-5);
}

#[test]
fn a_batch_of_text_gives_the_tower_zero_gradients() {
    let mut input = input();
    input.input_ids[0].remove(1);
    input.labels[0].remove(1);
    let (store, _) = gradients(&full_covft(Checkpointing::None), &input, 0);
    let mut seen = 0;
    for param in store.trainable().filter(|p| p.role.reached && p.role.part != Part::Language) {
        let values = gradient(&store, param.weight.name()).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|v| *v == 0.0), "{}", param.weight.name());
        seen += 1;
    }
    assert!(seen > 30);
}

#[test]
fn a_batch_whose_labels_are_cut_off_costs_nothing() {
    let (mut model, store) = build(&full_covft(Checkpointing::None), 0);
    model.set_max_length(2);
    let output = model.forward(&Ctx::train(&Device::Cpu).unwrap(), &input()).unwrap();
    assert_eq!((output.sample_tokens, output.sequence_tokens), (vec![0, 0], 4));
    assert_eq!(output.loss_sum.to_scalar::<f32>().unwrap(), 0.0);
    output.loss_sum.backward().unwrap();
    let embed = gradient(&store, "model.embed_tokens.weight");
    assert_eq!(embed.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
}

#[test]
fn telling_tasks_apart_trains_the_text_encoder_alone() {
    let tuning = tuning(r#"{"vision": {"type": "full"}, "text": "tasks"}"#);
    let (store, output) = gradients(&tuning, &input(), 3);
    assert!(output.text_loss_sum.is_some());
    for name in ["model.context_task_head.weight", "model.context_embedding_model.embeddings.word_embeddings.weight"] {
        let size = gradient(&store, name).abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(size > 0.0, "{name}");
    }
    // The vision and language parts' gradients are those without it.
    let plain = Tuning { text: TextMethod::Freeze, ..tuning.clone() };
    let (without, _) = gradients(&plain, &input(), 0);
    for name in ["model.mm_projector.0.weight", "lm_head.weight", "model.embed_tokens.weight"] {
        if without.get(name).is_some() {
            close(&gradient(&store, name), &gradient(&without, name), 1e-6, name);
        }
    }
    let (model, _) = build(&tuning, 3);
    assert!(model.forward(&Ctx::eval(), &MllmInput { task_ids: None, ..input() }).is_err());
    let none = Mllm::build(&config(), &tuning, &MapSource::default(), 7, &Device::Cpu, 0);
    assert!(none.unwrap_err().to_string().contains("name no task"));
}

#[test]
fn frozen_parts_and_evaluation_record_nothing() {
    let frozen = tuning(r#"{"projector": false, "language": {"type": "freeze"}}"#);
    let (model, store) = build(&frozen, 0);
    assert_eq!(store.trainable().count(), 0);
    let output = model.forward(&Ctx::train(&Device::Cpu).unwrap(), &input()).unwrap();
    assert!(!output.loss_sum.track_op());
    let (model, _) = build(&full_covft(Checkpointing::All), 0);
    assert!(!model.forward(&Ctx::eval(), &input()).unwrap().loss_sum.track_op());
    // Language and projector frozen, the tower trains: gradients pass through.
    let (store, _) = gradients(&Tuning { vision: covft(), ..frozen }, &input(), 0);
    let gate = store.trainable().find(|p| p.weight.name().ends_with("gate.weight")).unwrap();
    assert!(gradient(&store, gate.weight.name()).abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
}

#[test]
fn generation_with_a_cache_equals_recomputation() {
    let (model, _) = build(&full_covft(Checkpointing::None), 0);
    let pixels = pixels(1);
    let (prompt, context) = (vec![1, IMAGE_TOKEN, 9, 10], vec![2u32, 5, 3]);
    let question = Question { pixels: &pixels, input_ids: &prompt, context_ids: &context };
    let mut options = GenerateOptions { max_new_tokens: 6, stop: vec![], sampling: Sampling::Greedy };
    let cached = model.generate(&question, &options).unwrap();
    assert_eq!((cached.ids.len(), cached.stopped, cached.routing.len()), (6, false, 1));
    let mut ids = prompt.clone();
    for token in &cached.ids {
        let whole = MllmInput {
            pixels: pixels.clone(),
            labels: vec![vec![IGNORE_INDEX; ids.len()]],
            input_ids: vec![ids.clone()],
            context_ids: vec![context.clone()],
            task_ids: None,
        };
        let (logits, lengths) = model.logits(&Ctx::eval(), &whole).unwrap();
        let last = logits.get(0).unwrap().get(lengths[0] - 1).unwrap();
        assert_eq!(last.argmax(D::Minus1).unwrap().to_scalar::<u32>().unwrap(), *token);
        ids.push(i64::from(*token));
    }
    // A stop id ends the answer and is not part of it.
    options.stop = vec![cached.ids[2]];
    let stopped = model.generate(&question, &options).unwrap();
    let first = cached.ids.iter().position(|id| *id == cached.ids[2]).unwrap();
    assert_eq!((stopped.ids.as_slice(), stopped.stopped), (&cached.ids[..first], true));
    // Sampling repeats with its seed.
    let sampled = |seed| {
        let sampling = Sampling::TopP { temperature: 5.0, top_p: 1.0, seed };
        let options = GenerateOptions { max_new_tokens: 6, stop: vec![], sampling };
        model.generate(&question, &options).unwrap().ids
    };
    assert_eq!(sampled(1), sampled(1));
    assert_ne!(sampled(1), sampled(2));
}

#[test]
fn a_saved_model_loads_again_from_its_folder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step-000001");
    for tuning in [full_covft(Checkpointing::None), tuning(r#"{"vision": {"type": "lora", "rank": 2}}"#)] {
        let (model, store) = build(&tuning, 0);
        save_checkpoint(&store, &config(), &tuning, model.shapes(), &path, &[("tokenizer.json".into(), vec![b'{'])])
            .unwrap();
        let (loaded_config, loaded_tuning) = load_recipe(&path).unwrap();
        assert_eq!(loaded_tuning, tuning);
        assert_eq!(loaded_config.language.tokenizer, Some(path.join("tokenizer.json")));
        let source = open_source(&loaded_config).unwrap();
        let (again, _) = Mllm::build(&loaded_config, &loaded_tuning, &*source, 99, &Device::Cpu, 0).unwrap();
        assert_eq!(again.shapes(), model.shapes());
        let loss = |m: &Mllm| m.forward(&Ctx::eval(), &input()).unwrap().sample_losses.read().unwrap();
        assert_eq!(loss(&again), loss(&model));
        // Sizes are in the folder too: the recipe may leave them out.
        let mut bare = loaded_config.clone();
        (bare.language.sizes, bare.text.sizes) = (None, None);
        let (again, _) = Mllm::build(&bare, &loaded_tuning, &*source, 99, &Device::Cpu, 0).unwrap();
        assert_eq!(loss(&again), loss(&model));
    }
}

#[test]
fn the_fixture_goes_out_as_it_came_in() {
    let (config, tuning) = load_recipe(&Fixture::path("llava")).unwrap();
    let source = open_source(&config).unwrap();
    let (model, store) = Mllm::build(&config, &tuning, &*source, 0, &Device::Cpu, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    save_checkpoint(&store, &config, &tuning, model.shapes(), &path, &[]).unwrap();
    let (ours, theirs) = (Safetensors::open(&path).unwrap(), Safetensors::open(&Fixture::path("llava")).unwrap());
    let sorted = |file: &Safetensors| {
        let mut names: Vec<String> = file.names().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(&ours), sorted(&theirs));
    for name in theirs.names() {
        assert_eq!(ours.get(name).unwrap().unwrap().to_dtype(DType::F32).unwrap().dims(), theirs.shape(name).unwrap());
        assert_eq!(ours.read(name).unwrap(), theirs.read(name).unwrap(), "{name}");
    }
}

#[test]
fn names_of_llava_hf_and_old_berts_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let (model, store) = build(&full_covft(Checkpointing::None), 0);
    let rename = |name: &str| -> String {
        let swap = |from: &str, to: &str| name.strip_prefix(from).map(|rest| format!("{to}{rest}"));
        swap("model.vision_tower.vision_tower.", "vision_tower.")
            .or_else(|| swap("model.mm_projector.0.", "multi_modal_projector.linear_1."))
            .or_else(|| swap("model.mm_projector.2.", "multi_modal_projector.linear_2."))
            .or_else(|| swap("model.", "language_model.model."))
            .unwrap_or_else(|| name.to_owned())
    };
    let hf = folder.path().join("hf");
    let bert = folder.path().join("bert");
    std::fs::create_dir_all(&hf).unwrap();
    std::fs::create_dir_all(&bert).unwrap();
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    let mut text: Vec<(String, Tensor)> = Vec::new();
    for param in store.iter() {
        let (name, tensor) = (param.weight.name(), param.weight.tensor().clone());
        match name.strip_prefix("model.context_embedding_model.") {
            Some(rest) => {
                let old =
                    rest.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
                text.push((format!("bert.{old}"), tensor));
            }
            None => tensors.push((rename(name), tensor)),
        }
    }
    let mut description = super::super::save::config_json(&config(), &full_covft(Checkpointing::None), model.shapes());
    let text_description = description["context_embedding_config"].take();
    description["model_type"] = "llava".into();
    let write = |folder: &std::path::Path, tensors: &[(String, Tensor)], json: &serde_json::Value| {
        let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        crate::models::checkpoint::write_safetensors(&folder.join("model.safetensors"), &tensors).unwrap();
        std::fs::write(folder.join("config.json"), json.to_string()).unwrap();
    };
    write(&hf, &tensors, &description);
    write(&bert, &text, &text_description);
    let mut config = config();
    config.checkpoint = Some(hf.clone());
    config.text.weights = Some(bert);
    let source = open_source(&config).unwrap();
    let covft = full_covft(Checkpointing::None);
    let (again, _) = Mllm::build(&config, &covft, &*source, 99, &Device::Cpu, 0).unwrap();
    let loss = |m: &Mllm| m.forward(&Ctx::eval(), &input()).unwrap().sample_losses.read().unwrap();
    assert_eq!(loss(&again), loss(&model));
    // A folder that lacks a part is an error that names the tensor and ends in the path.
    tensors.retain(|(name, _)| !name.contains("linear_2.weight"));
    write(&hf, &tensors, &description);
    let source = open_source(&config).unwrap();
    let error = Mllm::build(&config, &covft, &*source, 99, &Device::Cpu, 0).unwrap_err().to_string();
    assert!(error.contains("lack") && error.contains(hf.to_str().unwrap()), "{error}");
}

#[test]
fn a_stage_takes_over_the_parameters_of_the_one_before() {
    let full = tuning(r#"{"vision": {"type": "full"}}"#);
    let (_, before) = build(&full, 0);
    let source = StoreSource(&before);
    let covft = full_covft(Checkpointing::None);
    let (_, after) = Mllm::build(&config(), &covft, &source, 1234, &Device::Cpu, 0).unwrap();
    let block = "model.vision_tower.vision_tower.vision_model.encoder.layers.1.mlp";
    let fc1 = before.get(&format!("{block}.fc1.weight")).unwrap().weight.tensor().clone();
    close(after.get(&format!("{block}.experts.2.0.weight")).unwrap().weight.tensor(), &fc1, 0.0, "expert");
    assert!(after.get("lm_head.weight").is_none(), "tied embeddings are one parameter");
}

#[test]
fn a_plan_names_what_a_model_has() {
    let covft = full_covft(Checkpointing::None);
    let (_, store) = build(&covft, 0);
    let (shapes, plan) = Mllm::plan(&config(), &covft, &MapSource::default(), 0).unwrap();
    assert_eq!(shapes.vision.patches(), 16);
    let table = |s: &ParamStore| -> Vec<(String, Vec<usize>, bool)> {
        s.iter().map(|p| (p.weight.name().to_owned(), p.weight.dims().to_vec(), p.weight.is_trainable())).collect()
    };
    assert_eq!(table(&plan), table(&store));
}
