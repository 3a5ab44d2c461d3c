//! What cannot be read, said where it is seen first.

use crate::actions::Action;
use crate::data::RunData;
use crate::state::State;
use crate::tools::Tools;
use egui::Ui;
use std::path::Path;

/// Problems that are said one by one; more are counted.
const SAID: usize = 3;

pub(crate) fn show(ui: &mut Ui, folders: Option<&str>, run: Option<&str>, data: &RunData, state: &mut State) {
    for error in folders.iter().chain(&run) {
        ui.colored_label(ui.visuals().error_fg_color, *error);
    }
    if let Some(error) = &state.notes_error {
        ui.colored_label(ui.visuals().warn_fg_color, error);
    }
    for problem in data.problems.iter().take(SAID) {
        ui.colored_label(ui.visuals().warn_fg_color, problem);
    }
    if let Some(more) = data.problems.len().checked_sub(SAID).filter(|n| *n > 0) {
        ui.collapsing(format!("{more} more parts cannot be read"), |ui| {
            for problem in data.problems.iter().skip(SAID).take(100) {
                ui.label(problem);
            }
        });
    }
}

/// Scripts that no font has; said until it was read.
pub(crate) fn scripts(ui: &mut Ui, tools: &mut Tools) {
    let missing = tools.fonts.missing();
    if missing.is_empty() {
        return;
    }
    for line in missing {
        ui.colored_label(ui.visuals().warn_fg_color, line);
    }
    if ui.button("I have read this").clicked() {
        tools.fonts.read();
    }
}

/// The middle of the window without a run.
pub(crate) fn empty(ui: &mut Ui, listed: bool, run: Option<&Path>, tools: &mut Tools) {
    match run {
        Some(run) => {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label(format!("Reading {}", run.display()));
            });
        }
        None if listed => {
            ui.heading("No run here yet");
            ui.label("Start one with `covft-probe train`; it appears by itself.");
            ui.label("Or drop a folder of runs on this window.");
            if ui.button("Open a folder").clicked() {
                tools.commands.push(Action::Open);
            }
        }
        None => {
            ui.label("Looking for runs");
        }
    }
}
