//! What tuned a file, from its names and shapes, and weights with their adapters merged.

use super::{Added, Merged, Tuned};
use crate::config::model::{LanguageMethod, Router, Tuning, VisionMethod};
use crate::nn::{MapSource, TensorSource};
use candle_core::{Device, Tensor};

const TOWER: &str = "model.vision_tower.vision_tower.vision_model.encoder.layers";

fn of(tensors: &[(String, &[usize])], stored: Option<&Tuning>) -> Result<Tuned, String> {
    Tuned::of(tensors.iter().map(|(name, shape)| (name.as_str(), *shape)), stored)
}

fn tuning(vision: VisionMethod, language: LanguageMethod) -> Tuning {
    let mut tuning: Tuning = serde_json::from_str("{}").unwrap();
    (tuning.vision, tuning.language) = (vision, language);
    tuning
}

#[test]
fn names_and_shapes_tell_the_method_and_the_stored_recipe_the_rest() {
    let lora = vec![
        (format!("{TOWER}.0.self_attn.q_proj.weight"), &[8, 8][..]),
        (format!("{TOWER}.0.self_attn.q_proj.lora_down.weight"), &[4, 8]),
        (format!("{TOWER}.0.self_attn.q_proj.lora_up.weight"), &[8, 4]),
        ("model.layers.3.mlp.up_proj.lora_down.weight".to_owned(), &[2, 8]),
    ];
    let bare = of(&lora, None).unwrap();
    assert_eq!(bare.vision, Some(Added::Lora { rank: 4, alpha: None }));
    assert_eq!(bare.language, Some(Added::Lora { rank: 2, alpha: None }));
    let method = VisionMethod::Lora { rank: 4, alpha: 64.0, dropout: 0.1 };
    let language = LanguageMethod::Lora { rank: 2, alpha: 8.0, dropout: 0.0 };
    let named = of(&lora, Some(&tuning(method, language))).unwrap();
    assert_eq!(named.vision, Some(Added::Lora { rank: 4, alpha: Some(64.0) }));
    assert_eq!(named.language, Some(Added::Lora { rank: 2, alpha: Some(8.0) }));
    let two_ranks = [lora, vec![(format!("{TOWER}.1.self_attn.q_proj.lora_down.weight"), &[8, 8])]].concat();
    assert!(of(&two_ranks, None).unwrap_err().contains("rank 8"));
    let prompts = [("model.vision_tower.prompt_embeddings.0".to_owned(), &[1, 5, 8][..])];
    assert_eq!(of(&prompts, None).unwrap().vision, Some(Added::Prompts { prompts: 5 }));
    let experts: Vec<_> = (3..5)
        .flat_map(|layer| (0..4).map(move |e| (format!("{TOWER}.{layer}.mlp.experts.{e}.0.weight"), &[16, 8][..])))
        .collect();
    let found = of(&experts, None).unwrap();
    assert_eq!(found.vision, Some(Added::Mixture { experts: 4, layers: 3..5, router: None }));
    assert_eq!(of(&[("encoder.layer.0.mlp.fc1.weight".to_owned(), &[4, 4][..])], None), Ok(Tuned::default()));
}

#[test]
fn a_stage_goes_on_with_the_same_method_and_settings_alone() {
    let lora = |rank, alpha| VisionMethod::Lora { rank, alpha, dropout: 0.3 };
    let found = Added::Lora { rank: 4, alpha: Some(16.0) };
    assert!(found.goes_on(&lora(4, 16.0), &(0..0)), "dropout may differ");
    for other in [lora(4, 64.0), lora(8, 16.0), VisionMethod::Freeze, VisionMethod::Full, VisionMethod::BitFit] {
        assert!(!found.goes_on(&other, &(0..0)), "{other:?}");
    }
    let covft = |experts, router| VisionMethod::Covft { experts, start_layer: None, end_layer: None, router };
    let found = Added::Mixture { experts: 4, layers: 3..5, router: Some(Router::Dense) };
    assert!(found.goes_on(&covft(4, Router::Dense), &(3..5)));
    assert!(!found.goes_on(&covft(4, Router::Dense), &(2..5)));
    assert!(!found.goes_on(&covft(3, Router::Dense), &(3..5)));
    assert!(!found.goes_on(&covft(4, Router::Sparse(2)), &(3..5)));
    assert!(!found.goes_on(&VisionMethod::Freeze, &(0..0)));
    let found = Added::Prompts { prompts: 5 };
    assert!(found.goes_on(&VisionMethod::Vpt { prompts: 5 }, &(0..0)));
    assert!(!found.goes_on(&VisionMethod::Vpt { prompts: 6 }, &(0..0)));
    // What a message tells people to write is that method again.
    for added in [
        Added::Lora { rank: 4, alpha: Some(16.0) },
        Added::Prompts { prompts: 5 },
        Added::Mixture { experts: 4, layers: 3..5, router: Some(Router::Sparse(2)) },
    ] {
        let written: toml::Table = format!("method = {}", added.as_written()).parse().unwrap();
        let method: VisionMethod = written["method"].clone().try_into().unwrap();
        assert!(added.goes_on(&method, &(3..5)), "{}", added.as_written());
    }
}

#[test]
fn merging_adds_the_scaled_product_and_takes_the_factors_away() {
    let name = |leaf: &str| format!("{TOWER}.0.self_attn.q_proj.{leaf}");
    let matrix = |values: &[f32], dims: (usize, usize)| Tensor::from_slice(values, dims, &Device::Cpu).unwrap();
    let mut source = MapSource::default();
    let mut put = |name: String, tensor| source.tensors.insert(name, tensor);
    put(name("weight"), matrix(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (3, 2)));
    put(name("lora_down.weight"), matrix(&[1.0, -1.0], (1, 2)));
    put(name("lora_up.weight"), matrix(&[1.0, 0.0, 2.0], (3, 1)));
    put("model.layers.0.mlp.up_proj.weight".into(), matrix(&[7.0], (1, 1)));
    put("model.layers.0.mlp.up_proj.lora_down.weight".into(), matrix(&[1.0], (1, 1)));
    put("model.layers.0.mlp.up_proj.lora_up.weight".into(), matrix(&[1.0], (1, 1)));
    let merged = Merged::new(&source, Some(0.5), None);
    let get = |name: &str| merged.get(name).unwrap().map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert_eq!(get(&name("weight")).unwrap(), [1.5, 1.5, 3.0, 4.0, 6.0, 5.0]);
    assert!(get(&name("lora_up.weight")).is_none() && !merged.contains(&name("lora_down.weight")).unwrap());
    assert_eq!(merged.dims(&name("weight")).unwrap(), Some(vec![3, 2]));
    // The language model's are left as they are.
    assert_eq!(get("model.layers.0.mlp.up_proj.weight").unwrap(), [7.0]);
    assert!(merged.contains("model.layers.0.mlp.up_proj.lora_up.weight").unwrap());
    let mut half = source.clone();
    half.tensors.remove(&name("lora_up.weight"));
    let error = Merged::new(&half, Some(0.5), None).get(&name("weight")).unwrap_err().to_string();
    assert!(error.contains("lack") && error.contains("lora_up"), "{error}");
}
