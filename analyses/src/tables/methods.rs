//! Runs beside one another: what they learnt, and what it did to the encoder and cost.

use super::runs::{DirectionNumbers, RunNumbers};
use super::{Better, Cell, Column, Format, Table};
use crate::labels;
use crate::stats::{NotFinite, Summary};
use crate::store::{ALL, Manifest, Result, RunDir, Status, Study};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folder of the run that the others of a study begin from.
const BASE: &str = "base";
/// The method that the others are measured against.
const FREEZE: &str = "freeze";

/// Runs that share a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Name of the row.
    pub name: String,
    /// Its runs: one, or one a seed.
    pub runs: Vec<RunNumbers>,
}

/// Rows to compare, with what they are held to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// What all began from.
    pub base: Option<RunNumbers>,
    /// The rows, in order.
    pub groups: Vec<Group>,
    /// Scores, by task, of whoever answers without looking at the pictures.
    pub chance: BTreeMap<String, f64>,
    /// Runs of the study that are not finished, and so not counted.
    pub unfinished: Vec<String>,
    /// Single runs that are not finished, and count as far as they have come.
    pub going: Vec<String>,
}

impl Comparison {
    /// The finished runs of the study in `path`, one row a method; `each` makes it one row a run. `chance` says what a
    /// run's held-out answers score without the pictures.
    ///
    /// # Errors
    /// No study, or runs that cannot be read.
    pub fn of_study(path: &Path, each: bool, chance: impl Fn(&RunDir, &RunNumbers) -> Chance) -> Result<Self> {
        let study = Study::read(path)?;
        let mut found = Self::default();
        let mut first = None;
        for planned in &study.runs {
            let Some(run) = finished(&path.join(&planned.label)) else {
                found.unfinished.push(planned.label.clone());
                continue;
            };
            let numbers = RunNumbers::read(&run, Some(&study.stage))?;
            let name = if each { &planned.label } else { &planned.method };
            first.get_or_insert_with(|| (run, numbers.clone()));
            match found.groups.iter_mut().find(|group| group.name == *name) {
                Some(group) => group.runs.push(numbers),
                None => found.groups.push(Group { name: name.clone(), runs: vec![numbers] }),
            }
        }
        if let Some(base) = finished(&path.join(BASE)) {
            found.base = Some(RunNumbers::read(&base, None)?);
        }
        found.chance = first.map(|(run, numbers)| chance(&run, &numbers)).unwrap_or_default();
        Ok(found)
    }

    /// Single runs, one a row.
    ///
    /// # Errors
    /// A folder that is no run, or cannot be read.
    pub fn of_runs(runs: &[RunDir], chance: impl Fn(&RunDir, &RunNumbers) -> Chance) -> Result<Self> {
        let (mut found, mut done) = (Self::default(), Vec::new());
        for run in runs {
            let numbers = RunNumbers::read(run, None)?;
            if found.chance.is_empty() {
                found.chance = chance(run, &numbers);
            }
            done.push(Manifest::read(run)?.status == Status::Done);
            found.groups.push(Group { name: run.name(), runs: vec![numbers] });
        }
        labels::number(found.groups.iter_mut().map(|group| &mut group.name));
        let stages: Vec<String> = found.numbers().map(|run| run.stage.clone()).collect();
        labels::with_stages(found.groups.iter_mut().map(|g| &mut g.name).zip(stages.iter().map(String::as_str)));
        for group in &mut found.groups {
            group.runs.iter_mut().for_each(|run| run.label.clone_from(&group.name));
        }
        let names = found.groups.iter().zip(done).filter(|(_, done)| !done).map(|(group, _)| group.name.clone());
        found.going = names.collect();
        Ok(found)
    }

    /// Losses and scores by task, with chance and the base above, and wins over `freeze`.
    #[must_use]
    pub fn learnt(&self) -> Table {
        let tasks = self.tasks();
        let mut columns = vec![
            Column::words("method"),
            Column::new("runs", Format::Count),
            Column::new("train loss", Format::Fixed(3)),
            Column::new("held-out loss", Format::Fixed(3)).better(Better::Lower),
        ];
        columns.extend(tasks.iter().map(|task| Column::new(task, Format::Percent(1)).better(Better::Higher)));
        columns.push(Column::new(ALL, Format::Percent(1)).better(Better::Higher));
        let freeze = self.groups.iter().find(|group| group.name == FREEZE);
        if freeze.is_some() {
            columns.push(Column::words("wins over freeze"));
        }
        let pad = |mut cells: Vec<Cell>| {
            cells.resize(columns.len(), Cell::Missing);
            cells
        };
        let mut rows = Vec::new();
        if !self.chance.is_empty() {
            let mut cells =
                vec![Cell::Text("(without the picture)".into()), Cell::Missing, Cell::Missing, Cell::Missing];
            let all = ALL.to_owned();
            let scores = tasks.iter().chain([&all]).map(|task| self.chance.get(task).copied());
            cells.extend(scores.map(|score| Cell::maybe(score).unranked()));
            rows.push(pad(cells));
        }
        if let Some(base) = &self.base {
            let group = Group { name: "(base)".into(), runs: vec![base.clone()] };
            rows.push(pad(learnt(&group, &tasks).into_iter().map(Cell::unranked).collect()));
        }
        for group in &self.groups {
            let mut cells = learnt(group, &tasks);
            if let Some(freeze) = freeze {
                cells.push(Cell::Text(wins(group, freeze, &tasks)));
            }
            rows.push(pad(cells));
        }
        Table { caption: "What was learnt (held-out scores in %)".into(), columns, rows, notes: self.learnt_notes() }
    }

    /// Gradient direction, drift, parameters, time and memory.
    #[must_use]
    pub fn cost(&self) -> Table {
        let spaces = self.spaces();
        let of = if spaces.is_empty() { "shared".to_owned() } else { spaces.join(" or ") };
        let columns = vec![
            Column::words("method"),
            Column::new(&format!("cosine to mean ({of})"), Format::Signed(3)).better(Better::Higher),
            Column::new("its deviation", Format::Fixed(3)).better(Better::Lower),
            Column::new("cosine to momentum", Format::Signed(3)),
            Column::new("its deviation", Format::Fixed(3)),
            Column::new("drift", Format::Fixed(3)),
            Column::new("relative", Format::Scientific(2)),
            Column::new("trained", Format::Count),
            Column::new("in the encoder", Format::Count),
            Column::new("s / step", Format::Fixed(3)),
            Column::new("peak MiB", Format::Mebibytes),
        ];
        let rows = self.groups.iter().map(cost).collect();
        Table {
            caption: "What it did to the encoder, and what it cost".into(),
            columns,
            rows,
            notes: self.cost_notes(),
        }
    }

    /// Spaces that the cosines to the mean are in.
    fn spaces(&self) -> Vec<&str> {
        let found: BTreeSet<&str> =
            self.numbers().filter_map(|r| r.direction.as_ref()).map(|d| d.space.as_str()).collect();
        found.into_iter().collect()
    }

    fn numbers(&self) -> impl Iterator<Item = &RunNumbers> {
        self.groups.iter().flat_map(|group| &group.runs)
    }

    /// Tasks with a score in any row.
    fn tasks(&self) -> Vec<String> {
        let all = self.numbers().chain(&self.base).flat_map(|run| &run.tasks);
        let scored = all.filter(|(task, numbers)| *task != ALL && numbers.score.is_some());
        scored.map(|(task, _)| task.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn learnt_notes(&self) -> Vec<String> {
        let mut notes = vec![];
        if self.groups.iter().any(|group| group.runs.len() > 1) {
            notes.push(
                "a \u{b1} b: mean and standard deviation over the runs of a row, which differ in seed".to_owned(),
            );
        }
        let answers: BTreeSet<u64> =
            self.numbers().filter_map(|run| run.tasks.get(ALL)).map(|all| all.scored).collect();
        let splits: BTreeSet<&str> = self.numbers().filter_map(|run| run.split.as_deref()).collect();
        if let (Some(least), Some(most)) = (answers.first(), answers.last()) {
            let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
            let splits = splits.into_iter().collect::<Vec<_>>().join(", ");
            let of_tasks = self.numbers().flat_map(|run| &run.tasks);
            let fewest = of_tasks.filter(|(task, n)| *task != ALL && n.scored > 0).map(|(_, n)| n.scored).min();
            let fewest = fewest.unwrap_or(*least).max(1);
            notes.push(format!(
                "scores are over {range} held-out answers ({splits}), at least {fewest} a task, where one answer is {:.1} %",
                100.0 / fewest as f64
            ));
        }
        if !self.chance.is_empty() {
            let what = "without the picture: the training set's best answer to the same question (to the task, where the \
                        question is new)";
            notes.push(what.to_owned());
        }
        for run in self.numbers() {
            let words = run.losses_not_finite.words("training loss", "training losses");
            notes.extend(words.map(|words| format!("{}: of the last tenth {words}", run.label)));
        }
        if !self.unfinished.is_empty() {
            notes.push(format!("not finished, not counted: {}", self.unfinished.join(", ")));
        }
        if !self.going.is_empty() {
            notes.push(format!("not finished, as far as it has come: {}", self.going.join(", ")));
        }
        notes
    }

    fn cost_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.spaces().len() > 1 {
            notes.push("the rows' cosines are over different parameters: they cannot be compared".to_owned());
        }
        for group in &self.groups {
            let found: Vec<&DirectionNumbers> = group.runs.iter().filter_map(|run| run.direction.as_ref()).collect();
            let nulls: Vec<[f64; 2]> = found.iter().filter_map(|d| d.null).collect();
            if let (Some(first), false) = (found.first(), nulls.is_empty()) {
                let mean = |i: usize| nulls.iter().map(|null| null[i]).sum::<f64>() / nulls.len() as f64;
                notes.push(format!(
                    "{}: cosines over {} ({}), T = {}; gradients of random sign would give {:+.3} \u{b1} {:.3}",
                    group.name,
                    first.definition,
                    first.space,
                    first.t,
                    mean(0),
                    mean(1)
                ));
            }
        }
        for run in self.numbers() {
            let words = run.times_not_finite.words("step's time", "steps' times");
            notes.extend(words.map(|words| format!("{}: {words}", run.label)));
        }
        notes.push(
            "trained: numbers that train and that the loss reaches; s / step: median, probes included".to_owned(),
        );
        notes
    }
}

/// Scores by task.
pub type Chance = BTreeMap<String, f64>;

/// The run in `path`, if it came to its end.
fn finished(path: &Path) -> Option<RunDir> {
    let run = RunDir::open(path).ok()?;
    (Manifest::read(&run).ok()?.status == Status::Done).then_some(run)
}

fn over(group: &Group, number: impl Fn(&RunNumbers) -> Option<f64>) -> Cell {
    Cell::mean(&group.runs.iter().filter_map(number).collect::<Vec<_>>())
}

/// What all runs of a row left out together.
fn all(group: &Group, of: impl Fn(&RunNumbers) -> NotFinite) -> NotFinite {
    let mut left = NotFinite::default();
    group.runs.iter().for_each(|run| left.add(of(run)));
    left
}

fn learnt(group: &Group, tasks: &[String]) -> Vec<Cell> {
    let mut cells = vec![
        Cell::Text(group.name.clone()),
        Cell::number(group.runs.len() as f64),
        over(group, |run| run.train_loss).without(all(group, |run| run.losses_not_finite)),
        over(group, RunNumbers::held_out_loss),
    ];
    cells.extend(tasks.iter().map(String::as_str).chain([ALL]).map(|task| over(group, |run| run.score(task))));
    cells
}

fn cost(group: &Group) -> Vec<Cell> {
    vec![
        Cell::Text(group.name.clone()),
        over(group, |run| run.direction.as_ref().map(|d| d.mean)),
        over(group, |run| run.direction.as_ref().map(|d| d.deviation)),
        over(group, |run| run.momentum.as_ref().map(|d| d.mean)),
        over(group, |run| run.momentum.as_ref().map(|d| d.deviation)),
        over(group, |run| run.drift),
        over(group, |run| run.drift_relative),
        same(group, |run| run.trained),
        same(group, |run| run.trained_vision),
        over(group, |run| run.step_seconds).without(all(group, |run| run.times_not_finite)),
        over(group, |run| run.peak_memory.map(|bytes| bytes as f64)),
    ]
}

/// A number that the runs of a row share.
fn same(group: &Group, number: impl Fn(&RunNumbers) -> u64) -> Cell {
    group.runs.first().map_or(Cell::Missing, |run| Cell::number(number(run) as f64))
}

/// Tasks whose mean score lies above that of `freeze`.
fn wins(group: &Group, freeze: &Group, tasks: &[String]) -> String {
    let mean = |group: &Group, task: &str| {
        let scores: Vec<f64> = group.runs.iter().filter_map(|run| run.score(task)).collect();
        // A score that is not finite is neither won nor lost.
        Summary::of(scores).filter(|all| all.not_finite.total() == 0).map(|all| all.mean)
    };
    if group.name == freeze.name {
        return "-".to_owned();
    }
    let both: Vec<(f64, f64)> =
        tasks.iter().filter_map(|task| Some((mean(group, task)?, mean(freeze, task)?))).collect();
    format!("{} of {}", both.iter().filter(|(own, frozen)| own > frozen).count(), both.len())
}
