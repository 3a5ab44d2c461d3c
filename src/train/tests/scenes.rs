//! The loop with the real model and the real data path, at toy size, on the built-in set.

use super::toy::{Log, plan, stage};
use crate::config::data::{DataConfig, ImageAspect};
use crate::config::model::{ModelConfig, Tuning};
use crate::config::train::Schedule;
use crate::data::{Dataset, ImageSpec, Order, Preparation, Sampler, Tokenizers};
use crate::models::mllm::Mllm;
use crate::nn::{MapSource, TensorSource};
use crate::ops::testing::device;
use crate::train::checkpoint::{CheckpointDir, Loaded, hand_over};
use crate::train::trainer::StagePlan;
use crate::train::{BatchSource, LoaderSource, MllmStep, Outcome, StepBatch, StepModel, Trainer};
use std::path::Path;
use std::sync::Arc;

fn model(tokenizers: &Tokenizers) -> ModelConfig {
    let text = format!(
        "[vision]\nkind = 'clip'\nimage_size = 32\npatch_size = 8\nwidth = 16\nlayers = 4\nheads = 2\nffn = 32\n\
         [language.sizes]\nwidth = 16\nffn = 32\nlayers = 1\nheads = 2\nkv_heads = 2\nvocabulary = {}\n\
         [text.sizes]\nwidth = 16\nffn = 32\nlayers = 1\nheads = 2\nvocabulary = {}\n",
        tokenizers.language.vocabulary(),
        tokenizers.text.vocabulary()
    );
    toml::from_str(&text).unwrap()
}

pub(super) fn dataset() -> Dataset {
    let config: DataConfig = toml::from_str("[scenes]\ntrain = 3\nval = 1\n").unwrap();
    let tokenizers = Tokenizers::scenes(64).unwrap();
    let image = ImageSpec { size: 32, mean: [0.5; 3], std: [0.5; 3], aspect: ImageAspect::Pad };
    Dataset::train(&config, Preparation::new(&config, tokenizers, image, 16)).unwrap()
}

pub(super) fn source(dataset: &Dataset, accumulation: usize) -> LoaderSource {
    let sampler = Sampler::new(dataset.len(), 4, accumulation, 1, Order::Shuffled);
    LoaderSource::new(dataset.clone(), Arc::new(sampler), 2, 1)
}

pub(super) fn build(dataset: &Dataset, tuning: &str, source: &dyn TensorSource) -> (MllmStep, Tuning) {
    let tuning: Tuning = toml::from_str(tuning).unwrap();
    let config = model(&dataset.preparation().tokenizers);
    let tasks = dataset.tasks().names().len();
    let (model, params) = Mllm::build(&config, &tuning, source, 3, &device(), tasks).unwrap();
    (MllmStep::new(model, params, device()), tuning)
}

pub(super) const BASE: &str = "vision = { type = 'full' }\ntext = 'tasks'\n";
pub(super) const COVFT: &str = "vision = { type = 'covft', experts = 2 }\n";

/// Trains `plan` from `from`, into `dir`; resumes where `dir` holds a checkpoint that `plan` goes on from.
fn train(
    plan: &StagePlan,
    tuning: &str,
    from: &dyn TensorSource,
    resume: Option<&Loaded>,
    dir: &Path,
) -> (MllmStep, Log) {
    let dataset = dataset();
    let (model, _) = build(&dataset, tuning, resume.map_or(from, |loaded| &loaded.model));
    let (mut source, mut log) = (source(&dataset, 2), Log::default());
    let mut saver = CheckpointDir::open(dir).unwrap();
    let mut trainer = Trainer::new(plan, &model, &mut source).unwrap().with_hook(&mut log).with_saver(&mut saver);
    if let Some(loaded) = resume {
        trainer = trainer.resume(loaded).unwrap();
    }
    trainer.run().unwrap();
    (model, log)
}

#[test]
fn base_then_covft_learn_and_resume_to_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut base = stage(Schedule::Cosine, 1);
    base.name = "base".into();
    let base = plan(base, 12);
    let (model, log) = train(&base, BASE, &MapSource::default(), None, one.path());
    assert!(log.losses[11] < 0.9 * log.losses[0], "{:?}", log.losses);
    assert!(log.objectives[11] < log.objectives[0], "the text encoder tells tasks apart: {:?}", log.objectives);

    let handed = hand_over(model.params());
    let mut covft = stage(Schedule::Cosine, 1);
    (covft.name, covft.learning_rate) = ("instruct".into(), 2e-3);
    let mut covft = plan(covft, 5);
    (covft.index, covft.steps_before, covft.steps_in_run) = (1, 12, 17);
    let (_, straight) = train(&covft, COVFT, &handed, None, one.path());
    // Experts begin as the FFN, so the model begins where the stage before ended.
    assert!(straight.losses[0] < 0.9 * log.losses[0], "{} {}", straight.losses[0], log.losses[0]);

    covft.stop_after = Some(14);
    let (_, first) = train(&covft, COVFT, &handed, None, two.path());
    assert_eq!(first.losses, straight.losses[..2]);
    covft.stop_after = None;
    let loaded = Loaded::open(&two.path().join("step-000014")).unwrap();
    let (_, rest) = train(&covft, COVFT, &MapSource::default(), Some(&loaded), two.path());
    assert_eq!(rest.losses[2..], straight.losses[2..]);
    for name in ["model.safetensors", "optimizer.safetensors", "start.safetensors", "state.json"] {
        let read = |dir: &Path| std::fs::read(dir.join("step-000017").join(name)).unwrap();
        assert!(read(one.path()) == read(two.path()), "{name} differs");
    }
}

#[test]
fn the_first_covft_step_moves_nothing_and_reaches_everything_but_what_says_so() {
    let dataset = dataset();
    let (model, _) = build(&dataset, COVFT, &MapSource::default());
    let bytes = |model: &MllmStep| -> Vec<Vec<f32>> {
        model.params().iter().map(|p| p.weight.read_host(<[f32]>::to_vec).unwrap()).collect()
    };
    let before = bytes(&model);
    let (plan, mut source) = (plan(stage(Schedule::Cosine, 1), 1), source(&dataset, 1));
    let outcome = Trainer::new(&plan, &model, &mut source).unwrap().run().unwrap();
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(bytes(&model), before);
    let gates = model.params().trainable().filter(|p| p.role.module == "gate" && p.role.reached).count();
    assert_eq!(gates, 4, "weight and bias of the two CoMoE layers");
}

#[test]
fn batches_announce_what_the_model_counts_and_go_on_where_they_were() {
    let dataset = dataset();
    let mut straight = source(&dataset, 2);
    let steps: Vec<_> = (0..5).map(|_| straight.next_step().unwrap()).collect();
    // 24 samples are six micro-batches: three full steps an epoch.
    assert!(steps.iter().all(|step| step.len() == 2));
    assert_ne!(steps[0], steps[3], "another order in the second epoch");
    assert!(steps.iter().flatten().all(|batch| StepBatch::labelled_tokens(batch) > 0));
    let mut later = source(&dataset, 2);
    for _ in 0..2 {
        later.next_step().unwrap();
    }
    let position = later.position();
    let mut resumed = source(&dataset, 2);
    resumed.seek(&position).unwrap();
    assert_eq!(resumed.next_step().unwrap(), steps[2]);
    assert_eq!(resumed.next_step().unwrap(), steps[3]);
    let other =
        LoaderSource::new(dataset.clone(), Arc::new(Sampler::new(dataset.len(), 3, 1, 9, Order::Shuffled)), 1, 1);
    let error = resumed.seek(&other.position()).unwrap_err().to_string();
    assert!(error.contains("another batch size, seed or data set"), "{error}");
}

#[test]
fn a_short_last_step_of_an_epoch_is_still_one_step() {
    let dataset = dataset();
    let mut source = source(&dataset, 4);
    let sizes: Vec<_> = (0..4).map(|_| source.next_step().unwrap().len()).collect();
    assert_eq!(sizes, [4, 2, 4, 2]);
}
