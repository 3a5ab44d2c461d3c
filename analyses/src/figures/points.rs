//! Points of curves.

use crate::stats::finite;

/// Runs that can still be told apart in one plot; of more, those of a group are shown together.
pub(super) const TOGETHER: usize = 4;

/// Items by their group, groups in the order of their first items; an item without a name of a group is one of its own.
pub(super) fn grouped<T>(items: impl IntoIterator<Item = T>, group: impl Fn(&T) -> &str) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    for item in items {
        let same = |known: &&mut Vec<T>| !group(&item).is_empty() && group(&known[0]) == group(&item);
        match groups.iter_mut().find(same) {
            Some(known) => known.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// Value by step; null where it is not finite, which breaks the line.
pub(super) type Points = Vec<(f64, Option<f64>)>;

/// The most points that a curve is drawn with: more than pixels of a page.
pub(super) const MOST: usize = 3000;

/// Means over equal stretches where there are more than [`MOST`] points.
pub(super) fn thin(points: Points) -> Points {
    let every = points.len().div_ceil(MOST).max(1);
    if every == 1 {
        return points;
    }
    let mean = |chunk: &[(f64, Option<f64>)]| {
        let known: Vec<f64> = chunk.iter().filter_map(|p| p.1).collect();
        let value = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        (chunk[chunk.len() / 2].0, value)
    };
    points.chunks(every).map(mean).collect()
}

/// With NaN for null, as drawing wants it.
pub(super) fn drawn(points: &Points) -> Vec<(f64, f64)> {
    points.iter().map(|p| (p.0, p.1.unwrap_or(f64::NAN))).collect()
}

/// Exponentially smoothed.
pub(super) fn smoothed(points: &Points, past: f64) -> Points {
    let values: Vec<f64> = points.iter().map(|p| p.1.unwrap_or(f64::NAN)).collect();
    let smooth = crate::stats::smooth(&values, past);
    points.iter().zip(smooth).map(|(p, s)| (p.0, p.1.and_then(|_| finite(s)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_become_means() {
        let long: Points = (0..9000).map(|i| (f64::from(i), Some(f64::from(i % 3)))).collect();
        let thin = thin(long);
        assert_eq!(thin.len(), MOST);
        assert!(thin.iter().all(|p| p.1 == Some(1.0)));
        assert_eq!(thin[0].0, 1.0);
    }
}
