//! The samples that the records speak of.

use super::names::Names;
use super::table::{Result, Table};
use covft_analyses::store::{DatasetRow, PredictionRow};

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
    pub loss: Option<f32>,
    pub tokens: u32,
    /// Latest generated answer, and how far it is right.
    pub prediction: Option<(String, Option<f64>)>,
}

/// All samples that records name, by number.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub names: Names,
    pub tasks: Names,
    list: Vec<Sample>,
    dataset: Vec<DatasetRow>,
    /// Rows of the data set in order of id.
    by_id: Vec<u32>,
    /// Row of the data set by number of the sample; `u32::MAX` for one that is not in it.
    rows: Vec<u32>,
}

impl Samples {
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Rows of the data set, seen or not.
    pub(crate) fn in_dataset(&self) -> usize {
        self.dataset.len()
    }

    pub(crate) fn id(&self, sample: u32) -> &str {
        self.names.name(sample)
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
        self.rows.clear();
        for row in &rows {
            self.tasks.number(row.task.as_deref().unwrap_or(NO_TASK));
        }
        self.dataset = rows;
        self.link();
    }

    /// Finds the rows of samples that are new.
    pub(super) fn link(&mut self) {
        for sample in self.rows.len()..self.names.len() {
            let id = self.names.name(sample as u32);
            let found = self.by_id.binary_search_by(|i| self.dataset[*i as usize].sample.as_str().cmp(id));
            self.rows.push(found.map_or(u32::MAX, |at| self.by_id[at]));
        }
    }

    fn entry(&mut self, sample: u32) -> &mut Sample {
        if self.list.len() <= sample as usize {
            self.list.resize_with(self.names.len().max(sample as usize + 1), Sample::default);
        }
        &mut self.list[sample as usize]
    }

    pub(super) fn take(&mut self, table: Table<'_>) -> Result<()> {
        use arrow::array::{Array, AsArray};
        let (ids, tasks, tokens) = (table.words("sample")?, table.words("task")?, table.counts("tokens")?);
        let losses =
            table.batch.column_by_name("loss").and_then(|c| c.as_primitive_opt::<arrow::datatypes::Float64Type>());
        for (i, count) in tokens.iter().enumerate() {
            let sample = self.names.number(ids.value(i));
            let task = self.tasks.number(if tasks.is_valid(i) { tasks.value(i) } else { NO_TASK });
            let loss = losses.filter(|l| l.is_valid(i)).map(|l| l.value(i) as f32);
            let entry = self.entry(sample);
            entry.task = Some(task);
            entry.seen += 1;
            entry.loss = loss;
            entry.tokens = *count as u32;
        }
        Ok(())
    }

    pub(super) fn predict(&mut self, row: PredictionRow) {
        let sample = self.names.number(&row.sample);
        let task = row.task.map(|t| self.tasks.number(&t));
        let entry = self.entry(sample);
        entry.task = entry.task.or(task);
        entry.prediction = Some((row.text, row.correct));
    }
}
