//! What a file is that is no instruction file, told by its first bytes.

use super::error::{DataError, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes at the front, what they tell, and what to do.
const KINDS: &[(&[u8], &str, &str)] = &[
    (b"\xFF\xFE\0\0", UTF32, TURN_UTF32),
    (b"\0\0\xFE\xFF", UTF32, TURN_UTF32),
    (b"[\0\0\0", UTF32, TURN_UTF32),
    (b"{\0\0\0", UTF32, TURN_UTF32),
    (b"\0\0\0[", UTF32, TURN_UTF32),
    (b"\0\0\0{", UTF32, TURN_UTF32),
    (b"\xFF\xFE", UTF16, TURN_UTF16),
    (b"\xFE\xFF", UTF16, TURN_UTF16),
    (b"[\0", UTF16, TURN_UTF16),
    (b"{\0", UTF16, TURN_UTF16),
    (b"\0[", UTF16, TURN_UTF16),
    (b"\0{", UTF16, TURN_UTF16),
    (b"\0\0", "a file of zero bytes (a download that was cut off, or a disk that was full)", "fetch it again"),
    (b"version https://git-lfs", "a Git LFS pointer that stands for the file", "fetch the file itself: git lfs pull"),
    (b"\x1F\x8B", "packed with gzip", "unpack it: gunzip -k FILE"),
    (b"PK\x03\x04", "a zip archive", "unpack it: unzip FILE"),
    (b"BZh", "packed with bzip2", "unpack it: bunzip2 -k FILE"),
    (b"\xFD7zXZ", "packed with xz", "unpack it: unxz -k FILE"),
    (b"\x28\xB5\x2F\xFD", "packed with zstd", "unpack it: unzstd FILE"),
    (b"7z\xBC\xAF", "a 7z archive", "unpack it: 7z x FILE"),
    (
        b"PAR1",
        "a parquet table",
        "write its rows: pandas.read_parquet(FILE).to_json(NEW, orient=\"records\", lines=True)",
    ),
    (b"ARROW1", "an Arrow table", "write its rows: datasets.Dataset.from_file(FILE).to_json(NEW)"),
    (b"\xFF\xFF\xFF\xFF", "an Arrow stream", "write its rows: datasets.Dataset.from_file(FILE).to_json(NEW)"),
    (b"SQLite format 3", "an SQLite database", "write its rows as JSON Lines"),
    (b"\x89HDF", "an HDF5 file", "write its rows as JSON Lines"),
    (b"\x93NUMPY", "a NumPy array", "write its rows as JSON Lines"),
    (b"\x80\x02", PICKLE, DUMP),
    (b"\x80\x03", PICKLE, DUMP),
    (b"\x80\x04", PICKLE, DUMP),
    (b"\x80\x05", PICKLE, DUMP),
    (b"\xFF\xD8\xFF", PICTURE, NAME_TEXTS),
    (b"\x89PNG", PICTURE, NAME_TEXTS),
    (b"GIF8", PICTURE, NAME_TEXTS),
    (b"%PDF", "a PDF", NAME_TEXTS),
    (b"<!DOCTYPE", WEB_PAGE, FETCH),
    (b"<!doctype", WEB_PAGE, FETCH),
    (b"<html", WEB_PAGE, FETCH),
    (b"<?xml", "XML", "write its entries as JSON"),
    (
        b"---\n",
        "YAML",
        "write it as JSON: python3 -c \"import json,sys,yaml; print(json.dumps(yaml.safe_load(sys.stdin)))\" < FILE > NEW",
    ),
    (
        b"- ",
        "YAML",
        "write it as JSON: python3 -c \"import json,sys,yaml; print(json.dumps(yaml.safe_load(sys.stdin)))\" < FILE > NEW",
    ),
];

const UTF32: &str = "text in UTF-32";
const TURN_UTF32: &str = "turn it: iconv -f UTF-32 -t UTF-8 FILE > NEW";
const UTF16: &str = "text in UTF-16";
const TURN_UTF16: &str = "turn it: iconv -f UTF-16 -t UTF-8 FILE > NEW";
const PICKLE: &str = "a Python pickle";
const DUMP: &str = "load it and write it with json.dump";
const PICTURE: &str = "a picture";
const NAME_TEXTS: &str = "data.train names the file of conversations; pictures lie below data.images";
const WEB_PAGE: &str = "a web page (a download that asked for a login, or an address of a page in place of the file)";
const FETCH: &str = "fetch the file itself";

/// Refuses what cannot be an instruction file.
///
/// # Errors
/// The path is a folder or nothing at all; the file is empty, packed, binary, or text of another kind.
pub(super) fn refuse_others(path: &Path) -> Result<()> {
    let refuse = |is: &str, next: &str| {
        let next = next.replace("FILE", &path.display().to_string());
        Err(DataError::Kind { is: is.to_owned(), next, path: path.to_path_buf() })
    };
    if path.is_dir() {
        let files = json_files(path);
        let next = match files.first() {
            Some(_) => format!("name a file in it ({})", files.join(", ")),
            None => "name a file; there is no .json or .jsonl in it".to_owned(),
        };
        return refuse("a folder", &next);
    }
    if !path.is_file() {
        return Err(DataError::NotFound { what: "instruction file", path: path.to_path_buf() });
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(DataError::io("open the instruction file", path))?;
    file.take(4096).read_to_end(&mut head).map_err(DataError::io("read the instruction file", path))?;
    if head.is_empty() {
        return refuse("empty (0 bytes)", "fetch or write it again");
    }
    if let Some((_, is, next)) = KINDS.iter().find(|(magic, _, _)| head.starts_with(magic)) {
        return refuse(is, next);
    }
    if is_table(&head) {
        let next = "write its rows: pandas.read_csv(FILE).to_json(NEW, orient=\"records\", lines=True)";
        return refuse("a table (its first line is words between commas or tabs)", next);
    }
    Ok(())
}

/// Up to three instruction files of a folder.
fn json_files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let json = |name: &String| Path::new(name).extension().is_some_and(|e| e == "json" || e == "jsonl");
    let mut names: Vec<_> = names.filter(json).collect();
    names.sort();
    names.truncate(3);
    names
}

/// Whether the first line is a header of columns.
fn is_table(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default();
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line).trim_ascii();
    let begins = line.first().is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'"' || b == b'_');
    begins && [b',', b'\t', b';'].iter().any(|s| line.contains(s)) && !line.iter().any(|b| b"{}[]:".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_told_as_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let show = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = refuse_others(&path).unwrap_err().to_string();
            error.replace(&*dir.path().to_string_lossy(), "DIR")
        };
        let utf16: Vec<u8> = "\u{feff}[{}]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        insta::assert_snapshot!(show(&utf16), @"this is text in UTF-16, not an instruction file (JSON or JSON Lines in UTF-8); turn it: iconv -f UTF-16 -t UTF-8 DIR/a.json > NEW: DIR/a.json");
        assert_eq!(show(&utf16[2..]), show(&utf16), "without its mark, too");
        let utf32 = |to: fn(u32) -> [u8; 4]| "\u{feff}[{}]".chars().flat_map(|c| to(c.into())).collect::<Vec<u8>>();
        for wide in [utf32(u32::to_le_bytes), utf32(u32::to_be_bytes)] {
            assert!(show(&wide).contains("UTF-32") && show(&wide[4..]).contains("-f UTF-32"), "{}", show(&wide));
        }
        insta::assert_snapshot!(show(b"version https://git-lfs.github.com/spec/v1\noid"), @"this is a Git LFS pointer that stands for the file, not an instruction file (JSON or JSON Lines in UTF-8); fetch the file itself: git lfs pull: DIR/a.json");
        insta::assert_snapshot!(show(b"\x1F\x8B\x08"), @"this is packed with gzip, not an instruction file (JSON or JSON Lines in UTF-8); unpack it: gunzip -k DIR/a.json: DIR/a.json");
        insta::assert_snapshot!(show(b"id,image,text\n1,a.png,b\n"), @r#"this is a table (its first line is words between commas or tabs), not an instruction file (JSON or JSON Lines in UTF-8); write its rows: pandas.read_csv(DIR/a.json).to_json(NEW, orient="records", lines=True): DIR/a.json"#);
        insta::assert_snapshot!(show(b""), @"this is empty (0 bytes), not an instruction file (JSON or JSON Lines in UTF-8); fetch or write it again: DIR/a.json");
        for (magic, is, _) in KINDS {
            assert!(show(&[magic, &b"\x01\x01\x01\x01"[..]].concat()).starts_with(&format!("this is {is}, ")), "{is}");
        }
        let folder = refuse_others(dir.path()).unwrap_err().to_string();
        assert!(folder.starts_with("this is a folder, ") && folder.contains("name a file in it (a.json)"), "{folder}");
        for json in ["[]", " \n{}", "\u{feff}[", "x", "id: 1"] {
            std::fs::write(&path, json).unwrap();
            assert!(refuse_others(&path).is_ok(), "{json}");
        }
    }
}
