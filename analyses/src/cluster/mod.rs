//! Clusters.

mod compare;
mod distinct;
mod hungarian;
mod kmeans;
mod lloyd;
mod minibatch;
#[cfg(test)]
mod parity_tests;
mod seeding;
mod silhouette;

pub use crate::linalg::Real;
pub use compare::{Contingency, adjusted_rand, matched};
pub use distinct::distinct;
pub use hungarian::assign;
pub use kmeans::{Clusters, KMeansError, KMeansMethod, KMeansParams};
pub use silhouette::{Silhouette, silhouette};
