//! One CSV file a stream (RFC 4180): vectors as JSON lists, null as an empty cell, numbers that are not finite as `NaN`,
//! `inf`, `-inf`.

use super::draft::Draft;
use super::source::Source;
use super::{Export, ExportError, Exported, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, Int32Type, UInt64Type};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

pub(super) fn export(source: &Source<'_>, out: &Path, made: &mut Export) -> Result<()> {
    let names: Vec<&str> = source.schema.fields().iter().map(|f| f.name().as_str()).collect();
    let path = out.join(format!("{}.csv", source.name));
    write(source, &path, None, &names, made)
}

/// Writes `names` of the source to `path`, after a column `row` counted from 0 if asked for.
pub(super) fn write(
    source: &Source<'_>,
    path: &Path,
    row: Option<&str>,
    names: &[&str],
    made: &mut Export,
) -> Result<()> {
    let mut draft = Draft::new(path)?;
    let header: Vec<&str> = row.into_iter().chain(names.iter().copied()).collect();
    writeln!(draft.file, "{}", header.join(",")).map_err(ExportError::io("write", path))?;
    let mut rows = 0_u64;
    let mut text = String::new();
    let problems = source.visit(Some(names), |batch| {
        text.clear();
        for r in 0..batch.num_rows() {
            if row.is_some() {
                cell(&mut text, format_args!("{rows},"));
            }
            line(&mut text, &batch, r);
            rows += 1;
        }
        draft.file.write_all(text.as_bytes()).map_err(ExportError::io("write", path))
    })?;
    made.tell(problems.iter().map(ToString::to_string));
    made.files.push(Exported { path: draft.finish()?, entries: rows });
    Ok(())
}

/// Appends; writing to a string cannot fail.
fn cell(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes every write");
}

fn line(text: &mut String, batch: &RecordBatch, row: usize) {
    for (c, column) in batch.columns().iter().enumerate() {
        if c > 0 {
            text.push(',');
        }
        if !column.is_null(row) {
            value(text, column, row);
        }
    }
    text.push('\n');
}

fn value(text: &mut String, column: &ArrayRef, row: usize) {
    match column.data_type() {
        DataType::Utf8 => quoted(text, column.as_string::<i32>().value(row)),
        DataType::Boolean => text.push_str(if column.as_boolean().value(row) { "true" } else { "false" }),
        DataType::UInt64 => cell(text, format_args!("{}", column.as_primitive::<UInt64Type>().value(row))),
        DataType::Int32 => cell(text, format_args!("{}", column.as_primitive::<Int32Type>().value(row))),
        DataType::Float64 => cell(text, format_args!("{}", column.as_primitive::<Float64Type>().value(row))),
        DataType::Float32 => cell(text, format_args!("{}", column.as_primitive::<Float32Type>().value(row))),
        DataType::Float16 => cell(text, format_args!("{}", column.as_primitive::<Float16Type>().value(row))),
        DataType::FixedSizeList(..) => list(text, &column.as_fixed_size_list().value(row)),
        DataType::List(..) => list(text, &column.as_list::<i32>().value(row)),
        // A column that a later version writes: its type, so that nobody takes an empty cell for null.
        other => quoted(text, &format!("({other})")),
    }
}

fn list(text: &mut String, items: &ArrayRef) {
    text.push_str("\"[");
    for i in 0..items.len() {
        if i > 0 {
            text.push_str(", ");
        }
        value(text, items, i);
    }
    text.push_str("]\"");
}

/// Quoted where it has to be.
fn quoted(text: &mut String, value: &str) {
    if value.contains(['"', ',', '\n', '\r']) {
        text.push('"');
        text.push_str(&value.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(value);
    }
}
