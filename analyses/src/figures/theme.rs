//! Widths and type sizes of venues.

use super::error::FigureError;
use std::fmt;
use std::str::FromStr;

/// Where a figure will be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Venue {
    /// CVPR, ICCV: 3.25 in columns, 6.875 in over both.
    Cvpr,
    /// `NeurIPS`: 5.5 in.
    Neurips,
    /// ICML: 3.25 in columns, 6.75 in over both.
    Icml,
    /// ICLR: 5.5 in.
    Iclr,
    /// ECCV: 4.8 in.
    Eccv,
    /// AAAI: 3.3 in columns, 6.975 in over both.
    Aaai,
    /// TMLR: 6.5 in.
    Tmlr,
    /// Slides: 10 in, large type.
    Slides,
}

impl Venue {
    /// All venues.
    pub const ALL: [Self; 8] =
        [Self::Cvpr, Self::Neurips, Self::Icml, Self::Iclr, Self::Eccv, Self::Aaai, Self::Tmlr, Self::Slides];

    /// Width of a column in inches.
    #[must_use]
    pub fn column(self) -> f64 {
        match self {
            Self::Cvpr | Self::Icml => 3.25,
            Self::Aaai => 3.3,
            other => other.full(),
        }
    }

    /// Width of the whole text in inches.
    #[must_use]
    pub fn full(self) -> f64 {
        match self {
            Self::Cvpr => 6.875,
            Self::Icml => 6.75,
            Self::Aaai => 6.975,
            Self::Neurips | Self::Iclr => 5.5,
            Self::Eccv => 4.8,
            Self::Tmlr => 6.5,
            Self::Slides => 10.0,
        }
    }

    /// Height of the text in inches, which no figure exceeds.
    #[must_use]
    pub fn height(self) -> f64 {
        match self {
            Self::Cvpr => 8.875,
            Self::Eccv => 7.6,
            Self::Slides => 7.5,
            Self::Neurips | Self::Icml | Self::Iclr | Self::Aaai | Self::Tmlr => 9.0,
        }
    }

    /// Size of axis titles in points; everything else is a point less, and nothing is below 7.
    #[must_use]
    pub fn font_size(self) -> f64 {
        match self {
            Self::Cvpr | Self::Icml | Self::Eccv => 8.0,
            Self::Neurips | Self::Iclr | Self::Aaai | Self::Tmlr => 9.0,
            Self::Slides => 18.0,
        }
    }

    /// Size of the other text in points.
    #[must_use]
    pub fn small(self) -> f64 {
        (self.font_size() - 1.0).max(7.0)
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cvpr => "cvpr",
            Self::Neurips => "neurips",
            Self::Icml => "icml",
            Self::Iclr => "iclr",
            Self::Eccv => "eccv",
            Self::Aaai => "aaai",
            Self::Tmlr => "tmlr",
            Self::Slides => "slides",
        })
    }
}

impl FromStr for Venue {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self, FigureError> {
        Self::ALL.into_iter().find(|v| v.to_string() == text).ok_or_else(|| FigureError::Unknown {
            kind: "venue",
            asked: text.to_owned(),
            known: Self::ALL.map(|v| v.to_string()).join(", "),
        })
    }
}
