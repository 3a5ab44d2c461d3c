//! One CSV file a stream (RFC 4180): vectors as JSON lists, null as an empty cell, numbers that are not finite as `NaN`,
//! `inf`, `-inf`.

use super::draft::Draft;
use super::source::Source;
use super::{Export, ExportError, Exported, Result};
use crate::csv::{cell, inert};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, Int32Type, UInt64Type};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

/// How a table is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How<'a> {
    /// Name of a first column that counts the rows from 0.
    pub row: Option<&'a str>,
    /// Whether words that a spreadsheet would take for a formula are made inert.
    pub spreadsheet: bool,
}

pub(super) fn export(source: &Source<'_>, out: &Path, spreadsheet: bool, made: &mut Export) -> Result<()> {
    let names: Vec<&str> = source.schema.fields().iter().map(|f| f.name().as_str()).collect();
    let path = out.join(format!("{}.csv", source.name));
    write(source, &path, How { row: None, spreadsheet }, &names, made)
}

/// Writes `names` of the source to `path`.
pub(super) fn write(source: &Source<'_>, path: &Path, how: How<'_>, names: &[&str], made: &mut Export) -> Result<()> {
    let mut draft = Draft::new(path)?;
    let header: Vec<&str> = how.row.into_iter().chain(names.iter().copied()).collect();
    writeln!(draft.file, "{}", header.join(",")).map_err(ExportError::io("write", path))?;
    let mut rows = 0_u64;
    let mut text = String::new();
    let problems = source.visit(Some(names), |batch| {
        text.clear();
        for r in 0..batch.num_rows() {
            if how.row.is_some() {
                number(&mut text, format_args!("{rows},"));
            }
            line(&mut text, &batch, r, how.spreadsheet);
            rows += 1;
        }
        draft.file.write_all(text.as_bytes()).map_err(ExportError::io("write", path))
    })?;
    made.tell(problems.iter().map(ToString::to_string));
    made.files.push(Exported { path: draft.finish()?, entries: rows });
    Ok(())
}

/// Appends; writing to a string cannot fail.
fn number(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes every write");
}

fn line(text: &mut String, batch: &RecordBatch, row: usize, spreadsheet: bool) {
    for (c, column) in batch.columns().iter().enumerate() {
        if c > 0 {
            text.push(',');
        }
        if !column.is_null(row) {
            value(text, column, row, spreadsheet);
        }
    }
    text.push('\n');
}

fn value(text: &mut String, column: &ArrayRef, row: usize, spreadsheet: bool) {
    match column.data_type() {
        DataType::Utf8 => {
            let words = column.as_string::<i32>().value(row);
            let words = if spreadsheet { inert(words) } else { words.into() };
            text.push_str(&cell(&words));
        }
        DataType::Boolean => text.push_str(if column.as_boolean().value(row) { "true" } else { "false" }),
        DataType::UInt64 => number(text, format_args!("{}", column.as_primitive::<UInt64Type>().value(row))),
        DataType::Int32 => number(text, format_args!("{}", column.as_primitive::<Int32Type>().value(row))),
        DataType::Float64 => number(text, format_args!("{}", column.as_primitive::<Float64Type>().value(row))),
        DataType::Float32 => number(text, format_args!("{}", column.as_primitive::<Float32Type>().value(row))),
        DataType::Float16 => number(text, format_args!("{}", column.as_primitive::<Float16Type>().value(row))),
        DataType::FixedSizeList(..) => list(text, &column.as_fixed_size_list().value(row)),
        DataType::List(..) => list(text, &column.as_list::<i32>().value(row)),
        // A column that a later version writes: its type, so that nobody takes an empty cell for null.
        other => text.push_str(&cell(&format!("({other})"))),
    }
}

fn list(text: &mut String, items: &ArrayRef) {
    text.push_str("\"[");
    for i in 0..items.len() {
        if i > 0 {
            text.push_str(", ");
        }
        value(text, items, i, false);
    }
    text.push_str("]\"");
}
