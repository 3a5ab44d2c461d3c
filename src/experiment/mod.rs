//! Whole runs and what compares them.

mod bench_input;
pub mod beside_torch;
pub mod card_bench;
pub mod checkpoint_drift;
pub mod estimate;
pub mod growth;
pub mod probe_bench;
pub mod session;
pub mod step_bench;
pub mod study;
