//! `dataset.parquet`: the samples of a run, written once.

use super::atomic::write_atomic;
use super::dir::RunDir;
use super::error::Result;
use super::name::Name;
use super::part::{self, Range, encode};
use super::records::{Record, record};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::io::Write;
use std::path::Path;

record! {
    /// One sample.
    DatasetRow in "dataset" {
        /// Sample id.
        sample: String,
        /// Number of the sample's entry in its file, from 0: with the split it tells samples apart. Null in older runs.
        index: Option<u64>,
        /// `train` or `val`.
        split: Name,
        /// Task, where the data names one.
        task: Option<Name>,
        /// Image, relative to the run directory or absolute; null for text alone.
        image: Option<String>,
        /// Width of the image in pixels, where known.
        width: Option<u64>,
        /// Height.
        height: Option<u64>,
        /// First question, without the image mark.
        question: String,
        /// First answer.
        answer: String,
    }
}

/// Writes `dataset.parquet`.
///
/// # Errors
/// The file system refuses.
pub fn write_dataset(dir: &RunDir, rows: &[DatasetRow]) -> Result<()> {
    let path = dir.dataset();
    let bytes = encode(&[DatasetRow::batch(rows)?], &[], &path)?;
    write_atomic(&path, |file| file.write_all(&bytes))
}

/// Reads `dataset.parquet`; no rows if the run has none.
///
/// # Errors
/// It is damaged or of another format.
pub fn read_dataset(dir: &RunDir) -> Result<Vec<DatasetRow>> {
    let mut rows = Vec::new();
    visit_dataset(dir, |row| rows.push(row))?;
    Ok(rows)
}

/// Hands over the rows of `dataset.parquet` one by one, only the columns that `R` names; none if the run has no such file.
///
/// # Errors
/// It is damaged or of another format; what was read before has been handed over.
pub fn visit_dataset<R: Record>(dir: &RunDir, mut see: impl FnMut(R)) -> Result<()> {
    visit_dataset_batches(dir, Some(R::COLUMNS), |path, batch| {
        R::rows(&batch, path)?.into_iter().for_each(&mut see);
        Ok(())
    })
}

/// The same as tables of at most 8,192 rows, only `columns` of them if given.
///
/// # Errors
/// It is damaged; the first error of `visit`.
pub(crate) fn visit_dataset_batches(
    dir: &RunDir,
    columns: Option<&[&str]>,
    mut visit: impl FnMut(&Path, RecordBatch) -> Result<()>,
) -> Result<()> {
    let path = dir.dataset();
    if !path.exists() {
        return Ok(());
    }
    part::visit(&path, Range::one(0), 0, 8192, columns, &mut |batch| visit(&path, batch))
}

/// Whether the samples of a run have places: not where an older program wrote its `dataset.parquet`. One that cannot be read
/// says nothing of it; its readers tell.
pub(super) fn has_places(dir: &RunDir) -> bool {
    let columns = dataset_schema(dir).ok().flatten();
    columns.is_none_or(|(schema, _)| schema.field_with_name("index").is_ok())
}

/// Columns and number of rows of `dataset.parquet`; `None` if the run has none.
///
/// # Errors
/// It is damaged.
pub(crate) fn dataset_schema(dir: &RunDir) -> Result<Option<(SchemaRef, u64)>> {
    let path = dir.dataset();
    path.exists().then(|| part::part_schema(&path)).transpose()
}
