//! One NumPy archive a stream: an uncompressed zip of one `.npy` (format 1.0) a column. Text becomes fixed-width Unicode,
//! null text the empty string, null numbers NaN.

use super::columns::{Kind, append, layout, stream};
use super::draft::Draft;
use super::source::Source;
use super::zip::Zip;
use super::{Export, ExportError, Exported, Result};
use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use std::path::Path;

/// The header of a `.npy` file, padded so that the numbers begin at a multiple of 64 bytes.
fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let shape = if shape.len() == 1 { format!("({},)", shape[0]) } else { format!("({})", shape.join(", ")) };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let unpadded = 10 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

fn descr(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "|b1",
        Kind::U64 => "<u8",
        Kind::I32 => "<i4",
        Kind::F16 => "<f2",
        Kind::F32 => "<f4",
        Kind::F64 => "<f8",
    }
}

/// Characters of the longest cell of a text column.
fn longest(source: &Source<'_>, name: &str, path: &Path, made: &mut Export) -> Result<usize> {
    let mut most = 1;
    stream(source, name, path, made, |array| {
        most = array.as_string::<i32>().iter().flatten().map(|s| s.chars().count()).fold(most, usize::max);
        Ok(())
    })?;
    Ok(most)
}

pub(super) fn export(source: &Source<'_>, out: &Path, made: &mut Export) -> Result<()> {
    let path = out.join(format!("{}.npz", source.name));
    let mut draft = Draft::new(&path)?;
    let failed = |e: std::io::Error| ExportError::io("write", &path)(e);
    let mut zip = Zip::new(&mut draft.file);
    let rows = source.rows as usize;
    for field in source.schema.fields() {
        let name = field.name();
        let mut bytes = Vec::new();
        if let Some(layout) = layout(field) {
            zip.start(&format!("{name}.npy")).map_err(failed)?;
            let shape: Vec<usize> = [rows].into_iter().chain(layout.width).collect();
            zip.add(&header(descr(layout.kind), &shape)).map_err(failed)?;
            stream(source, name, &path, made, |array| {
                bytes.clear();
                append(&mut bytes, array, layout);
                zip.add(&bytes).map_err(failed)
            })?;
            zip.end().map_err(failed)?;
        } else if field.data_type() == &DataType::Utf8 {
            let width = longest(source, name, &path, made)?;
            zip.start(&format!("{name}.npy")).map_err(failed)?;
            zip.add(&header(&format!("<U{width}"), &[rows])).map_err(failed)?;
            stream(source, name, &path, made, |array| {
                let array = array.as_string::<i32>();
                for i in 0..array.len() {
                    bytes.clear();
                    let text = if array.is_null(i) { "" } else { array.value(i) };
                    text.chars().for_each(|c| bytes.extend(u32::from(c).to_le_bytes()));
                    bytes.resize(4 * width, 0);
                    zip.add(&bytes).map_err(failed)?;
                }
                Ok(())
            })?;
            zip.end().map_err(failed)?;
        } else {
            made.problems.push(format!(
                "column `{name}` of `{}` is {}, which npz cannot hold",
                source.name,
                field.data_type()
            ));
        }
    }
    zip.finish().map_err(failed)?;
    made.files.push(Exported { path: draft.finish()?, entries: source.rows });
    Ok(())
}
