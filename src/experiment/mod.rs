//! Whole runs and what compares them.

pub mod checkpoint_drift;
pub mod estimate;
pub mod session;
pub mod step_bench;
pub mod study;
