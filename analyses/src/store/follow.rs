//! Follows a run while it is written.

use super::cuts::Cuts;
use super::dir::RunDir;
use super::error::{Result, StoreError};
use super::manifest::Manifest;
use super::reader::{streams, visit_new};
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is new since the last look.
#[derive(Debug, Default)]
pub struct Poll {
    /// The run was resumed from a checkpoint: forget every row seen before; `batches` begin anew.
    pub reset: bool,
    /// The manifest, if it changed.
    pub manifest: Option<Manifest>,
    /// New tables in order of stream and part: stream, file, rows.
    pub batches: Vec<(String, PathBuf, RecordBatch)>,
    /// Parts that cannot be read, told once.
    pub problems: Vec<StoreError>,
}

/// One piece of what is new, in order: a reset first, then the manifest, then rows stream by stream.
#[derive(Debug)]
pub enum News<'a> {
    /// The run was resumed from a checkpoint: forget every row seen before.
    Reset,
    /// The manifest changed.
    Manifest(Box<Manifest>),
    /// New rows: stream, file, rows.
    Rows(&'a str, &'a Path, RecordBatch),
    /// A part that cannot be read, told once.
    Problem(StoreError),
}

/// Follows one stream, of a run or of a study.
#[derive(Debug)]
pub struct StreamFollower {
    dir: RunDir,
    stream: String,
    next: u32,
}

impl StreamFollower {
    /// A follower that has seen nothing yet.
    #[must_use]
    pub fn new(dir: RunDir, stream: impl Into<String>) -> Self {
        Self { dir, stream: stream.into(), next: 0 }
    }

    /// The run, or the folder of the study.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Hands over the rows written since the last call, a few ten thousand at a time, and what cannot be read.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn visit(&mut self, see: &mut dyn FnMut(News<'_>)) -> Result<()> {
        let stream = self.stream.clone();
        visit_new(&self.dir, &stream, &mut self.next, &mut |path, rows| match rows {
            Ok(rows) => see(News::Rows(&stream, path, rows)),
            Err(problem) => see(News::Problem(problem)),
        })
    }
}

/// Reads a run, live or finished, bit by bit.
#[derive(Debug)]
pub struct RunFollower {
    dir: RunDir,
    manifest: Option<Manifest>,
    resumed: u64,
    streams: BTreeMap<String, StreamFollower>,
}

impl RunFollower {
    /// A follower that has seen nothing yet.
    #[must_use]
    pub fn new(dir: RunDir) -> Self {
        Self { dir, manifest: None, resumed: 0, streams: BTreeMap::new() }
    }

    /// The run.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Hands over whatever was written since the last call to the streams that are `wanted`, a few ten thousand rows at a
    /// time, so that a run need not fit in memory twice.
    ///
    /// # Errors
    /// The manifest cannot be read, or a folder cannot be listed.
    pub fn visit(&mut self, wanted: &dyn Fn(&str) -> bool, see: &mut dyn FnMut(News<'_>)) -> Result<()> {
        let manifest = Manifest::read(&self.dir)?;
        let resumed = Cuts::read(&self.dir)?.resumed;
        if resumed != self.resumed {
            if !self.streams.is_empty() {
                see(News::Reset);
            }
            self.resumed = resumed;
            self.streams.clear();
        }
        if self.manifest.as_ref() != Some(&manifest) {
            self.manifest = Some(manifest.clone());
            see(News::Manifest(Box::new(manifest)));
        }
        for stream in streams(&self.dir)?.into_iter().filter(|s| wanted(s)) {
            let dir = &self.dir;
            let new = || StreamFollower::new(dir.clone(), &stream);
            self.streams.entry(stream.clone()).or_insert_with(new).visit(see)?;
        }
        Ok(())
    }

    /// Whatever was written since the last call, all of it at once.
    ///
    /// # Errors
    /// The manifest cannot be read, or a folder cannot be listed.
    pub fn poll(&mut self) -> Result<Poll> {
        self.poll_of(&|_| true)
    }

    /// The same of the streams that are `wanted`.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn poll_of(&mut self, wanted: &dyn Fn(&str) -> bool) -> Result<Poll> {
        let mut poll = Poll::default();
        self.visit(wanted, &mut |news| match news {
            News::Reset => poll.reset = true,
            News::Manifest(manifest) => poll.manifest = Some(*manifest),
            News::Rows(stream, path, rows) => poll.batches.push((stream.to_owned(), path.to_owned(), rows)),
            News::Problem(problem) => poll.problems.push(problem),
        })?;
        Ok(poll)
    }
}
