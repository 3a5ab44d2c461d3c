//! The model where tensors lie elsewhere, and in bfloat16.

use super::*;
use crate::ops::{Path, on_path};

#[test]
fn answers_and_losses_in_bfloat16_are_those_of_float32_but_for_rounding() {
    let (mut model, _) = build(&full_covft(Checkpointing::None), 0);
    let wide = model.forward(&Ctx::eval(), &input()).unwrap();
    let pixels = pixels(1);
    let question = Question { pixels: &pixels, input_ids: &[1, IMAGE_TOKEN, 9, 10], context_ids: &[2, 5, 3] };
    let options = GenerateOptions { max_new_tokens: 4, stop: vec![], sampling: Sampling::Greedy };
    model.set_compute(DType::BF16);
    let short = model.forward(&Ctx::eval(), &input()).unwrap();
    assert_eq!(short.loss_sum.dtype(), DType::F32);
    for (a, b) in short.sample_losses.read().unwrap().iter().zip(&wide.sample_losses.read().unwrap()) {
        assert!(a != b && (a - b).abs() < 1e-2 * b, "{a} {b}");
    }
    assert_eq!(short.routing[0].weights.dtype(), DType::F32);
    close(&short.routing[0].weights, &wide.routing[0].weights, 1e-2, "routing weights");
    let (logits, lengths) = model.logits(&Ctx::eval(), &input()).unwrap();
    assert_eq!((logits.dtype(), lengths.len()), (DType::BF16, 2));
    let answer = model.generate(&question, &options).unwrap();
    assert_eq!((answer.ids.len(), answer.routing.len()), (4, 1));
}

/// Loss and gradients where tensors lie elsewhere, and in bfloat16, for what each method adds to each tower.
#[test]
fn every_method_trains_elsewhere_and_in_bfloat16() {
    let methods = [
        r#"{"type": "full"}"#,
        r#"{"type": "lora", "rank": 2, "alpha": 4.0}"#,
        r#"{"type": "bitfit"}"#,
        r#"{"type": "vpt", "prompts": 3}"#,
        r#"{"type": "covft", "experts": 3, "router": {"sparse": 2}}"#,
        r#"{"type": "covft", "experts": 2, "router": "uniform"}"#,
    ];
    for kind in [TowerKind::Clip, TowerKind::Dinov2] {
        let mut config = config();
        config.vision.kind = Some(kind);
        for method in methods {
            let language = r#"{"type": "lora", "rank": 2, "alpha": 4.0}"#;
            let tuning = tuning(&format!(r#"{{"vision": {method}, "language": {language}}}"#));
            let run = |path: Path, dtype: DType| {
                let (mut model, store) =
                    Mllm::build(&config, &tuning, &MapSource::default(), 7, &Device::Cpu, 0).unwrap();
                model.set_compute(dtype);
                on_path(path, || {
                    let output = model.forward(&Ctx::train(&Device::Cpu).unwrap(), &input()).unwrap();
                    output.loss_sum.backward().unwrap();
                });
                let mut all = Vec::new();
                for param in store.trainable().filter(|p| p.role.reached) {
                    let gradient = gradient(&store, param.weight.name());
                    // What nothing was added to stays elsewhere as it came.
                    let kept = gradient.dtype() == DType::BF16 && path == Path::Device && dtype == DType::BF16;
                    assert!(kept || gradient.dtype() == DType::F32, "{}", param.weight.name());
                    let gradient = gradient.flatten_all().unwrap().to_dtype(DType::F32).unwrap();
                    all.extend(gradient.to_vec1::<f32>().unwrap());
                }
                all
            };
            let host = run(Path::Host, DType::F32);
            for (path, dtype, tolerance) in
                [(Path::Device, DType::F32, 1e-5), (Path::Device, DType::BF16, 5e-2), (Path::Host, DType::BF16, 5e-2)]
            {
                let other = run(path, dtype);
                assert_eq!(other.len(), host.len());
                let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x * x)).sum::<f64>().sqrt();
                let apart = norm(&mut other.iter().zip(&host).map(|(a, b)| a - b)) / norm(&mut host.iter().copied());
                assert!(apart < tolerance, "{kind:?} {method} {path:?} {dtype:?}: {apart}");
                assert!(dtype == DType::F32 || apart > 1e-4, "{kind:?} {method}: bfloat16 was computed in");
            }
        }
    }
}
