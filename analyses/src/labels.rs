//! What runs beside one another are called, so that none is taken for another.

use std::collections::{BTreeMap, BTreeSet};

/// Numbers the second and every further one of labels that are the same.
pub(crate) fn number<'a>(labels: impl Iterator<Item = &'a mut String>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for label in labels {
        let count = seen.entry(label.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            *label = format!("{label} ({count})");
        }
    }
}

/// Adds its stage to every label where the stages differ. Returns the stage where they do not.
pub(crate) fn with_stages<'a>(labels: impl Iterator<Item = (&'a mut String, &'a str)>) -> Option<&'a str> {
    let all: Vec<_> = labels.collect();
    let stages: BTreeSet<&str> = all.iter().map(|(_, stage)| *stage).collect();
    if let (1, Some(one)) = (stages.len(), stages.first()) {
        return Some(one);
    }
    all.into_iter().for_each(|(label, stage)| *label = format!("{label} (stage {stage})"));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_labels_are_numbered_and_other_stages_are_named() {
        let mut labels = ["a", "b", "a", "a"].map(str::to_owned);
        number(labels.iter_mut());
        assert_eq!(labels, ["a", "b", "a (2)", "a (3)"]);
        let mut runs = ["a", "b"].map(str::to_owned);
        assert_eq!(with_stages(runs.iter_mut().zip(["s", "s"])), Some("s"));
        assert_eq!(runs, ["a", "b"]);
        assert_eq!(with_stages(runs.iter_mut().zip(["s", "t"])), None);
        assert_eq!(runs, ["a (stage s)", "b (stage t)"]);
        assert_eq!(with_stages(std::iter::empty()), None);
    }
}
