//! Reads runs behind the window's back: lists them, and follows the one that is looked at.

use crate::ViewerError;
use crate::data::RunData;
use covft_analyses::store::{Manifest, RunDir, RunFollower, Status};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a live run is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// One run of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub path: PathBuf,
    pub name: String,
    pub started: String,
    /// `running`, `done`, `failed: why`, or why it cannot be read.
    pub state: String,
}

/// What window and reader share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Newest first.
    pub runs: Vec<Entry>,
    pub selected: Option<PathBuf>,
    pub data: RunData,
    /// Why the selected run, or the folder, cannot be read.
    pub error: Option<String>,
    closed: bool,
}

type Lock = Arc<(Mutex<Shared>, Condvar)>;

fn lock(shared: &Lock) -> MutexGuard<'_, Shared> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The window's side. Dropping it ends the reader.
#[derive(Debug)]
pub(crate) struct Source {
    shared: Lock,
}

/// The reader's side.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Lock,
    paths: Vec<PathBuf>,
    follower: Option<RunFollower>,
}

impl Source {
    /// A source and the reader that fills it.
    pub(crate) fn new(paths: Vec<PathBuf>) -> (Self, Reader) {
        let shared = Lock::default();
        (Self { shared: Arc::clone(&shared) }, Reader { shared, paths, follower: None })
    }

    /// A source that is kept up to date by a thread, which calls `changed` when there is something new.
    pub(crate) fn follow(paths: Vec<PathBuf>, changed: impl Fn() + Send + 'static) -> Result<Self, ViewerError> {
        let (source, mut reader) = Self::new(paths);
        let run = move || {
            while !lock(&reader.shared).closed {
                if reader.tick() {
                    changed();
                }
                let guard = lock(&reader.shared);
                if !guard.closed {
                    drop(reader.shared.1.wait_timeout(guard, EVERY));
                }
            }
        };
        std::thread::Builder::new().name("runs".into()).spawn(run).map_err(|source| ViewerError::Reader { source })?;
        Ok(source)
    }

    /// What was read so far.
    pub(crate) fn look(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Looks at another run from now on.
    pub(crate) fn select(&self, path: &Path) {
        lock(&self.shared).selected = Some(path.to_owned());
        self.shared.1.notify_all();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        lock(&self.shared).closed = true;
        self.shared.1.notify_all();
    }
}

impl Reader {
    /// Looks once; whether anything changed.
    pub(crate) fn tick(&mut self) -> bool {
        let (runs, unreadable) = list(&self.paths);
        let selected = {
            let mut shared = lock(&self.shared);
            if shared.selected.is_none() {
                shared.selected = runs.first().map(|r| r.path.clone());
            }
            shared.selected.clone()
        };
        let mut changed = self.turn_to(selected);
        let polled = self.follower.as_mut().map(RunFollower::poll);
        let mut shared = lock(&self.shared);
        changed |= shared.runs != runs;
        shared.runs = runs;
        let error = match polled {
            Some(Ok(poll)) => {
                changed |= poll.manifest.is_some() || !poll.batches.is_empty() || !poll.problems.is_empty();
                shared.data.absorb(poll);
                unreadable
            }
            Some(Err(error)) => Some(error.to_string()),
            None => unreadable,
        };
        changed |= shared.error != error;
        shared.error = error;
        changed
    }

    /// Begins to follow another run, if another is selected.
    fn turn_to(&mut self, selected: Option<PathBuf>) -> bool {
        let followed = self.follower.as_ref().map(|f| f.dir().path());
        if followed == selected.as_deref() {
            return false;
        }
        self.follower = selected.and_then(|path| RunDir::open(path).ok()).map(RunFollower::new);
        lock(&self.shared).data = RunData::default();
        true
    }
}

/// Runs at `paths` or directly below them, newest first, and what is wrong with the paths.
fn list(paths: &[PathBuf]) -> (Vec<Entry>, Option<String>) {
    let mut entries = Vec::new();
    let mut error = None;
    for path in paths {
        match RunDir::open(path).map(|run| vec![run]).or_else(|_| RunDir::list(path)) {
            Ok(runs) => entries.extend(runs.iter().map(entry)),
            Err(e) => error = Some(e.to_string()),
        }
    }
    entries.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.name.cmp(&b.name)));
    entries.dedup_by(|a, b| a.path == b.path);
    (entries, error)
}

fn entry(run: &RunDir) -> Entry {
    let (started, state) = match Manifest::read(run) {
        Ok(manifest) => {
            let state = match manifest.status {
                Status::Running => "running".to_owned(),
                Status::Done => "done".to_owned(),
                Status::Failed { why } => format!("failed: {why}"),
            };
            (manifest.started, state)
        }
        Err(error) => (String::new(), error.to_string()),
    };
    Entry { path: run.path().to_owned(), name: run.name(), started, state }
}
