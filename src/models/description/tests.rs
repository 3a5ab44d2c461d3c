//! Published descriptions are followed, those of other models refused by the field that says so. The descriptions are
//! the fields that the published files have.

use crate::config::model::{LanguageConfig, ModelConfig, ProjectorKind, TextConfig, VisionConfig};
use crate::models::shapes::{LanguageShape, ModelShapes, TextShape, remarks};
use crate::models::towers::TowerSizes;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

const SMOLLM2: &str = r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.0416,
    "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "model_type": "llama",
    "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1,
    "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
    "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true,
    "transformers.js_config": {"dtype": "q4"}, "vocab_size": 49152}"#;

const VICUNA: &str = r#"{"_name_or_path": "vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1,
    "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008,
    "max_position_embeddings": 4096, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 32, "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null,
    "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.31.0", "use_cache": true,
    "vocab_size": 32000}"#;

const LLAVA: &str = r#"{"_name_or_path": "llava-v1.5-7b", "architectures": ["LlavaLlamaForCausalLM"], "bos_token_id": 1,
    "eos_token_id": 2, "freeze_mm_mlp_adapter": false, "freeze_mm_vision_resampler": false, "hidden_act": "silu",
    "hidden_size": 4096, "image_aspect_ratio": "pad", "image_grid_pinpoints": null, "initializer_range": 0.02,
    "intermediate_size": 11008, "max_length": 4096, "max_position_embeddings": 4096, "mm_hidden_size": 1024,
    "mm_projector_type": "mlp2x_gelu", "mm_resampler_type": null, "mm_use_im_patch_token": false,
    "mm_use_im_start_end": false, "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336", "model_type": "llava", "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": null, "tie_word_embeddings": false, "tokenizer_model_max_length": 2048,
    "tokenizer_padding_side": "right", "torch_dtype": "float16", "transformers_version": "4.31.0",
    "tune_mm_mlp_adapter": false, "tune_mm_vision_resampler": false, "unfreeze_mm_vision_tower": false,
    "use_cache": true, "use_mm_proj": true, "vocab_size": 32000}"#;

const LLAVA_HF: &str = r#"{"architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100,
    "image_token_index": 32000, "image_seq_length": 576, "model_type": "llava", "pad_token_id": 32001,
    "projector_hidden_act": "gelu", "multimodal_projector_bias": true,
    "text_config": {"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05, "torch_dtype": "float16",
        "vocab_size": 32064},
    "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.36.0.dev0",
    "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
        "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
        "projection_dim": 768, "vocab_size": 32000},
    "vision_feature_layer": -2, "vision_feature_select_strategy": "default"}"#;

const CLIP: &str = r#"{"_name_or_path": "openai/clip-vit-large-patch14-336", "architectures": ["CLIPModel"],
    "initializer_factor": 1.0, "logit_scale_init_value": 2.6592, "model_type": "clip", "projection_dim": 768,
    "text_config": {"hidden_size": 768, "num_attention_heads": 12, "hidden_act": "quick_gelu", "vocab_size": 49408},
    "text_config_dict": {"hidden_size": 768}, "torch_dtype": "float32", "transformers_version": null,
    "vision_config": {"_name_or_path": "", "add_cross_attention": false, "attention_dropout": 0.0, "dropout": 0.0,
        "chunk_size_feed_forward": 0, "hidden_act": "quick_gelu", "hidden_size": 1024, "image_size": 336,
        "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 4096, "layer_norm_eps": 1e-05,
        "model_type": "clip_vision_model", "num_attention_heads": 16, "num_channels": 3, "num_hidden_layers": 24,
        "patch_size": 14, "projection_dim": 768, "repetition_penalty": 1.0, "top_k": 50, "typical_p": 1.0},
    "vision_config_dict": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "num_attention_heads": 16,
        "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768}}"#;

const CLIP_IMAGES: &str = r#"{"crop_size": 336, "do_center_crop": true, "do_normalize": true, "do_resize": true,
    "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 336}"#;

const DINOV2: &str = r#"{"apply_layernorm": true, "architectures": ["Dinov2Model"], "attention_probs_dropout_prob": 0.0,
    "drop_path_rate": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "hidden_size": 384, "image_size": 518,
    "initializer_range": 0.02, "layer_norm_eps": 1e-06, "layerscale_value": 1.0, "mlp_ratio": 4, "model_type": "dinov2",
    "num_attention_heads": 6, "num_channels": 3, "num_hidden_layers": 12, "out_features": ["stage12"],
    "out_indices": [12], "patch_size": 14, "qkv_bias": true, "reshape_hidden_states": true,
    "stage_names": ["stem", "stage1", "stage12"], "torch_dtype": "float32", "transformers_version": "4.32.0.dev0",
    "use_swiglu_ffn": false}"#;

const DINOV2_IMAGES: &str = r#"{"crop_size": {"height": 224, "width": 224}, "do_center_crop": true,
    "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
    "image_mean": [0.485, 0.456, 0.406], "image_processor_type": "BitImageProcessor", "image_std": [0.229, 0.224, 0.225],
    "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256}}"#;

const BERT: &str = r#"{"architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1,
    "gradient_checkpointing": false, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768,
    "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
    "model_type": "bert", "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0,
    "position_embedding_type": "absolute", "transformers_version": "4.6.0.dev0", "type_vocab_size": 2,
    "use_cache": true, "vocab_size": 30522}"#;

/// A folder with `base` as its `config.json`, the fields of `changes` replaced.
fn folder(base: &str, changes: Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut json: Value = serde_json::from_str(base).unwrap();
    let Value::Object(changes) = changes else { panic!("fields were expected") };
    json.as_object_mut().unwrap().extend(changes);
    std::fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    dir
}

/// A message without the backtrace that the tensor library may hang on it.
fn first_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn language(base: &str, changes: Value) -> Result<LanguageShape, String> {
    LanguageShape::from_folder(folder(base, changes).path()).map_err(|e| first_line(&e))
}

fn text(changes: Value) -> Result<TextShape, String> {
    let dir = folder(BERT, changes);
    let config = TextConfig { weights: Some(dir.path().into()), ..text_config() };
    TextShape::resolve(&config, None).map_err(|e| first_line(&e))
}

fn text_config() -> TextConfig {
    serde_json::from_str(r#"{"sizes": null}"#).unwrap()
}

fn tower(base: &str, changes: Value, images: &str) -> Result<TowerSizes, String> {
    let dir = folder(base, changes);
    std::fs::write(dir.path().join("preprocessor_config.json"), images).unwrap();
    TowerSizes::resolve(&VisionConfig::from_folder(dir.path())).map_err(|e| first_line(&e))
}

/// A model of three folders, or of a whole checkpoint beside two.
fn model(checkpoint: Option<&Path>, vision: Option<&Path>, language: Option<&Path>, text: &Path) -> ModelConfig {
    ModelConfig {
        checkpoint: checkpoint.map(Into::into),
        merge: false,
        vision: VisionConfig { weights: vision.map(Into::into), ..VisionConfig::default() },
        projector: ProjectorKind::Mlp2xGelu,
        language: LanguageConfig { weights: language.map(Into::into), tokenizer: None, sizes: None },
        text: TextConfig { weights: Some(text.into()), ..text_config() },
    }
}

#[test]
fn published_models_are_followed_without_a_remark() {
    let none = || json!({});
    let (clip, bert) = (folder(CLIP, none()), folder(BERT, none()));
    std::fs::write(clip.path().join("preprocessor_config.json"), CLIP_IMAGES).unwrap();
    let minilm = json!({"_name_or_path": "nreimers/MiniLM-L6-H384-uncased", "architectures": ["BertModel"],
        "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6});
    for language in [SMOLLM2, VICUNA] {
        let language = folder(language, none());
        let config = model(None, Some(clip.path()), Some(language.path()), folder(BERT, minilm.clone()).path());
        let config = ModelConfig { text: TextConfig { weights: Some(bert.path().into()), ..config.text }, ..config };
        assert_eq!(remarks(&config).unwrap(), [""; 0]);
        ModelShapes::resolve(&config).unwrap();
    }
    let llava = folder(LLAVA, none());
    let config = model(Some(llava.path()), Some(clip.path()), None, bert.path());
    assert_eq!(remarks(&config).unwrap(), [""; 0]);
    let shapes = ModelShapes::resolve(&config).unwrap();
    assert_eq!((shapes.language.layers, shapes.language.bos, shapes.language.eos), (32, vec![1], vec![2]));
    assert_eq!((shapes.vision.image_size, shapes.vision.layers, shapes.text.width), (336, 24, 768));
    let hf = folder(LLAVA_HF, none());
    let config = model(Some(hf.path()), None, None, bert.path());
    assert_eq!(remarks(&config).unwrap(), [""; 0]);
    let shapes = ModelShapes::resolve(&config).unwrap();
    assert_eq!((shapes.language.vocabulary, shapes.language.tied, shapes.vision.width), (32064, false, 1024));
    assert_eq!(text(minilm).unwrap().layers, 6);
    assert_eq!(tower(DINOV2, none(), DINOV2_IMAGES).unwrap().ffn, 1536);
}

#[test]
fn pictures_prepared_in_another_way_are_told_or_refused() {
    let dir = folder(DINOV2, json!({}));
    std::fs::write(dir.path().join("preprocessor_config.json"), DINOV2_IMAGES).unwrap();
    let config = VisionConfig { image_size: Some(224), ..VisionConfig::from_folder(dir.path()) };
    let told = crate::models::towers::remarks(&config).unwrap();
    assert!(told.len() == 1 && told[0].contains("224 pixels at once") && told[0].contains("[256, 224]"), "{told:?}");
    for (field, value) in [
        ("do_normalize", json!(false)),
        ("do_rescale", json!(false)),
        ("rescale_factor", json!(0.007_843)),
        ("resample", json!(2)),
        ("do_center_crop", json!(false)),
        ("do_resize", json!(false)),
        ("crop_size", json!(224)),
        ("size", json!({"shortest_edge": 224})),
        ("size", json!({"height": 336, "width": 300})),
        ("image_mean", json!([0.5])),
        ("image_std", json!([0.0, 1.0, 1.0])),
        ("do_flip_channel_order", json!(true)),
        ("offset", json!(true)),
    ] {
        let mut images: Value = serde_json::from_str(CLIP_IMAGES).unwrap();
        images[field] = value;
        let error = tower(CLIP, json!({}), &images.to_string()).unwrap_err();
        assert!(error.contains(field) && error.ends_with("preprocessor_config.json"), "{error}");
    }
}

#[test]
fn other_families_are_refused_by_name() {
    for family in ["qwen2", "qwen3", "gemma", "gemma2", "phi3", "granite", "gpt2", "mixtral", "llava_next", ""] {
        let error = language(VICUNA, json!({ "model_type": family })).unwrap_err();
        let named = if family.is_empty() { "(missing)" } else { family };
        assert!(error.contains(&format!("model_type {named} is not a language model")), "{error}");
    }
    let error = language(LLAVA_HF, json!({"text_config": {"model_type": "qwen2"}})).unwrap_err();
    assert!(error.contains("qwen2"), "{error}");
    let error = language(LLAVA_HF, json!({"model_type": "internvl"})).unwrap_err();
    assert!(error.contains("internvl"), "{error}");
    for family in ["roberta", "distilbert", "electra", "mpnet"] {
        let error = text(json!({ "model_type": family })).unwrap_err();
        assert!(error.contains(&format!("model_type {family} is not a text encoder")), "{error}");
    }
    for family in ["siglip_vision_model", "dinov3_vit", "dinov2_with_registers", "intern_vit_6b", "vit"] {
        let error = tower(DINOV2, json!({ "model_type": family }), DINOV2_IMAGES).unwrap_err();
        assert!(error.contains(family), "{error}");
    }
}

#[test]
fn a_mistral_is_a_llama_where_it_says_that_it_has_no_window() {
    let plain = json!({"model_type": "mistral", "sliding_window": null, "num_key_value_heads": 8});
    assert_eq!(language(VICUNA, plain).unwrap().kv_heads, 8);
    assert!(language(VICUNA, json!({"model_type": "mistral", "sliding_window": 4096})).unwrap_err().contains("4096"));
    assert!(language(VICUNA, json!({"model_type": "mistral"})).unwrap_err().contains("sliding window"));
}

#[test]
fn fields_that_mean_other_numbers_are_refused() {
    for (field, value) in [
        ("attention_bias", json!(true)),
        ("mlp_bias", json!(true)),
        ("hidden_act", json!("gelu")),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0})),
        ("rope_scaling", json!({"factor": 2.0})),
        ("rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e4})),
        ("rope_parameters", json!({"rope_theta": 1e4, "partial_rotary_factor": 0.5})),
        ("partial_rotary_factor", json!(0.5)),
        ("attention_multiplier", json!(0.0078)),
        ("logits_scaling", json!(8.0)),
        ("residual_multiplier", json!(0.22)),
        ("embedding_multiplier", json!(12.0)),
        ("final_logit_softcapping", json!(30.0)),
        ("use_qk_norm", json!(true)),
        ("sliding_window", json!(1024)),
        ("layer_types", json!(["full_attention", "sliding_attention"])),
        ("quantization_config", json!({"quant_method": "gptq", "bits": 4})),
        ("rms_norm_eps", json!("1e-5")),
        ("num_key_value_heads", json!(0)),
        ("tie_word_embeddings", json!("yes")),
        ("eos_token_id", json!(-1)),
        // Nobody here knows these; their names say enough.
        ("attention_sink_bias", json!(true)),
        ("post_norm", json!("sandwich")),
        ("logit_soft_cap", json!(30.0)),
        ("HIDDEN_ACT", json!("relu")),
        ("is_causal", json!(false)),
        ("causal", json!(false)),
    ] {
        let error = language(VICUNA, json!({ field: value })).unwrap_err();
        assert!(error.contains(field) && error.ends_with("config.json"), "{error}");
    }
    for (field, value) in [
        ("position_embedding_type", json!("relative_key")),
        ("hidden_act", json!("relu")),
        ("is_decoder", json!(true)),
        ("embedding_size", json!(128)),
        ("layer_norm_eps", json!(0)),
    ] {
        let error = text(json!({ field: value })).unwrap_err();
        assert!(error.contains(field), "{error}");
    }
    for (field, value) in [
        ("use_swiglu_ffn", json!(true)),
        ("qkv_bias", json!(false)),
        ("num_register_tokens", json!(4)),
        ("num_channels", json!(1)),
        ("hidden_act", json!("silu")),
        ("image_size", json!([28, 28])),
        ("is_causal", json!(true)),
    ] {
        let error = tower(DINOV2, json!({ field: value }), DINOV2_IMAGES).unwrap_err();
        assert!(error.starts_with(&format!("{field} = ")), "{error}");
    }
}

#[test]
fn what_switches_nothing_on_is_passed_over_and_the_rest_is_told() {
    let off = json!({"attention_bias": null, "new_gating_norm": false, "moe_layers": [], "mtp_layer_count": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "favourite_colour": "blue"});
    let (language, clip, bert) = (folder(VICUNA, off), folder(CLIP, json!({})), folder(BERT, json!({})));
    let config = model(None, Some(clip.path()), Some(language.path()), bert.path());
    let told = remarks(&config).unwrap();
    assert!(told.len() == 1 && told[0].contains("passed over: favourite_colour: "), "{told:?}");
    assert!((ModelShapes::resolve(&config).unwrap().language.rope_theta - 5e5).abs() < 1e-9);
}

#[test]
fn the_projector_is_the_one_the_checkpoint_was_trained_with() {
    let (clip, bert) = (folder(CLIP, json!({})), folder(BERT, json!({})));
    let says = |base: &str, changes: Value| {
        let checkpoint = folder(base, changes);
        let tower = (base == LLAVA).then(|| clip.path());
        ModelShapes::resolve(&model(Some(checkpoint.path()), tower, None, bert.path()))
            .map_err(|e| first_line(&e))
            .unwrap_err()
    };
    for (field, value) in [
        ("mm_projector_type", json!("linear")),
        ("mm_projector_type", json!("mlp3x_gelu")),
        ("mm_vision_select_layer", json!(-1)),
        ("mm_vision_select_layer", json!("-2")),
        ("mm_vision_select_feature", json!("cls_patch")),
        ("mm_patch_merge_type", json!("spatial_unpad")),
        ("image_aspect_ratio", json!("anyres")),
        ("mm_use_im_start_end", json!(true)),
        ("mm_use_im_patch_token", json!(true)),
        ("mm_resampler_type", json!("perceiver")),
        ("s2", json!(true)),
    ] {
        let error = says(LLAVA, json!({ field: value }));
        assert!(error.contains(field) && error.ends_with("config.json"), "{error}");
    }
    for (field, value) in [
        ("vision_feature_layer", json!([-2, -5])),
        ("vision_feature_select_strategy", json!("full")),
        ("projector_hidden_act", json!("relu")),
        ("multimodal_projector_bias", json!(false)),
        ("model_type", json!("llava_next")),
    ] {
        let error = says(LLAVA_HF, json!({ field: value }));
        assert!(error.contains(field) && error.ends_with("config.json"), "{error}");
    }
}

#[test]
fn sizes_beside_weights_are_those_of_the_weights() {
    let folder = folder(VICUNA, json!({}));
    let resolve = |changes: Value| {
        let mut sizes = json!({"width": 4096, "ffn": 11008, "layers": 32, "heads": 32, "kv_heads": 32,
            "vocabulary": 32000});
        sizes.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let config = json!({"weights": folder.path(), "sizes": sizes});
        let config: LanguageConfig = serde_json::from_value(config).unwrap();
        LanguageShape::resolve(&config, None).map_err(|e| first_line(&e))
    };
    assert_eq!(resolve(json!({})).unwrap().positions, 4096);
    for (key, value) in [("rope_theta", json!(5e5)), ("tied", json!(true)), ("kv_heads", json!(8))] {
        let error = resolve(json!({ key: value })).unwrap_err();
        assert!(error.contains(&format!("model.language.sizes: {key} = ")), "{error}");
    }
}

#[test]
fn folders_are_told_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let says = |path: &Path| first_line(&LanguageShape::from_folder(path).unwrap_err());
    assert!(says(dir.path()).contains("there is no config.json in the folder"), "{}", says(dir.path()));
    let file = dir.path().join("model.safetensors");
    std::fs::write(&file, "x").unwrap();
    assert!(says(&file).starts_with("this is a file: name the folder"), "{}", says(&file));
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n";
    std::fs::write(dir.path().join("config.json"), pointer).unwrap();
    assert!(says(dir.path()).contains("Git LFS pointer"), "{}", says(dir.path()));
    std::fs::write(dir.path().join("config.json"), "[1]").unwrap();
    assert!(says(dir.path()).ends_with("config.json"), "{}", says(dir.path()));
}
