//! What may be chosen about figures.

use super::error::FigureError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// SVG with text as text and the font inside.
    Svg,
    /// PDF, likewise.
    Pdf,
    /// PNG at 300 dpi.
    Png,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Svg, Self::Pdf, Self::Png];

    /// The file name's ending.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Pdf => "pdf",
            Self::Png => "png",
        }
    }
}

impl FromStr for Format {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self, FigureError> {
        Self::ALL.into_iter().find(|f| f.extension() == text).ok_or_else(|| FigureError::Unknown {
            kind: "format",
            asked: text.to_owned(),
            known: Self::ALL.map(Self::extension).join(", "),
        })
    }
}

/// How distances of parameters are stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// L2 norm.
    #[default]
    Distance,
    /// Divided by the norm of the start.
    Relative,
    /// Divided by the square root of the number of elements.
    PerElement,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Distance, Self::Relative, Self::PerElement];

    /// The title of an axis.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Distance => "distance (L2 norm)",
            Self::Relative => "distance / norm of the start",
            Self::PerElement => "distance / \u{221a}elements",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distance => "distance",
            Self::Relative => "relative",
            Self::PerElement => "per-element",
        })
    }
}

impl FromStr for Measure {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self, FigureError> {
        Self::ALL.into_iter().find(|m| m.to_string() == text).ok_or_else(|| FigureError::Unknown {
            kind: "measure",
            asked: text.to_owned(),
            known: Self::ALL.map(|m| m.to_string()).join(", "),
        })
    }
}

/// What may be chosen; the default shows the last stage that has what the figure needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Stage.
    pub stage: Option<String>,
    /// Layer of context figures (the last but one `CoMoE` layer if none is named) and of conflict figures (`all`).
    pub layer: Option<String>,
    /// How distances are stated.
    pub measure: Measure,
    /// Definition of the dominant gradient direction; the best that was logged if none is named.
    pub direction: Option<String>,
    /// Space of gradients: `trainable` or `shared`.
    pub space: String,
    /// Clusters of context vectors.
    pub clusters: usize,
    /// Seed of clusters, samples and intervals.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stage: None,
            layer: None,
            measure: Measure::default(),
            direction: None,
            space: "trainable".to_owned(),
            clusters: 10,
            seed: 0,
        }
    }
}
