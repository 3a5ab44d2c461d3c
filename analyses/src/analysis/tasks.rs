//! The task of each sample.

use crate::store::{
    BySample, DatasetTask, Name, OfSample, Result, RunDir, SampleTask, StoreError, visit_dataset, visit_records,
};

/// The task of each sample that has one: from the data set, or from the sample records where the run keeps none (or one that
/// cannot be read). Beside it one error a damaged file.
///
/// # Errors
/// The folder of the run cannot be listed.
pub(crate) fn sample_tasks(run: &RunDir) -> Result<(BySample<Name>, Vec<StoreError>)> {
    let mut tasks = BySample::default();
    let mut problems = Vec::new();
    problems.extend(visit_dataset(run, |row: DatasetTask| keep(&mut tasks, &row, row.task.clone())).err());
    if tasks.is_empty() {
        problems.extend(visit_records(run, |row: SampleTask| keep(&mut tasks, &row, row.task.clone()))?);
    }
    Ok((tasks, problems))
}

fn keep(tasks: &mut BySample<Name>, row: &impl OfSample, task: Option<Name>) {
    if let Some(task) = task {
        tasks.insert(row.place(), row.id(), task);
    }
}
