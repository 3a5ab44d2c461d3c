//! A file that appears under its name only when it is whole.

use super::{ExportError, Result};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

pub(super) struct Draft {
    hidden: PathBuf,
    path: PathBuf,
    pub(super) file: BufWriter<File>,
}

impl Draft {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let hidden = path.with_file_name(format!(".{name}.tmp"));
        let file = File::create(&hidden).map_err(ExportError::io("write", &hidden))?;
        Ok(Self { hidden, path: path.to_owned(), file: BufWriter::with_capacity(1 << 18, file) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<PathBuf> {
        use std::io::Write;
        self.file.flush().map_err(ExportError::io("write", &self.path))?;
        self.file.get_ref().sync_all().map_err(ExportError::io("write", &self.path))?;
        fs::rename(&self.hidden, &self.path).map_err(ExportError::io("rename", &self.path))?;
        Ok(self.path.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing to do where it was renamed, or the folder is gone.
        drop(fs::remove_file(&self.hidden));
    }
}
