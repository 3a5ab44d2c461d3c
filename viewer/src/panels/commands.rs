//! Does what a key, a button or the command list asked for.

use super::Cx;
use super::dialogs::Dialogs;
use super::figures::Request;
use crate::actions::{Action, View};
use crate::core::bits::Bits;
use crate::core::embed::neighbors;
use crate::core::export::Format;
use crate::core::selection::Combine;
use crate::data::RunData;
use crate::layout::Layout;
use crate::panels::{samples, selection};
use crate::state::State;
use crate::tools::Tools;
use egui::{Context, ThemePreference};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Neighbours that are selected.
const NEIGHBORS: usize = 12;

/// What commands work on.
pub(crate) struct Parts<'a> {
    pub data: &'a RunData,
    /// The run beside it.
    pub beside: Option<(&'a str, &'a Path, &'a RunData)>,
    pub state: &'a mut State,
    pub layout: &'a mut Layout,
    pub tools: &'a mut Tools,
    pub dialogs: &'a mut Dialogs,
    /// Views that can be seen.
    pub seen: &'a BTreeSet<View>,
}

impl Parts<'_> {
    fn cx(&mut self) -> Cx<'_> {
        Cx { data: self.data, beside: self.beside, runs: &[], state: self.state, tools: self.tools, turned_to: None }
    }
}

pub(crate) fn run(action: Action, ctx: &Context, on: &mut Parts<'_>) {
    let (state, data) = (&mut *on.state, on.data);
    let last = data.last_step();
    match action {
        Action::Open => on.dialogs.open = true,
        Action::Keys => on.dialogs.keys = !on.dialogs.keys,
        Action::Commands => on.dialogs.commands = !on.dialogs.commands,
        Action::Find => {
            on.layout.bring(View::Samples);
            ctx.memory_mut(|m| m.request_focus(samples::search_field()));
        }
        Action::Undo => state.selection.undo(),
        Action::Redo => state.selection.redo(),
        Action::SelectShown => state.selection.apply(&everything(state, data), Combine::Replace),
        Action::SelectFound => match state.found(data) {
            Some(found) => state.selection.apply(&found, Combine::Replace),
            None => on.tools.say("Nothing is sought; type into the search of the samples first."),
        },
        Action::Invert => {
            let all = everything(state, data);
            state.selection.invert(&all);
        }
        Action::Clear => {
            if !on.dialogs.close() {
                state.selection.apply(&Bits::default(), Combine::Replace);
            }
        }
        Action::Neighbors => nearest(on),
        Action::Use(tool) => state.local.scatter.tool = tool,
        Action::Fit => state.local.scatter.fit = true,
        Action::ZoomIn => state.local.scatter.zoom = Some(1.25),
        Action::ZoomOut => state.local.scatter.zoom = Some(0.8),
        Action::Density => state.local.scatter.density = !state.local.scatter.density,
        Action::StepBack => state.at = Some(state.at.unwrap_or(last).saturating_sub(1)),
        Action::StepOn => state.at = state.at.map(|at| at + 1).filter(|at| *at < last),
        Action::First => state.at = Some(0),
        Action::Latest => (state.at, state.playing) = (None, false),
        Action::Play => state.playing = !state.playing,
        Action::Again => state.again(),
        Action::Cancel => {
            state.work.cancel();
            on.tools.export.cancel();
            on.tools.say("Cancelled");
        }
        Action::ExportFigure => ask_figures(on),
        Action::ExportRows => export_rows(on),
        Action::Keep => keep(on),
        Action::Theme => {
            on.layout.theme = match on.layout.theme {
                ThemePreference::System => ThemePreference::Light,
                ThemePreference::Light => ThemePreference::Dark,
                ThemePreference::Dark => ThemePreference::System,
            }
        }
        Action::Contrast => on.layout.contrast = !on.layout.contrast,
        Action::ResetLayout => on.layout.reset(),
        Action::Fold(side) => on.layout.fold(side, ctx.content_rect().size()),
        Action::Larger => on.layout.rescale(true),
        Action::Smaller => on.layout.rescale(false),
        Action::UsualSize => on.layout.zoom = 1.0,
        Action::Show(view) => on.layout.bring(view),
    }
    ctx.request_repaint();
}

/// The samples of all points that are shown; all samples where there are no points.
fn everything(state: &State, data: &RunData) -> Bits {
    let shown = Bits::of(state.shown.samples.iter().copied());
    if shown.is_empty() { Bits::of(0..data.samples.len() as u32) } else { shown }
}

/// Selects the nearest rows in the original space to the sample in focus.
fn nearest(on: &mut Parts<'_>) {
    let shown = Arc::clone(&on.state.shown);
    let sample = on.state.focus.or_else(|| on.state.selection.now().iter().next());
    let point = sample.and_then(|s| shown.samples.iter().rposition(|other| *other == s));
    let (Some(point), Some(contexts)) = (point, on.state.layer(on.data).and_then(|l| on.data.contexts.get(&l))) else {
        on.tools.say("Click a point or a row first: neighbors are of one sample.");
        return;
    };
    let (chunks, width) = (contexts.chunks.clone(), contexts.width);
    let of: Vec<u32> = contexts.rows.sample.clone();
    on.tools
        .say(format!("The {NEIGHBORS} nearest contexts to {}", on.data.samples.title(of[shown.rows[point] as usize])));
    on.state.local.scatter.neighbors.start(&on.tools.spawner, move |progress| {
        let mut among = vec![false; of.len()];
        shown.rows.iter().for_each(|r| among[*r as usize] = true);
        let to = shown.rows[point] as usize;
        let near = neighbors(&chunks, width, to, |r| among[r] && of[r] != of[to], NEIGHBORS, progress)?;
        Some(near.into_iter().map(|(row, _)| of[row]).chain([of[to]]).collect())
    });
}

/// Asks which figures of the views in sight to draw, and says what of the views they do not show.
fn ask_figures(on: &mut Parts<'_>) {
    let Some(run) = on.state.run.clone() else { return };
    let seen = on.seen;
    let cx = on.cx();
    let requests: Vec<Request> = seen.iter().flat_map(|view| super::paper(*view, &cx)).collect();
    if requests.is_empty() {
        on.tools.say("No paper figure shows what is in view; bring routing, drift, conflict or losses to the front.");
        return;
    }
    on.state.save();
    on.dialogs.figures.ask(&run, requests);
}

/// Writes the analysis down as it is.
fn keep(on: &mut Parts<'_>) {
    if on.state.embedding.is_none() {
        on.tools.say("There are no clusters yet, so there is no analysis to save.");
        return;
    }
    match on.state.keep() {
        Some(path) => {
            let path = path.display();
            on.tools.say(format!("Saved {path}\nWithout the window: covft-probe analyze --from {path}"));
        }
        None => on.tools.say(on.state.notes_error.clone().unwrap_or_else(|| "There is no run.".to_owned())),
    }
}

fn export_rows(on: &mut Parts<'_>) {
    if on.state.selection.now().is_empty() {
        on.tools.say("Nothing is selected, so there is nothing to export.");
        return;
    }
    let spreadsheet = on.state.local.selection.spreadsheet;
    selection::export(&mut on.cx(), Format::Csv { spreadsheet });
}
