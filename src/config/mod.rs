//! One TOML is one run. Raw serde types become checked ones; unknown keys are refused with line and column.

pub mod model;
pub mod probe;
