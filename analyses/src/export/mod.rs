//! Records in the formats that other programs read: every stream, streamed through little memory.

mod columns;
mod csv;
mod draft;
mod events;
mod npz;
mod parquet;
mod protobuf;
mod safetensors;
mod source;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use protobuf::records;
pub(crate) mod table;
mod zip;

use crate::store::{RunDir, StoreError, check_free};
use std::fs;
use std::path::{Path, PathBuf};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One parquet file a stream.
    Parquet,
    /// One CSV file a stream; vectors as JSON lists.
    Csv,
    /// One NumPy archive a stream, one array a column.
    Npz,
    /// TensorBoard's event file: scalars, and histograms of losses.
    TensorBoard,
    /// One safetensors file a stream with vectors, and a CSV with the key of each row.
    SafeTensors,
}

impl Format {
    /// Every format with its name on the command line.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Parquet, "parquet"),
        (Self::Csv, "csv"),
        (Self::Npz, "npz"),
        (Self::TensorBoard, "tensorboard"),
        (Self::SafeTensors, "safetensors"),
    ];
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let known = Self::ALL.iter().find(|f| f.1 == name).map(|f| f.0);
        known.ok_or_else(|| format!("formats are {}", Self::ALL.map(|f| f.1).join(", ")))
    }
}

/// How to export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Leave out questions, answers and generated texts.
    pub no_text: bool,
    /// Only these streams; all if empty. The data set is stream `dataset`.
    pub streams: Vec<String>,
    /// Numbers that are recorded in float16 as float32, for programs that cannot read float16.
    pub float32: bool,
    /// In CSV, words that a spreadsheet would take for a formula behind an apostrophe.
    pub spreadsheet: bool,
    /// Write over files that are there.
    pub force: bool,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// Rows, events or tensors in it.
    pub entries: u64,
}

/// What an export made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// Files in the order they were written.
    pub files: Vec<Exported>,
    /// One message a damaged part.
    pub problems: Vec<String>,
}

impl Export {
    /// Keeps what could not be read, each once: a part is met again and again where a format goes column by column.
    fn tell(&mut self, problems: impl IntoIterator<Item = String>) {
        for problem in problems {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }
}

/// Why nothing, or not all, was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// From the run directory, or the file system.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run has nothing in it.
    #[error("the run has no records yet, so there is nothing to export: {}", path.display())]
    Nothing {
        /// The run.
        path: PathBuf,
    },
    /// A stream that the run lacks.
    #[error("the run has no stream `{stream}`; it has {known}: {}", path.display())]
    NoStream {
        /// Asked for.
        stream: String,
        /// What there is.
        known: String,
        /// The run.
        path: PathBuf,
    },
    /// A format of vectors, asked for streams without any.
    #[error("safetensors hold vectors, and {streams} no vectors; {with}: {}", path.display())]
    NoVectors {
        /// Which streams have none, in words.
        streams: String,
        /// Which have some, in words.
        with: String,
        /// The run.
        path: PathBuf,
    },
    /// Formats with the number of rows at the front cannot leave out what turns out to be damaged.
    #[error("{found} of {expected} rows of `{stream}` can be read, which this format cannot hold ({why}); export as parquet or csv, or delete the damaged part: {}", path.display())]
    Short {
        /// Stream.
        stream: String,
        /// Rows read.
        found: u64,
        /// Rows that the parts say they have.
        expected: u64,
        /// The damage.
        why: String,
        /// File that was being written.
        path: PathBuf,
    },
}

impl ExportError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |e| Self::Store(StoreError::io(action, path)(e))
    }
}

/// Result of an export.
pub type Result<T> = std::result::Result<T, ExportError>;

/// The files of a stream.
fn files(source: &source::Source<'_>, format: Format, out: &Path) -> Vec<PathBuf> {
    let named = |ending: &str| out.join(format!("{}.{ending}", source.name));
    match format {
        Format::Parquet => vec![named("parquet")],
        Format::Csv => vec![named("csv")],
        Format::Npz => vec![named("npz")],
        Format::SafeTensors if safetensors::has_vectors(source) => vec![named("safetensors"), named("rows.csv")],
        Format::SafeTensors | Format::TensorBoard => Vec::new(),
    }
}

/// That every stream that is asked for by name, or any at all, has vectors.
fn check_vectors(run: &RunDir, sources: &[source::Source<'_>], by_name: bool) -> Result<()> {
    let (with, without): (Vec<_>, Vec<_>) = sources.iter().partition(|source| safetensors::has_vectors(source));
    if with.is_empty() || (by_name && !without.is_empty()) {
        let names =
            |of: &[&source::Source<'_>]| of.iter().map(|s| format!("`{}`", s.name)).collect::<Vec<_>>().join(", ");
        let streams = format!("{} {}", names(&without), if without.len() == 1 { "has" } else { "have" });
        let with = match with.as_slice() {
            [] => "export as parquet or csv".to_owned(),
            some => format!("of those asked for, {} can be exported so", names(some)),
        };
        return Err(ExportError::NoVectors { streams, with, path: run.path().to_owned() });
    }
    Ok(())
}

/// Exports the records of `run` into the folder `out`; `progress(stream, done, all)` is called before each stream.
///
/// # Errors
/// The run has no records, or not the stream asked for, or none of the format; a file is there already, which is told before
/// anything is written; a damaged part in a format that cannot leave it out; the file system refuses.
pub fn export(
    run: &RunDir,
    format: Format,
    options: &ExportOptions,
    out: &Path,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Export> {
    let (sources, problems) = source::sources(run, options)?;
    let mut made = Export::default();
    made.tell(problems.iter().map(ToString::to_string));
    if format == Format::TensorBoard {
        progress("events", 0, 1);
        events::export(run, options, out, &mut made)?;
        return Ok(made);
    }
    if format == Format::SafeTensors {
        check_vectors(run, &sources, !options.streams.is_empty())?;
    }
    check_free(sources.iter().flat_map(|source| files(source, format, out)), options.force)?;
    fs::create_dir_all(out).map_err(ExportError::io("make the folder", out))?;
    for (i, source) in sources.iter().enumerate() {
        progress(&source.name, i, sources.len());
        match format {
            Format::Parquet => parquet::export(source, out, &mut made)?,
            Format::Csv => csv::export(source, out, options.spreadsheet, &mut made)?,
            Format::Npz => npz::export(source, out, &mut made)?,
            Format::SafeTensors => safetensors::export(source, out, &mut made)?,
            Format::TensorBoard => {}
        }
    }
    Ok(made)
}
