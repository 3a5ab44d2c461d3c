//! What can be wrong with instruction files, tokenizers and images.

use super::form::Form;
use super::shown::{self, Shown};
use crate::config::data::InvalidData;
use std::path::{Path, PathBuf};

/// Result of the data path.
pub type Result<T> = std::result::Result<T, DataError>;

/// An error of the data path. Messages say what to do and end in the path.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder is not there.
    #[error(
        "{what} not found (the folders data/ and weights/ are not part of the repository; README.md, \"Real photographs\", says how to fill them): {}",
        path.display()
    )]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// `data.images` is no folder.
    #[error("data.images is a file; name the folder that the pictures are in: {}", path.display())]
    NoFolder {
        /// Where.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot {action}: {source}: {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
        /// Where.
        path: PathBuf,
    },
    /// What should be an instruction file is something else.
    #[error("this is {is}, not an instruction file (JSON or JSON Lines in UTF-8); {next}: {}", path.display())]
    Kind {
        /// What it is.
        is: String,
        /// What to do.
        next: String,
        /// The file.
        path: PathBuf,
    },
    /// The instruction file as a whole is not what it should be.
    #[error("line {line}: {problem}: {}", path.display())]
    File {
        /// 1-based line.
        line: u64,
        /// What is wrong.
        problem: String,
        /// The instruction file.
        path: PathBuf,
    },
    /// One entry is not what it should be.
    #[error("{place}: {problem}: {}", path.display())]
    Entry {
        /// Which entry.
        place: Place,
        /// What is wrong.
        problem: String,
        /// The instruction file.
        path: PathBuf,
    },
    /// An entry has the form of another tool.
    #[error("{place}: this is {}; convert it: {}: {}", form.words(), form.command(path), path.display())]
    Form {
        /// Which entry.
        place: Place,
        /// Whose form.
        form: Form,
        /// The instruction file.
        path: PathBuf,
    },
    /// A sample's image cannot be used.
    #[error("sample {}: {problem}: {}", Shown(sample), shown::path(path))]
    Image {
        /// Sample id.
        sample: String,
        /// What is wrong.
        problem: String,
        /// The image file.
        path: PathBuf,
    },
    /// A run met a picture that it cannot read and is not told to go on without it.
    #[error(
        "sample {}: {problem} (mend the file, or go on without it: --resume RUN --broken drop, or blank): {}",
        Shown(sample),
        shown::path(path)
    )]
    BrokenPicture {
        /// Sample id.
        sample: String,
        /// What is wrong.
        problem: String,
        /// The image file.
        path: PathBuf,
    },
    /// A tokenizer cannot be used.
    #[error("tokenizer: {problem}: {}", path.display())]
    Tokenizer {
        /// What is wrong.
        problem: String,
        /// The tokenizer file.
        path: PathBuf,
    },
    /// The check before step 0 refuses the set.
    #[error("{problem}: {}", path.display())]
    Refused {
        /// Why.
        problem: String,
        /// The instruction file.
        path: PathBuf,
    },
    /// A value of `[data]` that no run can have.
    #[error(transparent)]
    Config(#[from] InvalidData),
    /// A worker thread died.
    #[error("a data worker stopped without an answer for batch {batch}; its own error is in the log")]
    Worker {
        /// Batch that never came.
        batch: u64,
    },
}

impl DataError {
    /// Turns a system error into one that names the action and the path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, source, path }
    }
}

/// Where an entry stands in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// 0-based number of the entry.
    pub entry: usize,
    /// 1-based line on which it begins; where its JSON is damaged, the line of the damage.
    pub line: u64,
    /// Its id, where it could be read.
    pub id: Option<String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.id {
            Some(id) => write!(f, "line {}, entry {} (id {})", self.line, self.entry, Shown(id)),
            None => write!(f, "line {}, entry {}", self.line, self.entry),
        }
    }
}
