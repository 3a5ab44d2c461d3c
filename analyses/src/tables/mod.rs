//! Tables of results: printed, and as CSV, Markdown and LaTeX (booktabs).

mod conflict;
mod escape;
mod methods;
mod rank;
mod render;
mod runs;
#[cfg(test)]
mod tests;

pub use conflict::{Conflict, Growth, LayerConflict};
pub use escape::one_line;
pub use methods::{Chance, Comparison, Group};
pub use rank::{Rank, spearman};
pub use runs::{DirectionNumbers, RunNumbers, TaskNumbers};

use crate::stats::{NotFinite, Summary};

/// A table. Rows have as many cells as there are columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows.
    pub rows: Vec<Vec<Cell>>,
    /// Lines below it: what the numbers are over.
    pub notes: Vec<String>,
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Header.
    pub name: String,
    /// How its numbers are written.
    pub format: Format,
    /// Which end is better, where one is: the best cell is set bold in LaTeX and Markdown.
    pub better: Option<Better>,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// No numbers: words, set to the left.
    Words,
    /// So many digits behind the point.
    Fixed(usize),
    /// The same, always with its sign.
    Signed(usize),
    /// `1.23e-4` with so many digits behind the point.
    Scientific(usize),
    /// A share of 1 as percent, with so many digits behind the point.
    Percent(usize),
    /// A whole number with thousands apart.
    Count,
    /// Bytes, as MiB.
    Mebibytes,
}

/// Which end is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Small numbers.
    Lower,
    /// Large numbers.
    Higher,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing was measured.
    Missing,
    /// Words.
    Text(String),
    /// A number, or a mean over several runs.
    Number {
        /// The number; NaN or infinite where it is that, or where none of several is finite.
        value: f64,
        /// Standard deviation over the runs, where there are several.
        deviation: Option<f64>,
        /// Runs with a finite number.
        n: usize,
        /// Numbers that are not finite, and in no mean; the cell shows how many.
        not_finite: NotFinite,
        /// Whether it competes for the best of its column.
        ranked: bool,
    },
}

impl Column {
    /// A column of words.
    #[must_use]
    pub fn words(name: &str) -> Self {
        Self::new(name, Format::Words)
    }

    /// A column of numbers.
    #[must_use]
    pub fn new(name: &str, format: Format) -> Self {
        Self { name: name.to_owned(), format, better: None }
    }

    /// The same, with its better end.
    #[must_use]
    pub fn better(self, better: Better) -> Self {
        Self { better: Some(better), ..self }
    }
}

impl Cell {
    /// One number.
    #[must_use]
    pub fn number(value: f64) -> Self {
        Self::mean(&[value])
    }

    /// One number, or nothing.
    #[must_use]
    pub fn maybe(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::number)
    }

    /// Mean and deviation of the numbers of several runs that are finite, with the count of those that are not; a number
    /// that is not finite where none is; nothing where there is no number.
    #[must_use]
    pub fn mean(values: &[f64]) -> Self {
        let (finite, not_finite) = NotFinite::split(values.iter().copied());
        match (Summary::of(finite), values.first()) {
            (Some(all), _) => {
                let deviation = (all.n > 1).then_some(all.deviation);
                Self::Number { value: all.mean, deviation, n: all.n, not_finite, ranked: not_finite.total() == 0 }
            }
            (None, Some(first)) => {
                let value = if not_finite.nan > 0 { f64::NAN } else { *first };
                Self::Number { value, deviation: None, n: 0, not_finite, ranked: false }
            }
            (None, None) => Self::Missing,
        }
    }

    /// The same, where numbers behind it were left out because they are not finite.
    #[must_use]
    pub fn without(self, left: NotFinite) -> Self {
        match self {
            Self::Number { value, deviation, n, mut not_finite, ranked } if value.is_finite() => {
                not_finite.add(left);
                Self::Number { value, deviation, n, not_finite, ranked: ranked && not_finite.total() == 0 }
            }
            other => other,
        }
    }

    /// The same, but it is no candidate for the best (a reference such as chance).
    #[must_use]
    pub fn unranked(self) -> Self {
        match self {
            Self::Number { value, deviation, n, not_finite, .. } => {
                Self::Number { value, deviation, n, not_finite, ranked: false }
            }
            other => other,
        }
    }
}
