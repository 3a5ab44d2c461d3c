//! Clusters by task: which cluster mixes which tasks; the names of clusters.

use super::figures::Request;
use super::filter::Filter;
use super::heat::{Heat, Scale};
use super::{Cx, thousands};
use crate::core::bits::Bits;
use crate::core::classes::Look;
use crate::core::colors::cluster_name;
use crate::core::embed::Embedding;
use crate::core::memo::Memo;
use crate::core::selection::Combine;
use crate::tokens;
use covft_analyses::analysis::several;
use covft_analyses::cluster::Contingency;
use egui::{Grid, ScrollArea, TextEdit, Ui};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many points of each task each cluster has.
#[derive(Debug)]
pub(crate) struct Mixture {
    /// Sorted.
    pub tasks: Vec<String>,
    pub counts: Contingency,
}

impl Mixture {
    /// Counts points by their cluster (below `clusters`) and task.
    pub(crate) fn new(labels: &[usize], tasks: &[&str], clusters: usize) -> Self {
        let names: BTreeSet<&str> = tasks.iter().copied().collect();
        let names: Vec<&str> = names.into_iter().collect();
        let of: Vec<usize> = tasks.iter().map(|t| names.binary_search(t).unwrap_or(0)).collect();
        let counts = Contingency::of(labels, &of, clusters, names.len());
        Self { tasks: names.into_iter().map(str::to_owned).collect(), counts }
    }

    fn row(&self, cluster: u16) -> Vec<u64> {
        self.counts.counts.row(usize::from(cluster)).to_vec()
    }

    pub(crate) fn points(&self, cluster: u16) -> usize {
        self.row(cluster).iter().sum::<u64>() as usize
    }

    /// The clusters that have points.
    fn clusters(&self) -> Vec<u16> {
        (0..self.counts.counts.nrows() as u16).filter(|c| self.points(*c) > 0).collect()
    }

    /// Share of the largest task.
    fn largest(&self, cluster: u16) -> f64 {
        self.row(cluster).into_iter().max().unwrap_or(0) as f64 / self.points(cluster).max(1) as f64
    }

    /// The largest tasks of a cluster, in words.
    pub(crate) fn words(&self, cluster: u16) -> String {
        let counts = self.row(cluster);
        let mut order: Vec<usize> = (0..self.tasks.len()).filter(|t| counts[*t] > 0).collect();
        order.sort_by_key(|t| std::cmp::Reverse(counts[*t]));
        let share = |t: usize| counts[t] as f64 * 100.0 / self.points(cluster) as f64;
        order.iter().take(3).map(|t| format!("{} {:.0} %", self.tasks[*t], share(*t))).collect::<Vec<_>>().join(", ")
    }
}

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    mixed_first: bool,
    filter: Filter,
    table: Memo<u64, Arc<Mixture>>,
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    let Some(found) = cx.state.embedding.clone() else {
        if cx.data.contexts.is_empty() {
            super::missing(ui, cx.data, "context vectors", "contexts");
        } else {
            ui.label(cx.state.embedding_error.clone().unwrap_or_else(|| "The clusters are being found.".to_owned()));
        }
        return;
    };
    let shown = Arc::clone(&cx.state.shown);
    let data = cx.data;
    let make = || {
        let labels: Vec<usize> = shown.rows.iter().map(|row| usize::from(found.labels[*row as usize])).collect();
        let tasks: Vec<&str> = shown.samples.iter().map(|s| data.samples.task(*s)).collect();
        Arc::new(Mixture::new(&labels, &tasks, found.asked.clusters))
    };
    let table = Arc::clone(cx.state.local.mixture.table.get(cx.state.shown_serial, make));
    let mut order = table.clusters();
    quality(ui, cx, &found, &table);
    if cx.state.local.mixture.mixed_first {
        order.sort_by(|a, b| table.largest(*a).total_cmp(&table.largest(*b)));
    }
    let mut chosen: Option<(u16, Option<usize>)> = None;
    ScrollArea::vertical().id_salt("mixture").auto_shrink(false).show(ui, |ui| {
        let rows: Vec<String> = order.iter().map(|c| cluster_name(&cx.state.notes.names, *c)).collect();
        let filter = &mut cx.state.local.mixture.filter;
        let tasks = filter.of(&table.tasks);
        filter.show(ui, "tasks", tasks.len(), table.tasks.len());
        let columns: Vec<String> = tasks.iter().map(|t| table.tasks[*t].clone()).collect();
        let share = |c: &u16| -> Vec<Option<f64>> {
            let (row, all) = (table.row(*c), table.points(*c).max(1) as f64);
            tasks.iter().map(|t| Some(row[*t] as f64 / all)).collect()
        };
        let values: Vec<Vec<Option<f64>>> = order.iter().map(share).collect();
        let map = Heat {
            label: "Share of each task in each cluster",
            rows: &rows,
            columns: &columns,
            values: &values,
            scale: Scale::From(0.0, 1.0),
            numbers: true,
            width: Heat::room(ui),
        };
        ui.label("Share of each task (columns) in each cluster (rows). Click a cell to select its samples.");
        if let Some((row, column, clicked)) = map.show(ui) {
            let column = tasks[column];
            let count = table.row(order[row])[column] as usize;
            ui.label(format!("{} of {}: {} points", table.tasks[column], rows[row], thousands(count)));
            if clicked {
                chosen = Some((order[row], Some(column)));
            }
        } else {
            ui.label("Point at a cell to read it.");
        }
        ui.separator();
        chosen = names(ui, cx, &found, &table, &order).or(chosen);
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

/// How good the clusters are, and in which order they are listed.
fn quality(ui: &mut Ui, cx: &mut Cx<'_>, found: &Embedding, table: &Mixture) {
    let points = thousands(cx.state.shown.rows.len());
    ui.horizontal_wrapped(|ui| {
        let or = |v: Option<f64>| v.map_or("\u{2013}".to_owned(), |v| format!("{v:.2}"));
        let counts = &table.counts;
        let agree = match several(cx.state.shown.rows.len(), table.clusters().len()) {
            Ok(()) => format!("purity {}, NMI {}, ARI {}", or(counts.purity()), or(counts.nmi()), or(counts.ari())),
            Err(why) => format!("no purity, NMI and ARI ({why})"),
        };
        let text = format!("{points} points of layer {}; clusters and tasks: {agree}", found.asked.layer.1);
        ui.label(text).on_hover_text(
            "Purity: share of the points that are of their cluster's largest task. NMI: normalised mutual information. ARI: \
             adjusted Rand index, 0 for chance.",
        );
        let inertia = found.found.clusters.inertia();
        let silhouette = match &found.found.silhouette {
            Ok(silhouette) => format!("{:.2}", silhouette.mean),
            Err(why) => format!("undefined ({why})"),
        };
        let (fitted, basis) = (thousands(found.fitted()), &found.basis);
        ui.weak(format!("found from {fitted} samples: inertia {inertia:.1}, silhouette {silhouette}")).on_hover_text(
            format!("Stage {}, steps {} to {}", basis.stage, basis.steps.0, basis.steps.1),
        );
        ui.checkbox(&mut cx.state.local.mixture.mixed_first, "Most mixed first");
    });
}

/// The nearest figure to what is shown.
pub(crate) fn paper(cx: &Cx<'_>) -> Option<Request> {
    let mut figure = super::clusters::paper(cx)?;
    figure.but("The view of clusters by task is a table; the figure is the scatter of the same clusters, a mark for each task.");
    Some(figure)
}

/// One line a cluster: its name, its size, what it is made of, what its questions say.
fn names(
    ui: &mut Ui,
    cx: &mut Cx<'_>,
    found: &Embedding,
    table: &Mixture,
    order: &[u16],
) -> Option<(u16, Option<usize>)> {
    let mut chosen = None;
    let looks = found.looks();
    ui.label("Names of the clusters, kept with the run. Words: what their questions have more often than the others'.");
    Grid::new("names of clusters").num_columns(6).striped(true).show(ui, |ui| {
        for cluster in order {
            let (at, _) = ui.allocate_exact_size(egui::Vec2::splat(12.0), egui::Sense::hover());
            ui.painter().rect_filled(at, 2.0, Look::of(&looks, usize::from(*cluster)).color(ui));
            let label = ui.label(format!("Cluster {cluster}"));
            let mut name = cx.state.notes.names.get(cluster).cloned().unwrap_or_default();
            let field = TextEdit::singleline(&mut name).hint_text("name");
            if ui.add_sized([120.0, tokens::ROW_HEIGHT], field).labelled_by(label.id).changed() {
                if name.is_empty() {
                    cx.state.notes.names.remove(cluster);
                } else {
                    cx.state.notes.names.insert(*cluster, name);
                }
            }
            if ui.button(format!("Select {}", thousands(table.points(*cluster)))).clicked() {
                chosen = Some((*cluster, None));
            }
            ui.label(table.words(*cluster));
            ui.weak(found.words(*cluster));
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
        let tasks = ["ocr", "ocr", "vqa", "vqa", "ocr", "vqa", "vqa"];
        let table = Mixture::new(&[0, 0, 0, 2, 2, 2, 2], &tasks, 4);
        assert_eq!(table.tasks, ["ocr", "vqa"]);
        assert_eq!((table.clusters(), table.row(2)), (vec![0, 2], vec![1, 3]));
        assert!((table.counts.purity().unwrap() - 5.0 / 7.0).abs() < 1e-12 && table.largest(2) == 0.75);
        assert_eq!(table.words(0), "ocr 67 %, vqa 33 %");
        assert!(Mixture::new(&[], &[], 3).clusters().is_empty());
    }
}
