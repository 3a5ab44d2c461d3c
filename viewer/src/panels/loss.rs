//! Training and held-out loss by stage.

use crate::data::{RunData, thin};
use crate::tokens;
use covft_analyses::stats::smooth;
use egui::Ui;
use egui_plot::{Legend, Line, Plot, Points};

/// Points a line has at most.
const MOST: usize = 2000;

pub(crate) fn show(ui: &mut Ui, data: &RunData) {
    ui.heading("Loss");
    if data.stages.is_empty() {
        ui.label("No step was recorded yet.");
        return;
    }
    ui.label(format!("{} steps", data.steps));
    let plot = Plot::new("loss").legend(Legend::default()).height(tokens::PLOT_HEIGHT).x_axis_label("step");
    plot.y_axis_label("loss").show(ui, |plot| {
        for (_, curves) in &data.stages {
            let losses: Vec<f64> = curves.train.iter().map(|p| p[1]).collect();
            let smoothed: Vec<[f64; 2]> =
                curves.train.iter().zip(smooth(&losses, 0.9)).map(|(p, l)| [p[0], l]).collect();
            plot.line(Line::new("train, by step", thin(&curves.train, MOST)).color(tokens::TRAIN).width(1.0));
            plot.line(Line::new("train, smoothed", thin(&smoothed, MOST)).color(tokens::SMOOTH).width(2.0));
            if !curves.held_out.is_empty() {
                plot.line(Line::new("held-out", curves.held_out.clone()).color(tokens::HELD_OUT));
                plot.points(Points::new("held-out", curves.held_out.clone()).radius(4.0).color(tokens::HELD_OUT));
            }
            if let Some(first) = curves.train.first() {
                plot.vline(egui_plot::VLine::new("", first[0]).color(tokens::NO_VALUE));
            }
        }
    });
    egui::Grid::new("stages").num_columns(5).striped(true).show(ui, |ui| {
        for title in ["stage", "from step", "steps", "last train loss", "last held-out loss"] {
            ui.strong(title);
        }
        ui.end_row();
        for (stage, curves) in &data.stages {
            let last = |points: &[[f64; 2]]| points.last().map_or("\u{2013}".to_owned(), |p| format!("{:.4}", p[1]));
            ui.label(stage);
            ui.label(curves.train.first().map_or("\u{2013}".to_owned(), |p| p[0].to_string()));
            ui.label(curves.train.len().to_string());
            ui.label(last(&curves.train));
            ui.label(last(&curves.held_out));
            ui.end_row();
        }
    });
}
