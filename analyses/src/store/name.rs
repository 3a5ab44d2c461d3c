//! Text that many rows share.

use super::cell::Cell;
use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray};
use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A key of a row: a stage, layer, module, task or sample. A copy points at the same text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Arc<str>> for Name {
    fn from(text: Arc<str>) -> Self {
        Self(text)
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<Name> for String {
    fn eq(&self, other: &Name) -> bool {
        self == other.as_str()
    }
}

/// Cells of a column, each text once.
fn shared(column: &StringArray) -> Vec<Option<Name>> {
    let mut known: HashSet<Name> = HashSet::new();
    let mut last: Option<Name> = None;
    let mut one = |text: &str| {
        if let Some(same) = last.as_ref().filter(|name| **name == text) {
            return same.clone();
        }
        let name = known.get(text).cloned().unwrap_or_else(|| {
            let name = Name::from(text);
            known.insert(name.clone());
            name
        });
        last = Some(name.clone());
        name
    };
    column.iter().map(|cell| cell.map(&mut one)).collect()
}

impl Cell for Name {
    const NULLABLE: bool = false;
    const EXPECTED: &'static str = "string";
    fn array<'a>(cells: impl Iterator<Item = &'a Self> + Clone) -> Result<ArrayRef, String> {
        Ok(Arc::new(StringArray::from_iter_values(cells.map(Self::as_str))))
    }
    fn cells(array: &ArrayRef) -> Option<Vec<Self>> {
        let column = array.as_string_opt::<i32>()?;
        if column.null_count() > 0 { None } else { shared(column).into_iter().collect() }
    }
}

impl Cell for Option<Name> {
    const NULLABLE: bool = true;
    const EXPECTED: &'static str = "string";
    fn array<'a>(cells: impl Iterator<Item = &'a Self> + Clone) -> Result<ArrayRef, String> {
        Ok(Arc::new(cells.map(|cell| cell.as_deref()).collect::<StringArray>()))
    }
    fn cells(array: &ArrayRef) -> Option<Vec<Self>> {
        Some(shared(array.as_string_opt::<i32>()?))
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_holds_each_text_once() {
        let texts = [Some("a"), Some("b"), None, Some("a"), Some("")];
        let column: ArrayRef = Arc::new(texts.iter().copied().collect::<StringArray>());
        let names = <Option<Name>>::cells(&column).unwrap();
        assert_eq!(names.iter().map(Option::as_deref).collect::<Vec<_>>(), texts);
        let pointer = |i: usize| names[i].as_ref().map(|name| name.as_ptr());
        assert_eq!(pointer(0), pointer(3));
        assert!(Name::cells(&column).is_none(), "a null where none may be");
        let back = <Option<Name>>::array(names.iter()).unwrap();
        assert_eq!(&back, &column);
    }
}
