//! Which look classes (clusters, tasks, experts, stages, splits) have: the same in every view and in the figures.
//!
//! At most as many as are told apart have a look of their own, the largest; the others go together. Sizes are those of the
//! samples that components and clusters were found from (of experts: of all recorded rows), never of what is shown, so a look
//! stays with its class while one filters or replays steps.

use super::colors::cluster_name;
use super::embed::Embedding;
use crate::data::{NO_TASK, Routing, RunData};
use crate::tokens;
use covft_analyses::figures::looks::{self, LOOKS, Looks};
use std::collections::{BTreeMap, HashMap};

/// How something is told from other things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Number of a look of its own.
    Own(usize),
    /// Among the others.
    Others,
    /// What has no value, and a value that is not finite.
    NoValue,
    NotFinite,
}

impl Look {
    pub(crate) fn of(looks: &Looks, class: usize) -> Self {
        looks.of(class).map_or(Self::Others, Self::Own)
    }

    pub(crate) fn rgb(self, dark: bool) -> [u8; 3] {
        match self {
            Self::Own(look) => looks::color(Some(look), dark),
            Self::Others => looks::color(None, dark),
            Self::NoValue => tokens::parts(tokens::NO_VALUE),
            Self::NotFinite => tokens::parts(tokens::NOT_FINITE),
        }
    }

    pub(crate) fn color(self, ui: &egui::Ui) -> egui::Color32 {
        tokens::rgb(self.rgb(ui.visuals().dark_mode))
    }
}

/// Classes by number.
#[derive(Debug)]
pub(crate) struct Classes {
    names: Vec<String>,
    looks: Looks,
    /// After the classes: what belongs to none of them.
    apart: Vec<Look>,
    /// What they are, several of them.
    pub what: &'static str,
}

impl Classes {
    /// Classes with their sizes, and what belongs to none of them.
    pub(crate) fn new(what: &'static str, all: Vec<(String, usize)>, apart: &[(&str, Look)]) -> Self {
        let (mut names, sizes): (Vec<String>, Vec<usize>) = all.into_iter().unzip();
        names.extend(apart.iter().map(|a| a.0.to_owned()));
        Self { names, looks: Looks::assign(&sizes, None), apart: apart.iter().map(|a| a.1).collect(), what }
    }

    /// The clusters, with the names that were given.
    pub(crate) fn clusters(found: &Embedding, names: &BTreeMap<u16, String>) -> Self {
        let all = found.sizes().into_iter().enumerate();
        Self::new("clusters", all.map(|(c, size)| (cluster_name(names, c as u16), size)).collect(), &[])
    }

    /// The tasks, and the class of every sample. Those that no sample has from which clusters were found come last.
    pub(crate) fn tasks(data: &RunData, found: &Embedding) -> (Vec<u16>, Self) {
        let counts = &found.found.contingency.counts;
        let size = |t: usize| counts.column(t).sum() as usize;
        let mut all: Vec<(String, usize)> =
            found.found.tasks.iter().enumerate().map(|(t, name)| (name.clone(), size(t))).collect();
        let mut known: HashMap<String, u16> =
            all.iter().enumerate().map(|(number, (name, _))| (name.clone(), number as u16)).collect();
        let mut rest = data.samples.tasks.list();
        rest.push(NO_TASK.to_owned());
        rest.sort();
        for name in rest {
            known.entry(name.clone()).or_insert_with(|| {
                all.push((name, 0));
                (all.len() - 1) as u16
            });
        }
        // By number of the task, so that each name is looked for once.
        let numbers: Vec<u16> = data.samples.tasks.list().iter().map(|name| known[name]).collect();
        let of = |s: u32| numbers.get(data.samples.task_number(s) as usize).copied().unwrap_or(known[NO_TASK]);
        ((0..data.samples.len() as u32).map(of).collect(), Self::new("tasks", all, &[]))
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn name(&self, class: usize) -> &str {
        &self.names[class]
    }

    pub(crate) fn look(&self, class: usize) -> Look {
        let apart = class.checked_sub(self.names.len() - self.apart.len());
        apart.map_or_else(|| Look::of(&self.looks, class), |i| self.apart[i])
    }
}

/// Rows whose largest weight is the expert's, by expert. They need not be counted where all experts have a look of their own.
pub(crate) fn experts(routing: &Routing) -> Vec<usize> {
    let mut rows = vec![0; routing.experts];
    if routing.experts > LOOKS {
        for expert in (0..routing.rows.len()).filter_map(|i| routing.expert(i)) {
            rows[usize::from(expert)] += 1;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_looks_are_alike_on_light_and_on_dark() {
        let all: Vec<(String, usize)> = (0..200).map(|i| (format!("task {i}"), 200 - i)).collect();
        let apart = [("none", Look::NoValue), ("bad", Look::NotFinite)];
        for n in [1, 9, 10, 11, 200] {
            let classes = Classes::new("tasks", all[..n].to_vec(), &apart);
            for dark in [true, false] {
                let mut seen: HashMap<[u8; 3], Look> = HashMap::new();
                for look in (0..classes.len()).map(|c| classes.look(c)) {
                    let before = seen.insert(look.rgb(dark), look);
                    assert!(before.is_none_or(|b| b == look), "{n}: {before:?} and {look:?}");
                }
                assert_eq!(seen.len(), n.min(LOOKS) + 2);
            }
            let others = (0..n).filter(|c| classes.look(*c) == Look::Others).count();
            assert_eq!(others, if n > LOOKS { n - (LOOKS - 1) } else { 0 });
        }
    }
}
