//! Warnings on loss and gradient spikes, by a rule that the spikes themselves do not move: medians of the last steps.

use crate::config::train::SpikeConfig;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Scales the median absolute deviation to the standard deviation of normal noise.
const NORMAL_DEVIATION: f32 = 1.4826;
/// The deviation is never taken for less than this share of the median: a loss that stands still is no reason to warn.
const SMALLEST_DEVIATION: f32 = 0.01;
/// Nothing is judged before so many steps are there.
const LEAST_HISTORY: usize = 8;

/// Losses and gradient norms of the last steps. Part of a checkpoint, so that a resumed run warns alike; float32, whose
/// decimal form is read back exactly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpikeMonitor {
    #[serde(deserialize_with = "bounded")]
    losses: VecDeque<f32>,
    #[serde(deserialize_with = "bounded")]
    gradients: VecDeque<f32>,
}

/// JSON has no infinity: numbers beyond float32, which a version of before wrote as null, are its largest one.
fn bounded<'de, D: serde::Deserializer<'de>>(from: D) -> Result<VecDeque<f32>, D::Error> {
    let numbers = VecDeque::<Option<f32>>::deserialize(from)?;
    Ok(numbers.into_iter().map(|number| number.unwrap_or(f32::MAX)).collect())
}

impl SpikeMonitor {
    /// Judges a step against the steps before it, then remembers it. Returns what is worth a warning.
    ///
    /// A loss is a spike above `median + loss_deviations * max(1.4826 MAD, 1 % of the median)`, a gradient norm above
    /// `gradient_factor * median`.
    pub fn observe(&mut self, config: &SpikeConfig, loss: f64, gradient_norm: f64) -> Vec<String> {
        let [loss, gradient] = [loss, gradient_norm].map(|number| (number as f32).clamp(f32::MIN, f32::MAX));
        let mut warnings = Vec::new();
        let enough = LEAST_HISTORY.max(config.window / 4);
        if self.losses.len() >= enough {
            let typical = median(self.losses.iter().copied());
            let deviation = NORMAL_DEVIATION * median(self.losses.iter().map(|l| (l - typical).abs()));
            let limit = typical + config.loss_deviations as f32 * deviation.max(SMALLEST_DEVIATION * typical.abs());
            if loss > limit {
                warnings.push(format!("loss spike: {loss:.4} where {typical:.4} is usual (limit {limit:.4})"));
            }
            let typical = median(self.gradients.iter().copied());
            let limit = config.gradient_factor as f32 * typical;
            if gradient > limit {
                warnings
                    .push(format!("gradient spike: norm {gradient:.4} where {typical:.4} is usual (limit {limit:.4})"));
            }
        }
        remember(&mut self.losses, loss, config.window);
        remember(&mut self.gradients, gradient, config.window);
        warnings
    }
}

fn remember(history: &mut VecDeque<f32>, value: f32, window: usize) {
    while history.len() >= window.max(1) {
        history.pop_front();
    }
    history.push_back(value);
}

/// The upper median. Not called with no values.
fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(losses: impl Iterator<Item = f64>) -> SpikeMonitor {
        let mut monitor = SpikeMonitor::default();
        for loss in losses {
            assert!(monitor.observe(&SpikeConfig::default(), loss, loss).is_empty(), "no spike at {loss}");
        }
        monitor
    }

    #[test]
    fn a_falling_noisy_loss_does_not_warn_and_a_jump_does() {
        let mut monitor = after((0..100).map(|i| 5.0 - 0.03 * f64::from(i) + 0.1 * f64::from(i % 3)));
        let warnings = monitor.observe(&SpikeConfig::default(), 60.0, 60.0);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("loss spike: 60.0000"), "{warnings:?}");
        assert!(warnings[1].starts_with("gradient spike: norm 60.0000"), "{warnings:?}");
        assert!(monitor.observe(&SpikeConfig::default(), 2.0, 2.0).is_empty(), "one spike does not move the rule");
    }

    #[test]
    fn a_constant_loss_and_the_first_steps_do_not_warn() {
        let mut monitor = after(std::iter::repeat_n(3.0, 40));
        assert!(monitor.observe(&SpikeConfig::default(), 3.1, 3.1).is_empty());
        let mut young = after(std::iter::repeat_n(3.0, 15));
        assert!(young.observe(&SpikeConfig::default(), 300.0, 300.0).is_empty());
    }

    #[test]
    fn the_history_survives_json_exactly() {
        let monitor = after((1..200).map(|i| 3.0 + 0.1 / f64::from(i)));
        let json = serde_json::to_string(&monitor).unwrap();
        assert_eq!(serde_json::from_str::<SpikeMonitor>(&json).unwrap(), monitor);
    }

    #[test]
    fn a_norm_beyond_float32_is_a_spike_and_the_history_is_read_back() {
        let mut monitor = after((1..50).map(f64::from).map(|i| 3.0 - 0.001 * i));
        let warnings = monitor.observe(&SpikeConfig::default(), 2.9, 1e39);
        assert!(warnings[0].starts_with("gradient spike"), "{warnings:?}");
        let json = serde_json::to_string(&monitor).unwrap();
        assert_eq!(serde_json::from_str::<SpikeMonitor>(&json).unwrap(), monitor);
        let before: SpikeMonitor = serde_json::from_str(r#"{"losses": [1.0], "gradients": [null]}"#).unwrap();
        assert_eq!(before.gradients, [f32::MAX]);
    }
}
