//! `dataset.parquet`: the samples of a run, written once.

use super::atomic::write_atomic;
use super::dir::RunDir;
use super::error::Result;
use super::part::{encode, read_file};
use super::records::{Record, record};
use arrow::array::RecordBatch;
use std::io::Write;
use std::path::Path;

record! {
    /// One sample.
    DatasetRow in "dataset" {
        /// Sample id.
        sample: String,
        /// `train` or `val`.
        split: String,
        /// Task, where the data names one.
        task: Option<String>,
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
    let path = dir.dataset();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    for batch in read_file(&path)? {
        rows.extend(DatasetRow::rows(&batch, &path)?);
    }
    Ok(rows)
}
