//! Conflict: which way the steps' gradients point, how the gradients of samples stand to each other, and their noise.

mod direction;
mod noise;
mod tasks;

use super::Cx;
use super::figures::Request;
use crate::data::Place;
use egui::{ScrollArea, Ui};

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    direction: direction::Keep,
    tasks: tasks::Keep,
    noise: noise::Keep,
}

impl Keep {
    /// The pairs that were chosen.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.tasks.place.as_ref()
    }
}

/// The figures of what is shown.
pub(crate) fn paper(cx: &Cx<'_>) -> Vec<Request> {
    direction::paper(cx).into_iter().chain(tasks::paper(cx)).collect()
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    ScrollArea::vertical().id_salt("conflict").auto_shrink(false).show(ui, |ui| {
        direction::show(ui, cx);
        ui.separator();
        tasks::show(ui, cx);
        ui.separator();
        noise::show(ui, cx);
    });
}
