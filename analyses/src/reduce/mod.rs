//! Projections.

mod covariance;
mod eigen;
mod pca;
mod randomised;

pub use pca::{Pca, PcaError, PcaParams};
