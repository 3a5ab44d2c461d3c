//! Why a number is not stated.

/// Samples that agreements (purity, NMI, ARI, silhouettes, stability) and bootstrap intervals are stated from on. Of fewer,
/// two labellings agree by chance alone, and the resamples repeat each other: an interval would be far too narrow.
pub const LEAST: usize = 10;

/// Why a number is undefined, or too unsure to be stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    /// Too few of what it is over.
    #[error("{found} {what}, {needed} are needed")]
    TooFew {
        /// `samples`, `pairs`.
        what: &'static str,
        /// Found.
        found: usize,
        /// Needed.
        needed: usize,
    },
    /// What it would relate does not vary.
    #[error("{0} are all alike")]
    Alike(&'static str),
    /// There is nothing to tell apart.
    #[error("there is only one {0}")]
    One(&'static str),
    /// Nothing belongs together.
    #[error("every sample is a cluster of its own")]
    Apart,
}

impl Undefined {
    /// That `found` samples are fewer than [`LEAST`].
    ///
    /// # Errors
    /// They are.
    pub fn unless_enough(found: usize) -> Result<(), Self> {
        if found < LEAST { Err(Self::TooFew { what: "samples", found, needed: LEAST }) } else { Ok(()) }
    }
}
