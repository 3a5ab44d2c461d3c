//! Small tables, column by column.

use crate::store::{StoreError, encode, write_atomic};
use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float64Array, ListArray, RecordBatch, StringArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Columns of one length.
#[derive(Debug, Default)]
pub(crate) struct Table {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, name: &str, nullable: bool, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), nullable));
        self.arrays.push(array);
    }

    pub(crate) fn text(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.push(name, false, Arc::new(StringArray::from_iter_values(cells)));
    }

    pub(crate) fn maybe_text(&mut self, name: &str, cells: impl IntoIterator<Item = Option<String>>) {
        self.push(name, true, Arc::new(cells.into_iter().collect::<StringArray>()));
    }

    pub(crate) fn whole(&mut self, name: &str, cells: impl IntoIterator<Item = u64>) {
        self.push(name, false, Arc::new(UInt64Array::from_iter_values(cells)));
    }

    pub(crate) fn maybe_whole(&mut self, name: &str, cells: impl IntoIterator<Item = Option<u64>>) {
        self.push(name, true, Arc::new(cells.into_iter().collect::<UInt64Array>()));
    }

    pub(crate) fn number(&mut self, name: &str, cells: impl IntoIterator<Item = f64>) {
        self.push(name, false, Arc::new(Float64Array::from_iter_values(cells)));
    }

    pub(crate) fn maybe_number(&mut self, name: &str, cells: impl IntoIterator<Item = Option<f64>>) {
        self.push(name, true, Arc::new(cells.into_iter().collect::<Float64Array>()));
    }

    pub(crate) fn flag(&mut self, name: &str, cells: impl IntoIterator<Item = bool>) {
        self.push(name, false, Arc::new(BooleanArray::from(cells.into_iter().collect::<Vec<_>>())));
    }

    /// Lists of numbers: of a fixed size where all are equally long.
    pub(crate) fn list(&mut self, name: &str, cells: impl IntoIterator<Item = Vec<f64>>) {
        let cells: Vec<Vec<f64>> = cells.into_iter().collect();
        let width = cells.first().map_or(0, Vec::len);
        let field = Arc::new(Field::new("item", DataType::Float64, false));
        let lengths: Vec<usize> = cells.iter().map(Vec::len).collect();
        let rows = cells.len();
        let values: ArrayRef = Arc::new(Float64Array::from(cells.concat()));
        let array: ArrayRef = if lengths.iter().all(|l| *l == width) && i32::try_from(width).is_ok() {
            let list = FixedSizeListArray::try_new_with_length(field, width as i32, values, None, rows);
            Arc::new(list.expect("as many numbers as rows times width"))
        } else {
            Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, None))
        };
        self.push(name, false, array);
    }

    /// The table.
    ///
    /// # Errors
    /// Columns of different lengths, or two of one name.
    pub(crate) fn batch(self, path: &Path) -> Result<RecordBatch, StoreError> {
        let why =
            |e: arrow::error::ArrowError| StoreError::Rows { stream: path.display().to_string(), why: e.to_string() };
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays).map_err(why)
    }

    /// Writes it as one parquet file, whole or not at all.
    pub(crate) fn write_parquet(self, path: &Path) -> Result<(), StoreError> {
        let batch = self.batch(path)?;
        let bytes = encode(&[batch], &[], path)?;
        write_atomic(path, |file| file.write_all(&bytes))
    }
}
