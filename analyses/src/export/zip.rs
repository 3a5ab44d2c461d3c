//! As much of the zip format as NumPy archives need: stored files, any size (zip64), a fixed date. (PKWARE's APPNOTE 4.3,
//! 4.5.3.)

use flate2::Crc;
use std::fs::File;
use std::io::{BufWriter, Result, Seek, SeekFrom, Write};

/// 1 January 1980, midnight: the same records give the same bytes.
const DATE: u16 = 0x21;
/// Version that reads zip64.
const VERSION: u16 = 45;
/// In place of a size that stands in the zip64 field.
const ELSEWHERE: u32 = u32::MAX;

struct Entry {
    name: String,
    /// Where its header begins.
    at: u64,
    size: u64,
    crc: Crc,
}

/// Writes files one after another.
pub(super) struct Zip<'a> {
    file: &'a mut BufWriter<File>,
    at: u64,
    entries: Vec<Entry>,
}

impl<'a> Zip<'a> {
    pub(super) fn new(file: &'a mut BufWriter<File>) -> Self {
        Self { file, at: 0, entries: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Begins a file.
    pub(super) fn start(&mut self, name: &str) -> Result<()> {
        self.entries.push(Entry { name: name.to_owned(), at: self.at, size: 0, crc: Crc::new() });
        let header = self.entries.last().map(local).unwrap_or_default();
        self.put(&header)
    }

    /// Adds to it.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(entry) = self.entries.last_mut() {
            entry.size += bytes.len() as u64;
            entry.crc.update(bytes);
        }
        self.put(bytes)
    }

    /// Ends it: its size and checksum go into its header.
    pub(super) fn end(&mut self) -> Result<()> {
        let Some(entry) = self.entries.last() else { return Ok(()) };
        let header = local(entry);
        self.file.seek(SeekFrom::Start(entry.at))?;
        self.file.write_all(&header)?;
        self.file.seek(SeekFrom::Start(self.at)).map(drop)
    }

    /// Writes the directory.
    pub(super) fn finish(mut self) -> Result<()> {
        let begin = self.at;
        let entries = std::mem::take(&mut self.entries);
        for entry in &entries {
            self.put(&central(entry))?;
        }
        let (end, count) = (self.at, entries.len() as u64);
        let mut tail = Vec::new();
        tail.extend(0x0606_4b50_u32.to_le_bytes());
        tail.extend(44_u64.to_le_bytes());
        [VERSION, VERSION].iter().for_each(|v| tail.extend(v.to_le_bytes()));
        [0_u32; 2].iter().for_each(|v| tail.extend(v.to_le_bytes()));
        [count, count, end - begin, begin].iter().for_each(|v| tail.extend(v.to_le_bytes()));
        tail.extend(0x0706_4b50_u32.to_le_bytes());
        tail.extend(0_u32.to_le_bytes());
        tail.extend(end.to_le_bytes());
        tail.extend(1_u32.to_le_bytes());
        tail.extend(0x0605_4b50_u32.to_le_bytes());
        [0, 0, u16::MAX, u16::MAX].iter().for_each(|v: &u16| tail.extend(v.to_le_bytes()));
        [ELSEWHERE, ELSEWHERE].iter().for_each(|v| tail.extend(v.to_le_bytes()));
        tail.extend(0_u16.to_le_bytes());
        self.put(&tail)
    }
}

/// What both headers hold in the middle: method, date, checksum, sizes, length of the name, length of the extra field.
fn middle(to: &mut Vec<u8>, entry: &Entry, extra: u16) {
    // Bit 11: the name is UTF-8.
    [VERSION, 0x800, 0, 0, DATE].iter().for_each(|v| to.extend(v.to_le_bytes()));
    [entry.crc.sum(), ELSEWHERE, ELSEWHERE].iter().for_each(|v| to.extend(v.to_le_bytes()));
    [entry.name.len() as u16, extra].iter().for_each(|v| to.extend(v.to_le_bytes()));
}

fn local(entry: &Entry) -> Vec<u8> {
    let mut to = 0x0403_4b50_u32.to_le_bytes().to_vec();
    middle(&mut to, entry, 20);
    to.extend(entry.name.as_bytes());
    [1_u16, 16].iter().for_each(|v| to.extend(v.to_le_bytes()));
    [entry.size, entry.size].iter().for_each(|v| to.extend(v.to_le_bytes()));
    to
}

fn central(entry: &Entry) -> Vec<u8> {
    let mut to = 0x0201_4b50_u32.to_le_bytes().to_vec();
    to.extend(VERSION.to_le_bytes());
    middle(&mut to, entry, 28);
    [0_u16; 3].iter().for_each(|v| to.extend(v.to_le_bytes()));
    [0, ELSEWHERE].iter().for_each(|v: &u32| to.extend(v.to_le_bytes()));
    to.extend(entry.name.as_bytes());
    [1_u16, 24].iter().for_each(|v| to.extend(v.to_le_bytes()));
    [entry.size, entry.size, entry.at].iter().for_each(|v| to.extend(v.to_le_bytes()));
    to
}
