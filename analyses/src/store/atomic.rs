//! Files appear whole or not at all.

use super::error::{Result, StoreError};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Temporary files of this crate begin with a dot, which parquet readers of whole folders skip, and end so.
const SUFFIX: &str = ".tmp";

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}{SUFFIX}"))
}

/// Whether `name` is what a kill leaves of [`write_atomic`].
pub(super) fn is_leftover(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(SUFFIX)
}

/// Writes `path` under a temporary name beside it, syncs it, and renames it; on an error nothing is left behind.
///
/// # Errors
/// Whatever the file system or `fill` says.
pub fn write_atomic(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let part = temporary(path);
    let written = (|| {
        let mut file = File::create(&part)?;
        fill(&mut file)?;
        file.flush()?;
        file.sync_all()?;
        fs::rename(&part, path)
    })();
    if let Err(source) = written {
        // The first error is the one to tell; a file that was never created need not be removed.
        drop(fs::remove_file(&part));
        return Err(StoreError::Io { action: "write", path: path.to_owned(), source });
    }
    sync_folder(path)
}

/// That none of the files that are to be written is there yet, unless `force` says that they may be.
///
/// # Errors
/// One of them is there.
pub fn check_free<P: AsRef<Path>>(files: impl IntoIterator<Item = P>, force: bool) -> Result<()> {
    let taken = files.into_iter().find(|path| !force && path.as_ref().exists());
    taken.map_or(Ok(()), |path| Err(StoreError::Taken { path: path.as_ref().to_owned() }))
}

/// Makes the rename itself last.
fn sync_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) else { return Ok(()) };
    let opened = File::open(folder).map_err(StoreError::io("open", folder))?;
    match opened.sync_all() {
        // Some file systems (network mounts) do not sync folders; the file itself is safe.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput || e.kind() == io::ErrorKind::Unsupported => Ok(()),
        other => other.map_err(StoreError::io("sync", folder)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, |f| f.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |f| {
            f.write_all(b"ne")?;
            Err(io::Error::other("disk full"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("disk full") && error.to_string().ends_with("a.json"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_are_recognised() {
        let path = Path::new("records/steps/part-000001.parquet");
        let name = temporary(path).file_name().unwrap().to_string_lossy().into_owned();
        assert!(is_leftover(&name) && !is_leftover("part-000001.parquet"));
    }
}
