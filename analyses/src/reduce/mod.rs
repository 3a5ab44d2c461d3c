//! Projections.

mod eigen;
mod pca;

pub use pca::{Pca, PcaError, PcaParams};
