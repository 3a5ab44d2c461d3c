//! Writes the rows of a table: CSV, parquet, or ids alone.

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use covft_analyses::store::write_atomic;
use parquet::arrow::ArrowWriter;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// A row of the export.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub sample: String,
    /// Number of its entry in the file of its split, where records have it.
    pub index: Option<u64>,
    pub split: String,
    pub task: String,
    pub cluster: Option<u64>,
    pub cluster_name: String,
    pub loss: Option<f64>,
    pub seen: u64,
    pub tokens: u64,
    pub question: String,
    pub answer: String,
    pub prediction: Option<String>,
    pub correct: Option<f64>,
    pub image: Option<String>,
    /// Share of its pairs in conflict.
    pub conflict: Option<f64>,
    /// Mean cosine of its gradient with the sum of the others' of its step.
    pub alignment: Option<f64>,
}

/// Titles of the columns, in order.
pub(crate) const COLUMNS: [&str; 16] = [
    "sample",
    "index",
    "split",
    "task",
    "cluster",
    "cluster_name",
    "loss",
    "seen",
    "tokens",
    "question",
    "answer",
    "prediction",
    "correct",
    "image",
    "conflict_share",
    "alignment",
];

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Parquet,
    /// One sample id a line, where there are places with split and entry after tabs.
    Ids,
}

impl Format {
    pub(crate) const ALL: [(Self, &str); 3] = [(Self::Csv, "CSV"), (Self::Parquet, "parquet"), (Self::Ids, "ids")];

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Ids => "txt",
        }
    }
}

fn quote(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

fn csv(rows: &[Row]) -> String {
    let mut text = COLUMNS.join(",") + "\n";
    for row in rows {
        let number = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
        let cells = [
            row.sample.clone(),
            row.index.map_or_else(String::new, |i| i.to_string()),
            row.split.clone(),
            row.task.clone(),
            row.cluster.map_or_else(String::new, |c| c.to_string()),
            row.cluster_name.clone(),
            number(row.loss),
            row.seen.to_string(),
            row.tokens.to_string(),
            row.question.clone(),
            row.answer.clone(),
            row.prediction.clone().unwrap_or_default(),
            number(row.correct),
            row.image.clone().unwrap_or_default(),
            number(row.conflict),
            number(row.alignment),
        ];
        text += &cells.iter().map(|c| quote(c)).collect::<Vec<_>>().join(",");
        text.push('\n');
    }
    text
}

fn id_line(row: &Row) -> String {
    match row.index {
        Some(index) => format!("{}\t{}\t{index}\n", row.sample, row.split),
        None => format!("{}\n", row.sample),
    }
}

fn parquet(rows: &[Row]) -> Result<Vec<u8>, String> {
    let words = |of: fn(&Row) -> Option<&str>| Arc::new(rows.iter().map(of).collect::<StringArray>()) as ArrayRef;
    let counts = |of: fn(&Row) -> Option<u64>| Arc::new(rows.iter().map(of).collect::<UInt64Array>()) as ArrayRef;
    let numbers = |of: fn(&Row) -> Option<f64>| Arc::new(rows.iter().map(of).collect::<Float64Array>()) as ArrayRef;
    let columns = [
        words(|r| Some(&r.sample)),
        counts(|r| r.index),
        words(|r| Some(&r.split)),
        words(|r| Some(&r.task)),
        counts(|r| r.cluster),
        words(|r| Some(&r.cluster_name)),
        numbers(|r| r.loss),
        counts(|r| Some(r.seen)),
        counts(|r| Some(r.tokens)),
        words(|r| Some(&r.question)),
        words(|r| Some(&r.answer)),
        words(|r| r.prediction.as_deref()),
        numbers(|r| r.correct),
        words(|r| r.image.as_deref()),
        numbers(|r| r.conflict),
        numbers(|r| r.alignment),
    ];
    let batch = RecordBatch::try_from_iter(COLUMNS.into_iter().zip(columns)).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).map_err(|e| e.to_string())?;
    writer.write(&batch).map_err(|e| e.to_string())?;
    writer.close().map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// Writes `rows` to `path`, whole or not at all.
///
/// # Errors
/// Said in words, ending in the path.
pub(crate) fn write(rows: &[Row], format: Format, path: &Path) -> Result<(), String> {
    let failed = |why: String| format!("cannot export the rows ({why}): {}", path.display());
    let bytes = match format {
        Format::Csv => csv(rows).into_bytes(),
        Format::Parquet => parquet(rows).map_err(failed)?,
        Format::Ids => rows.iter().map(id_line).collect::<String>().into_bytes(),
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| failed(e.to_string()))?;
    }
    write_atomic(path, |file| file.write_all(&bytes)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn three_formats() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            Row { sample: "a".into(), question: "Who, \"you\"?\nyes".into(), loss: Some(0.5), ..Row::default() },
            Row {
                sample: "b".into(),
                index: Some(7),
                split: "val".into(),
                cluster: Some(3),
                seen: 2,
                ..Row::default()
            },
        ];
        let at = |name: &str| folder.path().join("deeper").join(name);
        write(&rows, Format::Ids, &at("ids.txt")).unwrap();
        assert_eq!(std::fs::read_to_string(at("ids.txt")).unwrap(), "a\nb\tval\t7\n");
        write(&rows, Format::Csv, &at("rows.csv")).unwrap();
        let text = std::fs::read_to_string(at("rows.csv")).unwrap();
        assert!(
            text.starts_with("sample,index,split,task,")
                && text.contains("a,,,,,,0.5,0,0,\"Who, \"\"you\"\"?\nyes\",,,,,,\n"),
            "{text}"
        );
        write(&rows, Format::Parquet, &at("rows.parquet")).unwrap();
        let file = std::fs::File::open(at("rows.parquet")).unwrap();
        let batch = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, COLUMNS.len()));
        assert_eq!(batch.column_by_name("sample").unwrap().as_string::<i32>().value(1), "b");
        let failed = write(&rows, Format::Csv, Path::new("/proc/nowhere/x.csv")).unwrap_err();
        assert!(failed.ends_with("/proc/nowhere/x.csv"), "{failed}");
    }
}
