//! What the colours of marks mean besides clusters: a name or a number of each sample.

use super::axes::{Entry, Mark, others};
use super::color::{GREY, Scale};
use super::looks::{Looks, paper};
use super::page::Page;
use super::scene::{Canvas, Rgb, Shape};
use super::source::Source;
use super::{ColorBy, FigureId, Result, cell};
use crate::analysis::ContextData;
use crate::stats::NotFinite;
use crate::store::{
    BySample, DatasetRow, Name, OfSample, PredictionRow, SampleKey, SampleRow, option_that_logs, visit_dataset,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// Names or numbers by mark.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Paint {
    /// What they are.
    pub by: String,
    of: Values,
}

#[derive(Debug, Serialize, Deserialize)]
enum Values {
    /// The names, and which one each mark has.
    Names(Vec<String>, Vec<Option<usize>>),
    /// The number of each mark, and how many are not finite.
    Numbers(Vec<Option<f64>>, NotFinite),
}

/// Names in order of the alphabet.
fn names(all: &[Option<String>]) -> Values {
    among(Vec::new(), all)
}

/// Names of which some are known beforehand: these have their looks whether a mark has them or not.
fn among(mut known: Vec<String>, all: &[Option<String>]) -> Values {
    let others: BTreeSet<&String> = all.iter().flatten().filter(|name| !known.contains(name)).collect();
    let others: Vec<String> = others.into_iter().cloned().collect();
    known.extend(others);
    let numbers: HashMap<&String, usize> = known.iter().enumerate().map(|(i, name)| (name, i)).collect();
    let of = all.iter().map(|name| name.as_ref().and_then(|n| numbers.get(n).copied())).collect();
    Values::Names(known, of)
}

fn numbers(all: impl Iterator<Item = Option<f64>>) -> Values {
    let mut left = NotFinite::default();
    let of = all.map(|v| v.and_then(|v| left.take(v))).collect();
    Values::Numbers(of, left)
}

/// The loss of each sample at the step of its vector, or else its last one of the stage.
fn losses(source: &Source, data: &ContextData) -> Result<HashMap<SampleKey, f64>> {
    let mut at: BySample<u64> = BySample::default();
    data.samples.iter().for_each(|s| at.insert(s.place, &s.sample, s.step));
    let mut found: HashMap<SampleKey, (bool, f64)> = HashMap::new();
    source.visit(|row: SampleRow| {
        let (Some(loss), Some(step)) = (row.loss, at.of(&row)) else { return };
        let exact = row.step == *step;
        if row.stage == data.stage && (exact || found.get(&row.key()).is_none_or(|known| !known.0)) {
            found.insert(row.key(), (exact, loss));
        }
    })?;
    Ok(found.into_iter().map(|(sample, (_, loss))| (sample, loss)).collect())
}

/// How often each sample was trained on, and the labelled tokens of its answer as of the last time.
fn trained(source: &Source) -> Result<HashMap<SampleKey, (u64, u64)>> {
    let mut found: HashMap<SampleKey, (u64, u64)> = HashMap::new();
    source.visit(|row: SampleRow| {
        let (seen, tokens) = found.entry(row.key()).or_default();
        (*seen, *tokens) = (*seen + 1, row.tokens);
    })?;
    Ok(found)
}

/// How far the last generated answer of each sample is right.
fn corrects(source: &Source) -> Result<HashMap<SampleKey, Option<f64>>> {
    let mut found = HashMap::new();
    source.visit(|row: PredictionRow| {
        found.insert(row.key(), row.correct);
    })?;
    Ok(found)
}

fn splits(source: &Source) -> BySample<Name> {
    let mut found = BySample::default();
    let read = visit_dataset(&source.run, |row: DatasetRow| found.insert(row.place(), row.id(), row.split.clone()));
    source.note(read.err().map(|e| e.to_string()));
    found
}

impl Paint {
    /// What the samples `rows` of `data` have; `None` where colours are those of clusters.
    pub(super) fn load(source: &Source, by: ColorBy, data: &ContextData, rows: &[usize]) -> Result<Option<Self>> {
        let id = FigureId::ContextClusters;
        let weights = || {
            let lacks = || source.lacks(id, "`routing` at the steps of `contexts`", option_that_logs("routing"));
            let all = data.weights.as_ref().ok_or_else(lacks)?;
            let row = |i: &usize| Some(all.row(*i).to_vec()).filter(|w| NotFinite::default().take_row(w));
            Ok::<_, super::FigureError>(rows.iter().map(row).collect::<Vec<Option<Vec<f32>>>>())
        };
        let key = |i: &usize| SampleKey::new(data.samples[*i].place, data.samples[*i].sample.as_str());
        let of = match by {
            ColorBy::Cluster => return Ok(None),
            ColorBy::Task => names(&rows.iter().map(|i| Some(data.samples[*i].task.clone())).collect::<Vec<_>>()),
            ColorBy::Expert => {
                let largest = |w: &Vec<f32>| (1..w.len()).fold(0, |best, e| if w[e] > w[best] { e } else { best });
                let of = |w: Option<Vec<f32>>| w.map(|w| format!("expert {}", largest(&w)));
                let weights = weights()?;
                let experts = weights.iter().flatten().map(Vec::len).max().unwrap_or(0);
                let known = (0..experts).map(|e| format!("expert {e}")).collect();
                among(known, &weights.into_iter().map(of).collect::<Vec<_>>())
            }
            ColorBy::Entropy => {
                let term = |w: &f32| if *w > 0.0 { f64::from(*w) * f64::from(*w).ln() } else { 0.0 };
                numbers(weights()?.into_iter().map(|w| w.map(|w| -w.iter().map(term).sum::<f64>())))
            }
            ColorBy::Step => numbers(rows.iter().map(|i| Some(data.samples[*i].step as f64))),
            ColorBy::Split => {
                let all = splits(source);
                let of = |i: &usize| all.get(data.samples[*i].place, &data.samples[*i].sample);
                let all: Vec<_> = rows.iter().map(|i| of(i).map(|split| split.as_str().to_owned())).collect();
                among(["train", "val"].map(str::to_owned).to_vec(), &all)
            }
            ColorBy::Stage => {
                let stages = source.manifest.stages.iter().map(|s| s.name.clone()).collect();
                among(stages, &vec![Some(data.stage.clone()); rows.len()])
            }
            ColorBy::Seen | ColorBy::Tokens => {
                let all = trained(source)?;
                let of = |known: (u64, u64)| if by == ColorBy::Seen { known.0 } else { known.1 };
                // The records name every sample that was trained on: another one never was.
                let none = (by == ColorBy::Seen).then_some(0.0);
                numbers(rows.iter().map(|i| all.get(&key(i)).map(|known| of(*known) as f64).or(none)))
            }
            ColorBy::Correct => {
                let all = corrects(source)?;
                numbers(rows.iter().map(|i| all.get(&key(i)).copied().flatten()))
            }
            ColorBy::Loss => {
                let all = losses(source, data)?;
                numbers(rows.iter().map(|i| all.get(&key(i)).copied()))
            }
        };
        Ok(Some(Self { by: by.to_string(), of }))
    }

    /// The scale of numbers.
    pub(super) fn scale(&self) -> Option<Scale> {
        let Values::Numbers(all, _) = &self.of else { return None };
        let (low, high) = super::axes::range(all.iter().flatten().copied(), 0.0)?;
        Some(Scale::sequential(low, high))
    }

    /// Looks of names, the largest first.
    fn looks(known: &[String], of: &[Option<usize>], page: &Page) -> Looks {
        let mut counts = vec![0; known.len()];
        of.iter().flatten().for_each(|name| counts[*name] += 1);
        Looks::assign(&counts, page.most)
    }

    /// The colour of each mark; grey where nothing is known.
    pub(super) fn colors(&self, page: &Page) -> Vec<Rgb> {
        match &self.of {
            Values::Names(known, of) => {
                let looks = Self::looks(known, of, page);
                of.iter().map(|name| name.map_or(GREY, |name| paper(looks.of(name)))).collect()
            }
            Values::Numbers(all, _) => {
                let scale = self.scale();
                all.iter().map(|value| scale.map_or(GREY, |scale| scale.color(*value))).collect()
            }
        }
    }

    /// The legend of names.
    pub(super) fn entries(&self, canvas: &Canvas) -> Vec<Entry> {
        let Values::Names(known, of) = &self.of else { return Vec::new() };
        let looks = Self::looks(known, of, &canvas.page);
        let names = canvas.readable(known);
        let disc = Mark::Alone(Shape::Disc);
        let entry = |i: &usize| (names[*i].clone(), paper(looks.of(*i)), disc);
        let shown: BTreeSet<usize> = of.iter().flatten().copied().collect();
        let members = of.iter().flatten().filter(|name| looks.of(**name).is_none()).count();
        let classes = looks.others().iter().filter(|name| shown.contains(name)).count();
        let rest = others(&format!("{}s", self.by), classes, Some((members, "samples")), paper(None), disc);
        let unknown = || ("unknown".to_owned(), GREY, disc);
        let own = looks.own().iter().filter(|name| shown.contains(name)).map(entry);
        own.chain(rest).chain(of.iter().any(Option::is_none).then(unknown)).collect()
    }

    /// What stands in the table.
    pub(super) fn cell(&self, i: usize) -> String {
        match &self.of {
            Values::Names(known, of) => of[i].map(|n| known[n].clone()).unwrap_or_default(),
            Values::Numbers(all, _) => cell(all[i]),
        }
    }

    /// Marks that are grey, in words.
    pub(super) fn left_out(&self) -> Option<String> {
        let (unknown, bad) = match &self.of {
            Values::Names(_, of) => (of.iter().filter(|n| n.is_none()).count(), None),
            Values::Numbers(all, left) => (all.iter().filter(|v| v.is_none()).count(), Some(*left)),
        };
        let bad = bad
            .filter(|b| b.total() > 0)
            .map_or_else(String::new, |b| format!(" ({} not finite: {})", b.total(), b.kinds()));
        (unknown > 0).then(|| format!("{unknown} samples without {}{bad}: grey", self.by))
    }
}
