//! The samples with their latest losses.

use crate::data::{RunData, Sample};
use crate::tokens;
use egui::{Grid, ScrollArea, TextEdit, Ui};
use std::cmp::Ordering;

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Column {
    #[default]
    Loss,
    Sample,
    Task,
    Seen,
}

/// Sorting and search.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    pub column: Column,
    pub search: String,
}

/// The rows to show: highest loss first, samples without one last.
pub(crate) fn rows<'a>(data: &'a RunData, order: &Order) -> Vec<&'a Sample> {
    let wanted = order.search.to_lowercase();
    let mut rows: Vec<&Sample> = data
        .samples
        .values()
        .filter(|s| s.id.to_lowercase().contains(&wanted) || s.task.to_lowercase().contains(&wanted))
        .collect();
    let by_loss = |a: &&Sample, b: &&Sample| match (a.loss, b.loss) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    let compare = |a: &&Sample, b: &&Sample| -> Ordering {
        match order.column {
            Column::Loss => by_loss(a, b),
            Column::Sample => Ordering::Equal,
            Column::Task => a.task.cmp(&b.task),
            Column::Seen => b.seen.cmp(&a.seen),
        }
    };
    // The map is in order of id, and sorting keeps equals as they are.
    rows.sort_by(compare);
    rows
}

pub(crate) fn show(ui: &mut Ui, data: &RunData, order: &mut Order) {
    ui.heading("Samples");
    if data.samples.is_empty() {
        ui.label("No sample was recorded yet.");
        return;
    }
    ui.horizontal(|ui| {
        let label = ui.label("Search");
        ui.add(TextEdit::singleline(&mut order.search).hint_text("id or task")).labelled_by(label.id);
        ui.label("Sort by");
        for (column, name) in
            [(Column::Loss, "loss"), (Column::Sample, "id"), (Column::Task, "task"), (Column::Seen, "times seen")]
        {
            ui.selectable_value(&mut order.column, column, name);
        }
    });
    let rows = rows(data, order);
    ui.label(format!("Showing {} of {}", rows.len(), data.samples.len()));
    ScrollArea::vertical().id_salt("table").auto_shrink(false).show_rows(
        ui,
        tokens::ROW_HEIGHT,
        rows.len(),
        |ui, range| {
            Grid::new("samples").num_columns(5).striped(true).min_row_height(tokens::ROW_HEIGHT).show(ui, |ui| {
                for title in ["sample", "task", "loss", "tokens", "times seen"] {
                    ui.strong(title);
                }
                ui.end_row();
                for sample in &rows[range] {
                    ui.label(&sample.id);
                    ui.label(&sample.task);
                    ui.label(sample.loss.map_or("\u{2013}".to_owned(), |l| format!("{l:.4}")));
                    ui.label(sample.tokens.to_string());
                    ui.label(sample.seen.to_string());
                    ui.end_row();
                }
            });
        },
    );
}
