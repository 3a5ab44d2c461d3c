//! Reads runs behind the window's back: lists them, and follows the one that is looked at and the one beside it.

use crate::ViewerError;
use crate::data::RunData;
use covft_analyses::store::{
    DistanceRow, Manifest, News, Poll, Record, RunDir, RunFollower, Status, StreamFollower, Study, StudyKind,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How often a live run is looked at.
const EVERY: Duration = Duration::from_millis(400);

/// One run of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub path: PathBuf,
    pub name: String,
    pub started: String,
    /// `running`, `done`, `failed: why`, or why it cannot be read.
    pub state: String,
}

/// A run that is read.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub path: Option<PathBuf>,
    pub data: RunData,
    /// The run that `data` is of.
    of: Option<PathBuf>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

impl Slot {
    /// Whether `data` is of the run that is asked for: between a choice and the reader's next look it is not.
    pub(crate) fn ready(&self) -> bool {
        self.path.is_some() && self.of == self.path
    }
}

/// What window and reader share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Newest first.
    pub runs: Vec<Entry>,
    /// The run that is looked at.
    pub main: Slot,
    /// The run beside it, if any.
    pub beside: Slot,
    /// What is wrong with the folders.
    pub error: Option<String>,
    /// Whether the folders were looked at.
    pub listed: bool,
    paths: Vec<PathBuf>,
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

/// What is read of one run: its own records, and those of the study that it belongs to.
#[derive(Debug, Default)]
struct Followed {
    run: Option<RunFollower>,
    study: Option<StreamFollower>,
}

/// The distances of the study of two runs that lies around a run.
fn study_of(run: &RunDir) -> Option<StreamFollower> {
    let folder = run.path().parent()?;
    let study = Study::read(folder).ok().filter(|s| s.kind == StudyKind::Conflict)?;
    study.runs.iter().find(|r| r.label == run.name())?;
    Some(StreamFollower::new(RunDir::of_study(folder), DistanceRow::STREAM))
}

/// The reader's side.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Lock,
    main: Followed,
    beside: Followed,
    /// Manifests that were read, by when they were written.
    entries: BTreeMap<PathBuf, (SystemTime, Entry)>,
}

impl Source {
    /// A source and the reader that fills it.
    pub(crate) fn new(paths: Vec<PathBuf>) -> (Self, Reader) {
        let shared = Lock::default();
        lock(&shared).paths = paths;
        let reader = Reader {
            shared: Arc::clone(&shared),
            main: Followed::default(),
            beside: Followed::default(),
            entries: BTreeMap::new(),
        };
        (Self { shared }, reader)
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
        lock(&self.shared).main.path = Some(path.to_owned());
        self.shared.1.notify_all();
    }

    /// Shows another run beside it, or none.
    pub(crate) fn compare(&self, path: Option<&Path>) {
        lock(&self.shared).beside.path = path.map(Path::to_owned);
        self.shared.1.notify_all();
    }

    /// Adds a run, or a folder of runs, and turns to it where it is a run.
    pub(crate) fn add(&self, path: &Path) {
        let mut shared = lock(&self.shared);
        if !shared.paths.iter().any(|p| p == path) {
            shared.paths.push(path.to_owned());
        }
        if RunDir::open(path).is_ok() {
            shared.main.path = Some(path.to_owned());
        }
        drop(shared);
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
        let paths = lock(&self.shared).paths.clone();
        let (runs, error) = self.list(&paths);
        let mut shared = lock(&self.shared);
        if shared.main.path.is_none() {
            shared.main.path = runs.first().map(|r| r.path.clone());
        }
        let mut changed = shared.runs != runs || shared.error != error || !shared.listed;
        (shared.runs, shared.error, shared.listed) = (runs, error, true);
        drop(shared);
        changed |= step(&self.shared, &mut self.main, |s| &mut s.main);
        changed |= step(&self.shared, &mut self.beside, |s| &mut s.beside);
        changed
    }

    /// Runs at `paths` or directly below them, newest first, and what is wrong with the paths.
    fn list(&mut self, paths: &[PathBuf]) -> (Vec<Entry>, Option<String>) {
        let mut found = Vec::new();
        let mut error = None;
        for path in paths {
            match RunDir::open(path).map(|run| vec![run]).or_else(|_| RunDir::list(path)) {
                Ok(runs) => found.extend(runs),
                Err(e) => error = Some(e.to_string()),
            }
            if !path.exists() {
                error = Some(format!("there is no such folder: {}", path.display()));
            }
        }
        let mut entries: Vec<Entry> = found.iter().map(|run| self.entry(run)).collect();
        entries.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.path.cmp(&b.path)));
        entries.dedup_by(|a, b| a.path == b.path);
        (entries, error)
    }

    fn entry(&mut self, run: &RunDir) -> Entry {
        let written = std::fs::metadata(run.manifest()).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        if let Some((at, entry)) = self.entries.get(run.path())
            && *at == written
        {
            return entry.clone();
        }
        let entry = entry(run);
        self.entries.insert(run.path().to_owned(), (written, entry.clone()));
        entry
    }
}

/// Follows the run that a slot asks for. Reading is done before the slot is locked.
fn step(shared: &Lock, followed: &mut Followed, of: fn(&mut Shared) -> &mut Slot) -> bool {
    let wanted = of(&mut lock(shared)).path.clone();
    let turned = followed.run.as_ref().map(|f| f.dir().path()) != wanted.as_deref();
    let mut failed = None;
    if turned {
        followed.run = match wanted.map(RunDir::open) {
            Some(Ok(dir)) => Some(RunFollower::new(dir)),
            Some(Err(error)) => {
                failed = Some(error.to_string());
                None
            }
            None => None,
        };
        followed.study = followed.run.as_ref().and_then(|run| study_of(run.dir()));
        let mut guard = lock(shared);
        let slot = of(&mut guard);
        (slot.data, slot.of) = (RunData::default(), None);
    }
    // The first look may be a million rows: taken in piece by piece, before anybody waits for the lock.
    let mut first = None;
    let mut news = None;
    if let Some(run) = followed.run.as_mut() {
        let dir = run.dir().clone();
        let looked = if turned {
            let mut data = RunData::default();
            data.read_dataset(&dir);
            data.distances.expected = followed.study.is_some();
            let looked = run.visit(&RunData::wants, &mut |news| data.news(news));
            let study = followed.study.as_mut().map_or(Ok(()), |study| study.visit(&mut |news| data.news(news)));
            data.taken();
            looked.and(study).map(|()| first = Some(data))
        } else {
            let poll = run.poll_of(&RunData::wants);
            poll.and_then(|poll| with_study(poll, followed.study.as_mut())).map(|poll| news = Some((dir, poll)))
        };
        failed = looked.err().map(|error| error.to_string());
    }
    let mut guard = lock(shared);
    let slot = of(&mut guard);
    let mut changed = turned;
    let read = followed.run.as_ref().map(|run| run.dir().path().to_owned());
    if let Some(data) = first {
        (slot.data, slot.of) = (data, read.clone());
    }
    if let Some((dir, poll)) = news {
        let fresh = poll.reset || poll.manifest.is_some() || !poll.batches.is_empty() || !poll.problems.is_empty();
        if fresh {
            slot.data.absorb(&dir, poll);
            slot.of = read;
        }
        changed |= fresh;
    }
    changed |= slot.error != failed;
    slot.error = failed;
    changed
}

/// A look at a run with what is new of its study.
fn with_study(mut poll: Poll, study: Option<&mut StreamFollower>) -> covft_analyses::store::Result<Poll> {
    let Some(study) = study else { return Ok(poll) };
    if poll.reset {
        *study = StreamFollower::new(study.dir().clone(), DistanceRow::STREAM);
    }
    study.visit(&mut |news| match news {
        News::Rows(stream, path, rows) => poll.batches.push((stream.to_owned(), path.to_owned(), rows)),
        News::Problem(problem) => poll.problems.push(problem),
        News::Reset | News::Manifest(_) => {}
    })?;
    Ok(poll)
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
