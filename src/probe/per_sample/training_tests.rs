//! Gradients of samples in the training loop, with the real model and data path at toy size.

use crate::config::data::{DataConfig, ImageAspect};
use crate::config::model::Tuning;
use crate::config::probe::{ProbeConfig, SampleRows, Schedule};
use crate::config::train::{Stage, StageConfig, check_stages};
use crate::data::{Dataset, ImageSpec, Order, Preparation, Sampler, Tokenizers};
use crate::models::mllm::Mllm;
use crate::nn::MapSource;
use crate::ops::{Path, on_path};
use crate::probe::{Recorder, RecorderSetup};
use crate::train::hook::{Hook, HookResult, StepView};
use crate::train::{LoaderSource, MllmStep, StagePlan, Trainer};
use candle_core::{DType, Device};
use covft_analyses::store::{
    self, GradientRow, LayerRow, Manifest, Name, NoiseRow, PairRow, RecordWriter, RunDir, SampleGradientRow,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const FULL: &str = "vision = { type = 'full' }\n";
const COVFT: &str = "vision = { type = 'covft', experts = 2 }\n";

#[derive(Clone)]
struct Case {
    tuning: String,
    probe: Option<ProbeConfig>,
    micro: usize,
    accumulation: usize,
    steps: u64,
    compute: DType,
}

#[derive(Debug, Default)]
struct Seen {
    losses: Vec<u64>,
    pairs: Vec<PairRow>,
    gradients: Vec<SampleGradientRow>,
    noise: Vec<NoiseRow>,
    layers: Vec<LayerRow>,
    sketches: Vec<GradientRow>,
}

struct Losses(Vec<u64>);

impl Hook for Losses {
    fn step(&mut self, view: &StepView<'_>) -> HookResult {
        self.0.push(view.loss.to_bits());
        Ok(())
    }
}

fn probe() -> ProbeConfig {
    ProbeConfig {
        log_grads: true,
        samples_every: Schedule::every(1),
        exact_steps: vec![0, 1],
        sample_rows: SampleRows::Modules,
        ..ProbeConfig::default()
    }
}

fn case(tuning: &str) -> Case {
    let tuning = tuning.to_owned();
    Case { tuning, probe: Some(probe()), micro: 4, accumulation: 2, steps: 2, compute: DType::F32 }
}

fn dataset() -> Dataset {
    let config: DataConfig = toml::from_str("[scenes]\ntrain = 3\nval = 1\n").unwrap();
    let image = ImageSpec { size: 32, mean: [0.5; 3], std: [0.5; 3], aspect: ImageAspect::Pad };
    Dataset::train(&config, Preparation::new(&config, Tokenizers::scenes(64).unwrap(), image, 16)).unwrap()
}

fn model(dataset: &Dataset, tuning: &Tuning, compute: DType) -> MllmStep {
    let tokenizers = &dataset.preparation().tokenizers;
    let text = format!(
        "[vision]\nkind = 'clip'\nimage_size = 32\npatch_size = 8\nwidth = 16\nlayers = 4\nheads = 2\nffn = 32\n\
         [language.sizes]\nwidth = 16\nffn = 32\nlayers = 1\nheads = 2\nkv_heads = 2\nvocabulary = {}\n\
         [text.sizes]\nwidth = 16\nffn = 32\nlayers = 1\nheads = 2\nvocabulary = {}\n",
        tokenizers.language.vocabulary(),
        tokenizers.text.vocabulary()
    );
    let (model, params) =
        Mllm::build(&toml::from_str(&text).unwrap(), tuning, &MapSource::default(), 3, &Device::Cpu, 0).unwrap();
    MllmStep::new(model, params, Device::Cpu).computing_in(compute)
}

fn stage(tuning: &Tuning) -> Stage {
    let text = "name = 'instruct'\nsteps = 2\nbatch_size = 8\nlearning_rate = 1e-2\nmax_grad_norm = 0.01\n[tuning]\n";
    let mut stage: StageConfig = toml::from_str(text).unwrap();
    stage.tuning = tuning.clone();
    check_stages(&[stage]).unwrap().remove(0)
}

fn run(case: &Case) -> Seen {
    let dataset = dataset();
    let tuning: Tuning = toml::from_str(&case.tuning).unwrap();
    let model = model(&dataset, &tuning, case.compute);
    let mut stage = stage(&tuning);
    stage.warmup = crate::config::train::Warmup::Steps(0);
    let plan = StagePlan {
        stage,
        index: 0,
        steps: case.steps,
        steps_before: 0,
        steps_in_run: case.steps,
        seed: 11,
        stop_after: None,
        stop: Arc::default(),
    };
    let sampler = Sampler::new(dataset.len(), case.micro, case.accumulation, 1, Order::Shuffled);
    let mut source = LoaderSource::new(dataset.clone(), Arc::new(sampler), 2, 1);
    let mut losses = Losses(Vec::new());
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    Manifest::start(vec![], 0, "cpu", "plain").write(&dir).unwrap();
    let writer = RecordWriter::create(&dir, store::WriterOptions::default()).unwrap();
    let config = case.probe.clone().unwrap_or_default();
    let lora_scales = BTreeMap::from([("instruct".to_owned(), 2.0)]);
    let mut recorder = Recorder::new(RecorderSetup { dir: dir.clone(), writer, config, lora_scales });
    let mut trainer = Trainer::new(&plan, &model, &mut source).unwrap().with_hook(&mut losses);
    if case.probe.is_some() {
        trainer = trainer.with_hook(&mut recorder);
    }
    trainer.run().unwrap();
    recorder.finish().unwrap();
    Seen {
        losses: losses.0,
        pairs: store::read_records(&dir).unwrap().rows,
        gradients: store::read_records(&dir).unwrap().rows,
        noise: store::read_records(&dir).unwrap().rows,
        layers: store::read_records(&dir).unwrap().rows,
        sketches: store::read_records(&dir).unwrap().rows,
    }
}

/// Pairs by what they are of, in either order of the samples.
fn by_key(seen: &Seen, mode: &str, step: u64, space: &str) -> BTreeMap<(Name, Name, [Name; 2]), f64> {
    let rows = seen.pairs.iter().filter(|r| r.mode == mode && r.step == step && r.space == space);
    rows.map(|r| {
        let mut ids = [r.sample_a.clone(), r.sample_b.clone()];
        ids.sort();
        ((r.layer.clone(), r.module.clone(), ids), r.dot)
    })
    .collect()
}

/// Largest difference, relative to the largest number of the same layer and module.
fn apart(a: &Seen, b: &Seen, mode: &str, space: &str) -> f64 {
    let (a, b) = (by_key(a, mode, 0, space), by_key(b, mode, 0, space));
    assert!(!a.is_empty() && a.keys().eq(b.keys()), "{mode} {space}: {} {}", a.len(), b.len());
    let mut scales: BTreeMap<(&Name, &Name), f64> = BTreeMap::new();
    for ((layer, module, _), dot) in &b {
        let scale = scales.entry((layer, module)).or_default();
        *scale = scale.max(dot.abs());
    }
    // Cells that are zero up to rounding (a fresh mixture's gate) are compared with the largest of all.
    let largest = scales.values().fold(0.0, |m: f64, s| m.max(*s));
    let off = a.iter().map(|((layer, module, ids), dot)| {
        let other = b[&(layer.clone(), module.clone(), ids.clone())];
        (dot - other).abs() / scales[&(layer, module)].max(1e-6 * largest)
    });
    off.fold(0.0, f64::max)
}

#[test]
fn probes_change_no_loss_and_records_do_not_depend_on_threads() {
    for tuning in [COVFT, "vision = { type = 'lora', rank = 2, alpha = 4.0 }\n", "vision = { type = 'freeze' }\n"] {
        let frozen = ProbeConfig { virtual_frozen: true, ..probe() };
        let with = |threads: usize, probe: Option<ProbeConfig>| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&Case { probe, ..case(tuning) }))
        };
        let plain = with(2, None);
        let seen: Vec<Seen> = [1, 2, 3].map(|threads| with(threads, Some(frozen.clone()))).into();
        assert!(plain.pairs.is_empty() && plain.losses.len() == 2);
        for other in &seen {
            assert_eq!(other.losses, plain.losses, "{tuning}");
            assert!(!other.pairs.is_empty());
            assert_eq!(other.pairs, seen[0].pairs, "{tuning}");
            assert_eq!(other.gradients, seen[0].gradients);
            assert_eq!(other.noise, seen[0].noise);
        }
    }
}

#[test]
fn accumulation_checkpointing_and_the_device_path_measure_the_same() {
    for tuning in [FULL, COVFT] {
        let parts = run(&case(tuning));
        let one = run(&Case { micro: 8, accumulation: 1, ..case(tuning) });
        let again = run(&case(&format!("{tuning}checkpointing = 'all'\n")));
        let there = on_path(Path::Device, || run(&case(tuning)));
        for (mode, tolerance) in [("exact", 2e-4), ("sketch", 2e-4)] {
            for space in ["trainable", "shared"] {
                assert!(apart(&parts, &one, mode, space) < tolerance, "{tuning} {mode} {space} in one batch");
                assert!(apart(&there, &parts, mode, space) < tolerance, "{tuning} {mode} {space} elsewhere");
            }
        }
        assert_eq!(again.pairs, parts.pairs, "{tuning}: recomputed blocks are seen once");
        // Where nothing exact is asked for, sketches are made where the factors lie.
        let probe = || Some(ProbeConfig { exact_steps: Vec::new(), ..probe() });
        let sketched = |path| on_path(path, || run(&Case { probe: probe(), ..case(tuning) }));
        let (here, there) = (sketched(Path::Host), sketched(Path::Device));
        for space in ["trainable", "shared"] {
            assert!(apart(&there, &here, "sketch", space) < 2e-4, "{tuning} {space} sketched elsewhere");
            assert!(apart(&here, &parts, "sketch", space) < 1e-6, "{tuning} {space} without the exact ones");
        }
    }
    let short = run(&Case { compute: DType::BF16, steps: 1, ..case(FULL) });
    let wide = run(&Case { steps: 1, ..case(FULL) });
    assert!(apart(&short, &wide, "exact", "shared") < 0.1, "{}", apart(&short, &wide, "exact", "shared"));
}

/// `sum_ij <g_i, g_j> = ||g||^2`, layer by layer and module by module.
#[test]
fn the_samples_gradients_add_up_to_the_steps_before_clipping() {
    for tuning in
        [FULL, COVFT, "vision = { type = 'lora', rank = 2, alpha = 4.0 }\n", "vision = { type = 'vpt', prompts = 2 }\n"]
    {
        let seen = run(&case(tuning));
        let mut compared = 0;
        for row in seen.layers.iter().filter(|r| r.step == 1 && r.grad_norm.is_some_and(|g| g > 1e-6)) {
            let here = |layer: &str, module: &str, mode: &str, space: &str, step: u64| {
                (layer, module, mode, space, step) == (&row.layer, &row.module, "exact", "trainable", 1)
            };
            let own: f64 = seen
                .gradients
                .iter()
                .filter(|r| here(&r.layer, &r.module, &r.mode, &r.space, r.step))
                .map(|r| r.norm.unwrap_or(0.0).powi(2))
                .sum();
            let others: f64 = seen
                .pairs
                .iter()
                .filter(|r| here(&r.layer, &r.module, &r.mode, &r.space, r.step))
                .map(|r| 2.0 * r.dot)
                .sum();
            let norm2 = row.grad_norm.unwrap().powi(2);
            assert!(
                (own + others - norm2).abs() < 1e-3 * own.max(norm2),
                "{tuning} {} {}: {} {norm2}",
                row.layer,
                row.module,
                own + others
            );
            compared += 1;
        }
        assert!(compared >= 4, "{tuning}: {compared}");
    }
}

/// The same parameters, the same gradients, whoever trains them: a mixture begins as the feed-forward layer.
#[test]
fn virtual_gradients_equal_trained_ones_and_experts_add_up_to_the_layer() {
    let exact = ProbeConfig { virtual_frozen: true, ..probe() };
    let of = |tuning: &str| run(&Case { probe: Some(exact.clone()), steps: 1, ..case(tuning) });
    let full = of(FULL);
    for tuning in ["vision = { type = 'freeze' }\n", COVFT, "vision = { type = 'lora', rank = 2, alpha = 4.0 }\n"] {
        let other = of(tuning);
        assert!(
            apart(&other, &full, "exact", "shared") < 1e-3,
            "{tuning}: {}",
            apart(&other, &full, "exact", "shared")
        );
    }
}

/// The intervals that cosines state hold the exact ones.
#[test]
fn stated_intervals_hold_the_exact_cosines() {
    let seen = run(&Case { steps: 2, ..case(FULL) });
    let key = |r: &PairRow| {
        (r.step, r.space.clone(), r.layer.clone(), r.module.clone(), r.sample_a.clone(), r.sample_b.clone())
    };
    let exact: BTreeMap<_, f32> =
        seen.pairs.iter().filter(|r| r.mode == "exact").filter_map(|r| Some((key(r), r.cosine?))).collect();
    let mut held = (0, 0);
    for row in seen.pairs.iter().filter(|r| r.mode == "sketch" && r.error.is_some_and(|e| e > 0.0)) {
        let Some(truth) = exact.get(&key(row)) else { continue };
        held.0 += usize::from(row.low.unwrap() <= *truth && *truth <= row.high.unwrap());
        held.1 += 1;
    }
    assert!(held.1 > 500 && held.0 * 10 >= held.1 * 9, "{held:?}");
}

/// A step that the budget leaves out is no probe that never fired.
#[test]
fn a_budget_that_is_spent_leaves_steps_out() {
    let probe = ProbeConfig { budget: Some(1e-6), exact_steps: vec![3], ..probe() };
    let seen = run(&Case { probe: Some(probe), steps: 4, ..case(COVFT) });
    let steps: std::collections::BTreeSet<u64> = seen.pairs.iter().map(|r| r.step).collect();
    assert!(steps.contains(&0) && steps.contains(&3) && steps.len() < 4, "{steps:?}");
}

#[test]
fn recorded_sketches_give_the_pairs_inner_products_back() {
    let probe = ProbeConfig { sample_gradients: true, exact_steps: Vec::new(), batch_sketches: false, ..probe() };
    let seen = run(&Case { probe: Some(probe), steps: 1, ..case(COVFT) });
    let numbers = |r: &GradientRow| r.sketch.iter().map(|x| f64::from(x.to_f32() * r.scale)).collect::<Vec<_>>();
    let find = |pair: &PairRow, sample: &str| {
        let same =
            |r: &&GradientRow| r.space == pair.space && r.layer == pair.layer && r.sample.as_deref() == Some(sample);
        seen.sketches.iter().find(same).unwrap()
    };
    let (mut compared, mut squares) = (0, 0.0);
    for pair in seen.pairs.iter().filter(|p| p.depth.is_some() && p.module == store::ALL) {
        let (a, b) = (find(pair, &pair.sample_a), find(pair, &pair.sample_b));
        assert!(a.kind == "sample" && a.elements > 0 && a.error >= 0.03);
        let dot: f64 = numbers(a).iter().zip(numbers(b)).map(|(a, b)| a * b).sum();
        squares += ((dot - pair.dot) / (a.norm * b.norm)).powi(2);
        compared += 1;
    }
    // Folding into 1024 numbers has an error of 0.03 to 0.045.
    let error = (squares / f64::from(compared)).sqrt();
    assert!(compared > 100 && error < 0.06, "{compared}: {error}");
}
