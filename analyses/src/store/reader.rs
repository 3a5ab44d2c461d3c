//! Reads whole streams, across parts, of finished and of running runs.

use super::dir::RunDir;
use super::error::{Result, StoreError};
use super::part::{self, Range};
use super::records::Record;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What could be read, and what could not.
#[derive(Debug)]
pub struct Read<T> {
    /// Rows in the order they were written.
    pub rows: Vec<T>,
    /// One message a part that is damaged or of another format; its rows are left out.
    pub problems: Vec<StoreError>,
}

impl<T> Default for Read<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), problems: Vec::new() }
    }
}

/// Names of the streams of a run, sorted.
///
/// # Errors
/// The folder cannot be listed.
pub fn streams(dir: &RunDir) -> Result<Vec<String>> {
    let records = dir.records();
    let entries = match fs::read_dir(&records) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io("list", &records)(e)),
    };
    let mut names: Vec<String> =
        entries.flatten().filter(|e| e.path().is_dir()).map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// The typed rows of a stream; none if the run lacks it.
///
/// # Errors
/// The folder cannot be listed. Damaged parts are told in [`Read::problems`].
pub fn read_records<R: Record>(dir: &RunDir) -> Result<Read<R>> {
    let mut read = Read::default();
    for part in read_parts(dir, R::STREAM, 0)? {
        let rows =
            part.batches.and_then(|batches| batches.iter().map(|b| R::rows(b, &part.path)).collect::<Result<Vec<_>>>());
        match rows {
            Ok(rows) => read.rows.extend(rows.into_iter().flatten()),
            Err(problem) => read.problems.push(problem),
        }
    }
    Ok(read)
}

/// The typed rows of a stream that `keep` takes; the others pass through little memory.
///
/// # Errors
/// The folder cannot be listed. Damaged parts are told in [`Read::problems`].
pub fn read_where<R: Record>(dir: &RunDir, keep: impl Fn(&R) -> bool) -> Result<Read<R>> {
    let mut rows = Vec::new();
    let problems = visit_records(dir, |row| rows.extend(Some(row).filter(|row| keep(row))))?;
    Ok(Read { rows, problems })
}

/// Hands the typed rows of a stream to `see` in the order they were written, with no more than 8,192 of them in memory;
/// columns that `R` does not name are not read. Returns one message a part that is damaged, whose rows are left out from
/// there on.
///
/// # Errors
/// The folder cannot be listed.
pub fn visit_records<R: Record>(dir: &RunDir, mut see: impl FnMut(R)) -> Result<Vec<StoreError>> {
    visit_batches(dir, R::STREAM, Some(R::COLUMNS), |path, batch| {
        R::rows(&batch, path)?.into_iter().for_each(&mut see);
        Ok(())
    })
}

/// The tables of a stream, one or more a part; schemas may differ in the width of vectors.
///
/// # Errors
/// The folder cannot be listed. Damaged parts are told in [`Read::problems`].
pub fn read_batches(dir: &RunDir, stream: &str) -> Result<Read<RecordBatch>> {
    let mut read = Read::default();
    for part in read_parts(dir, stream, 0)? {
        match part.batches {
            Ok(batches) => read.rows.extend(batches),
            Err(problem) => read.problems.push(problem),
        }
    }
    Ok(read)
}

/// Hands the tables of a stream to `visit` one after another, each of at most 8,192 rows, so that a stream of any length
/// passes through little memory; only `columns` of them (a vector's column keeps its numbers under `name`) if given.
/// Returns one message a damaged part; what was read of it before the damage has been handed over.
///
/// # Errors
/// The folder cannot be listed; the first error of `visit` that is not about the part itself.
pub fn visit_batches(
    dir: &RunDir,
    stream: &str,
    columns: Option<&[&str]>,
    mut visit: impl FnMut(&Path, RecordBatch) -> Result<()>,
) -> Result<Vec<StoreError>> {
    let mut problems = Vec::new();
    let read =
        |range, path: &Path, from| part::visit(path, range, from, 8192, columns, &mut |batch| visit(path, batch));
    each_part(dir, stream, 0, read, |_, part, visited| match visited {
        Err(problem) if problem.is_about(&part) => {
            problems.push(problem);
            Ok(())
        }
        visited => visited,
    })?;
    Ok(problems)
}

/// Columns of a stream and how many rows have them, in the order of the parts; a second entry where a part has others (vectors
/// of another width). Reads no row. Damaged parts are told in [`Read::problems`].
///
/// # Errors
/// The folder cannot be listed.
pub fn stream_schemas(dir: &RunDir, stream: &str) -> Result<Read<(SchemaRef, u64)>> {
    let mut read = Read::<(SchemaRef, u64)>::default();
    for (_, path) in part::list(&dir.stream(stream))?.parts {
        match part::part_schema(&path) {
            Err(problem) => read.problems.push(problem),
            Ok((schema, rows)) => match read.rows.iter_mut().find(|f| f.0.fields() == schema.fields()) {
                Some(known) => known.1 += rows,
                None => read.rows.push((schema, rows)),
            },
        }
    }
    Ok(read)
}

/// Hands over the tables of the parts from number `next` on, each of at most 65,536 rows, and moves `next` past them. A part
/// that is damaged is told once; what was read of it before the damage has been handed over.
pub(super) fn visit_new(
    dir: &RunDir,
    stream: &str,
    next: &mut u32,
    see: &mut dyn FnMut(&Path, Result<RecordBatch>),
) -> Result<()> {
    let mut problems = Vec::new();
    let read = |range, path: &Path, from| {
        part::visit(path, range, from, 65_536, None, &mut |batch| {
            see(path, Ok(batch));
            Ok(())
        })
    };
    each_part(dir, stream, *next, read, |range, path, visited| {
        *next = range.last + 1;
        problems.extend(visited.err().map(|problem| (path, problem)));
        Ok(())
    })?;
    problems.into_iter().for_each(|(path, problem)| see(&path, Err(problem)));
    Ok(())
}

/// One part's rows.
#[derive(Debug)]
pub(super) struct PartRead {
    pub path: PathBuf,
    pub batches: Result<Vec<RecordBatch>>,
}

/// Parts from number `from` on.
pub(super) fn read_parts(dir: &RunDir, stream: &str, from: u32) -> Result<Vec<PartRead>> {
    let mut found = Vec::new();
    let read = |range, path: &Path, from| {
        part::read_part(path).map(|(batches, rows)| part::skip_parts(&batches, &rows, range, from))
    };
    each_part(dir, stream, from, read, |_, path, batches| {
        found.push(PartRead { path, batches });
        Ok(())
    })?;
    Ok(found)
}

/// Calls `read` with every part that holds something from part number `from` on and the number it is read from, and `done`
/// with what came of it. A part that vanishes between listing and opening was merged just then: list again.
fn each_part<T>(
    dir: &RunDir,
    stream: &str,
    mut from: u32,
    mut read: impl FnMut(Range, &Path, u32) -> Result<T>,
    mut done: impl FnMut(Range, PathBuf, Result<T>) -> Result<()>,
) -> Result<()> {
    let mut tries = 0;
    'again: loop {
        for (range, path) in part::list(&dir.stream(stream))?.parts {
            if range.last < from {
                continue;
            }
            let came = match read(range, &path, from) {
                Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound && tries < 100 => {
                    tries += 1;
                    continue 'again;
                }
                came => came,
            };
            from = range.last + 1;
            done(range, path, came)?;
        }
        return Ok(());
    }
}
