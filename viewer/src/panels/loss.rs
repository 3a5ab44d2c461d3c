//! Training and held-out loss by stage.

use super::Cx;
use super::plots::{MOST, over_steps};
use crate::data::{Curves, thin};
use crate::tokens;
use covft_analyses::stats::smooth;
use egui::{ScrollArea, Ui};
use egui_plot::{Line, LineStyle, PlotUi, Points, VLine};

fn smoothed(curves: &Curves) -> Vec<[f64; 2]> {
    let losses: Vec<f64> = curves.train.iter().map(|p| p[1]).collect();
    let points: Vec<[f64; 2]> = curves.train.iter().zip(smooth(&losses, 0.9)).map(|(p, l)| [p[0], l]).collect();
    thin(&points, MOST)
}

fn draw(plot: &mut PlotUi<'_>, curves: &Curves) {
    plot.line(Line::new("train, by step", thin(&curves.train, MOST)).color(tokens::TRAIN).width(1.0));
    plot.line(Line::new("train, smoothed", smoothed(curves)).color(tokens::SMOOTH).width(2.0));
    if !curves.held_out.is_empty() {
        plot.line(Line::new("held-out", curves.held_out.clone()).color(tokens::HELD_OUT));
        plot.points(Points::new("held-out", curves.held_out.clone()).radius(4.0).color(tokens::HELD_OUT));
    }
    if let Some(first) = curves.train.first() {
        plot.vline(VLine::new("", first[0]).color(tokens::NO_VALUE));
    }
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    if cx.data.curves.is_empty() {
        ui.label("No step was recorded yet.");
        return;
    }
    ui.label(format!("{} steps", cx.data.steps));
    ScrollArea::vertical().id_salt("loss").auto_shrink(false).show(ui, |ui| {
        let height = (ui.available_height() - 120.0).max(160.0);
        over_steps("loss", "loss", height).show(ui, |plot| {
            cx.data.curves.iter().for_each(|c| draw(plot, c));
            if let Some((name, _, other)) = cx.beside {
                for curves in &other.curves {
                    let line = Line::new(format!("{name}, smoothed"), smoothed(curves));
                    plot.line(line.color(tokens::NO_VALUE).width(2.0).style(LineStyle::dashed_loose()));
                }
            }
            if let Some(at) = cx.state.at {
                plot.vline(VLine::new("step shown", f64::from(at)).color(tokens::NO_VALUE).width(2.0));
            }
        });
        egui::Grid::new("stages").num_columns(5).striped(true).show(ui, |ui| {
            for title in ["stage", "from step", "steps", "last train loss", "last held-out loss"] {
                ui.strong(title);
            }
            ui.end_row();
            for (stage, curves) in cx.data.stages.list().into_iter().zip(&cx.data.curves) {
                let last =
                    |points: &[[f64; 2]]| points.last().map_or("\u{2013}".to_owned(), |p| format!("{:.4}", p[1]));
                ui.label(stage);
                ui.label(curves.train.first().map_or("\u{2013}".to_owned(), |p| p[0].to_string()));
                ui.label(curves.train.len().to_string());
                ui.label(last(&curves.train));
                ui.label(last(&curves.held_out));
                ui.end_row();
            }
        });
    });
}
