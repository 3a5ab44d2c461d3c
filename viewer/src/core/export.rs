//! Writes a table of samples: CSV, parquet, or ids alone.

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use covft_analyses::csv;
use covft_analyses::store::write_atomic;
use parquet::arrow::ArrowWriter;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The cells of a column; nothing where a row has none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cells {
    Words(Vec<Option<String>>),
    Counts(Vec<Option<u64>>),
    Numbers(Vec<Option<f64>>),
}

/// Columns with their titles, equally long; the first is the samples' ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub columns: Vec<(String, Cells)>,
}

impl Cells {
    fn text(&self, row: usize) -> String {
        let text = match self {
            Self::Words(cells) => cells[row].clone(),
            Self::Counts(cells) => cells[row].map(|n| n.to_string()),
            Self::Numbers(cells) => cells[row].map(|v| v.to_string()),
        };
        text.unwrap_or_default()
    }

    fn len(&self) -> usize {
        match self {
            Self::Words(cells) => cells.len(),
            Self::Counts(cells) => cells.len(),
            Self::Numbers(cells) => cells.len(),
        }
    }

    fn arrow(&self) -> ArrayRef {
        match self {
            Self::Words(cells) => Arc::new(cells.iter().map(Option::as_deref).collect::<StringArray>()),
            Self::Counts(cells) => Arc::new(cells.iter().copied().collect::<UInt64Array>()),
            Self::Numbers(cells) => Arc::new(cells.iter().copied().collect::<Float64Array>()),
        }
    }
}

impl Table {
    pub(crate) fn rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, cells)| cells.len())
    }

    /// The id of a row, and its split and entry where records have them.
    fn id_line(&self, row: usize) -> String {
        let cell = |title: &str| {
            let found = self.columns.iter().find(|(known, _)| known == title);
            found.map_or_else(String::new, |(_, cells)| cells.text(row))
        };
        match cell("index") {
            index if index.is_empty() => cell("sample") + "\n",
            index => format!("{}\t{}\t{index}\n", cell("sample"), cell("split")),
        }
    }
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Csv {
        /// With formulas made inert.
        spreadsheet: bool,
    },
    Parquet,
    /// One sample id a line, where there are places with split and entry after tabs.
    Ids,
}

impl Format {
    /// All of them with their names.
    pub(crate) fn all(spreadsheet: bool) -> [(Self, &'static str); 3] {
        [(Self::Csv { spreadsheet }, "CSV"), (Self::Parquet, "parquet"), (Self::Ids, "ids")]
    }

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Csv { .. } => "csv",
            Self::Parquet => "parquet",
            Self::Ids => "txt",
        }
    }
}

/// CSV; for a spreadsheet words that it would take for a formula are made inert.
fn csv_text(table: &Table, spreadsheet: bool) -> String {
    let line = |cells: Vec<String>| cells.iter().map(|c| csv::cell(c)).collect::<Vec<_>>().join(",") + "\n";
    let titles = line(table.columns.iter().map(|(title, _)| title.clone()).collect());
    let safe = |cells: &Cells, text: String| match cells {
        Cells::Words(_) if spreadsheet => csv::inert(&text).into_owned(),
        _ => text,
    };
    let row = |i| line(table.columns.iter().map(|(_, cells)| safe(cells, cells.text(i))).collect());
    titles + &(0..table.rows()).map(row).collect::<String>()
}

fn parquet(table: &Table) -> Result<Vec<u8>, String> {
    let columns = table.columns.iter().map(|(title, cells)| (title, cells.arrow(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).map_err(|e| e.to_string())?;
    writer.write(&batch).map_err(|e| e.to_string())?;
    writer.close().map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// A file in `folder` called after `name` that is not there yet; a number tells it from those that are.
pub(crate) fn free(folder: &Path, name: &str, format: Format) -> PathBuf {
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let numbered = |n: usize| {
        let number = if n == 1 { String::new() } else { format!("-{n}") };
        folder.join(format!("{plain}{number}.{}", format.extension()))
    };
    (1..usize::MAX).map(numbered).find(|path| !path.exists()).unwrap_or_default()
}

/// Writes `table` to `path`, whole or not at all.
///
/// # Errors
/// Said in words, ending in the path.
pub(crate) fn write(table: &Table, format: Format, path: &Path) -> Result<(), String> {
    let failed = |why: String| format!("cannot export the rows ({why}): {}", path.display());
    let bytes = match format {
        Format::Csv { spreadsheet } => csv_text(table, spreadsheet).into_bytes(),
        Format::Parquet => parquet(table).map_err(failed)?,
        Format::Ids => (0..table.rows()).map(|row| table.id_line(row)).collect::<String>().into_bytes(),
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| failed(e.to_string()))?;
    }
    write_atomic(path, |file| file.write_all(&bytes)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Format = Format::Csv { spreadsheet: false };
    use arrow::array::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn three_formats() {
        let folder = tempfile::tempdir().unwrap();
        let words = |cells: [Option<&str>; 2]| Cells::Words(cells.map(|c| c.map(str::to_owned)).to_vec());
        let columns = [
            ("sample", words([Some("a"), Some("b")])),
            ("question", words([Some("Who, \"you\"?\nyes"), None])),
            ("loss", Cells::Numbers(vec![Some(0.1), None])),
            ("cluster", Cells::Counts(vec![None, Some(3)])),
            ("split", words([None, Some("val")])),
            ("index", Cells::Counts(vec![None, Some(7)])),
        ];
        let table = Table { columns: columns.map(|(title, cells)| (title.to_owned(), cells)).to_vec() };
        let at = |name: &str| folder.path().join("deeper").join(name);
        write(&table, Format::Ids, &at("ids.txt")).unwrap();
        assert_eq!(std::fs::read_to_string(at("ids.txt")).unwrap(), "a\nb\tval\t7\n");
        write(&table, CSV, &at("rows.csv")).unwrap();
        let text = std::fs::read_to_string(at("rows.csv")).unwrap();
        assert_eq!(
            text,
            "sample,question,loss,cluster,split,index\na,\"Who, \"\"you\"\"?\nyes\",0.1,,,\nb,,,3,val,7\n"
        );
        let odd =
            [("sample", words([Some("=1+1"), Some("-2")])), ("loss", Cells::Numbers(vec![Some(-0.1), Some(0.1)]))];
        let odd = Table { columns: odd.map(|(title, cells)| (title.to_owned(), cells)).to_vec() };
        write(&odd, CSV, &at("odd.csv")).unwrap();
        write(&odd, Format::Csv { spreadsheet: true }, &at("inert.csv")).unwrap();
        let text = |name: &str| std::fs::read_to_string(at(name)).unwrap();
        assert_eq!(text("odd.csv"), "sample,loss\n=1+1,-0.1\n-2,0.1\n");
        assert_eq!(text("inert.csv"), "sample,loss\n'=1+1,-0.1\n-2,0.1\n");
        write(&table, Format::Parquet, &at("rows.parquet")).unwrap();
        let file = std::fs::File::open(at("rows.parquet")).unwrap();
        let batch = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 6));
        assert_eq!(batch.column_by_name("sample").unwrap().as_string::<i32>().value(1), "b");
        let failed = write(&table, CSV, Path::new("/proc/nowhere/x.csv")).unwrap_err();
        assert!(failed.ends_with("/proc/nowhere/x.csv"), "{failed}");
    }

    #[test]
    fn names_of_files_are_plain_and_free() {
        let folder = tempfile::tempdir().unwrap();
        let first = free(folder.path(), "selection-a/b 检", CSV);
        assert_eq!(first.file_name().unwrap(), "selection-a-b-检.csv");
        std::fs::write(&first, "").unwrap();
        let second = free(folder.path(), "selection-a/b 检", CSV);
        assert_eq!(second.file_name().unwrap(), "selection-a-b-检-2.csv");
    }
}
