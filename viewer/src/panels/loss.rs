//! Training and held-out loss by stage.

use super::Cx;
use super::figures::Request;
use super::plots::{Gap, Ink, curve, gaps, mark, over_steps, smoothed};
use crate::core::memo::Memo;
use crate::data::{Curves, RunData};
use crate::tokens;
use covft_analyses::figures::FigureId;
use covft_analyses::stats::NotFinite;
use egui::{Role, ScrollArea, Ui, WidgetInfo};
use egui_plot::{LineStyle, PlotUi, Points, VLine};

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    gaps: Memo<u64, Vec<Gap>>,
}

/// Stretches of steps whose training loss is not finite.
pub(crate) fn not_finite_steps(data: &RunData) -> Vec<Gap> {
    gaps(&data.curves.iter().flat_map(|c| c.train.iter().copied()).collect::<Vec<_>>())
}

/// What of a stage's losses is not finite, in words.
fn not_finite(stage: &str, curves: &Curves) -> Vec<String> {
    let said = |what: &str, points: &[[f64; 2]]| {
        let first = points.iter().find(|p| !p[1].is_finite())?;
        let (_, left) = NotFinite::split(points.iter().map(|p| p[1]));
        let (n, all, kinds) = (left.total(), points.len(), left.kinds());
        let value = if first[1].is_nan() { "NaN" } else { "infinite" };
        let step = first[0];
        Some(format!(
            "Stage {stage}: the {what} loss became {value} at step {step}; {n} of {all} are not finite ({kinds})"
        ))
    };
    [said("training", &curves.train), said("held-out", &curves.held_out)].into_iter().flatten().collect()
}

fn draw(plot: &mut PlotUi<'_>, curves: &Curves) {
    curve(plot, "train, by step", &curves.train, Ink::full(tokens::TRAIN, 1.0));
    curve(plot, "train, smoothed", &smoothed(&curves.train), Ink::full(tokens::SMOOTH, 2.0));
    curve(plot, "held-out", &curves.held_out, Ink::full(tokens::HELD_OUT, 1.5));
    let finite: Vec<[f64; 2]> = curves.held_out.iter().copied().filter(|p| p[1].is_finite()).collect();
    if !finite.is_empty() {
        plot.points(Points::new("held-out", finite).radius(4.0).color(tokens::HELD_OUT));
    }
    if let Some(first) = curves.train.first() {
        plot.vline(VLine::new("", first[0]).color(tokens::NO_VALUE));
    }
}

/// The figure of what is shown.
pub(crate) fn paper(cx: &Cx<'_>) -> Option<Request> {
    let mut figure = Request::new(cx, FigureId::Loss)?;
    if cx.beside.is_some() {
        figure.but("Of runs beside each other the figure shows the last stage alone, counted from its own beginning.");
    }
    if let Some(at) = cx.state.at {
        figure.but(format!("The line at step {at} is not in the figure."));
    }
    Some(figure)
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    if cx.data.curves.is_empty() {
        ui.label("No step was recorded yet.");
        return;
    }
    ui.label(format!("{} steps", cx.data.steps));
    for (stage, curves) in cx.data.stages.list().iter().zip(&cx.data.curves) {
        for words in not_finite(stage, curves) {
            ui.colored_label(ui.visuals().error_fg_color, words);
        }
    }
    ScrollArea::vertical().id_salt("loss").auto_shrink(false).show(ui, |ui| {
        let height = (ui.available_height() - 120.0).max(160.0);
        // All steps, also those whose loss is not finite and so draws nothing.
        let plot = over_steps("loss", "loss", height).include_x(0.0).include_x(f64::from(cx.data.last_step()));
        let shown = plot.show(ui, |plot| {
            cx.data.curves.iter().for_each(|c| draw(plot, c));
            mark(plot, cx.state.local.loss.gaps.get(cx.data.version, || not_finite_steps(cx.data)));
            if let Some((name, _, other)) = cx.beside {
                for curves in &other.curves {
                    let ink = Ink { color: tokens::NO_VALUE, width: 2.0, style: LineStyle::dashed_loose() };
                    curve(plot, &format!("{name}, smoothed"), &smoothed(&curves.train), ink);
                }
            }
            if let Some(at) = cx.state.at {
                plot.vline(VLine::new("step shown", f64::from(at)).color(tokens::NO_VALUE).width(2.0));
            }
        });
        shown.response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Losses over the steps"));
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
