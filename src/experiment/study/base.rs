//! The runs of a study as sessions, and the base among them.

use super::dir::StudyDir;
use super::error::StudyError;
use super::plan;
use super::tell::{Relay, Tell};
use crate::config::Recipe;
use crate::experiment::session::{Ended, Session, SessionError};
use covft_analyses::store::{Manifest, RunDir, Status};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Label and folder of the run that the others begin from.
pub const BASE: &str = "base";

/// Trains the base, or goes on with it.
pub(super) fn train(dir: &StudyDir, stop: &Arc<AtomicBool>, tell: &Tell<'_>) -> Result<Ended, StudyError> {
    match plan::base(dir.recipe())? {
        Some(recipe) => train_run((dir.path(), &dir.study().command), BASE, recipe, stop, tell),
        None => Ok(Ended::Done),
    }
}

/// One run of a study (its folder and command) from its beginning, or from where it was left; nothing if it is done.
pub(super) fn train_run(
    (study, command): (&Path, &[String]),
    label: &str,
    recipe: Recipe,
    stop: &Arc<AtomicBool>,
    tell: &Tell<'_>,
) -> Result<Ended, StudyError> {
    let (path, command) = (study.join(label), command.to_vec());
    if is_done(&path) {
        return Ok(Ended::Done);
    }
    let mut session = match Session::resume(path.clone(), None, command.clone()) {
        Ok(session) => session,
        // Killed before its first checkpoint, or never begun.
        Err(SessionError::NothingToResume { .. } | SessionError::Store(_)) => {
            remove(&path)?;
            Session::create(recipe, path, command)?
        }
        Err(error) => return Err(error.into()),
    };
    session.stop = Arc::clone(stop);
    let mut relay = Relay { run: label.to_owned(), tell };
    Ok(session.run(&mut [&mut relay])?)
}

/// Whether the run in `path` came to its end.
pub(super) fn is_done(path: &Path) -> bool {
    let manifest = RunDir::open(path).and_then(|run| Manifest::read(&run));
    manifest.is_ok_and(|manifest| manifest.status == Status::Done)
}

/// Removes a run that holds nothing to go on from.
pub(super) fn remove(path: &Path) -> Result<(), StudyError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StudyError::io("delete", path)(error)),
        _ => Ok(()),
    }
}
