//! One safetensors file for each stream that has vectors: every vector column `[N, C]` and the step of each row; beside it a
//! CSV with the key of each row. The format: 8 bytes length, a JSON header, the numbers.

use super::columns::{Kind, Layout, append, layout, stream};
use super::draft::Draft;
use super::source::Source;
use super::{Export, ExportError, Exported, Result, csv};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;

fn dtype(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "BOOL",
        Kind::U64 => "U64",
        Kind::I32 => "I32",
        Kind::F16 => "F16",
        Kind::F32 => "F32",
        Kind::F64 => "F64",
    }
}

/// Whether the stream has columns of vectors.
pub(super) fn has_vectors(source: &Source<'_>) -> bool {
    source.schema.fields().iter().filter_map(|f| layout(f)).any(|l| l.width.is_some())
}

pub(super) fn export(source: &Source<'_>, out: &Path, made: &mut Export) -> Result<()> {
    let columns: Vec<(&str, Layout)> =
        source.schema.fields().iter().filter_map(|f| Some((f.name().as_str(), layout(f)?))).collect();
    if !has_vectors(source) {
        return Ok(());
    }
    let mut columns: Vec<_> = columns.into_iter().filter(|(name, l)| l.width.is_some() || *name == "step").collect();
    // Widest numbers first, so that every tensor begins where its numbers may.
    columns.sort_by_key(|(_, l)| std::cmp::Reverse(l.kind.size()));
    let path = out.join(format!("{}.safetensors", source.name));
    let mut header = Map::new();
    let mut at = 0;
    for (name, layout) in &columns {
        let shape: Vec<u64> = [source.rows].into_iter().chain(layout.width.map(|w| w as u64)).collect();
        let end = at + shape.iter().product::<u64>() * layout.kind.size() as u64;
        header.insert(
            (*name).to_owned(),
            json!({"dtype": dtype(layout.kind), "shape": shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let about = json!({"stream": source.name, "rows": format!("{}.rows.csv", source.name)});
    header.insert("__metadata__".to_owned(), about);
    let mut text = Value::Object(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    let mut draft = Draft::new(&path)?;
    let mut write = |bytes: &[u8]| draft.file.write_all(bytes).map_err(ExportError::io("write", &path));
    write(&(text.len() as u64).to_le_bytes())?;
    write(text.as_bytes())?;
    let mut bytes = Vec::new();
    for (name, layout) in &columns {
        stream(source, name, &path, made, |array| {
            bytes.clear();
            append(&mut bytes, array, *layout);
            write(&bytes)
        })?;
    }
    made.files.push(Exported { path: draft.finish()?, entries: source.rows });
    let keys: Vec<&str> = source
        .schema
        .fields()
        .iter()
        .filter(|f| layout(f).is_none_or(|l| l.width.is_none()))
        .map(|f| f.name().as_str())
        .collect();
    let how = csv::How { row: Some("row"), spreadsheet: false };
    csv::write(source, &out.join(format!("{}.rows.csv", source.name)), how, &keys, made)
}
