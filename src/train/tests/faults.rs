//! What must stop a run, before the optimiser moves.

use super::toy::{Toy, ToySource, plan, stage};
use crate::config::train::Schedule;
use crate::nn::MapSource;
use crate::train::{TrainError, Trainer};
use std::collections::HashMap;

/// Trains one step with learning rate 0.02, which must fail and leave the parameters as they are.
fn fails(toy: &Toy, source: &mut ToySource) -> TrainError {
    let plan = plan(stage(Schedule::Constant, 0), 1);
    let before = toy.bytes();
    let error = Trainer::new(&plan, toy, source).unwrap().run().unwrap_err();
    assert_eq!(toy.bytes(), before, "nothing moved");
    error
}

#[test]
fn a_loss_that_is_not_finite_names_the_sample() {
    let mut toy = Toy::new();
    toy.poison = Some("s3");
    let error = fails(&toy, &mut ToySource::new(super::toy::SAMPLES, 1)).to_string();
    assert!(error.starts_with("stage toy, step 0: the loss is not finite for s3 (entry 3);"), "{error}");
}

#[test]
fn a_missing_gradient_names_the_parameter() {
    let mut toy = Toy::new();
    toy.forgets_projector = true;
    let error = fails(&toy, &mut ToySource::new(2, 1));
    assert!(
        matches!(&error, TrainError::GradientMissing { parameter, samples, .. }
            if parameter == "projector.weight" && samples.0.len() == 2),
        "{error}"
    );
}

#[test]
fn a_gradient_that_is_not_finite_names_the_parameter() {
    // Inputs of the projector near float32's limit, its weights zero: the loss is finite, the gradient overflows.
    let filled =
        |value: f32, dims: &[usize]| candle_core::Tensor::full(value, dims, &candle_core::Device::Cpu).unwrap();
    let head: Vec<f32> = (0..96).map(|i| 1e4 * (i as f32).sin()).collect();
    let tensors = HashMap::from([
        ("tower.layer_norm1.weight".to_owned(), filled(1e38, &[8])),
        ("projector.weight".to_owned(), filled(0.0, &[8, 8])),
        ("head.weight".to_owned(), candle_core::Tensor::from_vec(head, (12, 8), &candle_core::Device::Cpu).unwrap()),
    ]);
    let mut toy = Toy::from_source(&MapSource { tensors });
    toy.dropout = 0.0;
    let error = fails(&toy, &mut ToySource::new(8, 1));
    assert!(
        matches!(&error, TrainError::GradientNotFinite { parameter, .. } if parameter == "projector.weight"),
        "{error}"
    );
}

#[test]
fn a_batch_without_labels_is_refused() {
    let mut source = ToySource::new(2, 2);
    source.unlabelled = true;
    let error = fails(&Toy::new(), &mut source);
    assert!(matches!(error, TrainError::NoLabels { .. }), "{error}");
}

#[test]
fn a_batch_that_counts_its_labels_wrongly_is_refused() {
    let mut source = ToySource::new(2, 1);
    source.lie = 1;
    let error = fails(&Toy::new(), &mut source);
    assert!(matches!(&error, TrainError::LabelCount { announced, seen, .. } if *announced == seen + 1), "{error}");
}

#[test]
fn an_empty_step_and_a_model_that_does_not_train_are_refused() {
    let error = fails(&Toy::new(), &mut ToySource::new(2, 0));
    assert!(matches!(error, TrainError::NoBatch { .. }), "{error}");
    let plan = plan(stage(Schedule::Constant, 0), 1);
    let toy = Toy::build(&MapSource::default(), |_| false);
    let error = Trainer::new(&plan, &toy, &mut ToySource::new(2, 1)).unwrap_err();
    assert_eq!(error.to_string(), "stage toy: no parameter trains");
}
