//! Every tuning method with every seed upon one base.
//!
//! Each run is made by a process of its own: the largest memory of a process is then that of one run, whatever ran before
//! it. The process ends when this one does (its standard input closes).

use super::base::{self, BASE, Of, train_run};
use super::dir::{StudyDir, read};
use super::error::StudyError;
use super::plan;
use super::tell::{Event, Tell};
use crate::experiment::session::{Ended, Premise};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a process that was stopped and has saved.
const STOPPED: i32 = 130;

/// Makes the runs that are not done, one after the other.
pub(super) fn run(
    dir: &StudyDir,
    worker: &dyn Fn(&str) -> std::io::Result<Command>,
    stop: &Arc<AtomicBool>,
    tell: &Tell<'_>,
) -> Result<Ended, StudyError> {
    let index = plan::studied(dir.recipe())?;
    let stages = &dir.recipe().stages;
    let has_base = index > 0;
    let labels = has_base.then_some(BASE).into_iter().chain(dir.runs().iter().map(|p| p.run.label.as_str()));
    let open: Vec<&str> = labels.filter(|label| !base::is_done(&dir.run(label))).collect();
    let kept = dir.runs().len() + usize::from(has_base) - open.len();
    if kept > 0 {
        tell.note(format!("{kept} finished runs are kept"));
    }
    for (done, label) in open.iter().enumerate() {
        let runs = open[done..].iter().filter(|label| **label != BASE).count() as u64;
        let before = if *label == BASE { plan::steps(&stages[..index]) } else { 0 };
        tell.left(before + runs * plan::steps(&stages[index..]));
        if stop.load(Ordering::SeqCst) || follow(dir, label, worker, stop, tell)? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
    }
    Ok(Ended::Done)
}

/// Starts the process of a run and passes on what it says until it ends.
fn follow(
    dir: &StudyDir,
    label: &str,
    worker: &dyn Fn(&str) -> std::io::Result<Command>,
    stop: &AtomicBool,
    tell: &Tell<'_>,
) -> Result<Ended, StudyError> {
    let failed = |why: String| StudyError::Failed { label: label.to_owned(), why, path: dir.run(label) };
    let mut command = worker(label).map_err(|error| failed(error.to_string()))?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let errors = complaints(&mut child);
    let said = child.stdout.take().map(BufReader::new);
    let mut ear = child.stdin.take();
    for line in said.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        if let Ok(event) = serde_json::from_str::<Event>(&line) {
            tell.event(event);
        }
        if stop.load(Ordering::SeqCst) {
            // Its input ends: it finishes the step, saves and quits.
            drop(ear.take());
        }
    }
    drop(ear);
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    let complaint = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
    match status.code() {
        Some(0) => Ok(Ended::Done),
        Some(STOPPED) => Ok(Ended::Stopped),
        _ => Err(failed(last_error(&complaint).unwrap_or_else(|| status.to_string()))),
    }
}

/// The last error that a process told, which may have several lines, or else its last line.
fn last_error(complaint: &str) -> Option<String> {
    let at = complaint.rfind("\nerror: ").map(|at| at + 1).or_else(|| complaint.starts_with("error: ").then_some(0));
    let told = match at {
        Some(at) => complaint[at..].trim_start_matches("error: "),
        None => complaint.trim().lines().last()?,
    };
    Some(told.trim().to_owned()).filter(|told| !told.is_empty())
}

/// Collects what a process writes to its standard error, so that it never waits for a reader.
fn complaints(child: &mut Child) -> Option<std::thread::JoinHandle<String>> {
    let mut pipe = child.stderr.take()?;
    let listen = move || {
        let mut text = Vec::new();
        // What was read before an error is still worth telling.
        drop(pipe.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    };
    std::thread::Builder::new().name("complaints".into()).spawn(listen).ok()
}

/// What the process of one run does: the run `label` of the study in `path`, or its base; `accept` says what may
/// differ from how it began.
///
/// # Errors
/// See [`StudyError`].
pub fn work(
    path: &Path,
    label: &str,
    accept: &[Premise],
    stop: &Arc<AtomicBool>,
    told: &mut dyn FnMut(Event),
) -> Result<Ended, StudyError> {
    let (study, recipe) = read(path)?;
    // One that was orphaned by a kill may still be saving the same run: wait until it is gone.
    let lock = path.join(format!(".{label}.lock"));
    let file = File::create(&lock).map_err(StudyError::io("write", &lock))?;
    file.lock().map_err(StudyError::io("lock", &lock))?;
    let run = if label == BASE {
        plan::base(&recipe)?
    } else {
        plan::runs(&recipe, path)?.into_iter().find(|planned| planned.run.label == label).map(|planned| planned.recipe)
    };
    let run = run.ok_or_else(|| StudyError::NoRun { label: label.to_owned(), path: path.to_path_buf() })?;
    let of = Of { study: path, command: &study.command, accept, recipe: &recipe };
    train_run(&of, label, run, stop, &Tell::new(told))
}

#[cfg(test)]
mod tests {
    use super::last_error;

    #[test]
    fn the_last_error_is_told_whole() {
        let told = |text: &str| last_error(text).unwrap_or_default();
        assert_eq!(told("warning: a\nerror: b:\n  - c\nput it back\n"), "b:\n  - c\nput it back");
        assert_eq!(told("error: one\n"), "one");
        assert_eq!(told("killed\nby hand\n\n"), "by hand");
        assert_eq!(last_error(" \n"), None);
    }
}
