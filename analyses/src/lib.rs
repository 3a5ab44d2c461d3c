//! The run directory of covft-probe, and what is computed and drawn from it: statistics, clusters, projections, figures.
//!
//! This crate knows neither tensors nor windows: trainer and viewer both stand on it.

pub mod analysis;
pub mod cluster;
pub mod conflict;
pub mod csv;
pub mod direction;
pub mod export;
pub mod figures;
mod labels;
mod linalg;
pub mod names;
pub mod neighbors;
pub mod reduce;
pub mod stats;
pub mod store;
pub mod tables;
