//! Whole runs and what compares them.

pub mod checkpoint_drift;
pub mod step_bench;
