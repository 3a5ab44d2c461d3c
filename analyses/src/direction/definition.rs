//! What "dominant gradient direction" is taken to mean.

use std::fmt;
use std::str::FromStr;

/// A definition of the dominant direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Definition {
    /// The normalised sum of the other steps' unit gradients (leave-one-out).
    #[default]
    Mean,
    /// The normalised sum of all gradients, unnormalised and the step's own included.
    MeanRaw,
    /// The top right singular vector of the steps x parameters matrix.
    Svd,
    /// AdamW's first moment of the steps before.
    Momentum,
}

impl Definition {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [Self::Mean, Self::MeanRaw, Self::Svd, Self::Momentum];

    /// `mean`, `mean_raw`, `svd`, `momentum`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::MeanRaw => "mean_raw",
            Self::Svd => "svd",
            Self::Momentum => "momentum",
        }
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Definition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || format!("no direction is called `{text}`; there are: {}", Self::ALL.map(Self::name).join(", "));
        Self::ALL.into_iter().find(|d| d.name() == text).ok_or_else(known)
    }
}
