//! At which steps of a stage something is measured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// Steps of a stage, from 0. A number n is every n-th; `[0, 10, 100]` are those; `{ per_decade = n }` are n steps a decade:
/// step 0 and then about `10^(k/n)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a number n above 0 (every n-th step), a list of steps, or { per_decade = n } (logarithmic)"
)]
pub enum Schedule {
    /// Steps 0, n, 2n, ...
    Every(NonZeroU64),
    /// These steps.
    Steps(Vec<u64>),
    /// Steps spaced evenly in their logarithm.
    Logarithmic(PerDecade),
}

/// How many steps a decade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerDecade {
    /// Steps between 10 and 100, between 100 and 1000, ...
    pub per_decade: NonZeroU64,
}

impl Schedule {
    /// Every `n`-th step from step 0 on; 0 is taken as 1.
    #[must_use]
    pub fn every(n: u64) -> Self {
        Self::Every(NonZeroU64::new(n).unwrap_or(NonZeroU64::MIN))
    }

    /// Whether something is measured at `step` of a stage.
    #[must_use]
    pub fn has(&self, step: u64) -> bool {
        match self {
            Self::Every(n) => step.is_multiple_of(n.get()),
            Self::Steps(steps) => steps.contains(&step),
            Self::Logarithmic(PerDecade { per_decade }) => logarithmic(step, per_decade.get()),
        }
    }
}

/// Whether `step` is 0 or `10^(k/n)`, rounded, for a whole k.
fn logarithmic(step: u64, n: u64) -> bool {
    let near = (step as f64).log10() * n as f64;
    let at = |k: f64| 10_f64.powf(k / n as f64).round() as u64;
    step == 0 || [near.floor(), near.ceil()].into_iter().any(|k| at(k) == step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Holder {
        s: Schedule,
    }

    fn steps(text: &str, until: u64) -> Vec<u64> {
        let holder: Holder = toml::from_str(text).unwrap();
        let again: Holder = toml::from_str(&toml::to_string(&holder).unwrap()).unwrap();
        assert_eq!(holder.s, again.s);
        (0..until).filter(|step| holder.s.has(*step)).collect()
    }

    #[test]
    fn every_explicit_and_logarithmic() {
        assert_eq!(steps("s = 3", 10), [0, 3, 6, 9]);
        assert_eq!(steps("s = [5, 2]", 10), [2, 5]);
        assert_eq!(steps("s = { per_decade = 1 }", 1001), [0, 1, 10, 100, 1000]);
        assert_eq!(steps("s = { per_decade = 4 }", 101), [0, 1, 2, 3, 6, 10, 18, 32, 56, 100]);
    }

    #[test]
    fn what_is_none_is_refused_with_its_place() {
        for text in ["s = 0", "s = -1", "s = 'log'", "s = { per_decade = 0 }", "s = { decade = 2 }", "s = 0.5"] {
            let message = toml::from_str::<Holder>(text).err().unwrap().to_string();
            assert!(message.contains("every n-th step") && message.contains("line 1"), "{message}");
        }
    }
}
