//! Two labellings of the same samples against each other.

use super::hungarian;
use ndarray::Array2;

/// Counts of each pair of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contingency {
    /// `[A, B]`: samples with label a in the first and b in the second labelling.
    pub counts: Array2<u64>,
}

fn entropy(counts: impl Iterator<Item = u64>, total: f64) -> f64 {
    let parts = counts.filter(|c| *c > 0).map(|c| c as f64 / total);
    -parts.map(|p| p * p.ln()).sum::<f64>()
}

impl Contingency {
    /// Of labels below `a_labels` and `b_labels`.
    ///
    /// # Panics
    /// The labellings are of different lengths, or a label is too large.
    #[must_use]
    pub fn of(a: &[usize], b: &[usize], a_labels: usize, b_labels: usize) -> Self {
        assert_eq!(a.len(), b.len(), "labellings of the same samples");
        let mut counts = Array2::zeros((a_labels, b_labels));
        a.iter().zip(b).for_each(|(a, b)| counts[[*a, *b]] += 1);
        Self { counts }
    }

    /// Samples.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.sum()
    }

    fn row_sums(&self) -> impl Iterator<Item = u64> + '_ {
        self.counts.rows().into_iter().map(|r| r.sum())
    }

    fn column_sums(&self) -> impl Iterator<Item = u64> + '_ {
        self.counts.columns().into_iter().map(|c| c.sum())
    }

    /// Share of samples whose second label is the commonest of their first: 1 where every cluster holds one class. `None`
    /// without samples.
    #[must_use]
    pub fn purity(&self) -> Option<f64> {
        let best: u64 = self.counts.rows().into_iter().map(|r| r.iter().copied().max().unwrap_or(0)).sum();
        (self.total() > 0).then(|| best as f64 / self.total() as f64)
    }

    /// Normalised mutual information (over the arithmetic mean of the entropies), 0 to 1; 1 where both are constant.
    /// `None` without samples.
    #[must_use]
    pub fn nmi(&self) -> Option<f64> {
        let total = self.total() as f64;
        if total == 0.0 {
            return None;
        }
        let (a, b) = (entropy(self.row_sums(), total), entropy(self.column_sums(), total));
        let joint = entropy(self.counts.iter().copied(), total);
        let mean = f64::midpoint(a, b);
        Some(if mean == 0.0 { 1.0 } else { ((a + b - joint) / mean).clamp(0.0, 1.0) })
    }

    /// Adjusted Rand index (Hubert and Arabie 1985): 1 for the same partition, about 0 for chance. `None` for fewer than two
    /// samples.
    #[must_use]
    pub fn ari(&self) -> Option<f64> {
        let pairs = |n: u64| n as f64 * (n as f64 - 1.0) / 2.0;
        if self.total() < 2 {
            return None;
        }
        let together: f64 = self.counts.iter().map(|n| pairs(*n)).sum();
        let (a, b): (f64, f64) = (self.row_sums().map(pairs).sum(), self.column_sums().map(pairs).sum());
        let expected = a * b / pairs(self.total());
        let most = f64::midpoint(a, b);
        // Both all in one cluster, or both all apart.
        Some(if most == expected { 1.0 } else { (together - expected) / (most - expected) })
    }
}

fn labels_of(a: &[usize]) -> usize {
    a.iter().max().map_or(0, |m| m + 1)
}

/// Adjusted Rand index of two labellings; `None` for fewer than two samples.
///
/// # Panics
/// They are of different lengths.
#[must_use]
pub fn adjusted_rand(a: &[usize], b: &[usize]) -> Option<f64> {
    Contingency::of(a, b, labels_of(a), labels_of(b)).ari()
}

/// New numbers for the labels of `other`, so that each shares as many samples as possible with the label of the same number
/// in `reference` (Hungarian method): label `l` becomes `result[l]`. Labels without a partner get numbers from
/// `reference`'s count on.
///
/// # Panics
/// They are of different lengths.
#[must_use]
pub fn matched(reference: &[usize], other: &[usize], reference_labels: usize, other_labels: usize) -> Vec<usize> {
    let shared = Contingency::of(other, reference, other_labels, reference_labels);
    let mut next = reference_labels;
    let number = |partner: Option<usize>| {
        partner.unwrap_or_else(|| {
            next += 1;
            next - 1
        })
    };
    hungarian::assign(shared.counts.mapv(|c| -(c as f64)).view()).into_iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_scikit_learn() {
        // sklearn.metrics on a = [0,0,1,1,2,2,2], b = [0,0,1,2,2,2,1]
        let c = Contingency::of(&[0, 0, 1, 1, 2, 2, 2], &[0, 0, 1, 2, 2, 2, 1], 3, 3);
        assert!((c.nmi().unwrap() - 0.563_635_553_099_344_9).abs() < 1e-12, "{:?}", c.nmi());
        assert!((c.ari().unwrap() - 0.2125).abs() < 1e-12, "{:?}", c.ari());
        assert!((c.purity().unwrap() - 5.0 / 7.0).abs() < 1e-15);
    }

    #[test]
    fn edges() {
        assert_eq!(Contingency::of(&[], &[], 2, 2).nmi(), None);
        assert_eq!(adjusted_rand(&[0, 0], &[1, 1]), Some(1.0));
        assert_eq!(adjusted_rand(&[0, 1, 2], &[2, 0, 1]), Some(1.0));
        assert_eq!(adjusted_rand(&[0], &[0]), None);
    }

    #[test]
    fn clusters_keep_their_numbers() {
        let to = matched(&[0, 0, 1, 1, 2, 2], &[2, 2, 0, 0, 1, 3], 3, 4);
        assert_eq!((to[2], to[0]), (0, 1));
        let mut rest = [to[1], to[3]];
        rest.sort_unstable();
        assert_eq!(rest, [2, 3]);
    }
}
