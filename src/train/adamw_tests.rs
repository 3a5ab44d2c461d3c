use super::*;
use crate::config::train::{PartRates, check_stages};
use crate::nn::{Init, MapSource, ParamBuilder};
use crate::train::error::At;
use crate::train::gradients::{Fault, clip_factor, global_norm};
use crate::train::team::{Everyones, Team};
use candle_core::{Device, Tensor};

fn stage(text: &str) -> Stage {
    let text = format!("name = \"s\"\nsteps = 9\nbatch_size = 1\nlearning_rate = 0.01\n{text}\n[tuning]\n");
    check_stages(&[toml::from_str(&text).unwrap()]).unwrap().remove(0)
}

/// Parameters with names of the field and numbers from the seeded stream.
fn store(names: &[(&str, Part)], elements: usize) -> ParamStore {
    let source = MapSource::default();
    let pb = ParamBuilder::new(&source, &|_, _| true, 1, &Device::Cpu);
    for (name, part) in names {
        pb.part(*part).get(&[elements], name, Init::Normal(1.0)).unwrap();
    }
    pb.finish()
}

fn set_gradient(params: &ParamStore, name: &str, values: &[f32]) {
    let gradient = Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
    let slot = params.get(name).unwrap().weight.slot().unwrap();
    slot.clear();
    slot.accumulate(&gradient).unwrap();
}

fn values(params: &ParamStore, name: &str) -> Vec<f32> {
    params.get(name).unwrap().weight.read_host(<[f32]>::to_vec).unwrap()
}

/// AdamW's formula in float64, element by element, from the published definition.
fn reference(theta: f64, gradients: &[f64], rates: &[f64], decay: f64) -> f64 {
    let (mut theta, mut m, mut v) = (theta, 0.0, 0.0);
    for (t, (g, lr)) in (1..).zip(gradients.iter().zip(rates)) {
        theta -= lr * decay * theta;
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
        theta -= lr * m_hat / (v_hat.sqrt() + 1e-8);
    }
    theta
}

#[test]
fn steps_follow_the_formula() {
    let params = store(&[("a.weight", Part::Vision), ("a.bias", Part::Vision)], 5);
    let mut adamw = AdamW::new(&params, &stage("weight_decay = 0.1"));
    let start = [values(&params, "a.weight"), values(&params, "a.bias")];
    let gradients: Vec<Vec<f64>> =
        (0..6).map(|t| (0..5).map(|i| f64::from((i + 1) * (t % 3 - 1)) * 0.3 + 1e-3).collect()).collect();
    let shares = [0.0, 1.0, 0.9, 0.5, 0.3, 0.1];
    for (gradient, share) in gradients.iter().zip(shares) {
        let narrow: Vec<f32> = gradient.iter().map(|g| *g as f32).collect();
        set_gradient(&params, "a.weight", &narrow);
        set_gradient(&params, "a.bias", &narrow);
        adamw.step(share, 0.5).unwrap();
    }
    let rates: Vec<f64> = shares.iter().map(|s| 0.01 * s).collect();
    for (name, start, decay) in [("a.weight", &start[0], 0.1), ("a.bias", &start[1], 0.0)] {
        for (i, got) in values(&params, name).iter().enumerate() {
            let clipped: Vec<f64> = gradients.iter().map(|g| 0.5 * g[i]).collect();
            let want = reference(f64::from(start[i]), &clipped, &rates, decay);
            assert!((f64::from(*got) - want).abs() < 1e-6, "{name}[{i}]: {got} {want}");
        }
    }
}

/// What a checkpoint keeps.
fn saved(adamw: &AdamW) -> Vec<OwnedMoments> {
    let at = At { stage: String::new(), step: 0 };
    let everyones = Everyones { own: adamw, team: None::<&Team<()>>, at };
    let owned = |s: SavedMoments<'_>| (s.name.to_owned(), s.first.into_owned(), s.second.into_owned());
    everyones.saved().map(|saved| owned(saved.unwrap())).collect()
}

#[test]
fn one_step_by_hand() {
    // g = 2, lr 0.01: m = 0.2, v = 0.004, m_hat = 2, v_hat = 4, so theta moves by 0.01 whatever the gradient's size.
    let params = store(&[("x.bias", Part::Text)], 1);
    let start = values(&params, "x.bias")[0];
    let mut adamw = AdamW::new(&params, &stage(""));
    set_gradient(&params, "x.bias", &[2.0]);
    adamw.step(1.0, 1.0).unwrap();
    assert!((values(&params, "x.bias")[0] - (start - 0.01)).abs() < 1e-7);
    assert!((adamw.first_moment("x.bias").unwrap().unwrap()[0] - 0.2).abs() < 1e-7);
    assert!((saved(&adamw)[0].2[0] - 0.004).abs() < 1e-8);
}

#[test]
fn groups_are_by_part_and_spare_biases_and_norms() {
    let names = [
        ("model.layers.0.self_attn.q_proj.weight", Part::Language),
        ("model.layers.0.input_layernorm.weight", Part::Language),
        ("model.norm.weight", Part::Language),
        ("vision_model.encoder.layers.3.mlp.image_resblock.ln.weight", Part::Vision),
        ("vision_model.encoder.layers.3.mlp.cross_attn.in_proj_bias", Part::Vision),
        ("vision_model.pre_layrnorm.weight", Part::Vision),
        ("vision_model.encoder.layers.3.mlp.cross_attn.q_proj_weight", Part::Vision),
        ("encoder.layer.0.norm1.weight", Part::Vision),
        ("encoder.layer.0.layer_scale1.lambda1", Part::Vision),
        ("model.mm_projector.0.bias", Part::Projector),
        ("encoder.layer.0.output.LayerNorm.weight", Part::Text),
        ("encoder.layer.0.output.dense.weight", Part::Text),
    ];
    let params = store(&names, 1);
    let decayed: Vec<_> = params.iter().filter(|p| is_decayed(p)).map(|p| p.weight.name().to_owned()).collect();
    let want = [names[0].0, names[6].0, names[8].0, names[11].0];
    assert_eq!(decayed, want);
    let mut stage = stage("weight_decay = 0.1");
    stage.learning_rates = PartRates { vision: Some(1e-4), text: Some(2e-4), ..PartRates::default() };
    let adamw = AdamW::new(&params, &stage);
    let groups: Vec<_> = adamw.groups().iter().map(|g| (g.name.as_str(), g.learning_rate, g.weight_decay)).collect();
    let want = [
        ("vision", 1e-4, 0.1),
        ("vision.no_decay", 1e-4, 0.0),
        ("projector.no_decay", 0.01, 0.0),
        ("language", 0.01, 0.1),
        ("language.no_decay", 0.01, 0.0),
        ("text", 2e-4, 0.1),
        ("text.no_decay", 2e-4, 0.0),
    ];
    assert_eq!(groups, want);
    assert_eq!(adamw.learning_rates(0.5)[0], ("vision".to_owned(), 5e-5));
}

#[test]
fn a_parameter_without_gradient_is_left_alone() {
    let params = store(&[("a.weight", Part::Vision), ("b.weight", Part::Vision)], 2);
    let before = values(&params, "b.weight");
    let mut adamw = AdamW::new(&params, &stage("weight_decay = 0.1"));
    set_gradient(&params, "a.weight", &[1.0, -1.0]);
    adamw.step(1.0, 1.0).unwrap();
    assert_eq!(values(&params, "b.weight"), before, "not even decayed");
    assert!(adamw.first_moment("b.weight").unwrap().is_none());
    assert_eq!(saved(&adamw).len(), 1);
}

#[test]
fn saved_moments_go_on_as_if_nothing_had_happened() {
    let params = store(&[("a.weight", Part::Vision)], 3);
    let mut adamw = AdamW::new(&params, &stage(""));
    set_gradient(&params, "a.weight", &[0.1, 0.2, -0.3]);
    adamw.step(1.0, 1.0).unwrap();
    let saved = saved(&adamw);
    let twin = store(&[("a.weight", Part::Vision)], 3);
    twin.get("a.weight").unwrap().weight.update_host(|v| v.copy_from_slice(&values(&params, "a.weight"))).unwrap();
    let mut restored = AdamW::new(&twin, &stage(""));
    restored.restore(1, saved).unwrap();
    for (optimizer, params) in [(&mut adamw, &params), (&mut restored, &twin)] {
        set_gradient(params, "a.weight", &[0.3, 0.1, 0.2]);
        optimizer.step(0.5, 1.0).unwrap();
    }
    assert_eq!(values(&params, "a.weight"), values(&twin, "a.weight"));
    let error = restored.restore(1, vec![("a.weight".into(), vec![0.0], vec![0.0])]).unwrap_err().to_string();
    assert!(error.contains("have 1 elements, the parameter 3"), "{error}");
}

#[test]
fn norm_and_clip_have_torch_numbers() {
    let params = store(&[("a.weight", Part::Vision), ("b.weight", Part::Vision)], 2);
    set_gradient(&params, "a.weight", &[3.0, 0.0]);
    assert_eq!(global_norm(&params), Err(Fault::Missing("b.weight".into())));
    set_gradient(&params, "b.weight", &[0.0, -4.0]);
    assert_eq!(global_norm(&params), Ok(5.0));
    set_gradient(&params, "b.weight", &[0.0, f32::NAN]);
    assert_eq!(global_norm(&params), Err(Fault::NotFinite("b.weight".into())));
    assert!((clip_factor(5.0, 1.0) - 1.0 / 5.000_001).abs() < 1e-15);
    assert_eq!(clip_factor(0.5, 1.0), 1.0);
    assert_eq!(clip_factor(0.0, 1.0), 1.0);
}

#[test]
fn large_tensors_give_the_same_bytes_on_any_number_of_threads() {
    let elements = 100_003;
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let params = store(&[("a.weight", Part::Vision)], elements);
            let mut adamw = AdamW::new(&params, &stage("weight_decay = 0.1"));
            let gradient = crate::nn::Stream::new(9, "gradient").normal(elements, 1.0);
            set_gradient(&params, "a.weight", &gradient);
            let norm = global_norm(&params).unwrap();
            for _ in 0..2 {
                adamw.step(1.0, clip_factor(norm, 1.0)).unwrap();
            }
            (norm.to_bits(), values(&params, "a.weight").iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
    let norm = f64::from_bits(one.0);
    assert!((norm / (elements as f64).sqrt() - 1.0).abs() < 0.02, "{norm}");
}
