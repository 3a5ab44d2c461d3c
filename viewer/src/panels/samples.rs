//! The table of samples: it mirrors the selection, is searched, sorted and filtered.

use super::{Cx, thousands};
use crate::actions::Action;
use crate::core::bits::Bits;
use crate::core::by_sample::BySample;
use crate::core::colors::number;
use crate::core::memo::Memo;
use crate::core::names::short_names;
use crate::core::selection::Combine;
use crate::data::RunData;
use crate::panels::runs::button;
use crate::tokens;
use egui::{Id, ScrollArea, Sense, TextEdit, Ui};

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Column {
    #[default]
    Loss,
    Sample,
    Entry,
    Task,
    Cluster,
    Seen,
    Correct,
    Conflict,
    Alignment,
    Question,
    Answer,
}

/// Letters of a task's name.
const TASK: usize = 15;

const COLUMNS: [(Column, &str, f32); 11] = [
    (Column::Sample, "sample", 190.0),
    (Column::Entry, "entry", 85.0),
    (Column::Task, "task", 110.0),
    (Column::Cluster, "cluster", 100.0),
    (Column::Loss, "loss", 85.0),
    (Column::Seen, "seen", 85.0),
    (Column::Correct, "correct", 100.0),
    (Column::Conflict, "in conflict", 100.0),
    (Column::Alignment, "alignment", 100.0),
    (Column::Question, "question", 260.0),
    (Column::Answer, "answer", 200.0),
];

/// The columns that the run has something for.
fn columns(data: &RunData) -> impl Iterator<Item = (Column, &'static str, f32)> {
    let (pairs, alignments) = (data.pairs.usual().is_some(), data.gradients.has_alignments());
    COLUMNS.into_iter().filter(move |(column, ..)| match column {
        Column::Entry => data.samples.roll.has_places(),
        Column::Conflict => pairs,
        Column::Alignment => alignments,
        _ => true,
    })
}

/// What rows depend on: records, search, selection (where only it is shown), order, clusters, step.
type Key = (u64, String, Option<u64>, Column, bool, u64, u32);

/// What the table keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    pub column: Column,
    pub backwards: bool,
    pub only_selected: bool,
    rows: Memo<Key, Vec<u32>>,
    /// The row that a shift-click goes from.
    anchor: Option<u32>,
}

/// The place of the search field.
pub(crate) fn search_field() -> Id {
    Id::unique("search samples")
}

/// The samples in order. Samples without the number come last, equals in the order of their first record.
fn sorted(
    data: &RunData,
    mut rows: Vec<u32>,
    (column, backwards): (Column, bool),
    clusters: &[Option<u16>],
    gradients: &BySample,
) -> Vec<u32> {
    let samples = &data.samples;
    let value = |s: u32| -> Option<f64> {
        if column == Column::Entry {
            return samples.place(s).map(|place| place.index() as f64);
        }
        let one = samples.look(s)?;
        match column {
            // Highest first.
            Column::Loss => one.loss.map(|l| -l),
            Column::Seen => Some(-f64::from(one.seen)),
            Column::Correct => one.prediction.as_ref()?.1,
            Column::Conflict => gradients.conflict(s).map(|c| -c),
            // Lowest first: what pulls against its step.
            Column::Alignment => gradients.alignment(s),
            Column::Cluster => clusters.get(s as usize).copied().flatten().map(f64::from),
            _ => None,
        }
    };
    let words = |s: u32| match column {
        Column::Sample => samples.id(s),
        Column::Task => samples.task(s),
        Column::Question => samples.row(s).map_or("", |r| r.question.as_str()),
        Column::Answer => samples.row(s).map_or("", |r| r.answer.as_str()),
        _ => "",
    };
    if !matches!(column, Column::Sample | Column::Task | Column::Question | Column::Answer) {
        let mut keyed: Vec<(Option<f64>, u32)> = rows.iter().map(|s| (value(*s).filter(|v| !v.is_nan()), *s)).collect();
        keyed.sort_by(|(a, _), (b, _)| match (a, b) {
            (Some(a), Some(b)) if backwards => b.total_cmp(a),
            (Some(a), Some(b)) => a.total_cmp(b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        return keyed.into_iter().map(|(_, s)| s).collect();
    }
    rows.sort_by(|a, b| if backwards { words(*b).cmp(words(*a)) } else { words(*a).cmp(words(*b)) });
    rows
}

fn rows(cx: &mut Cx<'_>) -> Vec<u32> {
    let found = cx.state.found(cx.data);
    let clusters = cx.state.clusters(cx.data);
    let gradients = cx.state.gradients(cx.data);
    let until = cx.state.until();
    let (data, keep) = (cx.data, &mut cx.state.local.samples);
    let only = keep.only_selected.then(|| cx.state.selection.changes());
    let (column, backwards) = (keep.column, keep.backwards);
    let key = (data.version, cx.state.search.clone(), only, column, backwards, cx.state.serial, until);
    let selection = cx.state.selection.now();
    let make = || {
        let wanted = |s: &u32| found.as_ref().is_none_or(|f| f.has(*s)) && (only.is_none() || selection.has(*s));
        let all = (0..data.samples.len() as u32).filter(wanted).collect();
        sorted(data, all, (column, backwards), &clusters, &gradients)
    };
    keep.rows.get(key, make).clone()
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    if cx.data.samples.len() == 0 {
        ui.label("No sample was recorded yet.");
        return;
    }
    let rows = rows(cx);
    ui.horizontal_wrapped(|ui| {
        let label = ui.label("Search");
        let field = TextEdit::singleline(&mut cx.state.search).id(search_field()).desired_width(230.0);
        let hint = "Words; \"several words\"; /regular expression/; column:value; loss:>2; -not\n\
            Columns: id, index (the entry), task, split, question, answer, prediction, image, loss, tokens, seen, correct, cluster, expert, conflict, alignment";
        ui.add(field.hint_text("words, /regex/, task:ocr, loss:>2")).labelled_by(label.id).on_hover_text(hint);
        button(ui, cx.tools, Action::SelectFound, "Select found");
        ui.checkbox(&mut cx.state.local.samples.only_selected, "Only the selection");
        ui.label(format!("Showing {} of {} samples", thousands(rows.len()), thousands(cx.data.samples.len())));
        if cx.data.samples.in_dataset() > 0 {
            ui.weak(format!("({} in the data set)", thousands(cx.data.samples.in_dataset())));
        }
    });
    if let Some(error) = &cx.state.search_error {
        ui.colored_label(ui.visuals().error_fg_color, error);
    }
    ScrollArea::horizontal().id_salt("table").auto_shrink(false).show(ui, |ui| {
        ui.vertical(|ui| {
            titles(ui, cx);
            let area = ScrollArea::vertical().id_salt("rows").auto_shrink(false);
            area.show_rows(ui, tokens::ROW_HEIGHT, rows.len(), |ui, range| {
                let tasks: Vec<String> =
                    rows[range.clone()].iter().map(|s| cx.data.samples.task(*s).to_owned()).collect();
                let mut each = tasks.clone();
                each.sort();
                each.dedup();
                let short = short_names(ui.ctx(), &each, TASK);
                for (at, task) in range.zip(tasks) {
                    let task = each.binary_search(&task).map_or(&task, |i| &short[i]);
                    row(ui, cx, &rows, at, task);
                }
            });
        });
    });
}

fn titles(ui: &mut Ui, cx: &mut Cx<'_>) {
    let keep = &mut cx.state.local.samples;
    ui.horizontal(|ui| {
        for (column, name, width) in columns(cx.data) {
            let mark = if keep.column != column {
                ""
            } else if keep.backwards {
                " (up)"
            } else {
                " (down)"
            };
            let title = egui::Button::selectable(keep.column == column, format!("{name}{mark}"));
            if ui
                .add_sized([width, tokens::ROW_HEIGHT], title.truncate())
                .on_hover_text(format!("Sort by {name}"))
                .clicked()
            {
                keep.backwards = keep.column == column && !keep.backwards;
                keep.column = column;
            }
        }
    });
}

fn row(ui: &mut Ui, cx: &mut Cx<'_>, rows: &[u32], at: usize, task: &str) {
    let sample = rows[at];
    let clusters = cx.state.clusters(cx.data);
    let gradients = cx.state.gradients(cx.data);
    let one = cx.data.samples.get(sample);
    let none = || "\u{2013}".to_owned();
    let cell = |column: Column| match column {
        Column::Sample => cx.data.samples.id(sample).to_owned(),
        Column::Entry => cx.data.samples.place(sample).map_or_else(none, |place| place.index().to_string()),
        Column::Task => task.to_owned(),
        Column::Cluster => clusters.get(sample as usize).copied().flatten().map_or_else(none, |c| c.to_string()),
        Column::Loss => one.loss.map_or_else(none, number),
        Column::Seen => one.seen.to_string(),
        Column::Correct => one.prediction.as_ref().and_then(|p| p.1).map_or_else(none, number),
        Column::Conflict => gradients.conflict(sample).map_or_else(none, |c| format!("{:.0} %", c * 100.0)),
        Column::Alignment => gradients.alignment(sample).map_or_else(none, |a| format!("{a:.3}")),
        Column::Question => cx.data.samples.row(sample).map_or_else(none, |r| r.question.replace('\n', " ")),
        Column::Answer => cx.data.samples.row(sample).map_or_else(none, |r| r.answer.replace('\n', " ")),
    };
    let selected = cx.state.selection.now().has(sample);
    let width: f32 = columns(cx.data).map(|c| c.2 + ui.spacing().item_spacing.x).sum();
    let (rect, response) = ui.allocate_exact_size(egui::vec2(width, tokens::ROW_HEIGHT), Sense::click());
    let name = cx.data.samples.title(sample);
    response.widget_info(|| egui::WidgetInfo::selected(egui::Role::Row, true, selected, format!("Row {name}")));
    if selected {
        ui.painter().rect_filled(rect, 0.0, ui.visuals().selection.bg_fill);
    } else if response.hovered() || cx.state.pointed == Some(sample) {
        ui.painter().rect_filled(rect, 0.0, ui.visuals().widgets.hovered.weak_bg_fill);
    }
    let mut left = rect.left() + 2.0;
    let ink = ui.visuals().text_color();
    for (column, _, width) in columns(cx.data) {
        let font = egui::TextStyle::Body.resolve(ui.style());
        let mut job = egui::text::LayoutJob::simple_singleline(cell(column), font, ink);
        job.wrap = egui::text::TextWrapping::truncate_at_width(width - 4.0);
        let galley = ui.painter().layout_job(job);
        ui.painter().galley(egui::pos2(left, rect.center().y - galley.size().y / 2.0), galley, ink);
        left += width + ui.spacing().item_spacing.x;
    }
    if response.hovered() {
        cx.state.hovered = Some(sample);
    }
    if response.clicked() {
        let modifiers = ui.input(|i| i.modifiers);
        let anchor = cx.state.local.samples.anchor.and_then(|a| rows.iter().position(|r| *r == a));
        let (samples, how) = match (anchor, modifiers.shift, modifiers.command) {
            // From the last click to here.
            (Some(from), true, _) => (Bits::of(rows[from.min(at)..=from.max(at)].iter().copied()), Combine::Replace),
            (_, _, true) => (Bits::of([sample]), if selected { Combine::Subtract } else { Combine::Add }),
            _ => (Bits::of([sample]), Combine::Replace),
        };
        if !modifiers.shift {
            cx.state.local.samples.anchor = Some(sample);
        }
        cx.state.selection.apply(&samples, how);
        cx.state.focus = Some(sample);
    }
}
