//! An instruction file of any size: one streaming pass leaves a few bytes an entry in memory, entries are read again
//! from the file when a batch wants them.

use super::conversation::{Entry, Fault};
use super::error::{DataError, Place, Result};
use super::file_kind;
use super::json_scan::{ScanError, Scanner};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What stays in memory of an entry.
#[derive(Clone, Copy, Debug)]
struct Slot {
    offset: u64,
    bytes: u32,
    line: u32,
    words: u32,
    task: u16,
    has_image: bool,
}

/// `task` of entries without one.
const UNTAGGED: u16 = u16::MAX;

/// An indexed instruction file.
#[derive(Debug)]
pub struct InstructFile {
    path: PathBuf,
    file: Mutex<File>,
    slots: Vec<Slot>,
    tasks: Vec<Arc<str>>,
    sha256: [u8; 32],
}

/// Hashes what passes through.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

impl InstructFile {
    /// Reads the file once, checking every entry.
    ///
    /// # Errors
    /// The file cannot be read; it is neither an array nor JSON Lines; an entry is wrong. All name the line.
    pub fn open(path: &Path) -> Result<Self> {
        file_kind::refuse_others(path)?;
        let file = File::open(path).map_err(DataError::io("open the instruction file", path))?;
        let hashing = Hashing { inner: file, hash: Sha256::new() };
        let mut scanner = Scanner::new(BufReader::with_capacity(1 << 20, hashing));
        let (mut slots, mut tasks, mut bytes) = (Vec::new(), Tasks::default(), Vec::new());
        loop {
            let found = match scanner.next(&mut bytes) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => return Err(syntax(path, error)),
            };
            let number = slots.len();
            let entry = Entry::parse(&bytes, number).map_err(|fault| refused(path, number, found.line, fault))?;
            let task = tasks.number(entry.task.as_ref()).ok_or_else(|| {
                let problem = "more than 65,534 different tasks".to_owned();
                let fault = Fault { lines: 0, id: Some(entry.id.to_string()), problem, form: None };
                refused(path, number, found.line, fault)
            })?;
            slots.push(Slot {
                offset: found.offset,
                // The scanner ends long before 4 GiB.
                bytes: bytes.len() as u32,
                line: u32::try_from(found.line).unwrap_or(u32::MAX),
                words: entry.words,
                task,
                has_image: entry.image.is_some(),
            });
        }
        slots.shrink_to_fit();
        let mut hashing = scanner.into_inner().into_inner();
        // The scanner stops at the last byte it needs; the hash covers the file to its end.
        std::io::copy(&mut hashing, &mut std::io::sink()).map_err(DataError::io("read the instruction file", path))?;
        let sha256 = hashing.hash.finalize().into();
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(hashing.inner), slots, tasks: tasks.names, sha256 })
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Task of entry `i`.
    #[must_use]
    pub fn task(&self, i: usize) -> Option<&Arc<str>> {
        self.tasks.get(usize::from(self.slots[i].task))
    }

    /// Names of the tasks in order of appearance.
    #[must_use]
    pub fn tasks(&self) -> &[Arc<str>] {
        &self.tasks
    }

    /// Whether entry `i` has an image.
    #[must_use]
    pub fn has_image(&self, i: usize) -> bool {
        self.slots[i].has_image
    }

    /// Words of entry `i` over all turns.
    #[must_use]
    pub fn words(&self, i: usize) -> u32 {
        self.slots[i].words
    }

    /// Reads entry `i` from the file.
    ///
    /// # Errors
    /// The file cannot be read any more, or has changed.
    pub fn entry(&self, i: usize) -> Result<Entry> {
        let slot = self.slots[i];
        let mut bytes = vec![0; slot.bytes as usize];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(slot.offset))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(DataError::io("read an entry again", &self.path))?;
        }
        Entry::parse(&bytes, i).map_err(|fault| {
            let problem = format!("the file has changed since it was first read: {}", fault.problem);
            refused(&self.path, i, u64::from(slot.line), Fault { problem, form: None, ..fault })
        })
    }

    /// An error about entry `i`.
    pub(crate) fn wrong(&self, i: usize, id: Option<String>, problem: String) -> DataError {
        DataError::Entry {
            place: Place { entry: i, line: u64::from(self.slots[i].line), id },
            problem,
            path: self.path.clone(),
        }
    }

    /// 1-based line on which entry `i` begins.
    #[must_use]
    pub fn line(&self, i: usize) -> u64 {
        u64::from(self.slots[i].line)
    }

    /// Bytes of memory that the index takes an entry.
    #[must_use]
    pub fn bytes_per_entry() -> usize {
        size_of::<Slot>()
    }
}

/// What ended a scan.
pub(super) fn syntax(path: &Path, error: ScanError) -> DataError {
    match error {
        ScanError::Io(source) => DataError::io("read the instruction file", path)(source),
        ScanError::Syntax { line, problem } => DataError::File { line, problem, path: path.to_path_buf() },
    }
}

/// The error of entry `number`, which begins on `line`.
pub(super) fn refused(path: &Path, number: usize, line: u64, fault: Fault) -> DataError {
    let place = Place { entry: number, line: line + fault.lines, id: fault.id };
    let path = path.to_path_buf();
    match fault.form {
        Some(form) => DataError::Form { place, form, path },
        None => DataError::Entry { place, problem: fault.problem, path },
    }
}

/// Task names by number.
#[derive(Default)]
struct Tasks {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u16>,
}

impl Tasks {
    fn number(&mut self, task: Option<&Arc<str>>) -> Option<u16> {
        let Some(task) = task else { return Some(UNTAGGED) };
        if let Some(&number) = self.numbers.get(task) {
            return Some(number);
        }
        let number = u16::try_from(self.names.len()).ok().filter(|&n| n != UNTAGGED)?;
        self.names.push(Arc::clone(task));
        self.numbers.insert(Arc::clone(task), number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn object(i: usize) -> String {
        let image = if i.is_multiple_of(3) { String::new() } else { format!(r#""image": "{i}.png", "#) };
        let mark = if i.is_multiple_of(3) { "" } else { "<image>\\n" };
        format!(
            r#"{{"id": "s{i}", {image}"task": "t{}", "conversations": [{{"from": "human", "value": "{mark}q {i}"}}, {{"from": "gpt", "value": "é {i}"}}]}}"#,
            i % 4
        )
    }

    #[test]
    fn entries_come_back_in_any_order() {
        let objects: Vec<_> = (0..50).map(object).collect();
        for text in [format!("[{}]\n", objects.join(",\n")), objects.join("\n")] {
            let (_dir, path) = written(&text);
            let file = InstructFile::open(&path).unwrap();
            assert_eq!((file.len(), file.tasks().len(), file.line(7)), (50, 4, 8));
            assert_eq!(file.sha256()[..], Sha256::digest(text.as_bytes())[..]);
            for i in (0..50).rev() {
                let entry = file.entry(i).unwrap();
                assert_eq!(&*entry.id, format!("s{i}"));
                assert_eq!(entry.turns[1].text, format!("é {i}"));
                assert_eq!(file.task(i), entry.task.as_ref());
                assert_eq!((file.has_image(i), file.words(i)), (entry.image.is_some(), entry.words));
            }
        }
    }

    #[test]
    fn a_large_file_takes_few_bytes_an_entry() {
        // 665,000 entries of LLaVA's size are 1.03 GB on disk: 1,500 bytes each. At 24 bytes each they take 16 MB.
        let mut text = String::new();
        let filler = "word ".repeat(280);
        for i in 0..4000 {
            writeln!(text, "{}", object(i).replace("q ", &filler)).unwrap();
        }
        let (_dir, path) = written(&text);
        let file = InstructFile::open(&path).unwrap();
        assert_eq!(file.len(), 4000);
        assert!(text.len() / 4000 > 1400);
        let held = file.slots.capacity() * InstructFile::bytes_per_entry() / file.len();
        assert!(held <= 24, "{held} bytes an entry");
    }

    #[test]
    fn errors_name_line_entry_id_and_file() {
        let show = |text: &str| {
            let (dir, path) = written(text);
            let error = InstructFile::open(&path).unwrap_err().to_string();
            error.replace(&*dir.path().to_string_lossy(), "DIR")
        };
        insta::assert_snapshot!(show("[\n{\"id\": 1, \"conversations\": [{\"from\":\"human\",\"value\":\"a\"}]},\n{\"id\": \"b\"}]"),
            @r#"line 3, entry 1 (id "b"): there is no "conversations", the list of turns; the entry has "id": DIR/a.json"#);
        insta::assert_snapshot!(show("[\n{}"), @r#"line 2, entry 0: there is no "conversations", the list of turns; the entry has nothing: DIR/a.json"#);
        insta::assert_snapshot!(show("x"), @"line 1: expected a JSON list of objects, or one object a line: DIR/a.json");
        insta::assert_snapshot!(show("\n[{\"id\": \"b\",\n\"score\":\nNaN}]"), @"line 4, entry 0: NaN is not JSON (Python's json.dump writes it all the same); write null, or leave the key out: DIR/a.json");
        insta::assert_snapshot!(show(r#"{"data": [{"id": 1, "conversations": []}]}"#), @r#"line 1, entry 0: the entries lie in a list under "data"; take it out: python3 -c "import json,sys; json.dump(json.load(open(sys.argv[1]))['data'], open(sys.argv[2], 'w'))" FILE NEW: DIR/a.json"#);
        insta::assert_snapshot!(show(r#"{"a": {"conversations": []}, "b": {}}"#), @r#"line 1, entry 0: the entries lie under their ids; make a list of them: python3 -c "import json,sys; json.dump([{'id': k, **v} for k, v in json.load(open(sys.argv[1])).items()], open(sys.argv[2], 'w'))" FILE NEW: DIR/a.json"#);
        insta::assert_snapshot!(show(r#"[{"messages": [{"role": "user", "content": "a"}]}]"#), @"line 1, entry 0: this is a form of role and content, or query and response, as ms-swift reads it; convert it: covft-probe data convert --from swift DIR/a.json --out DIR/a-llava.json: DIR/a.json");
        let error = InstructFile::open(Path::new("data/nothing/instruct.json")).unwrap_err().to_string();
        insta::assert_snapshot!(error, @r#"instruction file not found (the folders data/ and weights/ are not part of the repository; README.md, "Real photographs", says how to fill them): data/nothing/instruct.json"#);
        let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
        let section = error.split('"').nth(1).unwrap();
        assert!(readme.contains(&format!("\n## {section}\n")), "README.md has no section {section}");
    }

    #[test]
    fn a_file_that_changes_under_the_run_is_an_error() {
        let (_dir, path) = written(&object(1));
        let file = InstructFile::open(&path).unwrap();
        std::fs::write(&path, "0".repeat(1000)).unwrap();
        assert!(file.entry(0).unwrap_err().to_string().contains("the file has changed since it was first read"));
    }
}
