//! One parquet file a stream, whatever the number of parts.

use super::draft::Draft;
use super::source::Source;
use super::{Export, Exported, Result};
use crate::store::{StoreError, parquet_properties, write_table};
use parquet::arrow::ArrowWriter;
use std::path::Path;

pub(super) fn export(source: &Source<'_>, out: &Path, made: &mut Export) -> Result<()> {
    let path = out.join(format!("{}.parquet", source.name));
    let mut draft = Draft::new(&path)?;
    let why = |e: parquet::errors::ParquetError| StoreError::Rows { stream: source.name.clone(), why: e.to_string() };
    let mut rows = 0;
    let mut writer = ArrowWriter::try_new(&mut draft.file, source.schema.clone(), Some(parquet_properties().build()))
        .map_err(why)?;
    let problems = source.visit(None, |batch| {
        rows += batch.num_rows() as u64;
        // Nullability may differ between parts of different versions; the first part's holds.
        let batch = batch
            .with_schema(source.schema.clone())
            .map_err(|e| StoreError::Rows { stream: source.name.clone(), why: e.to_string() })?;
        write_table(&mut writer, &batch).map_err(why)?;
        Ok(())
    })?;
    writer.close().map_err(why)?;
    made.tell(problems.iter().map(ToString::to_string));
    made.files.push(Exported { path: draft.finish()?, entries: rows });
    Ok(())
}
