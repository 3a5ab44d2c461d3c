//! Training.

pub mod hook;
