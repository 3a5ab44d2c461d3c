//! Columns of Arrow tables, read without making a struct of every row.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{Float16Type, Float32Type, Int32Type, UInt64Type};
use covft_analyses::store::Place;
use half::f16;
use std::path::Path;

/// A table and the file it is from.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub batch: &'a RecordBatch,
    pub path: &'a Path,
}

/// A reason in words that ends in the path.
pub(super) type Result<T> = std::result::Result<T, String>;

impl<'a> Table<'a> {
    fn column(&self, name: &str) -> Result<&'a ArrayRef> {
        self.batch.column_by_name(name).ok_or_else(|| self.wrong(name, "missing"))
    }

    fn wrong(&self, name: &str, found: &str) -> String {
        format!("column `{name}` is {found}, so these rows are left out: {}", self.path.display())
    }

    fn typed<T>(&self, name: &str, of: impl FnOnce(&'a ArrayRef) -> Option<T>) -> Result<T> {
        let column = self.column(name)?;
        of(column).ok_or_else(|| self.wrong(name, &column.data_type().to_string()))
    }

    /// That vectors are not as long as those before.
    pub(super) fn odd_width(&self, layer: &str, here: usize, before: usize) -> String {
        let path = self.path.display();
        format!(
            "vectors of layer {layer} have {here} numbers and had {before} before, so these rows are left out: {path}"
        )
    }

    pub(super) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    pub(super) fn words(&self, name: &str) -> Result<&'a StringArray> {
        self.typed(name, |c| c.as_string_opt::<i32>())
    }

    /// Null where a row has none.
    pub(super) fn some_words(&self, name: &str) -> Result<impl Fn(usize) -> Option<&'a str> + use<'a>> {
        let column = self.words(name)?;
        Ok(move |i| column.is_valid(i).then(|| column.value(i)))
    }

    /// Null where a row has none.
    pub(super) fn some_singles(&self, name: &str) -> Result<impl Fn(usize) -> Option<f32> + use<'a>> {
        let column = self.typed(name, |c| c.as_primitive_opt::<Float32Type>())?;
        Ok(move |i| column.is_valid(i).then(|| column.value(i)))
    }

    pub(super) fn counts(&self, name: &str) -> Result<&'a [u64]> {
        self.typed(name, |c| {
            c.as_primitive_opt::<UInt64Type>().filter(|a| a.null_count() == 0).map(|a| a.values().as_ref())
        })
    }

    /// The place of each row's sample, whose number stands in column `index`; none in older records.
    pub(super) fn places(&self, index: &str) -> Result<impl Fn(usize) -> Option<Place> + use<'a>> {
        let there = |name: &str| self.batch.column_by_name(name).is_some();
        let index = if there(index) { Some(self.typed(index, |c| c.as_primitive_opt::<UInt64Type>())?) } else { None };
        let split = if there("split") { Some(self.words("split")?) } else { None };
        Ok(move |i| {
            let index = index.filter(|column| column.is_valid(i))?.value(i);
            Some(Place::new(split.filter(|column| column.is_valid(i)).map(|column| column.value(i)), index))
        })
    }

    pub(super) fn flags(&self, name: &str) -> Result<&'a BooleanArray> {
        self.typed(name, |c| c.as_boolean_opt())
    }

    pub(super) fn singles(&self, name: &str) -> Result<&'a [f32]> {
        self.typed(name, |c| c.as_primitive_opt::<Float32Type>().map(|a| a.values().as_ref()))
    }

    /// Null where the layer has no depth.
    pub(super) fn depths(&self) -> Result<impl Fn(usize) -> Option<i32> + 'a> {
        let column = self.typed("depth", |c| c.as_primitive_opt::<Int32Type>())?;
        Ok(move |i| column.is_valid(i).then(|| column.value(i)))
    }

    /// All vectors one after the other, and their width.
    pub(super) fn vectors16(&self, name: &str) -> Result<(&'a [f16], usize)> {
        let list = self.typed(name, |c| c.as_fixed_size_list_opt())?;
        let width = list.value_length() as usize;
        let values = list.values().as_primitive_opt::<Float16Type>().ok_or_else(|| self.wrong(name, "not float16"))?;
        Ok((&values.values()[list.offset() * width..], width))
    }

    pub(super) fn vectors32(&self, name: &str) -> Result<(&'a [f32], usize)> {
        let list = self.typed(name, |c| c.as_fixed_size_list_opt())?;
        let width = list.value_length() as usize;
        let values = list.values().as_primitive_opt::<Float32Type>().ok_or_else(|| self.wrong(name, "not float32"))?;
        Ok((&values.values()[list.offset() * width..], width))
    }
}
