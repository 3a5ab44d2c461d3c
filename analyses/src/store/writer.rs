//! Writes the streams from a thread of its own, so that training never waits for the disk.

use super::atomic::write_atomic;
use super::cuts::{Cut, Cuts};
use super::dir::RunDir;
use super::error::{Result, StoreError};
use super::part::{self, Range};
use super::records::Record;
use super::sample::without_places;
use arrow::array::{Array as _, RecordBatch};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Messages that may wait for a slow disk before the trainer does.
const QUEUE: usize = 1024;

/// How often parts are closed and merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// Longest time that a record stays in memory.
    pub interval: Duration,
    /// Closed parts that become one.
    pub merge: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), merge: 64 }
    }
}

/// Writer of a run's streams. Dropping it closes what is buffered; [`finish`](Self::finish) also says whether that went
/// well.
#[derive(Debug)]
pub struct RecordWriter {
    dir: RunDir,
    cuts: Cuts,
    /// Whether the data set of the run names places. One that began without them goes on without: no part of a run tells
    /// its samples apart otherwise than another.
    places: bool,
    queue: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<Result<()>>>,
}

enum Message {
    Rows(&'static str, RecordBatch),
    Close { merge_rest: bool, reply: SyncSender<BTreeMap<String, u32>> },
}

impl RecordWriter {
    /// The writer of a run without records.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create(dir: &RunDir, options: WriterOptions) -> Result<Self> {
        Self::start(dir, Cuts::default(), &Cut::default(), options)
    }

    /// The writer of a run that goes on from the checkpoint at `global_step`: whatever was recorded after it is dropped.
    ///
    /// # Errors
    /// No cut was made there; files cannot be removed.
    pub fn resume(dir: &RunDir, global_step: u64, options: WriterOptions) -> Result<Self> {
        let mut cuts = Cuts::read(dir)?;
        let cut = cuts.at(dir, global_step)?;
        cuts.cuts.retain(|c| c.global_step <= global_step);
        cuts.resumed += 1;
        Self::start(dir, cuts, &cut, options)
    }

    fn start(dir: &RunDir, cuts: Cuts, cut: &Cut, options: WriterOptions) -> Result<Self> {
        let records = dir.records();
        fs::create_dir_all(&records).map_err(StoreError::io("make the folder", &records))?;
        for stream in super::reader::streams(dir)? {
            drop_after(&dir.stream(&stream), cut.next_part.get(&stream).copied().unwrap_or(0))?;
        }
        // Last: a follower starts over when it sees the new count, and by then the dropped parts are gone.
        cuts.write(dir)?;
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        // All that are there, not only those that will be written: a later cut must name each.
        let opened =
            super::reader::streams(dir)?.into_iter().map(|name| Ok((name.clone(), Stream::open(dir.stream(&name))?)));
        let worker = Worker { records, streams: opened.collect::<Result<_>>()?, options, due: None };
        let thread = std::thread::Builder::new()
            .name("records".into())
            .spawn(move || worker.run(&messages))
            .map_err(StoreError::io("start the thread for", &dir.records()))?;
        let places = super::dataset::has_places(dir);
        Ok(Self { dir: dir.clone(), cuts, places, queue: Some(queue), thread: Some(thread) })
    }

    /// Hands rows to the writing thread; they are on disk within the interval. Returns their size in memory, bytes.
    ///
    /// # Errors
    /// Rows that do not make a table, or what stopped the thread (a full disk).
    pub fn push<R: Record>(&mut self, rows: &[R]) -> Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        let batch = R::batch(rows)?;
        let batch = if self.places { batch } else { without_places(&batch) };
        let sizes = batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0));
        let size = sizes.sum::<usize>() as u64;
        self.send(Message::Rows(R::STREAM, batch))?;
        Ok(size)
    }

    /// Closes every part and notes that the run's step `global_step` ends here. Call it before a checkpoint is written.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn cut(&mut self, global_step: u64) -> Result<Cut> {
        let cut = Cut { global_step, next_part: self.close(false)? };
        self.cuts.cuts.retain(|c| c.global_step < global_step);
        self.cuts.cuts.push(cut.clone());
        self.cuts.write(&self.dir)?;
        Ok(cut)
    }

    /// Closes every part now.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn flush(&mut self) -> Result<()> {
        self.close(false).map(drop)
    }

    /// Closes every part, merges what is left, and ends the thread.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(mut self) -> Result<()> {
        self.close(true)?;
        self.queue = None;
        self.join()
    }

    fn close(&mut self, merge_rest: bool) -> Result<BTreeMap<String, u32>> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(Message::Close { merge_rest, reply })?;
        answer.recv().map_err(|_gone| self.why_gone())
    }

    fn send(&mut self, message: Message) -> Result<()> {
        match self.queue.as_ref().map(|q| q.send(message)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.why_gone()),
        }
    }

    fn why_gone(&mut self) -> StoreError {
        self.queue = None;
        let gone = |why: &str| StoreError::WriterGone { why: why.to_owned(), path: self.dir.records() };
        let otherwise = gone("it has already ended");
        self.join().err().unwrap_or(otherwise)
    }

    fn join(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| {
            Err(StoreError::WriterGone { why: "the writing thread panicked".into(), path: self.dir.records() })
        })
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        self.queue = None;
        if let Err(error) = self.join() {
            tracing::error!("{error}");
        }
    }
}

/// Removes leftovers and shadowed parts, drops parts from number `next` on, and shortens a merged one that holds both.
fn drop_after(folder: &Path, next: u32) -> Result<()> {
    let remove = |path: &PathBuf| fs::remove_file(path).map_err(StoreError::io("remove", path));
    let listing = part::list(folder)?;
    listing.leftovers.iter().chain(&listing.shadowed).try_for_each(remove)?;
    for (range, path) in listing.parts {
        if range.first >= next {
            remove(&path)?;
        } else if range.last >= next {
            let (batches, part_rows) = part::read_part(&path)?;
            let kept = &part_rows[..part_rows.len().min((next - range.first) as usize)];
            let rows = part::slice(&batches, 0, kept.iter().sum());
            let shorter = folder.join(Range { first: range.first, last: next - 1 }.file_name());
            let bytes = part::encode(&rows, kept, &shorter)?;
            write_atomic(&shorter, |file| file.write_all(&bytes))?;
            remove(&path)?;
        }
    }
    Ok(())
}

/// The thread's side.
struct Worker {
    records: PathBuf,
    streams: BTreeMap<String, Stream>,
    options: WriterOptions,
    due: Option<Instant>,
}

struct Stream {
    folder: PathBuf,
    next: u32,
    pending: Vec<RecordBatch>,
    /// Closed parts that were not merged yet.
    single: Vec<u32>,
}

impl Worker {
    fn run(mut self, messages: &Receiver<Message>) -> Result<()> {
        loop {
            let message = match self.due {
                None => messages.recv().map_err(RecvTimeoutError::from),
                Some(due) => messages.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(Message::Rows(stream, batch)) => {
                    self.take(stream, batch)?;
                    if self.due.is_some_and(|due| Instant::now() >= due) {
                        self.close_all()?;
                    }
                }
                Ok(Message::Close { merge_rest, reply }) => {
                    self.close_all()?;
                    if merge_rest {
                        self.streams.values_mut().try_for_each(Stream::merge)?;
                    }
                    let next = self.streams.iter().map(|(name, s)| (name.clone(), s.next)).collect();
                    // The asker may have given up; the parts are closed either way.
                    drop(reply.send(next));
                }
                Err(RecvTimeoutError::Timeout) => self.close_all()?,
                Err(RecvTimeoutError::Disconnected) => return self.close_all(),
            }
        }
    }

    fn take(&mut self, name: &'static str, batch: RecordBatch) -> Result<()> {
        if !self.streams.contains_key(name) {
            self.streams.insert(name.to_owned(), Stream::open(self.records.join(name))?);
        }
        let Some(stream) = self.streams.get_mut(name) else { return Ok(()) };
        if stream.pending.first().is_some_and(|first| first.schema() != batch.schema()) {
            stream.close(self.options.merge)?;
        }
        stream.pending.push(batch);
        self.due = self.due.or_else(|| Some(Instant::now() + self.options.interval));
        Ok(())
    }

    fn close_all(&mut self) -> Result<()> {
        self.due = None;
        self.streams.values_mut().try_for_each(|s| s.close(self.options.merge))
    }
}

impl Stream {
    fn open(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(StoreError::io("make the folder", &folder))?;
        let parts = part::list(&folder)?.parts;
        let mut single: Vec<u32> =
            parts.iter().rev().map_while(|(r, _)| (r.first == r.last).then_some(r.first)).collect();
        single.reverse();
        Ok(Self { folder, next: parts.last().map_or(0, |(r, _)| r.last + 1), pending: Vec::new(), single })
    }

    fn path(&self, range: Range) -> PathBuf {
        self.folder.join(range.file_name())
    }

    fn close(&mut self, merge: usize) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let path = self.path(Range::one(self.next));
        let rows = pending.iter().map(RecordBatch::num_rows).sum();
        let bytes = part::encode(&pending, &[rows], &path)?;
        write_atomic(&path, |file| file.write_all(&bytes))?;
        self.single.push(self.next);
        self.next += 1;
        if self.single.len() >= merge { self.merge() } else { Ok(()) }
    }

    /// Merges the single parts; a gap in the numbers, another schema or a damaged part begins a new group.
    fn merge(&mut self) -> Result<()> {
        let mut group = Group::default();
        for number in std::mem::take(&mut self.single) {
            let read = part::read_part(&self.path(Range::one(number)));
            let (batches, _) = match read {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!("not merged: {error}");
                    continue;
                }
            };
            if !group.takes(number, &batches) {
                self.write_group(&std::mem::take(&mut group))?;
            }
            group.add(number, batches);
        }
        self.write_group(&group)
    }

    fn write_group(&self, group: &Group) -> Result<()> {
        let (Some(&first), Some(&last)) = (group.numbers.first(), group.numbers.last()) else { return Ok(()) };
        if first == last {
            return Ok(());
        }
        let path = self.path(Range { first, last });
        let bytes = part::encode(&group.batches, &group.rows, &path)?;
        write_atomic(&path, |file| file.write_all(&bytes))?;
        for &number in &group.numbers {
            let merged = self.path(Range::one(number));
            fs::remove_file(&merged).map_err(StoreError::io("remove", &merged))?;
        }
        Ok(())
    }
}

/// Parts that become one.
#[derive(Default)]
struct Group {
    numbers: Vec<u32>,
    rows: Vec<usize>,
    batches: Vec<RecordBatch>,
}

impl Group {
    fn takes(&self, number: u32, batches: &[RecordBatch]) -> bool {
        let Some(last) = self.numbers.last() else { return true };
        let schema = |b: &[RecordBatch]| b.first().map(RecordBatch::schema);
        last + 1 == number && schema(&self.batches) == schema(batches)
    }

    fn add(&mut self, number: u32, batches: Vec<RecordBatch>) {
        self.numbers.push(number);
        self.rows.push(batches.iter().map(RecordBatch::num_rows).sum());
        self.batches.extend(batches);
    }
}
