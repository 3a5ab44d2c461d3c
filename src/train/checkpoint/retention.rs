//! Which checkpoints stay: the last few, the best of each stage and each stage's last.

use std::collections::BTreeMap;

/// A checkpoint on disk, as far as the decision needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Steps of the run that it follows.
    pub global_step: u64,
    /// Index of its stage.
    pub stage_index: usize,
    /// Whether it ends its stage.
    pub stage_finished: bool,
    /// Held-out loss, where it was measured.
    pub eval_loss: Option<f32>,
}

/// What to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many of the latest.
    pub last: usize,
    /// The one with the lowest held-out loss of each stage.
    pub best: bool,
    /// The last of each finished stage.
    pub end: bool,
}

/// The steps of the checkpoints to delete, in order; never the latest.
#[must_use]
pub fn superfluous(existing: &[Kept], policy: Policy) -> Vec<u64> {
    let mut order: Vec<&Kept> = existing.iter().collect();
    order.sort_by_key(|kept| kept.global_step);
    let first_of_last = order.len().saturating_sub(policy.last.max(1));
    let best = best_by_stage(&order);
    let stays = |kept: &Kept| {
        (policy.end && kept.stage_finished)
            || (policy.best && best.get(&kept.stage_index).is_some_and(|(_, step)| *step == kept.global_step))
    };
    order[..first_of_last].iter().filter(|kept| !stays(kept)).map(|kept| kept.global_step).collect()
}

/// Loss and step of each stage's best; the earliest of equals.
fn best_by_stage(order: &[&Kept]) -> BTreeMap<usize, (f32, u64)> {
    let mut best: BTreeMap<usize, (f32, u64)> = BTreeMap::new();
    for kept in order {
        let Some(loss) = kept.eval_loss.filter(|loss| loss.is_finite()) else { continue };
        let entry = best.entry(kept.stage_index).or_insert((loss, kept.global_step));
        if loss < entry.0 {
            *entry = (loss, kept.global_step);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(global_step: u64, stage_index: usize, eval_loss: Option<f32>) -> Kept {
        Kept { global_step, stage_index, stage_finished: false, eval_loss }
    }

    #[test]
    fn the_last_two_and_the_best_stay() {
        let existing = [at(40, 0, Some(1.0)), at(10, 0, Some(3.0)), at(30, 0, None), at(20, 0, Some(0.5))];
        let policy = Policy { last: 2, best: true, end: true };
        assert_eq!(superfluous(&existing, policy), [10]);
        assert_eq!(superfluous(&existing, Policy { best: false, ..policy }), [10, 20]);
        assert_eq!(superfluous(&existing, Policy { last: 9, ..policy }), [0; 0]);
    }

    #[test]
    fn the_latest_always_stays() {
        let existing = [at(10, 0, None), at(20, 0, None)];
        assert_eq!(superfluous(&existing, Policy { last: 0, best: false, end: false }), [10]);
    }

    #[test]
    fn each_stage_has_its_best_and_its_end() {
        let end = Kept { stage_finished: true, ..at(20, 0, Some(2.0)) };
        let existing = [at(10, 0, Some(1.0)), end, at(30, 1, Some(9.0)), at(40, 1, Some(8.0)), at(50, 1, None)];
        let policy = Policy { last: 1, best: true, end: true };
        assert_eq!(superfluous(&existing, policy), [30]);
        assert_eq!(superfluous(&existing, Policy { end: false, ..policy }), [20, 30]);
    }
}
