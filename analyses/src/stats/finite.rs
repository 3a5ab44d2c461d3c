//! The one rule of numbers that are not finite: they are in no mean, extreme, order, scale or line; what leaves them out
//! counts them; and where they are what one looks for (a loss, a score) they are shown as what they are.

use serde::{Deserialize, Serialize};

/// Numbers, or rows with such numbers, that were left out because they are not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotFinite {
    /// NaN.
    pub nan: u64,
    /// Positive or negative infinity.
    pub infinite: u64,
}

/// The number, if it is finite.
#[must_use]
pub fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

impl NotFinite {
    /// The number if it is finite; counted if it is not.
    pub fn take(&mut self, value: f64) -> Option<f64> {
        self.nan += u64::from(value.is_nan());
        self.infinite += u64::from(value.is_infinite());
        finite(value)
    }

    /// Whether all numbers of a row are finite; if not, the row is counted once, by the first that is not.
    pub fn take_row<T: Copy + Into<f64>>(&mut self, row: &[T]) -> bool {
        let bad = row.iter().map(|v| (*v).into()).find(|v: &f64| !v.is_finite());
        bad.is_none_or(|v| self.take(v).is_some())
    }

    /// The finite ones of `values`, and how many others there are.
    pub fn split(values: impl IntoIterator<Item = f64>) -> (Vec<f64>, Self) {
        let mut left = Self::default();
        (values.into_iter().filter_map(|v| left.take(v)).collect(), left)
    }

    /// Adds the counts of another part of the same.
    pub fn add(&mut self, other: Self) {
        self.nan += other.nan;
        self.infinite += other.infinite;
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.nan + self.infinite
    }

    /// `2 NaN`, `1 infinite`, `2 NaN, 1 infinite`; nothing where there is none.
    #[must_use]
    pub fn kinds(&self) -> String {
        let of = |n: u64, what: &str| (n > 0).then(|| format!("{n} {what}"));
        [of(self.nan, "NaN"), of(self.infinite, "infinite")].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// `3 losses are not finite (2 NaN, 1 infinite): left out`, with `one` and `many` for a loss and losses; `None` where
    /// there is none.
    #[must_use]
    pub fn words(&self, one: &str, many: &str) -> Option<String> {
        let (n, kinds) = (self.total(), self.kinds());
        match n {
            0 => None,
            1 => Some(format!("1 {one} is not finite ({kinds}): left out")),
            _ => Some(format!("{n} {many} are not finite ({kinds}): left out")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn numbers_are_counted_by_kind_and_rows_once() {
        let (kept, left) = NotFinite::split([1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2.0]);
        assert_eq!((kept, left), (vec![1.0, 2.0], NotFinite { nan: 1, infinite: 2 }));
        assert_eq!(left.words("loss", "losses").unwrap(), "3 losses are not finite (1 NaN, 2 infinite): left out");
        let mut rows = NotFinite::default();
        assert!(rows.take_row(&[1.0_f32, 2.0]));
        assert!(!rows.take_row(&[f32::INFINITY, f32::NAN]) && !rows.take_row(&[f16::NAN, f16::ONE]));
        assert_eq!(rows, NotFinite { nan: 1, infinite: 1 });
        assert_eq!(
            NotFinite { nan: 1, infinite: 0 }.words("row", "rows").unwrap(),
            "1 row is not finite (1 NaN): left out"
        );
        assert_eq!(NotFinite::default().words("row", "rows"), None);
        assert_eq!((finite(3.0), finite(f64::NAN)), (Some(3.0), None));
    }
}
