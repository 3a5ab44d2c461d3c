//! Clusters by task: which cluster mixes which tasks; the names of clusters.

use super::heat::{Heat, Scale};
use super::{Cx, thousands};
use crate::core::bits::Bits;
use crate::core::memo::Memo;
use crate::core::scatter::{category, cluster_name};
use crate::core::selection::Combine;
use crate::tokens;
use egui::{Grid, ScrollArea, TextEdit, Ui};
use std::sync::Arc;

/// Samples of a cluster by task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cluster {
    pub number: u16,
    /// Points by task, in the order of [`Mixture::tasks`].
    pub counts: Vec<usize>,
}

impl Cluster {
    pub(crate) fn points(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Share of the largest task.
    pub(crate) fn purity(&self) -> f64 {
        self.counts.iter().copied().max().unwrap_or(0) as f64 / self.points().max(1) as f64
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Mixture {
    pub tasks: Vec<String>,
    pub clusters: Vec<Cluster>,
}

impl Mixture {
    /// Counts points by their cluster and task.
    pub(crate) fn new(points: impl Iterator<Item = (u16, String)>) -> Self {
        let mut counts: std::collections::BTreeMap<(u16, String), usize> = Default::default();
        points.for_each(|key| *counts.entry(key).or_default() += 1);
        let mut tasks: Vec<String> = counts.keys().map(|(_, t)| t.clone()).collect();
        tasks.sort();
        tasks.dedup();
        let mut numbers: Vec<u16> = counts.keys().map(|(c, _)| *c).collect();
        numbers.dedup();
        let count = |c: u16, t: &String| counts.get(&(c, t.clone())).copied().unwrap_or(0);
        let of = |number: u16| Cluster { number, counts: tasks.iter().map(|t| count(number, t)).collect() };
        Self { clusters: numbers.into_iter().map(of).collect(), tasks }
    }

    /// Share of all points that are of their cluster's largest task.
    pub(crate) fn purity(&self) -> f64 {
        let (hit, all) = self
            .clusters
            .iter()
            .fold((0, 0), |(hit, all), c| (hit + c.counts.iter().copied().max().unwrap_or(0), all + c.points()));
        f64::from(u32::try_from(hit).unwrap_or(u32::MAX)) / all.max(1) as f64
    }

    /// The largest tasks of a cluster, in words.
    pub(crate) fn words(&self, cluster: &Cluster) -> String {
        let mut order: Vec<usize> = (0..self.tasks.len()).filter(|t| cluster.counts[*t] > 0).collect();
        order.sort_by_key(|t| std::cmp::Reverse(cluster.counts[*t]));
        let share = |t: usize| cluster.counts[t] as f64 * 100.0 / cluster.points() as f64;
        order.iter().take(3).map(|t| format!("{} {:.0} %", self.tasks[*t], share(*t))).collect::<Vec<_>>().join(", ")
    }
}

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    mixed_first: bool,
    table: Memo<u64, Arc<Mixture>>,
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    let Some(found) = cx.state.embedding.clone() else {
        if cx.data.contexts.is_empty() {
            super::missing(ui, "context vectors", "contexts");
        } else {
            ui.label("The clusters are being found.");
        }
        return;
    };
    let shown = Arc::clone(&cx.state.shown);
    let data = cx.data;
    let points = shown.rows.iter().zip(&shown.samples);
    let points = points.map(|(row, s)| (found.labels[*row as usize], data.samples.task(*s).to_owned()));
    let table = Arc::clone(cx.state.local.mixture.table.get(cx.state.shown_serial, || Arc::new(Mixture::new(points))));
    let mut order: Vec<&Cluster> = table.clusters.iter().collect();
    ui.horizontal_wrapped(|ui| {
        ui.label(format!(
            "{} points of layer {}; purity {:.2}; inertia {:.1} over {} rows",
            thousands(shown.rows.len()),
            found.asked.layer.1,
            table.purity(),
            found.inertia,
            thousands(found.fitted)
        ));
        ui.checkbox(&mut cx.state.local.mixture.mixed_first, "Most mixed first");
    });
    if cx.state.local.mixture.mixed_first {
        order.sort_by(|a, b| a.purity().total_cmp(&b.purity()));
    }
    let mut chosen: Option<(u16, Option<usize>)> = None;
    ScrollArea::vertical().id_salt("mixture").auto_shrink(false).show(ui, |ui| {
        let rows: Vec<String> = order.iter().map(|c| cluster_name(&cx.state.notes.names, c.number)).collect();
        let share = |c: &&Cluster| -> Vec<Option<f64>> {
            c.counts.iter().map(|n| Some(*n as f64 / c.points().max(1) as f64)).collect()
        };
        let values: Vec<Vec<Option<f64>>> = order.iter().map(share).collect();
        let map = Heat {
            label: "Share of each task in each cluster",
            rows: &rows,
            columns: &table.tasks,
            values: &values,
            scale: Scale::From(0.0, 1.0),
            numbers: true,
            width: Heat::room(ui),
        };
        ui.label("Share of each task (columns) in each cluster (rows). Click a cell to select its samples.");
        if let Some((row, column, clicked)) = map.show(ui) {
            let count = order[row].counts[column];
            ui.label(format!("{} of {}: {} points", table.tasks[column], rows[row], thousands(count)));
            if clicked {
                chosen = Some((order[row].number, Some(column)));
            }
        } else {
            ui.label("Point at a cell to read it.");
        }
        ui.separator();
        chosen = names(ui, cx, &table, &order).or(chosen);
    });
    if let Some((cluster, task)) = chosen {
        let task = task.map(|t| table.tasks[t].as_str());
        let wanted = |(row, s): &(&u32, &u32)| {
            found.labels[**row as usize] == cluster && task.is_none_or(|t| data.samples.task(**s) == t)
        };
        let samples = Bits::of(shown.rows.iter().zip(&shown.samples).filter(wanted).map(|(_, s)| *s));
        cx.state.selection.apply(&samples, Combine::of(ui.input(|i| i.modifiers)));
    }
}

/// One line a cluster: its name, its size, what it is made of.
fn names(ui: &mut Ui, cx: &mut Cx<'_>, table: &Mixture, order: &[&Cluster]) -> Option<(u16, Option<usize>)> {
    let mut chosen = None;
    ui.label("Names of the clusters, kept with the run:");
    Grid::new("names of clusters").num_columns(5).striped(true).show(ui, |ui| {
        for cluster in order {
            let (at, _) = ui.allocate_exact_size(egui::Vec2::splat(12.0), egui::Sense::hover());
            ui.painter().rect_filled(at, 2.0, tokens::rgb(category(cluster.number as usize)));
            let label = ui.label(format!("Cluster {}", cluster.number));
            let mut name = cx.state.notes.names.get(&cluster.number).cloned().unwrap_or_default();
            let field = TextEdit::singleline(&mut name).hint_text("name");
            if ui.add_sized([120.0, tokens::ROW_HEIGHT], field).labelled_by(label.id).changed() {
                if name.is_empty() {
                    cx.state.notes.names.remove(&cluster.number);
                } else {
                    cx.state.notes.names.insert(cluster.number, name);
                }
            }
            if ui.button(format!("Select {}", thousands(cluster.points()))).clicked() {
                chosen = Some((cluster.number, None));
            }
            ui.label(table.words(cluster));
            ui.end_row();
        }
    });
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purity_and_words() {
        let points = [(0, "ocr"), (0, "ocr"), (0, "vqa"), (2, "vqa"), (2, "ocr"), (2, "vqa"), (2, "vqa")];
        let table = Mixture::new(points.into_iter().map(|(c, t)| (c, t.to_owned())));
        assert_eq!(table.tasks, ["ocr", "vqa"]);
        assert_eq!(table.clusters[1], Cluster { number: 2, counts: vec![1, 3] });
        assert!((table.purity() - 5.0 / 7.0).abs() < 1e-12 && table.clusters[1].purity() == 0.75);
        assert_eq!(table.words(&table.clusters[0]), "ocr 67 %, vqa 33 %");
        assert_eq!(Mixture::new(std::iter::empty()).purity(), 0.0);
    }
}
