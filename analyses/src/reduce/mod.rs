//! Projections.

mod covariance;
mod eigen;
mod krylov;
mod pca;
mod randomised;

pub use pca::{Pca, PcaError, PcaParams};
