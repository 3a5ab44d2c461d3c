//! Follows a run while it is written.

use super::cuts::Cuts;
use super::dir::RunDir;
use super::error::{Result, StoreError};
use super::manifest::Manifest;
use super::reader::{read_parts, streams};
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use std::path::PathBuf;

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

/// Reads a run, live or finished, bit by bit.
#[derive(Debug)]
pub struct RunFollower {
    dir: RunDir,
    manifest: Option<Manifest>,
    resumed: u64,
    next: BTreeMap<String, u32>,
}

impl RunFollower {
    /// A follower that has seen nothing yet.
    #[must_use]
    pub fn new(dir: RunDir) -> Self {
        Self { dir, manifest: None, resumed: 0, next: BTreeMap::new() }
    }

    /// The run.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Whatever was written since the last call.
    ///
    /// # Errors
    /// The manifest cannot be read, or a folder cannot be listed.
    pub fn poll(&mut self) -> Result<Poll> {
        let mut poll = Poll::default();
        let manifest = Manifest::read(&self.dir)?;
        if self.manifest.as_ref() != Some(&manifest) {
            self.manifest = Some(manifest.clone());
            poll.manifest = Some(manifest);
        }
        let resumed = Cuts::read(&self.dir)?.resumed;
        if resumed != self.resumed {
            poll.reset = !self.next.is_empty();
            self.resumed = resumed;
            self.next.clear();
        }
        for stream in streams(&self.dir)? {
            let next = self.next.entry(stream.clone()).or_insert(0);
            for part in read_parts(&self.dir, &stream, *next)? {
                *next = part.range.last + 1;
                match part.batches {
                    Ok(batches) => {
                        poll.batches.extend(batches.into_iter().map(|b| (stream.clone(), part.path.clone(), b)));
                    }
                    Err(problem) => poll.problems.push(problem),
                }
            }
        }
        Ok(poll)
    }
}
