//! The window: runs at the left, views in the middle.

use crate::panels;
use crate::source::Source;
use crate::tokens;
use egui::{CentralPanel, Panel, ScrollArea, ThemePreference, Ui};

/// A view of the selected run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Loss,
    Drift,
    Routing,
    Samples,
}

impl View {
    const ALL: [(Self, &str); 4] =
        [(Self::Loss, "Loss"), (Self::Drift, "Drift"), (Self::Routing, "Routing"), (Self::Samples, "Samples")];
}

/// What the window itself remembers.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    pub view: View,
    /// Stage of the drift map; the last that trains the encoder if none is chosen.
    pub stage: Option<String>,
    pub samples: panels::samples::Order,
}

/// Everything but the window system.
#[derive(Debug)]
pub(crate) struct Explorer {
    pub source: Source,
    pub choices: Choices,
}

impl Explorer {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, choices: Choices::default() }
    }

    pub(crate) fn show(&mut self, ui: &mut Ui) {
        Panel::top("views").show(ui, |ui| {
            ui.horizontal(|ui| {
                for (view, name) in View::ALL {
                    ui.selectable_value(&mut self.choices.view, view, name);
                }
                ui.separator();
                theme(ui);
            });
        });
        Panel::left("runs").default_size(tokens::SIDE).show(ui, |ui| panels::runs::show(ui, &self.source));
        CentralPanel::default().show(ui, |ui| {
            let shared = self.source.look();
            if let Some(error) = &shared.error {
                ui.colored_label(ui.visuals().error_fg_color, error);
            }
            for problem in &shared.data.problems {
                ui.colored_label(ui.visuals().warn_fg_color, problem);
            }
            if shared.selected.is_none() {
                ui.label("No run here yet. Start one with `covft-probe train`; it appears by itself.");
                return;
            }
            ScrollArea::both().auto_shrink(false).show(ui, |ui| match self.choices.view {
                View::Loss => panels::loss::show(ui, &shared.data),
                View::Drift => panels::drift::show(ui, &shared.data, &mut self.choices.stage),
                View::Routing => panels::routing::show(ui, &shared.data),
                View::Samples => panels::samples::show(ui, &shared.data, &mut self.choices.samples),
            });
        });
    }
}

/// The system's theme unless another is chosen. Words, since the font brings no pictograms.
fn theme(ui: &mut Ui) {
    let mut chosen = ui.ctx().options(|o| o.theme_preference);
    let before = chosen;
    for (theme, name) in
        [(ThemePreference::System, "System"), (ThemePreference::Light, "Light"), (ThemePreference::Dark, "Dark")]
    {
        ui.selectable_value(&mut chosen, theme, name);
    }
    if chosen != before {
        ui.ctx().set_theme(chosen);
    }
}

/// The window.
#[derive(Debug)]
pub(crate) struct App {
    explorer: Explorer,
}

impl App {
    pub(crate) fn new(source: Source) -> Self {
        Self { explorer: Explorer::new(source) }
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut Ui, _: &mut eframe::Frame) {
        self.explorer.show(ui);
    }
}
