//! Tables of results: printed, and as CSV, Markdown and LaTeX (booktabs).

mod conflict;
mod methods;
mod rank;
mod render;
mod runs;
#[cfg(test)]
mod tests;

pub use conflict::{Conflict, Growth, LayerConflict};
pub use methods::{Chance, Comparison, Group};
pub use rank::{Rank, spearman};
pub use runs::{DirectionNumbers, RunNumbers, TaskNumbers};

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
        /// The number.
        value: f64,
        /// Standard deviation over the runs, where there are several.
        deviation: Option<f64>,
        /// Runs.
        n: usize,
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
        Self::Number { value, deviation: None, n: 1, ranked: true }
    }

    /// One number, or nothing.
    #[must_use]
    pub fn maybe(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::number)
    }

    /// Mean and deviation of the numbers of several runs; nothing where there is none.
    #[must_use]
    pub fn mean(values: &[f64]) -> Self {
        let Some(all) = crate::stats::Summary::of(values.iter().copied()) else { return Self::Missing };
        let deviation = (all.n > 1).then_some(all.deviation);
        Self::Number { value: all.mean, deviation, n: all.n, ranked: true }
    }

    /// The same, but it is no candidate for the best (a reference such as chance).
    #[must_use]
    pub fn unranked(self) -> Self {
        match self {
            Self::Number { value, deviation, n, .. } => Self::Number { value, deviation, n, ranked: false },
            other => other,
        }
    }
}
