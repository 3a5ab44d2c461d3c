//! `--samples`: the samples of a file, or of a selection that the explorer keeps beside a run.

use super::out::tell;
use anyhow::{Context, bail};
use covft_analyses::analysis::{NamedSelection, ViewFile};
use covft_analyses::store::{BySample, DatasetTask, OfSample, Place, RunDir, visit_dataset};
use std::path::{Path, PathBuf};

/// A sample of a list: its place in the data, if the list names it, and its id.
type Listed = (Option<Place>, String);

/// The samples that are asked for: those of a file, or of a selection kept beside one of `paths`. A warning counts
/// those that none of `runs` knows.
///
/// # Errors
/// There is no such file and no such selection, a line is not understood, or no run knows any of the samples.
pub(super) fn read(asked: &str, paths: &[PathBuf], runs: &[&RunDir]) -> anyhow::Result<NamedSelection> {
    let file = Path::new(asked);
    let selection = if file.is_file() { of_file(file)? } else { kept(asked, paths)? };
    let unknown = unknown(&selection, runs)?;
    if let [first, ..] = unknown[..] {
        let (n, all) = (unknown.len(), selection.samples.len());
        let what = format!("{n} of the {all} samples of {asked} are not in the data of the runs, such as {first:?}");
        if n == all {
            bail!("{what}");
        }
        tell!("warning: {what}: left out");
    }
    Ok(selection)
}

/// Ids of the samples that no run has; none where a run does not say which it has.
fn unknown<'a>(selection: &'a NamedSelection, runs: &[&RunDir]) -> anyhow::Result<Vec<&'a str>> {
    let mut known = BySample::default();
    for run in runs {
        if !run.dataset().exists() {
            return Ok(Vec::new());
        }
        visit_dataset(run, |row: DatasetTask| known.insert(row.place(), row.id(), ()))?;
    }
    Ok(selection.each().filter(|(place, id)| known.get(*place, id).is_none()).map(|(_, id)| id).collect())
}

fn of_file(file: &Path) -> anyhow::Result<NamedSelection> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read the samples of {}", file.display()))?;
    let listed = parse(&text).map_err(|why| anyhow::anyhow!("{why}: {}", file.display()))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Ok(NamedSelection::new(&name, listed.iter().map(|(place, id)| (*place, id.as_str()))))
}

fn kept(asked: &str, runs: &[PathBuf]) -> anyhow::Result<NamedSelection> {
    let mut known = Vec::new();
    for run in runs {
        let path = run.join("analysis").join("view.json");
        if !path.exists() {
            continue;
        }
        for one in ViewFile::read(&path)?.selections {
            if one.name == asked {
                return Ok(one);
            }
            known.push(one.name);
        }
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    bail!("--samples {asked} is neither a file nor a selection of the explorer; its selections here: {known}")
}

/// Samples of a CSV with a column `sample` (and `split` and `index`), or one a line: its id, or id, split and entry
/// with tabs between, as the explorer writes them.
fn parse(text: &str) -> Result<Vec<Listed>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut table = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(text.as_bytes());
    let headers = table.headers().cloned().unwrap_or_default();
    let has_samples = headers.iter().any(|c| c == "sample");
    let listed = if has_samples { of_table(table, &headers) } else { of_lines(text) }?;
    match listed.iter().filter(|(place, _)| place.is_some()).count() {
        _ if listed.is_empty() => Err("no sample id".to_owned()),
        n if n > 0 && n < listed.len() => {
            Err(format!("{} of {} samples name no entry", listed.len() - n, listed.len()))
        }
        _ => Ok(listed),
    }
}

fn of_table(table: csv::Reader<&[u8]>, headers: &csv::StringRecord) -> Result<Vec<Listed>, String> {
    let column = |name: &str| headers.iter().position(|c| c == name);
    let [sample, split, index] = ["sample", "split", "index"].map(column);
    let row = |row: csv::Result<csv::StringRecord>| {
        let row = row.map_err(|e| e.to_string())?;
        let cell = |column: Option<usize>| column.and_then(|c| row.get(c)).unwrap_or_default();
        let line = row.position().map_or(0, csv::Position::line);
        Ok((place(cell(split), cell(index), line)?, cell(sample).to_owned()))
    };
    table.into_records().map(row).collect()
}

fn of_lines(text: &str) -> Result<Vec<Listed>, String> {
    let lines = text.lines().enumerate().map(|(i, line)| (i as u64 + 1, line.trim()));
    let listed =
        lines.filter(|(_, line)| !line.is_empty()).map(|(i, line)| match line.split('\t').collect::<Vec<_>>()[..] {
            [id] => Ok((None, id.to_owned())),
            [id, split, index] => Ok((place(split, index, i)?, id.to_owned())),
            _ => Err(format!("line {i} is no id, and no id, split and entry with tabs between")),
        });
    listed.collect()
}

fn place(split: &str, index: &str, line: u64) -> Result<Option<Place>, String> {
    if index.is_empty() {
        return Ok(None);
    }
    let Ok(index) = index.parse() else { return Err(format!("line {line}: the entry {index:?} is no whole number")) };
    Ok(Some(Place::new((!split.is_empty()).then_some(split), index)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use covft_analyses::store::{DatasetRow, write_dataset};

    #[test]
    fn samples_come_from_lines_and_from_tables() {
        let ids = |text: &str| parse(text).unwrap().into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        assert_eq!(ids("a\n\n b \n"), ["a", "b"]);
        assert_eq!(ids("task, sample\nocr,s1\n\"a, \"\"b\"\"\n c\",\"s,2\"\n"), ["s1", "s,2"]);
        let place = |split: &str, index| Some(Place::new(Some(split), index));
        let lines = parse("twice\ttrain\t3\ntwice\tval\t9\n").unwrap();
        assert_eq!(lines, [(place("train", 3), "twice".to_owned()), (place("val", 9), "twice".to_owned())]);
        assert_eq!(parse("\u{feff}sample,index,split\ntwice,3,train\ntwice,9,val\n").unwrap(), lines);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let why = |text: &str| parse(text).unwrap_err();
        assert_eq!(why("\n"), "no sample id");
        assert_eq!(why("a\tb\n"), "line 1 is no id, and no id, split and entry with tabs between");
        assert_eq!(why("a\ttrain\tx\n"), "line 1: the entry \"x\" is no whole number");
        assert_eq!(why("sample,index\na,1\nb,\n"), "1 of 2 samples name no entry");
    }

    #[test]
    fn a_sample_is_known_by_its_place_and_where_a_run_says_nothing_all_are() {
        let folder = tempfile::tempdir().unwrap();
        let [run, silent] = ["run", "silent"].map(|name| RunDir::create(folder.path().join(name)).unwrap());
        let row = |index| DatasetRow {
            sample: "twice".to_owned(),
            index: Some(index),
            split: "train".into(),
            task: None,
            image: None,
            width: None,
            height: None,
            question: String::new(),
            answer: String::new(),
        };
        write_dataset(&run, &[row(3), row(9)]).unwrap();
        let asked = |index| (Some(Place::new(None, index)), "twice");
        let selection = NamedSelection::new("odd", [asked(3), asked(4)]);
        assert_eq!(unknown(&selection, &[&run]).unwrap(), ["twice"]);
        assert!(unknown(&selection, &[&run, &silent]).unwrap().is_empty());
    }
}
