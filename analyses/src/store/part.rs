//! Parts: their names, which of them count, and their bytes.

use super::atomic::is_leftover;
use super::error::{Result, StoreError};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Key of the metadata entry that says how many rows each part has: `12,30,7`, in order of number.
const ROWS_KEY: &str = "covft.part_rows";

/// The numbers `first..=last` of a part; equal for one that was never merged. Ordered by `first`, the longer one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub first: u32,
    pub last: u32,
}

impl Range {
    pub(super) fn one(number: u32) -> Self {
        Self { first: number, last: number }
    }

    pub(super) fn contains(self, other: Self) -> bool {
        self != other && self.first <= other.first && other.last <= self.last
    }

    pub(super) fn file_name(self) -> String {
        if self.first == self.last {
            format!("part-{:06}.parquet", self.first)
        } else {
            format!("part-{:06}-{:06}.parquet", self.first, self.last)
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let numbers = name.strip_prefix("part-")?.strip_suffix(".parquet")?;
        let number = |text: &str| (text.len() >= 6).then(|| text.parse::<u32>().ok()).flatten();
        let range = match numbers.split_once('-') {
            Some((first, last)) => Self { first: number(first)?, last: number(last)? },
            None => Self::one(number(numbers)?),
        };
        (range.first <= range.last).then_some(range)
    }
}

/// What lies in a stream's folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Parts that count, in order.
    pub parts: Vec<(Range, PathBuf)>,
    /// Parts whose range lies within another's.
    pub shadowed: Vec<PathBuf>,
    /// Temporary files of a writer that was killed (or writes just now).
    pub leftovers: Vec<PathBuf>,
}

/// Lists a stream's folder; one that does not exist is empty.
pub(super) fn list(folder: &Path) -> Result<Listing> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Listing::default()),
        Err(e) => return Err(StoreError::io("list", folder)(e)),
    };
    let mut listing = Listing::default();
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if let Some(range) = Range::parse(&name) {
            found.push((range, entry.path()));
        } else if is_leftover(&name) {
            listing.leftovers.push(entry.path());
        }
    }
    found.sort_by_key(|(range, _)| (range.first, std::cmp::Reverse(range.last)));
    for (range, path) in found {
        // After sorting, only a part before this one can contain it; of those the last that counts reaches farthest.
        if listing.parts.last().is_some_and(|(before, _)| before.contains(range)) {
            listing.shadowed.push(path);
        } else {
            listing.parts.push((range, path));
        }
    }
    Ok(listing)
}

/// How every parquet file of this program is written; the same rows give the same bytes.
pub(crate) fn parquet_properties() -> WriterPropertiesBuilder {
    // Numbers of vectors hardly repeat, and a dictionary of them holds twelve bytes a number until its page is full.
    let vectors = ["vector", "sketch", "logits", "weights"];
    let plain = |properties: WriterPropertiesBuilder, column: &str| {
        let path = [column, "list", "item"].map(str::to_owned).to_vec();
        properties.set_column_dictionary_enabled(ColumnPath::new(path), false)
    };
    vectors
        .into_iter()
        .fold(WriterProperties::builder(), plain)
        .set_compression(Compression::SNAPPY)
        // Nobody here looks for a row by its value; in a profile, smallest and largest values took a third of the writing.
        .set_statistics_enabled(EnabledStatistics::None)
        // A reader holds whole columns of one group.
        .set_max_row_group_bytes(Some(16 << 20))
        .set_created_by(concat!("covft-probe ", env!("CARGO_PKG_VERSION")).to_owned())
}

/// Numbers of vectors in one call of the parquet writer, which makes an object of 32 bytes of each, and in one table that is
/// read, whose levels and copies take about ten.
const WRITTEN: usize = 1 << 16;
const READ: usize = 1 << 20;

/// Rows whose vectors hold at most `numbers` numbers.
fn rows_of(numbers: usize, schema: &Schema) -> usize {
    let width = |field: &Arc<Field>| match field.data_type() {
        DataType::FixedSizeList(_, width) => usize::try_from(*width).unwrap_or(0),
        _ => 0,
    };
    (numbers / schema.fields().iter().map(width).sum::<usize>().max(1)).max(1)
}

/// Writes a table in pieces that take little memory.
pub(crate) fn write_table<W: Write + Send>(
    writer: &mut ArrowWriter<W>,
    table: &RecordBatch,
) -> parquet::errors::Result<()> {
    let rows = rows_of(WRITTEN, table.schema_ref());
    for first in (0..table.num_rows()).step_by(rows) {
        writer.write(&table.slice(first, rows.min(table.num_rows() - first)))?;
    }
    Ok(())
}

/// Parquet bytes of `batches` (one schema). `part_rows` are the rows of each part in it. The same batches give the same
/// bytes, whatever the time.
pub(crate) fn encode(batches: &[RecordBatch], part_rows: &[usize], path: &Path) -> Result<Vec<u8>> {
    let schema = batches.first().map_or_else(|| SchemaRef::new(Schema::empty()), RecordBatch::schema);
    let rows: Vec<String> = part_rows.iter().map(ToString::to_string).collect();
    let metadata = (!rows.is_empty()).then(|| vec![KeyValue::new(ROWS_KEY.to_owned(), rows.join(","))]);
    let properties = parquet_properties().set_key_value_metadata(metadata).build();
    let failed =
        |e: parquet::errors::ParquetError| StoreError::Rows { stream: path.display().to_string(), why: e.to_string() };
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).map_err(failed)?;
    for batch in batches {
        write_table(&mut writer, batch).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(bytes)
}

/// A part's tables of at most `batch` rows, only `columns` of them if given, and how many rows each part merged into it has
/// (empty if the file does not say).
fn open(path: &Path, batch: usize, columns: Option<&[&str]>) -> Result<(ParquetRecordBatchReader, Vec<usize>)> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| StoreError::damaged(path, &e))?;
    let entries = builder.metadata().file_metadata().key_value_metadata();
    let rows = entries.into_iter().flatten().find(|e| e.key == ROWS_KEY).and_then(|e| e.value.as_deref());
    let rows = rows.map_or(Ok(Vec::new()), |text| text.split(',').map(str::parse::<usize>).collect());
    let rows = rows.map_err(|e| StoreError::damaged(path, &e))?;
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    let batch = batch.min(rows_of(READ, builder.schema()));
    let reader = builder.with_batch_size(batch).build().map_err(|e| StoreError::damaged(path, &e))?;
    Ok((reader, rows))
}

/// Every row of a part, and how many rows each part merged into it has (empty if the file does not say).
pub(super) fn read_part(path: &Path) -> Result<(Vec<RecordBatch>, Vec<usize>)> {
    let (reader, rows) = open(path, 65_536, None)?;
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| StoreError::damaged(path, &e))?;
    Ok((batches, rows))
}

/// Hands over the tables of a part from part number `from` on, one after the other, each of at most `rows` rows; only
/// `columns` of them if given.
pub(super) fn visit(
    path: &Path,
    range: Range,
    from: u32,
    rows: usize,
    columns: Option<&[&str]>,
    see: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let (reader, part_rows) = open(path, rows, columns)?;
    let mut skip: usize = part_rows.iter().take(from.saturating_sub(range.first) as usize).sum();
    for batch in reader {
        let batch = batch.map_err(|e| StoreError::damaged(path, &e))?;
        let here = skip.min(batch.num_rows());
        skip -= here;
        if here < batch.num_rows() {
            see(batch.slice(here, batch.num_rows() - here))?;
        }
    }
    Ok(())
}

/// Columns and number of rows of a part.
pub(super) fn part_schema(path: &Path) -> Result<(SchemaRef, u64)> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| StoreError::damaged(path, &e))?;
    let rows = builder.metadata().file_metadata().num_rows();
    Ok((builder.schema().clone(), u64::try_from(rows).unwrap_or(0)))
}

/// The rows of a part from part number `from` on, where its range begins before that.
pub(super) fn skip_parts(batches: &[RecordBatch], part_rows: &[usize], range: Range, from: u32) -> Vec<RecordBatch> {
    let skip = part_rows.iter().take(from.saturating_sub(range.first) as usize).sum();
    slice(batches, skip, usize::MAX)
}

/// Rows `skip..skip + take` of `batches`.
pub(super) fn slice(batches: &[RecordBatch], mut skip: usize, mut take: usize) -> Vec<RecordBatch> {
    let mut kept = Vec::new();
    for batch in batches {
        let here = skip.min(batch.num_rows());
        let length = (batch.num_rows() - here).min(take);
        skip -= here;
        take -= length;
        if length > 0 {
            kept.push(batch.slice(here, length));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(Range::one(42).file_name(), "part-000042.parquet");
        let range = Range { first: 0, last: 63 };
        assert_eq!(range.file_name(), "part-000000-000063.parquet");
        assert_eq!(Range::parse(&range.file_name()), Some(range));
        assert_eq!(Range::parse("part-1234567.parquet"), Some(Range::one(1_234_567)));
        for other in ["part-42.parquet", "part-000063-000000.parquet", ".part-000001.parquet.tmp", "cuts.json"] {
            assert_eq!(Range::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_range_hides_what_lies_in_it() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "part-000000-000003.parquet",
            "part-000000.parquet",
            "part-000002.parquet",
            "part-000000-000001.parquet",
            "part-000004.parquet",
            ".part-000005.parquet.tmp",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let listing = list(dir.path()).unwrap();
        let ranges: Vec<Range> = listing.parts.iter().map(|p| p.0).collect();
        assert_eq!(ranges, [Range { first: 0, last: 3 }, Range::one(4)]);
        assert_eq!((listing.shadowed.len(), listing.leftovers.len()), (3, 1));
    }
}
