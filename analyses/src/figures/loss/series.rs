//! Losses of runs by stage, and where they are not finite.

use super::super::points::{Points, grouped, thin};
use super::super::scene::Shape;
use super::super::source::Source;
use super::super::{Options, Result};
use crate::stats::{NotFinite, finite};
use crate::store::{ALL, EvalRow, StepRow};
use serde::{Deserialize, Serialize};

/// One stage's curves.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stage {
    pub(super) name: String,
    /// Step of the run at which it began.
    pub(super) from: f64,
    pub(super) train: Points,
    /// Over a fixed subset while training.
    pub(super) subset: Points,
    /// Over everything that is held out.
    pub(super) whole: Points,
    /// Stretches of steps whose training loss is not finite.
    #[serde(default)]
    pub(super) broken: Vec<Stretch>,
    /// Held-out losses that are not finite.
    #[serde(default)]
    pub(super) held_broken: NotFinite,
}

/// Steps in a row whose loss is not finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stretch {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) losses: NotFinite,
}

/// In which way losses are not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Nan,
    Infinite,
    /// Both in turn; in older sidecars alone.
    Both,
}

impl Broken {
    pub(super) const ALL: [Self; 3] = [Self::Nan, Self::Infinite, Self::Both];

    pub(super) fn shape(self) -> Shape {
        if self == Self::Infinite { Shape::Triangle } else { Shape::Cross }
    }
}

impl Stretch {
    pub(super) fn kind(&self) -> Broken {
        match (self.losses.nan, self.losses.infinite) {
            (_, 0) => Broken::Nan,
            (0, _) => Broken::Infinite,
            _ => Broken::Both,
        }
    }

    /// `NaN at step 3`, `infinite from step 5 on`, with the last step of the stage.
    pub(super) fn words(&self, last: f64) -> String {
        let kind = match self.kind() {
            Broken::Nan => "NaN",
            Broken::Infinite => "infinite",
            Broken::Both => "NaN or infinite",
        };
        match (self.from, self.to) {
            (from, to) if from == to => format!("{kind} at step {from}"),
            (from, to) if to == last => format!("{kind} from step {from} on"),
            (from, to) => format!("{kind} at steps {from} to {to}"),
        }
    }
}

/// The stretches of `losses` by step, each of one kind.
fn stretches(losses: &[(f64, f64)]) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    let mut open = false;
    for (step, loss) in losses {
        let mut one = NotFinite::default();
        if one.take(*loss).is_some() {
            open = false;
            continue;
        }
        match found.last_mut().filter(|last| open && (last.losses.nan > 0) == (one.nan > 0)) {
            Some(last) => {
                last.to = *step;
                last.losses.add(one);
            }
            None => found.push(Stretch { from: *step, to: *step, losses: one }),
        }
        open = true;
    }
    found
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) label: String,
    /// Runs that it is the mean of.
    #[serde(default = "one")]
    pub(super) runs: usize,
    pub(super) stages: Vec<Stage>,
}

fn one() -> usize {
    1
}

/// Means of points at the same steps; `None` where the steps differ.
fn mean(of: &[&Points]) -> Option<Points> {
    let steps = |points: &Points| points.iter().map(|p| p.0).collect::<Vec<_>>();
    let first = steps(of.first()?);
    let at = |i: usize| {
        let known: Vec<f64> = of.iter().filter_map(|points| points[i].1).collect();
        (first[i], (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64))
    };
    of.iter().all(|points| steps(points) == first).then(|| (0..first.len()).map(at).collect())
}

/// The mean of runs of one stage each, called `label`; `None` where they were not measured in the same stage at the same
/// steps.
fn mean_run(label: &str, of: &[&Run]) -> Option<Run> {
    let stages: Vec<&Stage> = of.iter().map(|run| run.stages.first()).collect::<Option<_>>()?;
    if stages.iter().any(|stage| stage.name != stages[0].name) {
        return None;
    }
    let all = |points: fn(&Stage) -> &Points| mean(&stages.iter().map(|s| points(s)).collect::<Vec<_>>());
    let mut held_broken = NotFinite::default();
    stages.iter().for_each(|s| held_broken.add(s.held_broken));
    let stage = Stage {
        broken: stages.iter().flat_map(|s| s.broken.iter().cloned()).collect(),
        held_broken,
        train: all(|s| &s.train)?,
        subset: all(|s| &s.subset)?,
        whole: all(|s| &s.whole)?,
        name: stages[0].name.clone(),
        from: stages[0].from,
    };
    Some(Run { label: format!("{label}, {} runs", of.len()), runs: of.len(), stages: vec![stage] })
}

/// One run a group, where there are several in it.
pub(super) fn by_group(runs: Vec<(String, Run)>) -> Vec<Run> {
    let merged = |of: Vec<(String, Run)>| {
        let runs = || of.iter().map(|(_, run)| run).collect::<Vec<_>>();
        match mean_run(&of[0].0, &runs()) {
            Some(mean) if of.len() > 1 => vec![mean],
            _ => of.into_iter().map(|(_, run)| run).collect(),
        }
    };
    grouped(runs, |(group, _)| group).into_iter().flat_map(merged).collect()
}

impl Stage {
    fn new(name: String, from: f64) -> Self {
        let (train, subset, whole) = (Points::new(), Points::new(), Points::new());
        Self { name, from, train, subset, whole, broken: Vec::new(), held_broken: NotFinite::default() }
    }

    /// Counts its steps from its own beginning, not the run's.
    pub(super) fn count_from_its_beginning(&mut self) {
        let from = self.from;
        for points in [&mut self.train, &mut self.subset, &mut self.whole] {
            points.iter_mut().for_each(|p| p.0 -= from);
        }
        self.broken.iter_mut().for_each(|s| (s.from, s.to) = (s.from - from, s.to - from));
    }

    /// Its last step.
    pub(super) fn last(&self) -> f64 {
        self.train.last().map_or(self.from, |p| p.0)
    }
}

pub(super) fn stages(source: &Source, only: Option<&str>, options: &Options) -> Result<Vec<Stage>> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut losses: Vec<Vec<(f64, f64)>> = Vec::new();
    source.visit(|row: StepRow| {
        if only.is_some_and(|s| s != row.stage) || !options.has_step(row.step) {
            return;
        }
        if stages.last().is_none_or(|s| s.name != row.stage) {
            stages.push(Stage::new(row.stage.clone(), row.global_step as f64 - row.step as f64));
            losses.push(Vec::new());
        }
        if let Some(losses) = losses.last_mut() {
            losses.push((row.global_step as f64, row.loss));
        }
    })?;
    for (stage, losses) in stages.iter_mut().zip(losses) {
        stage.broken = stretches(&losses);
        stage.train = losses.into_iter().map(|(step, loss)| (step, finite(loss))).collect();
    }
    for row in
        source.rows(|e: &EvalRow| e.task == ALL && e.loss.is_some() && options.has_step(e.step.saturating_sub(1)))?
    {
        let Some(stage) = stages.iter_mut().find(|s| s.name == row.stage) else { continue };
        let point = (row.global_step as f64, row.loss.and_then(|loss| stage.held_broken.take(loss)));
        if row.split == "val" { &mut stage.whole } else { &mut stage.subset }.push(point);
    }
    for stage in &mut stages {
        stage.train = thin(std::mem::take(&mut stage.train));
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(label: &str, losses: &[f64]) -> (String, Run) {
        let train = losses.iter().enumerate().map(|(i, loss)| (i as f64, finite(*loss))).collect();
        let stage = Stage { train, whole: vec![(2.0, Some(losses[0]))], ..Stage::new("s".into(), 0.0) };
        let group = label.split('-').next().unwrap().to_owned();
        (group, Run { label: label.to_owned(), runs: 1, stages: vec![stage] })
    }

    #[test]
    fn runs_of_a_method_become_their_mean_where_their_steps_are_the_same() {
        let runs = vec![
            run("full-0", &[1.0, f64::NAN]),
            run("lora-0", &[1.0]),
            run("full-1", &[3.0, 4.0]),
            run("vpt-0", &[1.0]),
            run("vpt-1", &[1.0, 2.0]),
        ];
        let runs = by_group(runs);
        let labels: Vec<_> = runs.iter().map(|r| (r.label.as_str(), r.runs)).collect();
        assert_eq!(labels, [("full, 2 runs", 2), ("lora-0", 1), ("vpt-0", 1), ("vpt-1", 1)]);
        let mean = &runs[0].stages[0];
        assert_eq!(mean.train, [(0.0, Some(2.0)), (1.0, Some(4.0))]);
        assert_eq!(mean.whole, [(2.0, Some(2.0))]);
    }
    #[test]
    fn where_losses_are_not_finite_is_said_step_by_step() {
        let losses: Vec<(f64, f64)> = [1.0, f64::NAN, f64::NAN, 2.0, f64::INFINITY, 3.0, f64::NAN, f64::INFINITY]
            .into_iter()
            .enumerate()
            .map(|(i, loss)| (i as f64, loss))
            .collect();
        let found = stretches(&losses);
        let words: Vec<String> = found.iter().map(|s| s.words(7.0)).collect();
        let three = ["NaN at steps 1 to 2", "infinite at step 4", "NaN at step 6", "infinite at step 7"];
        assert_eq!(words, three);
        assert_eq!(found[0].losses, NotFinite { nan: 2, infinite: 0 });
    }
}
