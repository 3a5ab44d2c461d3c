//! `[probe] budget`: how many of the scheduled gradient measurements are made.

use crate::train::hook::StepId;
use covft_analyses::store::BudgetRow;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Weight of what was measured before, in the running means.
const PAST: f64 = 0.8;
/// Longest interval.
const LONGEST: u64 = 1 << 20;

/// Lengthens the interval between measurements so that they stay under a share of the steps' time. It reads the clock: its
/// state goes into checkpoints, its decisions into the stream `budget`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Budget {
    share: f64,
    /// Of so many scheduled measurements one is made.
    interval: u64,
    /// Scheduled measurements since the last one that was made.
    waited: u64,
    /// Running mean of what a measurement costs, milliseconds.
    cost: Option<f64>,
    /// Running mean of the time between scheduled measurements, without probes.
    between: Option<f64>,
    /// The same since the last scheduled one.
    since: f64,
}

impl Budget {
    pub(super) fn new(share: f64) -> Self {
        Self { share, interval: 1, waited: 0, cost: None, between: None, since: 0.0 }
    }

    /// Whether the next scheduled measurement is made.
    pub(super) fn allows(&self) -> bool {
        self.waited == 0
    }

    /// A step is over that took `total`, of it `cost` for gradient probes; `scheduled` says whether they were to run.
    /// Returns a row when the interval changes.
    pub(super) fn step(
        &mut self,
        at: StepId<'_>,
        scheduled: bool,
        cost: Duration,
        total: Duration,
    ) -> Option<BudgetRow> {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        self.since += milliseconds(total.saturating_sub(cost));
        if !scheduled {
            return None;
        }
        let mean = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| PAST * old + (1.0 - PAST) * new));
        if self.allows() {
            self.cost = mean(self.cost, milliseconds(cost));
        }
        self.between = mean(self.between, std::mem::take(&mut self.since));
        let before = self.interval;
        let (cost, between) = (self.cost.unwrap_or(0.0), self.between.unwrap_or(0.0));
        let needed = if between > 0.0 { (cost / (self.share * between)).ceil() } else { 1.0 };
        self.interval = (needed as u64).clamp(1, LONGEST);
        self.waited = if self.waited + 1 >= self.interval { 0 } else { self.waited + 1 };
        (self.interval != before).then(|| BudgetRow {
            stage: at.stage.to_owned(),
            step: at.step,
            interval: self.interval,
            ms_probe: cost,
            ms_steps: between,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_until_the_share_is_kept_and_shrinks_again() {
        let mut budget = Budget::new(0.05);
        let at = |step| StepId { stage: "s", step, global_step: step };
        let ms = Duration::from_millis;
        let (mut probe, mut all, mut rows) = (0, 0, 0);
        for step in 0..400 {
            let cost = if budget.allows() { 20 } else { 0 };
            probe += cost;
            all += 100;
            rows += u64::from(budget.step(at(step), true, ms(cost), ms(100 + cost)).is_some());
        }
        assert_eq!((budget.interval, rows), (4, 1));
        assert!(probe as f64 <= 0.051 * all as f64, "{probe} of {all}");
        // A checkpoint takes it all along.
        let saved = serde_json::to_value(&budget).unwrap();
        assert_eq!(serde_json::from_value::<Budget>(saved).unwrap(), budget);
        for step in 0..100 {
            let cost = u64::from(budget.allows());
            budget.step(at(step), true, ms(cost), ms(100));
        }
        assert_eq!(budget.interval, 1);
        // Steps between scheduled ones count.
        let mut sparse = Budget::new(0.05);
        for step in 0..100 {
            let scheduled = step % 4 == 0;
            let cost = if scheduled && sparse.allows() { 19 } else { 0 };
            sparse.step(at(step), scheduled, ms(cost), ms(100 + cost));
        }
        assert_eq!(sparse.interval, 1);
    }
}
