//! Clusters.

mod kmeans;

pub use kmeans::{Clusters, KMeansError, KMeansParams};
