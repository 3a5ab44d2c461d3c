//! The files beside a figure: its numbers, and all that it takes to draw it again.

use super::{FigureError, FontNote, Options, Result, Table};
use crate::csv::cell;
use crate::store::{StoreError, write_atomic};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `<id>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Figure.
    pub figure: String,
    /// Name of the files, without ending.
    pub name: String,
    /// Whose widths and type sizes.
    pub venue: String,
    /// Command line that made it.
    pub command: Vec<String>,
    /// Program and version.
    pub program: String,
    /// What was chosen.
    pub options: Options,
    /// The fonts of its text; none in those of before.
    #[serde(default)]
    pub fonts: Vec<FontNote>,
    /// Runs and studies: names, seeds, versions, hashes.
    pub provenance: Value,
    /// What a caption should say.
    pub notes: Value,
    /// SHA-256 of the CSV.
    pub csv_sha256: String,
    /// What is drawn.
    pub data: Value,
}

impl Sidecar {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(StoreError::io("read", path))?;
        let wrong = |e: serde_json::Error| FigureError::Sidecar { why: e.to_string(), path: path.to_owned() };
        serde_json::from_slice(&text).map_err(wrong)
    }

    pub(super) fn text(&self, figure: &str) -> Result<String> {
        let failed = |e: serde_json::Error| FigureError::Draw { figure: figure.to_owned(), why: e.to_string() };
        // Everything on a line of its own but the data, which may be long.
        let Value::Object(mut fields) = serde_json::to_value(self).map_err(failed)? else {
            return Err(FigureError::Draw { figure: figure.to_owned(), why: "a sidecar is an object".to_owned() });
        };
        let data = fields.remove("data").unwrap_or_default();
        let head = serde_json::to_string_pretty(&fields).map_err(failed)?;
        let head = head.trim_end_matches('}').trim_end();
        Ok(format!("{head},\n  \"data\": {data}\n}}\n"))
    }
}

/// Nine significant digits: more than can be seen, few enough that reading them back gives the same number again.
pub(super) fn canonical(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => {
            let short = number.as_f64().and_then(|v| format!("{v:.8e}").parse().ok()).and_then(Number::from_f64);
            if let Some(short) = short {
                *number = short;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(canonical),
        Value::Object(fields) => fields.values_mut().for_each(canonical),
        _ => {}
    }
}

pub(super) fn csv(table: &Table) -> String {
    let line = |cells: &Vec<String>| cells.iter().map(|c| cell(c)).collect::<Vec<_>>().join(",") + "\n";
    line(&table.columns) + &table.rows.iter().map(line).collect::<String>()
}

/// Where the file of an ending lies.
pub(super) fn place(out: &Path, name: &str, ending: &str) -> PathBuf {
    out.join(format!("{name}.{ending}"))
}

/// Writes `<name>.<ending>` for each file, whole or not at all.
pub(super) fn write(out: &Path, name: &str, files: Vec<(&str, Vec<u8>)>) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).map_err(StoreError::io("make the folder", out))?;
    let mut paths = Vec::new();
    for (ending, bytes) in files {
        let path = place(out, name, ending);
        write_atomic(&path, |file| file.write_all(&bytes))?;
        paths.push(path);
    }
    Ok(paths)
}
