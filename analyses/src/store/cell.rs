//! From columns of plain Rust values to Arrow arrays and back.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float16Array, Float32Array, Float64Array, Int32Array,
    StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Float64Type, Int32Type, UInt64Type};
use half::f16;
use std::sync::Arc;

/// A value that can stand in a column.
pub(super) trait Cell: Sized {
    /// Whether the column may hold nulls.
    const NULLABLE: bool;
    /// What the column is called in messages about its type.
    const EXPECTED: &'static str;
    /// The column, or why these cells cannot share one.
    fn array<'a>(cells: impl Iterator<Item = &'a Self> + Clone) -> Result<ArrayRef, String>
    where
        Self: 'a;
    /// The cells of a column; `None` if it is of another type or has nulls where there must be none.
    fn cells(array: &ArrayRef) -> Option<Vec<Self>>;
    /// What a reader puts where an older writer had no such column; `None` if it must be there.
    fn absent() -> Option<Self> {
        None
    }
}

macro_rules! primitive {
    ($rust:ty, $array:ty, $arrow:ty, $name:literal) => {
        impl Cell for $rust {
            const NULLABLE: bool = false;
            const EXPECTED: &'static str = $name;
            fn array<'a>(cells: impl Iterator<Item = &'a Self> + Clone) -> Result<ArrayRef, String> {
                Ok(Arc::new(<$array>::from(cells.copied().collect::<Vec<Self>>())))
            }
            fn cells(array: &ArrayRef) -> Option<Vec<Self>> {
                let array = array.as_primitive_opt::<$arrow>()?;
                (array.null_count() == 0).then(|| array.values().to_vec())
            }
        }
        impl Cell for Option<$rust> {
            const NULLABLE: bool = true;
            const EXPECTED: &'static str = $name;
            fn array<'a>(cells: impl Iterator<Item = &'a Self> + Clone) -> Result<ArrayRef, String> {
                Ok(Arc::new(<$array>::from(cells.copied().collect::<Vec<Self>>())))
            }
            fn cells(array: &ArrayRef) -> Option<Vec<Self>> {
                Some(array.as_primitive_opt::<$arrow>()?.iter().collect())
            }
            fn absent() -> Option<Self> {
                Some(None)
            }
        }
    };
}

primitive!(u64, UInt64Array, UInt64Type, "uint64");
primitive!(i32, Int32Array, Int32Type, "int32");
primitive!(f32, Float32Array, Float32Type, "float32");
primitive!(f64, Float64Array, Float64Type, "float64");

impl Cell for bool {
    const NULLABLE: Self = false;
    const EXPECTED: &'static str = "bool";
    fn array<'a>(cells: impl Iterator<Item = &'a Self> + Clone) -> Result<ArrayRef, String> {
        Ok(Arc::new(BooleanArray::from(cells.copied().collect::<Vec<Self>>())))
    }
    fn cells(array: &ArrayRef) -> Option<Vec<Self>> {
        array.as_boolean_opt()?.iter().collect()
    }
    /// A flag that an older writer did not know was not raised.
    fn absent() -> Option<Self> {
        Some(false)
    }
}

impl Cell for String {
    const NULLABLE: bool = false;
    const EXPECTED: &'static str = "string";
    fn array<'a>(cells: impl Iterator<Item = &'a Self> + Clone) -> Result<ArrayRef, String> {
        Ok(Arc::new(StringArray::from_iter_values(cells)))
    }
    fn cells(array: &ArrayRef) -> Option<Vec<Self>> {
        array.as_string_opt::<i32>()?.iter().map(|s| s.map(str::to_owned)).collect()
    }
}

impl Cell for Option<String> {
    const NULLABLE: bool = true;
    const EXPECTED: &'static str = "string";
    fn array<'a>(cells: impl Iterator<Item = &'a Self> + Clone) -> Result<ArrayRef, String> {
        Ok(Arc::new(cells.map(|cell| cell.as_deref()).collect::<StringArray>()))
    }
    fn cells(array: &ArrayRef) -> Option<Vec<Self>> {
        Some(array.as_string_opt::<i32>()?.iter().map(|s| s.map(str::to_owned)).collect())
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// Width of the vectors of one column; they are equally long within a table.
fn width<'a, T: 'a>(mut cells: impl Iterator<Item = &'a Vec<T>> + Clone) -> Result<i32, String> {
    let width = cells.clone().next().map_or(0, Vec::len);
    if let Some(other) = cells.find(|c| c.len() != width) {
        return Err(format!("vectors of {width} and {} numbers in one table", other.len()));
    }
    i32::try_from(width).map_err(|_too_wide| format!("a vector of {width} numbers"))
}

macro_rules! vector {
    ($rust:ty, $array:ty, $arrow:ty, $data_type:expr, $name:literal) => {
        impl Cell for Vec<$rust> {
            const NULLABLE: bool = false;
            const EXPECTED: &'static str = $name;
            fn array<'a>(cells: impl Iterator<Item = &'a Self> + Clone) -> Result<ArrayRef, String> {
                let width = width(cells.clone())?;
                let rows = cells.clone().count();
                let values: ArrayRef = Arc::new(<$array>::from(cells.flatten().copied().collect::<Vec<$rust>>()));
                let field = Arc::new(Field::new("item", $data_type, false));
                FixedSizeListArray::try_new_with_length(field, width, values, None, rows)
                    .map(|a| Arc::new(a) as ArrayRef)
                    .map_err(|e| e.to_string())
            }
            fn cells(array: &ArrayRef) -> Option<Vec<Self>> {
                let lists = array.as_fixed_size_list_opt()?;
                if lists.null_count() > 0 {
                    return None;
                }
                (0..lists.len()).map(|i| Some(lists.value(i).as_primitive_opt::<$arrow>()?.values().to_vec())).collect()
            }
        }
    };
}

vector!(f32, Float32Array, Float32Type, DataType::Float32, "fixed_size_list<float32>");
vector!(f16, Float16Array, Float16Type, DataType::Float16, "fixed_size_list<float16>");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_refused_where_none_may_be_and_nan_is_no_null() {
        let column = <Option<f64> as Cell>::array([Some(f64::NAN), None].iter()).unwrap();
        assert_eq!(column.null_count(), 1);
        assert!(<f64 as Cell>::cells(&column).is_none());
        let back = <Option<f64> as Cell>::cells(&column).unwrap();
        assert!(back[0].unwrap().is_nan() && back[1].is_none());
    }

    #[test]
    fn vectors_of_two_lengths_are_refused() {
        let error = <Vec<f32> as Cell>::array([vec![1.0], vec![1.0, 2.0]].iter()).unwrap_err();
        assert!(error.contains("1 and 2"), "{error}");
    }
}
