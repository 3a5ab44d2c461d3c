//! Stream `budget`: what `[probe] budget` decided.

use super::records::record;
use arrow::array::RecordBatch;
use std::path::Path;

record! {
    /// Stream `budget`: one row at each change of the interval of the gradient probes.
    BudgetRow in "budget" {
        /// Stage.
        stage: String,
        /// Step in the stage after which the interval holds.
        step: u64,
        /// Of so many scheduled measurements one is made.
        interval: u64,
        /// What a measurement cost lately, milliseconds.
        ms_probe: f64,
        /// What the steps from one scheduled measurement to the next take without probes, milliseconds.
        ms_steps: f64,
    }
}
