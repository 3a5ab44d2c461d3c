//! The scatter of context vectors.

mod controls;
mod figure;
mod gesture;
mod labels;
mod picture;

pub(crate) use figure::paper;

use super::{Cx, plots};
use crate::actions::Tool;
use crate::core::bits::Bits;
use crate::core::memo::Memo;
use crate::core::names::short_names;
use crate::core::raster::Mode;
use crate::core::selection::Combine;
use crate::jobs::Work;
use crate::panels::thousands;
use crate::tokens;
use egui::{Role, ScrollArea, Ui, WidgetInfo};
use egui_plot::{PlotBounds, Points, Polygon};
use std::collections::BTreeSet;

/// Width of the legend.
const LEGEND: f32 = 170.0;
/// Height of the legend where it is below the scatter.
const BELOW: f32 = 90.0;
/// Height of the scatter at least.
const LEAST: f32 = 110.0;
/// Letters of a name in the legend.
const LETTERS: usize = 18;
/// Names of clusters drawn in the scatter at most.
const NAMES: usize = 40;

/// What the scatter keeps between frames.
#[derive(Debug)]
pub(crate) struct Keep {
    pub tool: Tool,
    pub density: bool,
    /// Show all points at the next frame.
    pub fit: bool,
    /// Go nearer (above 1) or farther at the next frame.
    pub zoom: Option<f32>,
    /// The axes for which all points were shown once.
    fitted: Option<[usize; 2]>,
    picture: picture::Picture,
    gesture: gesture::Gesture,
    /// Clusters with their middles and where their labels stand.
    centres: Memo<u64, Vec<(u16, [[f64; 2]; 2])>>,
    /// Milliseconds that the last rectangle or lasso took to find its points.
    pub gesture_ms: f64,
    pub neighbors: Work<Vec<u32>>,
    /// Draw no points. For measuring.
    pub bare: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            tool: Tool::default(),
            density: false,
            fit: true,
            zoom: None,
            fitted: None,
            picture: picture::Picture::default(),
            gesture: gesture::Gesture::default(),
            centres: Memo::default(),
            gesture_ms: 0.0,
            neighbors: Work::default(),
            bare: false,
        }
    }
}

impl Keep {
    /// Whether the points are drawn as they are to be.
    pub(crate) fn drawn(&self) -> bool {
        self.picture.drawn()
    }
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    if cx.data.contexts.is_empty() {
        super::missing(ui, cx.data, "context vectors", "contexts");
        return;
    }
    controls::show(ui, cx);
    if let Some(error) = &cx.state.embedding_error {
        ui.colored_label(ui.visuals().error_fg_color, error);
    }
    if cx.state.embedding.is_none() {
        return;
    }
    if ui.available_width() < 3.2 * LEGEND {
        plot(ui, cx, (ui.available_height() - BELOW).max(LEAST));
        legend(ui, cx);
        return;
    }
    ui.horizontal_top(|ui| {
        let (width, height) = (ui.available_width() - LEGEND - 8.0, ui.available_height());
        ui.vertical(|ui| {
            ui.set_width(width);
            plot(ui, cx, height);
        });
        ui.vertical(|ui| {
            ui.set_width(LEGEND);
            legend(ui, cx);
        });
    });
}

fn bounds(low: [f64; 2], high: [f64; 2]) -> PlotBounds {
    let room = |k: usize| ((high[k] - low[k]) * 0.04).max(1e-9);
    PlotBounds::from_min_max([low[0] - room(0), low[1] - room(1)], [high[0] + room(0), high[1] + room(1)])
}

fn plot(ui: &mut Ui, cx: &mut Cx<'_>, height: f32) {
    let shown = std::sync::Arc::clone(&cx.state.shown);
    let Some(found) = cx.state.embedding.clone() else { return };
    let axes = cx.state.notes.axes;
    let of = |k: usize| {
        let share = found.ratios.get(axes[k]).copied().unwrap_or(0.0);
        format!("component {} ({:.1} % of the variance)", axes[k] + 1, share * 100.0)
    };
    let keep = &mut cx.state.local.scatter;
    // Asked for, or other axes; it waits until there are points.
    keep.fit |= keep.fitted != Some(axes);
    let whole = shown.grid.bounds().filter(|_| keep.fit);
    if whole.is_some() {
        (keep.fit, keep.fitted) = (false, Some(axes));
    }
    let zoom = keep.zoom.take();
    let moving = keep.tool == Tool::Move;
    let texture = if keep.bare { None } else { keep.picture.image() };
    let outline = keep.gesture.outline();
    let marks = marks(cx);
    let names = labels::names(cx);
    let ink = ui.visuals().strong_text_color();
    let selected = cx.state.selection.now().len();
    let labels = [of(0), of(1)];
    let plot = plots::named("clusters")
        .height(height)
        .show_x(false)
        .show_y(false)
        .custom_x_axes(vec![plots::across(&labels[0])])
        .custom_y_axes(vec![plots::up(&labels[1])])
        .allow_drag(moving)
        .allow_boxed_zoom(moving)
        .allow_scroll(false)
        .auto_bounds(false)
        .label_formatter(|_| None);
    let response = plot.show(ui, |plot| {
        if let Some((low, high)) = whole {
            plot.set_plot_bounds(bounds(low, high));
        }
        if let Some(zoom) = zoom {
            let centre = plot.plot_bounds().center();
            plot.zoom_bounds(egui::Vec2::splat(zoom), centre);
        }
        // The wheel goes nearer and farther, as on a map.
        let wheel = plot.ctx().input(|i| i.smooth_scroll_delta().y);
        if wheel != 0.0 && plot.response().hovered() {
            plot.zoom_bounds_around_hovered(egui::Vec2::splat((wheel / 300.0).exp()));
            // It is used up: what is around the scatter does not scroll as well.
            plot.ctx().input_mut(|i| i.smooth_scroll_delta.y = 0.0);
        }
        if let Some(image) = texture {
            plot.image(image);
        }
        labels::draw(plot, names, ink);
        for (places, radius, filled) in marks {
            plot.points(Points::new("", places).radius(radius).filled(filled).color(ink).allow_hover(false));
        }
        if outline.len() > 1 {
            let fill = tokens::SMOOTH.gamma_multiply(0.2);
            plot.polygon(Polygon::new("", outline).fill_color(fill).stroke((1.5, tokens::SMOOTH)).allow_hover(false));
        }
    });
    let clusters = found.found.clusters.centroids().nrows();
    let summary = format!(
        "Clusters: {} points in {clusters} clusters, {} samples selected",
        thousands(shown.rows.len()),
        thousands(selected)
    );
    response.response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &summary));
    picture::update(ui, cx, &response.transform);
    gesture::handle(ui, cx, &response.response, &response.transform);
}

/// Rings around the sample under the pointer, the one in focus, and the selected ones where they are few.
fn marks(cx: &Cx<'_>) -> Vec<(Vec<[f64; 2]>, f32, bool)> {
    let shown = &cx.state.shown;
    let place = |sample: u32| {
        let at = shown.samples.iter().rposition(|s| *s == sample)?;
        Some([f64::from(shown.xs[at]), f64::from(shown.ys[at])])
    };
    let mut marks = Vec::new();
    if let Some(at) = cx.state.focus.and_then(place) {
        marks.push((vec![at], 8.0, false));
    }
    if let Some(at) = cx.state.pointed.and_then(place) {
        marks.push((vec![at], 6.0, false));
    }
    marks
}

/// The legend; a click selects.
fn legend(ui: &mut Ui, cx: &mut Cx<'_>) {
    ui.strong(cx.state.notes.color.name());
    let colors = std::sync::Arc::clone(&cx.state.colors);
    if cx.state.local.scatter.density {
        ui.label("Density: lighter is denser, on a logarithmic scale.");
        return;
    }
    ScrollArea::vertical().id_salt("legend").auto_shrink(false).show(ui, |ui| {
        let whole: Vec<String> = colors.keys.iter().map(|key| key.name.clone()).collect();
        for (key, short) in colors.keys.iter().zip(short_names(ui.ctx(), &whole, LETTERS).iter()) {
            ui.horizontal(|ui| {
                let (at, _) = ui.allocate_exact_size(egui::Vec2::splat(11.0), egui::Sense::hover());
                ui.painter().rect_filled(at, 2.0, tokens::rgb(key.color));
                if key.values.is_empty() {
                    ui.label(&key.name);
                    return;
                }
                let name = format!("{short} ({})", thousands(key.points));
                let label = ui.add(egui::Button::new(name).frame(false).truncate());
                if label.on_hover_text(hint(&key.name, &key.holds)).clicked() {
                    let wanted: BTreeSet<u16> = key.values.iter().copied().collect();
                    let points = colors.index.iter().zip(&cx.state.shown.samples).filter(|(i, _)| wanted.contains(i));
                    let samples = Bits::of(points.map(|(_, s)| *s));
                    cx.state.selection.apply(&samples, Combine::of(ui.input(|i| i.modifiers)));
                }
            });
        }
    });
}

/// The whole name of a line of the legend, what the line does, and the first of what goes together in it.
fn hint(name: &str, holds: &[String]) -> String {
    let mut hint = format!("{name}\nSelect these; with shift add, with control take away");
    if !holds.is_empty() {
        let more = if holds.len() > NAMES { ", \u{2026}" } else { "" };
        hint += &format!(": {}{more}", holds.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", "));
    }
    hint
}

/// How points are painted.
fn mode(keep: &Keep) -> Mode {
    if keep.density { Mode::Density } else { Mode::Points }
}
