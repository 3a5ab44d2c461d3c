//! Columns as plain little-endian numbers.

use super::source::Source;
use super::{Export, ExportError, Result};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float16Type, Float32Type, Float64Type, Int32Type, UInt64Type,
};
use std::path::Path;

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    U64,
    I32,
    F16,
    F32,
    F64,
}

/// Layout of a column: kind of number, and numbers a row (`None` = one, without an axis of its own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub kind: Kind,
    pub width: Option<usize>,
}

impl Kind {
    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::U64 | Self::F64 => 8,
        }
    }

    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::UInt64 => Self::U64,
            DataType::Int32 => Self::I32,
            DataType::Float16 => Self::F16,
            DataType::Float32 => Self::F32,
            DataType::Float64 => Self::F64,
            _ => return None,
        })
    }
}

/// The layout of a numeric column; whole numbers that may be null become float64, null NaN. `None` for text.
pub(super) fn layout(field: &Field) -> Option<Layout> {
    if let DataType::FixedSizeList(item, width) = field.data_type() {
        return Some(Layout { kind: Kind::of(item.data_type())?, width: Some(*width as usize) });
    }
    let kind = Kind::of(field.data_type())?;
    let whole = matches!(kind, Kind::U64 | Kind::I32 | Kind::Bool);
    Some(Layout { kind: if whole && field.is_nullable() { Kind::F64 } else { kind }, width: None })
}

/// Appends the cells of `array` in `layout`.
pub(super) fn append(bytes: &mut Vec<u8>, array: &ArrayRef, layout: Layout) {
    if layout.width.is_some() {
        let lists = array.as_fixed_size_list();
        let width = lists.value_length() as usize;

        append(bytes, &lists.values().slice(0, lists.len() * width), Layout { width: None, ..layout });
        return;
    }
    match (array.data_type(), layout.kind) {
        (DataType::Boolean, Kind::Bool) => bytes.extend(array.as_boolean().iter().map(|v| u8::from(v == Some(true)))),
        (DataType::Boolean, _) => {
            let number = |v: Option<bool>| v.map_or(f64::NAN, |v| f64::from(u8::from(v)));
            array.as_boolean().iter().for_each(|v| bytes.extend(number(v).to_le_bytes()));
        }
        (DataType::UInt64, Kind::U64) => numbers::<UInt64Type, 8>(bytes, array, |v| v.unwrap_or(0).to_le_bytes()),
        (DataType::UInt64, _) => {
            numbers::<UInt64Type, 8>(bytes, array, |v| v.map_or(f64::NAN, |v| v as f64).to_le_bytes());
        }
        (DataType::Int32, Kind::I32) => numbers::<Int32Type, 4>(bytes, array, |v| v.unwrap_or(0).to_le_bytes()),
        (DataType::Int32, _) => numbers::<Int32Type, 8>(bytes, array, |v| v.map_or(f64::NAN, f64::from).to_le_bytes()),
        (DataType::Float16, _) => {
            numbers::<Float16Type, 2>(bytes, array, |v| v.unwrap_or(half::f16::NAN).to_le_bytes());
        }
        (DataType::Float32, _) => numbers::<Float32Type, 4>(bytes, array, |v| v.unwrap_or(f32::NAN).to_le_bytes()),
        (DataType::Float64, _) => numbers::<Float64Type, 8>(bytes, array, |v| v.unwrap_or(f64::NAN).to_le_bytes()),
        _ => {}
    }
}

fn numbers<T: ArrowPrimitiveType, const N: usize>(
    bytes: &mut Vec<u8>,
    array: &ArrayRef,
    number: impl Fn(Option<T::Native>) -> [u8; N],
) {
    array.as_primitive::<T>().iter().for_each(|v| bytes.extend(number(v)));
}

/// Hands over a column's bytes, chunk after chunk.
///
/// # Errors
/// There are fewer rows than the parts say: `path` cannot be written whole.
pub(super) fn stream(
    source: &Source<'_>,
    name: &str,
    path: &Path,
    made: &mut Export,
    mut write: impl FnMut(&ArrayRef) -> Result<()>,
) -> Result<()> {
    let mut rows = 0;
    let problems = source.visit(Some(&[name]), |batch| {
        rows += batch.num_rows() as u64;
        write(batch.column(0))
    })?;
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if rows != source.rows {
        let why = problems.join("; ");
        let (stream, path) = (source.name.clone(), path.to_owned());
        return Err(ExportError::Short { stream, found: rows, expected: source.rows, why, path });
    }
    made.tell(problems);
    Ok(())
}
