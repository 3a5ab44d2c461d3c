//! The runs of a study as sessions, and the base among them.

use super::dir::StudyDir;
use super::error::StudyError;
use super::plan;
use super::tell::{Relay, Tell};
use crate::config::Recipe;
use crate::experiment::session::{Difference, Ended, Premise, Session, SessionError, other_recipe, recipe_of};
use covft_analyses::store::{Manifest, RunDir, Status};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Label and folder of the run that the others begin from.
pub const BASE: &str = "base";

/// Trains the base, or goes on with it.
pub(super) fn train(dir: &StudyDir, stop: &Arc<AtomicBool>, tell: &Tell<'_>) -> Result<Ended, StudyError> {
    match plan::base(dir.recipe())? {
        Some(recipe) => {
            let study =
                Of { study: dir.path(), command: &dir.study().command, accept: &dir.accept, recipe: dir.recipe() };
            train_run(&study, BASE, recipe, stop, tell)
        }
        None => Ok(Ended::Done),
    }
}

/// What a run of a study is told of it.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) study: &'a Path,
    pub(super) command: &'a [String],
    pub(super) accept: &'a [Premise],
    pub(super) recipe: &'a Recipe,
}

/// One run of a study from its beginning, or from where it was left; nothing if it is done.
pub(super) fn train_run(
    of: &Of<'_>,
    label: &str,
    recipe: Recipe,
    stop: &Arc<AtomicBool>,
    tell: &Tell<'_>,
) -> Result<Ended, StudyError> {
    let (path, command) = (of.study.join(label), of.command.to_vec());
    if is_done(&path) {
        return Ok(Ended::Done);
    }
    let broken = recipe.data.broken;
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
    session.set_broken(broken);
    session.accept = of.accept.to_vec();
    session.beside = begun(of.study, of.recipe)?;
    let mut relay = Relay { run: label.to_owned(), tell };
    Ok(session.run(&mut [&mut relay])?)
}

/// A run of the study that has begun: whose data, tokenizers and weights all others share.
pub(super) fn begun(study: &Path, recipe: &Recipe) -> Result<Option<RunDir>, StudyError> {
    let runs = plan::runs(recipe, study)?;
    let mut labels = std::iter::once(BASE).chain(runs.iter().map(|planned| planned.run.label.as_str()));
    Ok(labels.find_map(|label| RunDir::open(study.join(label)).ok()))
}

/// Whether every run that has begun did so by the recipe that the study has for it; tells of those whose change is accepted.
pub(super) fn check_recipes(dir: &StudyDir, tell: &Tell<'_>) -> Result<(), StudyError> {
    let base = plan::base(dir.recipe())?;
    let runs = dir.runs().iter().map(|planned| (planned.run.label.as_str(), &planned.recipe));
    let mut found: Vec<(String, Difference)> = Vec::new();
    for (label, planned) in base.iter().map(|base| (BASE, base)).chain(runs) {
        let began = recipe_of(&dir.run(label))?;
        let differences = began.map(|began| other_recipe(&began, planned)).unwrap_or_default();
        found.extend(differences.into_iter().map(|difference| (label.to_owned(), difference)));
    }
    let accepted = dir.accept.contains(&Premise::Recipe);
    if accepted {
        found.iter().for_each(|(label, difference)| tell.note(format!("warning: {label}: {difference} (accepted)")));
    }
    if found.is_empty() || accepted {
        return Ok(());
    }
    Err(StudyError::OtherRecipe { differences: found, path: dir.path().to_path_buf() })
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
