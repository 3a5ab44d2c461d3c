//! The pointer in the scatter: what it points at, clicks, rectangles and lassos.

use super::Cx;
use crate::actions::Tool;
use crate::core::bits::Bits;
use crate::core::grid::Place;
use crate::core::selection::Combine;
use crate::panels::card;
use egui::{PointerButton, Response, Ui};
use egui_plot::PlotTransform;
use std::sync::Arc;
use std::time::Instant;

/// How near the pointer must be, in points of the screen.
const REACH: f32 = 9.0;
/// Corners of a lasso are at least this far apart.
const STRIDE: f32 = 3.0;

/// A rectangle or lasso that is being drawn.
#[derive(Debug, Default)]
pub(super) struct Gesture {
    corners: Vec<Place>,
    /// Where the pointer was at the last corner.
    last: egui::Pos2,
    rectangle: bool,
}

impl Gesture {
    /// The closed outline.
    pub(super) fn outline(&self) -> Vec<Place> {
        match (self.rectangle, self.corners.first(), self.corners.last()) {
            (true, Some(a), Some(b)) => vec![*a, [b[0], a[1]], *b, [a[0], b[1]]],
            _ => self.corners.clone(),
        }
    }
}

pub(super) fn handle(ui: &Ui, cx: &mut Cx<'_>, response: &Response, transform: &PlotTransform) {
    let place = |at: egui::Pos2| {
        let value = transform.value_from_position(at);
        [value.x, value.y]
    };
    let modifiers = ui.input(|i| i.modifiers);
    let keep = &mut cx.state.local.scatter;
    let draws = keep.tool != Tool::Move;
    let pointer = response.interact_pointer_pos();
    if draws
        && response.drag_started_by(PointerButton::Primary)
        && let Some(at) = ui.input(|i| i.pointer.press_origin()).or(pointer)
    {
        keep.gesture = Gesture { corners: vec![place(at)], last: at, rectangle: keep.tool == Tool::Rectangle };
    }
    if response.dragged_by(PointerButton::Primary)
        && !keep.gesture.corners.is_empty()
        && let Some(at) = pointer
    {
        if keep.gesture.rectangle {
            keep.gesture.corners.truncate(1);
            keep.gesture.corners.push(place(at));
        } else if at.distance(keep.gesture.last) >= STRIDE {
            keep.gesture.corners.push(place(at));
            keep.gesture.last = at;
        }
    }
    if response.drag_stopped() && !keep.gesture.corners.is_empty() {
        let outline = keep.gesture.outline();
        keep.gesture.corners.clear();
        select(cx, &outline, Combine::of(modifiers));
    }
    point(ui, cx, response, transform);
}

/// Selects the samples inside an outline, in one step.
fn select(cx: &mut Cx<'_>, outline: &[Place], how: Combine) {
    let shown = Arc::clone(&cx.state.shown);
    let begun = Instant::now();
    let (samples, _) = shown.inside(outline);
    cx.state.local.scatter.gesture_ms = begun.elapsed().as_secs_f64() * 1000.0;
    cx.state.selection.apply(&samples, how);
}

/// Hover shows a sample, a click selects it.
fn point(ui: &Ui, cx: &mut Cx<'_>, response: &Response, transform: &PlotTransform) {
    let Some(at) = response.hover_pos() else { return };
    let value = transform.value_from_position(at);
    let per = transform.dvalue_dpos();
    let reach = [f64::from(REACH) * per[0].abs(), f64::from(REACH) * per[1].abs()];
    let shown = Arc::clone(&cx.state.shown);
    let under = shown.grid.nearest(&shown.xs, &shown.ys, [value.x, value.y], reach);
    let sample = under.map(|p| shown.samples[p as usize]);
    cx.state.hovered = sample;
    if response.clicked() {
        let samples = sample.map_or_else(Bits::default, |s| Bits::of([s]));
        let how = Combine::of(ui.input(|i| i.modifiers));
        // A click beside all points clears, unless it was to add.
        if sample.is_some() || how == Combine::Replace {
            cx.state.selection.apply(&samples, how);
        }
        cx.state.focus = sample.or(cx.state.focus);
    }
    if let Some(sample) = sample
        && !response.dragged()
    {
        response.clone().on_hover_ui_at_pointer(|ui| card::brief(ui, cx, sample));
    }
}
