//! One panel a file. A panel draws what was gathered; it gives commands and changes the selection.

pub(crate) mod bar;
pub(crate) mod card;
pub(crate) mod clusters;
pub(crate) mod commands;
pub(crate) mod conflict;
pub(crate) mod dialogs;
pub(crate) mod distances;
pub(crate) mod drift;
pub(crate) mod figures;
pub(crate) mod filter;
pub(crate) mod heat;
pub(crate) mod loss;
pub(crate) mod mixture;
pub(crate) mod plots;
pub(crate) mod routing;
pub(crate) mod runs;
pub(crate) mod samples;
pub(crate) mod selection;
pub(crate) mod timeline;
pub(crate) mod trouble;

use crate::actions::View;
use crate::core::classes::Look;
use crate::core::memo::Memo;
use crate::core::scatter::Population;
use crate::data::{LayerKey, Place, RunData};
use crate::source::Entry;
use crate::state::State;
use crate::tokens;
use crate::tools::Tools;
use covft_analyses::store::Status;
use egui::{ScrollArea, Sense, Ui, UiBuilder, Vec2};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a panel is given.
pub(crate) struct Cx<'a> {
    pub data: &'a RunData,
    /// The run beside it: its name, where it lies, and its records.
    pub beside: Option<(&'a str, &'a Path, &'a RunData)>,
    pub runs: &'a [Entry],
    pub state: &'a mut State,
    pub tools: &'a mut Tools,
    /// Another run to set beside, or none, if that was chosen.
    pub turned_to: Option<Beside>,
}

/// What was chosen to be set beside a run.
#[derive(Clone, Debug)]
pub(crate) enum Beside {
    Nothing,
    Run(PathBuf),
}

/// Looks of a layer's experts by its name.
type LooksOf = Arc<BTreeMap<String, Vec<Look>>>;
/// A number for each sample that has one.
type NumberOf = Arc<Vec<Option<u16>>>;

/// What panels keep between frames.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// Rows of the shown layer when the last work on them began.
    pub rows: usize,
    pub clusters: Memo<(u64, Option<(Population, u32)>, usize), NumberOf>,
    pub experts: Memo<(u64, Option<LayerKey>), NumberOf>,
    pub looks: Memo<u64, LooksOf>,
    pub gradients: Memo<(u64, u32, Option<Place>), Arc<crate::core::by_sample::BySample>>,
    pub scatter: clusters::Keep,
    pub mixture: mixture::Keep,
    pub routing: routing::Keep,
    pub conflict: conflict::Keep,
    pub drift: drift::Keep,
    pub distances: distances::Keep,
    pub samples: samples::Keep,
    pub selection: selection::Keep,
    pub loss: loss::Keep,
    pub timeline: timeline::Keep,
}

/// Draws a view.
pub(crate) fn show(ui: &mut Ui, view: View, cx: &mut Cx<'_>) {
    let wrapped = if ui.available_width() < tokens::NARROW { tokens::CONTROLS } else { 0.0 };
    at_least(ui, tokens::LEAST_VIEW + Vec2::new(0.0, wrapped), |ui| match view {
        View::Clusters => clusters::show(ui, cx),
        View::Mixture => mixture::show(ui, cx),
        View::Routing => routing::show(ui, cx),
        View::Conflict => conflict::show(ui, cx),
        View::Drift => drift::show(ui, cx),
        View::Loss => loss::show(ui, cx),
        View::Samples => samples::show(ui, cx),
    });
}

/// Draws in the room that there is, or scrolls over a room of the least size.
pub(crate) fn at_least(ui: &mut Ui, least: Vec2, add: impl FnOnce(&mut Ui)) {
    let room = ui.available_size();
    if room.x >= least.x && room.y >= least.y {
        return add(ui);
    }
    ScrollArea::both().id_salt("small").auto_shrink(false).show(ui, |ui| {
        let (rect, _) = ui.allocate_exact_size(room.max(least), Sense::hover());
        ui.scope_builder(UiBuilder::new().max_rect(rect), add);
    });
}

/// The figures for a paper of what a view shows.
pub(crate) fn paper(view: View, cx: &Cx<'_>) -> Vec<figures::Request> {
    match view {
        View::Clusters => clusters::paper(cx).into_iter().collect(),
        View::Mixture => mixture::paper(cx).into_iter().collect(),
        View::Routing => routing::paper(cx),
        View::Conflict => conflict::paper(cx),
        View::Drift => drift::paper(cx).into_iter().collect(),
        View::Loss => loss::paper(cx).into_iter().collect(),
        View::Samples => Vec::new(),
    }
}

/// What is said where a stream was not recorded, or cannot be read.
pub(crate) fn missing(ui: &mut Ui, data: &RunData, what: &str, stream: &str) {
    if data.is_damaged(stream) {
        ui.label(format!("No {what} of this run can be read. What is damaged is said above."));
        return;
    }
    let option = covft_analyses::store::option_that_logs(stream);
    let running = data.manifest.as_ref().is_none_or(|m| m.status == Status::Running);
    let yet = if running { " yet" } else { "" };
    ui.label(format!("This run has no {what}{yet}. It is logged by {option}."));
}

/// A whole number with its thousands apart.
pub(crate) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}
