use super::*;
use crate::models::shapes::LanguageShape;
use crate::models::test_support::{Fixture, close};
use crate::nn::{MapSource, ParamStore, Part};
use candle_core::{DType, Device};

fn build(method: &LanguageMethod, checkpointing: bool) -> (Llama, ParamStore) {
    let folder = Fixture::path("llama-gqa");
    let shape = LanguageShape::from_folder(&folder).unwrap();
    let source = MapSource { tensors: Fixture::load("llama-gqa/model.safetensors").0 };
    let rule = |name: &str, _: &crate::nn::Role| language_trains(method, name);
    let pb = ParamBuilder::new(&source, &rule, 0, &Device::Cpu).part(Part::Language);
    let llama = Llama::new(&pb, &shape, method, checkpointing).unwrap();
    (llama, pb.finish())
}

struct Batch {
    ids: Tensor,
    lengths: Arc<[usize]>,
    rows: Vec<u32>,
    targets: Vec<i64>,
}

fn batch(expected: &Fixture) -> Batch {
    let ids = expected.get("input_ids").to_dtype(DType::U32).unwrap();
    let mask = expected.get("attention_mask").to_vec2::<i64>().unwrap();
    let labels = expected.get("labels").to_vec2::<i64>().unwrap();
    let lengths = mask.iter().map(|m| m.iter().sum::<i64>() as usize).collect();
    let (mut rows, mut targets) = (vec![], vec![]);
    for (b, row) in labels.iter().enumerate() {
        for (i, label) in row.iter().enumerate().skip(1).filter(|(_, l)| **l != ops::IGNORE_INDEX) {
            rows.push((b * row.len() + i - 1) as u32);
            targets.push(*label);
        }
    }
    Batch { ids, lengths, rows, targets }
}

fn backward(llama: &Llama, batch: &Batch) -> f64 {
    let ctx = Ctx::train(&Device::Cpu).unwrap();
    let states = llama.states(&ctx, &llama.embed(&ctx, &batch.ids).unwrap(), &batch.lengths).unwrap();
    let states = ops::gather_rows(&states.flatten_to(1).unwrap(), &batch.rows).unwrap();
    let loss = ops::cross_entropy(&llama.logits(&ctx, &states).unwrap(), &batch.targets).unwrap();
    let mean = (loss.sum / loss.labelled as f64).unwrap();
    mean.backward().unwrap();
    f64::from(mean.to_scalar::<f32>().unwrap())
}

#[test]
fn grouped_queries_tied_head_and_gradients_equal_the_published_model() {
    let expected = Fixture::load("llama-gqa/expected.safetensors");
    let batch = batch(&expected);
    for checkpointing in [false, true] {
        let (llama, store) = build(&LanguageMethod::Full, checkpointing);
        let ctx = Ctx::eval();
        let states = llama.states(&ctx, &llama.embed(&ctx, &batch.ids).unwrap(), &batch.lengths).unwrap();
        let logits = llama.logits(&ctx, &states).unwrap();
        for (b, n) in batch.lengths.iter().enumerate() {
            let pick = |t: &Tensor| t.get(b).unwrap().narrow(0, 0, *n).unwrap();
            close(&pick(&logits), &pick(&expected.get("logits")), 1e-5, "logits");
        }
        let loss = backward(&llama, &batch);
        let reference = f64::from(expected.get("loss").to_vec1::<f32>().unwrap()[0]);
        assert!((loss - reference).abs() / reference < 1e-5, "{loss} {reference}");
        let mut checked = 0;
        for param in store.iter() {
            let grad = param.weight.slot().unwrap().tensor(param.weight.dims()).unwrap().unwrap();
            close(&grad, &expected.get(&format!("grad.{}", param.weight.name())), 1e-4, param.weight.name());
            checked += 1;
        }
        assert_eq!(checked, 29);
    }
}

#[test]
fn the_cache_gives_the_same_states_as_the_whole_text() {
    let expected = Fixture::load("llama-gqa/expected.safetensors");
    let (llama, _) = build(&LanguageMethod::Freeze, false);
    let ids = expected.get("input_ids").to_dtype(DType::U32).unwrap().narrow(0, 0, 1).unwrap();
    let x = llama.embed(&Ctx::eval(), &ids.narrow(1, 0, 9).unwrap()).unwrap();
    let whole = llama.states(&Ctx::eval(), &x, &vec![9].into()).unwrap();
    let mut cache = llama.cache(9).unwrap();
    let mut parts = vec![llama.advance(&x.narrow(1, 0, 5).unwrap(), &mut cache).unwrap()];
    for i in 5..9 {
        parts.push(llama.advance(&x.narrow(1, i, 1).unwrap().contiguous().unwrap(), &mut cache).unwrap());
    }
    close(&Tensor::cat(&parts, 1).unwrap(), &whole, 1e-5, "states");
    assert!(llama.advance(&x.narrow(1, 0, 1).unwrap(), &mut cache).is_err());
}

#[test]
fn adapters_begin_as_the_plain_model_and_alone_train() {
    let expected = Fixture::load("llama-gqa/expected.safetensors");
    let batch = batch(&expected);
    let (llama, store) = build(&LanguageMethod::Lora { rank: 2, alpha: 4.0, dropout: 0.0 }, false);
    let loss = backward(&llama, &batch);
    let reference = f64::from(expected.get("loss").to_vec1::<f32>().unwrap()[0]);
    assert!((loss - reference).abs() / reference < 1e-5);
    assert_eq!(store.trainable().count(), 3 * 7 * 2);
    for param in store.trainable() {
        let norm = param.weight.slot().unwrap().with_host(|g| g.iter().map(|v| v * v).sum::<f32>()).unwrap();
        // The up factor is zero, so the down factor has a zero gradient, and the up factor has not.
        assert_eq!(norm == 0.0, param.weight.name().ends_with("lora_down.weight"), "{}", param.weight.name());
    }
}

#[test]
fn a_frozen_model_records_nothing() {
    let (llama, _) = build(&LanguageMethod::Freeze, true);
    let ctx = Ctx::train(&Device::Cpu).unwrap();
    let x = Tensor::zeros((1, 3, 48), DType::F32, &Device::Cpu).unwrap();
    assert!(!llama.states(&ctx, &x, &vec![3].into()).unwrap().track_op());
}
