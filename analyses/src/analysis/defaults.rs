//! What is looked at where nothing is asked for: one answer for `covft-probe analyze`, `covft-probe plot` and the explorer.
//!
//! * Stage: the last one with the records in question.
//! * Layer of context vectors: the last but one, the paper's penultimate `CoMoE` layer ([`default_layer`]).
//! * Samples: the tracked ones where there are any, else the steps' own.
//! * Steps: the last one of tracked samples, else the later half of the stage ([`default_steps`]); routing likewise.
//! * Clusters and components: found from [`FIT`] samples at most, even over tasks, with [`RESTARTS`] beginnings.

/// Samples that clusters and components are found from at most: the paper's number.
pub const FIT: usize = 5000;
/// Beginnings of k-means.
pub const RESTARTS: usize = 10;

/// The layer of context vectors among `layers`, shallowest first: the last but one, or the only one; `None` of none.
#[must_use]
pub fn default_layer<L>(layers: &[L]) -> Option<&L> {
    layers.get(layers.len().saturating_sub(2))
}

/// The steps of a stage whose records go from step `first` to step `last`: the later half, or the last step alone of the
/// tracked samples, which are the same at every step.
#[must_use]
pub fn default_steps(first: u64, last: u64, tracked: bool) -> (u64, u64) {
    (if tracked { last } else { first + last.saturating_sub(first).div_ceil(2) }, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_layer_but_one_and_the_later_half() {
        assert_eq!(default_layer(&["2", "3", "4"]), Some(&"3"));
        assert_eq!((default_layer(&["2"]), default_layer::<&str>(&[])), (Some(&"2"), None));
        assert_eq!((default_steps(0, 9, false), default_steps(0, 9, true)), ((5, 9), (9, 9)));
        assert_eq!((default_steps(100, 199, false), default_steps(7, 7, false)), ((150, 199), (7, 7)));
    }
}
