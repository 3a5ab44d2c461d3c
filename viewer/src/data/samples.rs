//! The samples that the records speak of.

use super::names::Names;
use super::roll::Roll;
use super::table::{Result, Table};
use covft_analyses::analysis::NamedSelection;
use covft_analyses::store::{DatasetRow, OfSample, Place, PredictionRow, SampleKey};
use std::collections::HashSet;

/// Task of samples without one.
pub(crate) const NO_TASK: &str = "(no task)";

/// What is known of one sample.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Number of its task.
    pub task: Option<u32>,
    /// How often it was trained on.
    pub seen: u32,
    /// Its latest loss.
    pub loss: Option<f64>,
    pub tokens: u32,
    /// Latest generated answer, and how far it is right.
    pub prediction: Option<(String, Option<f64>)>,
}

/// All samples that records name, by number.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub roll: Roll,
    pub tasks: Names,
    list: Vec<Sample>,
    dataset: Vec<DatasetRow>,
    /// Rows of the data set in order of place, where it has places.
    by_place: Vec<u32>,
    /// Rows of the data set in order of id, of equal ids in the data set's.
    by_id: Vec<u32>,
    /// Row of the data set by number of the sample; `u32::MAX` for one that is not in it.
    rows: Vec<u32>,
}

impl Samples {
    pub(crate) fn len(&self) -> usize {
        self.roll.len()
    }

    /// Rows of the data set, seen or not.
    pub(crate) fn in_dataset(&self) -> usize {
        self.dataset.len()
    }

    pub(crate) fn id(&self, sample: u32) -> &str {
        self.roll.id(sample)
    }

    /// Its place in the data, where records have it.
    pub(crate) fn place(&self, sample: u32) -> Option<Place> {
        self.roll.place(sample)
    }

    /// What tells it apart, which samples are put in order by.
    pub(crate) fn key(&self, sample: u32) -> SampleKey {
        self.roll.key(sample)
    }

    /// What it is called: its id and the entry that it is, as other entries may have the same id.
    pub(crate) fn title(&self, sample: u32) -> String {
        let id = self.id(sample);
        match self.place(sample) {
            None => id.to_owned(),
            Some(place) if place.split() == "train" => format!("{id} \u{b7} entry {}", place.index()),
            Some(place) => format!("{id} \u{b7} {} entry {}", place.split(), place.index()),
        }
    }

    /// The samples of a kept selection: by place, or all of its ids where it or the records have no places.
    pub(crate) fn of_selection(&self, kept: &NamedSelection) -> Vec<u32> {
        if self.roll.has_places() && !kept.places.is_empty() {
            return kept.each().filter_map(|(place, id)| self.roll.find(place, id)).collect();
        }
        let ids: HashSet<&str> = kept.samples.iter().map(String::as_str).collect();
        (0..self.len() as u32).filter(|sample| ids.contains(self.id(*sample))).collect()
    }

    pub(crate) fn get(&self, sample: u32) -> Sample {
        self.list.get(sample as usize).cloned().unwrap_or_default()
    }

    pub(crate) fn look(&self, sample: u32) -> Option<&Sample> {
        self.list.get(sample as usize)
    }

    /// Its row of `dataset.parquet`.
    pub(crate) fn row(&self, sample: u32) -> Option<&DatasetRow> {
        self.dataset.get(*self.rows.get(sample as usize)? as usize)
    }

    pub(crate) fn task(&self, sample: u32) -> &str {
        let recorded = self.look(sample).and_then(|s| s.task).map(|t| self.tasks.name(t));
        recorded.or_else(|| self.row(sample)?.task.as_deref()).unwrap_or(NO_TASK)
    }

    /// Number of its task among [`Samples::tasks`].
    pub(crate) fn task_number(&self, sample: u32) -> u32 {
        let recorded = self.look(sample).and_then(|s| s.task);
        recorded.or_else(|| self.tasks.find(self.task(sample))).unwrap_or(u32::MAX)
    }

    pub(super) fn set_dataset(&mut self, rows: Vec<DatasetRow>) {
        self.by_id = (0..rows.len() as u32).collect();
        self.by_id.sort_by(|a, b| rows[*a as usize].sample.cmp(&rows[*b as usize].sample));
        self.by_place = (0..rows.len() as u32).filter(|row| rows[*row as usize].index.is_some()).collect();
        self.by_place.sort_by_key(|row| rows[*row as usize].place());
        self.rows.clear();
        for row in &rows {
            self.tasks.number(row.task.as_deref().unwrap_or(NO_TASK));
        }
        self.dataset = rows;
        self.link();
    }

    /// Finds the rows of samples that are new.
    pub(super) fn link(&mut self) {
        for sample in self.rows.len()..self.len() {
            let found = self.dataset_row(sample as u32);
            self.rows.push(found.unwrap_or(u32::MAX));
        }
    }

    /// The row of its place; of records or a data set without places the first of its id.
    fn dataset_row(&self, sample: u32) -> Option<u32> {
        let row = |row: u32| &self.dataset[row as usize];
        if let Some(place) = self.place(sample).filter(|_| !self.by_place.is_empty()) {
            let at = self.by_place.partition_point(|r| row(*r).place() < Some(place));
            return self.by_place.get(at).copied().filter(|r| row(*r).place() == Some(place));
        }
        let id = self.id(sample);
        let at = self.by_id.partition_point(|r| row(*r).sample.as_str() < id);
        self.by_id.get(at).copied().filter(|r| row(*r).sample == id)
    }

    fn entry(&mut self, sample: u32) -> &mut Sample {
        if self.list.len() <= sample as usize {
            self.list.resize_with(self.roll.len().max(sample as usize + 1), Sample::default);
        }
        &mut self.list[sample as usize]
    }

    pub(super) fn take(&mut self, table: Table<'_>) -> Result<()> {
        use arrow::array::{Array, AsArray};
        let (ids, tasks, tokens) = (table.words("sample")?, table.words("task")?, table.counts("tokens")?);
        let place = table.places("index")?;
        let losses =
            table.batch.column_by_name("loss").and_then(|c| c.as_primitive_opt::<arrow::datatypes::Float64Type>());
        for (i, count) in tokens.iter().enumerate() {
            let sample = self.roll.number(place(i), ids.value(i));
            let task = self.tasks.number(if tasks.is_valid(i) { tasks.value(i) } else { NO_TASK });
            let loss = losses.filter(|l| l.is_valid(i)).map(|l| l.value(i));
            let entry = self.entry(sample);
            entry.task = Some(task);
            entry.seen += 1;
            entry.loss = loss;
            entry.tokens = *count as u32;
        }
        Ok(())
    }

    pub(super) fn predict(&mut self, row: PredictionRow) {
        let sample = self.roll.number(row.place(), row.id());
        let task = row.task.map(|t| self.tasks.number(&t));
        let entry = self.entry(sample);
        entry.task = entry.task.or(task);
        entry.prediction = Some((row.text, row.correct));
    }
}
