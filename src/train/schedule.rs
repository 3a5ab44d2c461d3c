//! Learning rate over a stage, as a share of the peak, in the forms of Hugging Face's `get_scheduler`.

use crate::config::train::Schedule;

/// Share of the peak learning rate at `step` (from 0) of `steps`, `warmup` of which warm up: the first step of a
/// warm-up has share 0.
///
/// - warm-up: `step / warmup`
/// - cosine: `(1 + cos(pi p)) / 2` with `p = (step - warmup) / (steps - warmup)`
/// - linear: `1 - p`
/// - constant: `1`
#[must_use]
pub fn learning_rate_share(schedule: Schedule, step: u64, steps: u64, warmup: u64) -> f64 {
    if step < warmup {
        return step as f64 / warmup as f64;
    }
    let after = step - warmup;
    let length = steps.saturating_sub(warmup).max(1);
    match schedule {
        Schedule::Constant => 1.0,
        Schedule::Linear => length.saturating_sub(after) as f64 / length as f64,
        Schedule::Cosine => {
            let progress = after as f64 / length as f64;
            (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_has_the_published_six_learning_rates() {
        let published =
            [0.0, 0.001, 0.000_904_508_497_187_473_7, 0.000_654_508_497_187_473_7, 0.000_345_491_502_812_526_33];
        for (step, want) in published.into_iter().chain([9.549_150_281_252_633e-5]).enumerate() {
            let got = 1e-3 * learning_rate_share(Schedule::Cosine, step as u64, 6, 1);
            assert!((got - want).abs() <= 1e-18, "step {step}: {got} {want}");
        }
    }

    #[test]
    fn linear_and_constant_follow_their_forms() {
        let linear: Vec<f64> = (0..5).map(|s| learning_rate_share(Schedule::Linear, s, 5, 2)).collect();
        assert_eq!(linear, [0.0, 0.5, 1.0, 2.0 / 3.0, 1.0 / 3.0]);
        let constant: Vec<f64> = (0..4).map(|s| learning_rate_share(Schedule::Constant, s, 4, 2)).collect();
        assert_eq!(constant, [0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn without_warm_up_the_first_step_is_at_the_peak() {
        for schedule in [Schedule::Cosine, Schedule::Linear, Schedule::Constant] {
            assert!((learning_rate_share(schedule, 0, 3, 0) - 1.0).abs() < f64::EPSILON);
        }
    }
}
