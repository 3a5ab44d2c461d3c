//! What can go wrong with a run directory.

use std::path::{Path, PathBuf};

/// Result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// An error of the run directory; every message says what to do and ends in the path.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action}: {source}: {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A folder that holds no run.
    #[error("no manifest.json here, so this is no run directory: {}", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that already holds a run.
    #[error("a run is already here; resume it or choose another name: {}", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file that would be written over.
    #[error("the file is there already; --force writes it anew: {}", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error("the run has schema {found}, this program reads up to {known}; use a newer covft-probe: {}", path.display())]
    NewerSchema {
        /// Schema of the file.
        found: u64,
        /// Newest schema known here.
        known: u64,
        /// The manifest.
        path: PathBuf,
    },
    /// JSON that cannot be understood.
    #[error("not valid JSON of this format ({source}): {}", path.display())]
    Json {
        /// Where and why.
        source: serde_json::Error,
        /// The file.
        path: PathBuf,
    },
    /// A parquet file that cannot be read: cut short, overwritten, or not parquet.
    #[error("damaged, its rows are left out ({why}): {}", path.display())]
    Damaged {
        /// The reader's reason.
        why: String,
        /// The file.
        path: PathBuf,
    },
    /// A column is missing or of another type.
    #[error("column `{column}` is {found}, expected {expected}: {}", path.display())]
    Column {
        /// Its name.
        column: String,
        /// Type found, or `missing`.
        found: String,
        /// Type expected.
        expected: String,
        /// The file.
        path: PathBuf,
    },
    /// Rows that cannot become a table.
    #[error("cannot make a table of `{stream}` records: {why}")]
    Rows {
        /// Stream.
        stream: String,
        /// Reason.
        why: String,
    },
    /// No note of where the records stood at the checkpoint.
    #[error("no record position is noted for step {global_step}; resume from one of {known:?}: {}", path.display())]
    NoCut {
        /// Step asked for.
        global_step: u64,
        /// Steps that have one.
        known: Vec<u64>,
        /// `cuts.json`.
        path: PathBuf,
    },
    /// The writing thread ended.
    #[error("records can no longer be written ({why}): {}", path.display())]
    WriterGone {
        /// Its first error.
        why: String,
        /// The records folder.
        path: PathBuf,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// The file that cannot be opened or understood, if it says that of one.
    fn file(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. } | Self::Damaged { path, .. } | Self::Column { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Whether it says that the file at `part` cannot be opened or understood.
    pub(super) fn is_about(&self, part: &Path) -> bool {
        self.file() == Some(part)
    }

    /// The stream that a part of cannot be opened or understood, if it says that of one.
    #[must_use]
    pub fn stream(&self) -> Option<&str> {
        let folder = self.file()?.parent()?;
        let records = folder.parent()?.file_name()?;
        if records == super::dir::RECORDS { folder.file_name()?.to_str() } else { None }
    }

    pub(crate) fn damaged(path: &Path, why: &impl ToString) -> Self {
        let why = why.to_string();
        let prefixes = ["Parquet error: ", "Arrow: ", "External: ", "EOF: ", "Parquet argument error: "];
        // Libraries put their names before the reason, one after the other.
        let mut reason = why.as_str();
        while let Some(rest) = prefixes.iter().find_map(|prefix| reason.strip_prefix(prefix)) {
            reason = rest;
        }
        Self::Damaged { why: reason.to_owned(), path: path.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_without_the_names_of_libraries() {
        let told = StoreError::damaged(Path::new("a.parquet"), &"Parquet error: External: Is a directory");
        assert_eq!(told.to_string(), "damaged, its rows are left out (Is a directory): a.parquet");
    }

    #[test]
    fn an_error_about_a_part_of_a_stream_says_which() {
        let about = |path: &str| StoreError::Damaged { why: "cut short".into(), path: path.into() };
        assert_eq!(about("runs/a/records/layers/part-000001.parquet").stream(), Some("layers"));
        assert_eq!(about("runs/records/dataset.parquet").stream(), None);
        assert_eq!(about("part-000001.parquet").stream(), None);
        assert_eq!(StoreError::NotARun { path: "runs/a/records/layers/part".into() }.stream(), None);
    }
}
