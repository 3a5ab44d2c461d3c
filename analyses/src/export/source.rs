//! What is exported: a stream, or the data set.

use super::{ExportError, ExportOptions, Result};
use crate::store::{RunDir, StoreError, dataset_schema, stream_schemas, streams, visit_batches, visit_dataset_batches};
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::path::Path;
use std::sync::Arc;

/// What the data set is called among the streams.
const DATASET: &str = "dataset";

/// Columns with words that people or the model wrote.
const TEXT: [(&str, &str); 3] = [("dataset", "question"), ("dataset", "answer"), ("predictions", "text")];

/// One stream of one schema.
pub(super) struct Source<'a> {
    /// The stream, with `-2` and so on where its vectors changed their width.
    pub name: String,
    /// Of the tables that are handed over.
    pub schema: SchemaRef,
    pub rows: u64,
    stream: String,
    /// Of the tables that are read.
    recorded: SchemaRef,
    run: &'a RunDir,
    /// The stream has parts of other schemas too: every column is read to tell them apart.
    mixed: bool,
}

/// The same columns with float32 in place of float16.
fn wide(schema: &SchemaRef) -> SchemaRef {
    fn field(of: &FieldRef) -> FieldRef {
        let data_type = match of.data_type() {
            DataType::Float16 => DataType::Float32,
            DataType::FixedSizeList(item, width) => DataType::FixedSizeList(field(item), *width),
            DataType::List(item) => DataType::List(field(item)),
            other => other.clone(),
        };
        Arc::new(of.as_ref().clone().with_data_type(data_type))
    }
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Everything that the options ask for, and what of it is damaged from its beginning: a stream of which nothing can be read
/// has no source.
pub(super) fn sources<'a>(run: &'a RunDir, options: &ExportOptions) -> Result<(Vec<Source<'a>>, Vec<StoreError>)> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let mut names = Vec::new();
    let wanted = |name: &str| options.streams.is_empty() || options.streams.iter().any(|s| s == name);
    if let Some((schema, rows)) = dataset_schema(run)?.filter(|d| d.1 > 0) {
        names.push(DATASET.to_owned());
        if wanted(DATASET) {
            let schema = without_text(DATASET, &schema, options);
            found.push(Source::new(DATASET.into(), DATASET.into(), (schema, rows), run, options));
        }
    }
    for stream in streams(run)? {
        names.push(stream.clone());
        if !wanted(&stream) {
            continue;
        }
        let read = stream_schemas(run, &stream)?;
        problems.extend(read.problems);
        let schemas = read.rows;
        let mixed = schemas.len() > 1;
        for (i, (schema, rows)) in schemas.into_iter().enumerate().filter(|(_, s)| s.1 > 0) {
            let name = if i == 0 { stream.clone() } else { format!("{stream}-{}", i + 1) };
            let schema = without_text(&stream, &schema, options);
            let source = Source::new(name, stream.clone(), (schema, rows), run, options);
            found.push(Source { mixed, ..source });
        }
    }
    if let Some(missing) = options.streams.iter().find(|s| !names.contains(s)) {
        let path = run.path().to_owned();
        return Err(ExportError::NoStream { stream: missing.clone(), known: names.join(", "), path });
    }
    if found.is_empty() {
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem.into());
        }
        return Err(ExportError::Nothing { path: run.path().to_owned() });
    }
    Ok((found, problems))
}

fn without_text(stream: &str, schema: &SchemaRef, options: &ExportOptions) -> SchemaRef {
    let left_out = |name: &str| options.no_text && TEXT.contains(&(stream, name));
    let kept: Vec<_> = schema.fields().iter().filter(|f| !left_out(f.name())).cloned().collect();
    Arc::new(Schema::new(kept))
}

impl<'a> Source<'a> {
    fn new(
        name: String,
        stream: String,
        (recorded, rows): (SchemaRef, u64),
        run: &'a RunDir,
        options: &ExportOptions,
    ) -> Self {
        let schema = if options.float32 { wide(&recorded) } else { Arc::clone(&recorded) };
        Self { name, schema, rows, stream, recorded, run, mixed: false }
    }

    fn wrong(&self, error: &ArrowError) -> ExportError {
        StoreError::Rows { stream: self.name.clone(), why: error.to_string() }.into()
    }

    /// A table in the types that it is handed over in.
    fn handed(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if Arc::ptr_eq(&self.schema, &self.recorded) {
            return Ok(batch);
        }
        let schema = wide(&batch.schema());
        let pairs = batch.columns().iter().zip(schema.fields());
        let columns: std::result::Result<_, ArrowError> =
            pairs.map(|(column, field)| cast(column, field.data_type())).collect();
        columns.and_then(|columns| RecordBatch::try_new(schema, columns)).map_err(|e| self.wrong(&e))
    }

    /// Hands over its tables; only `columns` of them if given, in the schema's order. Returns what is damaged.
    pub(super) fn visit(
        &self,
        columns: Option<&[&str]>,
        mut visit: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<Vec<StoreError>> {
        let all: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        let kept: Vec<&str> = all.iter().copied().filter(|n| columns.is_none_or(|c| c.contains(n))).collect();
        let mut failed = None;
        let mut left = self.rows;
        let mut each = |batch: &RecordBatch| {
            let fits = |name: &&str| {
                let field = self.recorded.field_with_name(name).ok();
                batch
                    .schema()
                    .field_with_name(name)
                    .ok()
                    .is_some_and(|f| Some(f.data_type()) == field.map(arrow::datatypes::Field::data_type))
            };
            let own = if self.mixed { all.iter().all(fits) } else { kept.iter().all(fits) };
            if failed.is_some() || !own {
                return;
            }
            // A live run has grown since it was listed: all columns end at the same row.
            let batch = batch.slice(0, batch.num_rows().min(usize::try_from(left).unwrap_or(usize::MAX)));
            left -= batch.num_rows() as u64;
            if batch.num_rows() == 0 {
                return;
            }
            let places: Vec<usize> = kept.iter().filter_map(|n| batch.schema().index_of(n).ok()).collect();
            let done = match batch.project(&places) {
                Ok(batch) => self.handed(batch).and_then(&mut visit),
                Err(e) => Err(self.wrong(&e)),
            };
            failed = done.err();
        };
        let columns = Some(if self.mixed { all.as_slice() } else { kept.as_slice() });
        let pass = |_: &Path, batch: RecordBatch| {
            each(&batch);
            Ok(())
        };
        let problems = if self.stream == DATASET {
            visit_dataset_batches(self.run, columns, pass)?;
            Vec::new()
        } else {
            visit_batches(self.run, &self.stream, columns, pass)?
        };
        failed.map_or(Ok(problems), Err)
    }
}
