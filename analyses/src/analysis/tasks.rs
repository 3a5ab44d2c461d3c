//! The task of each sample.

use crate::store::{DatasetTask, Result, RunDir, SampleTask, StoreError, visit_dataset, visit_records};
use std::collections::HashMap;

/// The task of each sample that has one: from the data set, or from the sample records where the run keeps none (or one that
/// cannot be read). Beside it one error a damaged file.
///
/// # Errors
/// The folder of the run cannot be listed.
pub(crate) fn sample_tasks(run: &RunDir) -> Result<(HashMap<String, String>, Vec<StoreError>)> {
    let mut tasks = HashMap::new();
    let mut problems = Vec::new();
    problems.extend(visit_dataset(run, |row: DatasetTask| tasks.extend(row.task.map(|t| (row.sample, t)))).err());
    if tasks.is_empty() {
        problems.extend(visit_records(run, |row: SampleTask| tasks.extend(row.task.map(|t| (row.sample, t))))?);
    }
    Ok((tasks, problems))
}
