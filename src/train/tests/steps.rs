//! What a step does to gradients and parameters.

use super::toy::{Log, Toy, ToySource, plan, stage, trained};
use crate::config::train::{GradClip, Schedule};
use crate::train::{Trainer, learning_rate_share};

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, x| m.max(x.abs()))
}

#[test]
fn the_loss_falls_and_rates_follow_the_schedule() {
    let plan = plan(stage(Schedule::Cosine, 3), 40);
    let (_, log) = trained(&plan, 8, 1);
    assert!(log.losses[39] < 0.7 * log.losses[0], "{:?}", log.losses);
    let want: Vec<f64> = (0..40).map(|s| 0.02 * learning_rate_share(Schedule::Cosine, s, 40, 3)).collect();
    assert_eq!(log.rates, want);
    assert_eq!(log.events, ["start 0", "end"]);
}

#[test]
fn splitting_a_step_into_micro_batches_changes_nothing() {
    let plan = plan(stage(Schedule::Constant, 1), 2);
    let (_, whole) = trained(&plan, 8, 1);
    for (size, accumulation) in [(4, 2), (2, 4)] {
        let (_, split) = trained(&plan, size, accumulation);
        assert!((split.losses[0] - whole.losses[0]).abs() <= 1e-6 * whole.losses[0]);
        assert!((split.norms[0] - whole.norms[0]).abs() <= 1e-6 * whole.norms[0]);
        let difference: Vec<f32> = split.gradients[0].iter().zip(&whole.gradients[0]).map(|(a, b)| a - b).collect();
        assert!(largest(&difference) <= 1e-6 * largest(&whole.gradients[0]), "{size} x {accumulation}");
    }
}

#[test]
fn a_further_objective_is_a_mean_over_the_samples_of_the_whole_step() {
    let plan = plan(stage(Schedule::Constant, 1), 1);
    let mut seen = Vec::new();
    for (size, accumulation) in [(8, 1), (2, 4)] {
        let mut toy = Toy::new();
        (toy.dropout, toy.objective) = (0.0, true);
        let (mut source, mut log) = (ToySource::new(size, accumulation), Log::default());
        Trainer::new(&plan, &toy, &mut source).unwrap().with_hook(&mut log).run().unwrap();
        seen.push(log);
    }
    let (_, without) = trained(&plan, 8, 1);
    assert!((seen[0].objectives[0] - seen[1].objectives[0]).abs() <= 1e-6 * seen[0].objectives[0]);
    assert!((seen[0].norms[0] - seen[1].norms[0]).abs() <= 1e-6 * seen[0].norms[0]);
    assert_eq!(seen[0].losses, without.losses, "the reported loss is the language model's alone");
    assert!(seen[0].norms[0] > 1.01 * without.norms[0], "the objective has a gradient");
}

#[test]
fn the_first_step_of_a_warm_up_moves_moments_but_no_parameter() {
    let plan = plan(stage(Schedule::Cosine, 1), 1);
    let before = Toy::new().bytes();
    let (toy, log) = trained(&plan, 8, 1);
    assert_eq!(toy.bytes(), before);
    assert_eq!(log.first_moments, [false], "none at a stage's first step");
    let two = super::toy::plan(stage(Schedule::Cosine, 1), 2);
    let (toy, log) = trained(&two, 8, 1);
    assert_eq!(log.first_moments, [false, true], "step 0 left a moment");
    assert_ne!(toy.bytes(), before);
}

#[test]
fn frozen_and_unreached_parameters_stay_as_they_are() {
    let plan = plan(stage(Schedule::Constant, 0), 3);
    let before = Toy::new().bytes();
    let (toy, _) = trained(&plan, 8, 1);
    for ((name, before), (_, after)) in before.iter().zip(toy.bytes().iter()) {
        let still = name == "tower.frozen.weight" || name == "tower.post_layernorm.weight";
        assert_eq!(before == after, still, "{name}");
    }
}

#[test]
fn hooks_see_gradients_before_clipping() {
    let mut stage = stage(Schedule::Constant, 0);
    stage.clip = GradClip::Norm(1e-3);
    let (_, log) = trained(&plan(stage.clone(), 2), 8, 1);
    let norm = log.gradients[0].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    assert!(norm > 0.1, "{norm}");
    assert!((norm - log.norms[0]).abs() < 1e-9, "{norm} {}", log.norms[0]);
    assert!((log.factors[0] - 1e-3 / (norm + 1e-6)).abs() < 1e-12);
    stage.clip = GradClip::Off;
    let (_, unclipped) = trained(&plan(stage, 1), 8, 1);
    assert_eq!(unclipped.factors, [1.0]);
    assert_eq!(unclipped.gradients[0], log.gradients[0]);
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let plan = plan(stage(Schedule::Cosine, 1), 6);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (toy, log) = pool.install(|| trained(&plan, 4, 2));
        (toy.bytes(), log.losses, log.norms)
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn dropout_draws_anew_each_step_and_micro_batch_and_from_the_seed_alone() {
    let run = |seed| {
        let mut plan = plan(stage(Schedule::Constant, 0), 3);
        plan.seed = seed;
        let (toy, mut source, mut log) = (Toy::new(), ToySource::new(4, 2), Log::default());
        Trainer::new(&plan, &toy, &mut source).unwrap().with_hook(&mut log).run().unwrap();
        log.losses
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1)[0], run(2)[0]);
}

#[test]
fn a_loss_spike_is_a_warning() {
    let mut stage = stage(Schedule::Constant, 0);
    (stage.spikes.window, stage.spikes.loss_deviations) = (8, 1e-3);
    stage.learning_rate = 1e-6;
    let (_, log) = trained(&plan(stage, 24), 8, 1);
    assert!(!log.warnings.is_empty());
    assert!(log.warnings[0].starts_with("stage toy, step "), "{:?}", log.warnings);
}
