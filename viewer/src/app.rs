//! The window: runs at the left, tiles in the middle, the selection at the right, the steps at the bottom.

#[cfg(test)]
use crate::actions::Action;
use crate::actions::{self, Side, View};
use crate::data::RunData;
use crate::layout::Layout;
use crate::panels::{self, Cx};
use crate::source::Source;
use crate::state::State;
use crate::tokens;
use crate::tools::Tools;
use egui::{CentralPanel, Panel, Ui};

/// Everything but the window system.
#[derive(Debug)]
pub(crate) struct Explorer {
    pub source: Source,
    pub state: State,
    pub layout: Layout,
    pub tools: Tools,
    pub dialogs: panels::dialogs::Dialogs,
    /// Every row of a run is a point at first, whatever its notes say; nothing is written. For measuring.
    pub every_row: bool,
    dressed: Option<(bool, egui::ThemePreference, f32)>,
}

/// The tiles' way into the panels.
struct Tiles<'a, 'b> {
    cx: &'a mut Cx<'b>,
}

impl egui_tiles::Behavior<View> for Tiles<'_, '_> {
    fn pane_ui(&mut self, ui: &mut Ui, _: egui_tiles::TileId, view: &mut View) -> egui_tiles::UiResponse {
        egui::Frame::new().inner_margin(6).show(ui, |ui| panels::show(ui, *view, self.cx));
        egui_tiles::UiResponse::None
    }

    fn tab_title_for_pane(&mut self, view: &View) -> egui::WidgetText {
        view.name().into()
    }

    fn simplification_options(&self) -> egui_tiles::SimplificationOptions {
        // A lone view keeps its tab, so that it has a name and can be moved.
        egui_tiles::SimplificationOptions { all_panes_must_have_tabs: true, ..Default::default() }
    }
}

/// The steps below and the selection to the right, where they are not folded.
fn sides(ui: &mut Ui, layout: &Layout, cx: &mut Cx<'_>) {
    let window = ui.ctx().content_rect().size();
    if layout.shows(Side::Steps, window) {
        panels::timeline::panel(window).show(ui, |ui| panels::timeline::show(ui, cx));
    }
    if layout.shows(Side::Selection, window) {
        let panel = Panel::right("selection").default_size(tokens::RIGHT).max_size(tokens::side(window));
        panel.show(ui, |ui| panels::at_least(ui, tokens::LEAST_SELECTION, |ui| panels::selection::show(ui, cx)));
    }
}

impl Explorer {
    pub(crate) fn new(source: Source, layout: Layout, tools: Tools) -> Self {
        Self {
            source,
            state: State::default(),
            layout,
            tools,
            dialogs: panels::dialogs::Dialogs::default(),
            every_row: false,
            dressed: None,
        }
    }

    pub(crate) fn show(&mut self, ui: &mut Ui) {
        self.dress(ui.ctx());
        self.tools.thumbs.receive(ui.ctx());
        self.tools.fonts.refresh(ui.ctx(), &self.tools.spawner);
        self.receive(ui.ctx());
        self.state.pointed = self.state.hovered.take();
        let mut guard = self.source.look();
        let shared = &mut *guard;
        let path = shared.main.path.clone();
        if path != self.state.run {
            self.state.turn_to(path.as_deref());
            if self.every_row {
                self.state.notes.population = crate::core::scatter::Population::All;
                self.state.unwritten();
            }
        }
        self.tools.commands.extend(actions::pressed(ui.ctx()));
        let ready = shared.main.ready();
        self.state.dark = ui.visuals().dark_mode;
        if ready {
            self.state.refresh(&shared.main.data, &self.tools.spawner);
            panels::timeline::advance(ui.ctx(), &mut self.state, &shared.main.data);
        }
        let window = ui.ctx().content_rect().size();
        self.layout.fit(window);
        Panel::top("bar").show(ui, |ui| panels::bar::show(ui, &self.layout, &mut self.tools));
        let chosen = self.layout.shows(Side::Runs, window).then(|| {
            let panel = Panel::left("runs").default_size(tokens::LEFT).max_size(tokens::side(window));
            panel.show(ui, |ui| panels::runs::show(ui, shared, &mut self.layout, &mut self.tools)).inner
        });
        let beside = shared.beside.path.as_deref().filter(|_| shared.beside.ready());
        let name = beside.and_then(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned());
        // What is still there of another run is not shown as this one's.
        let none = RunData::default();
        let data = if ready { &shared.main.data } else { &none };
        let other = &shared.beside.data;
        let named = name.as_deref().zip(beside).map(|(name, path)| (name, path, other));
        let mut cx = Cx {
            data,
            beside: named,
            runs: &shared.runs,
            state: &mut self.state,
            tools: &mut self.tools,
            turned_to: None,
        };
        if ready {
            sides(ui, &self.layout, &mut cx);
        }
        CentralPanel::default().show(ui, |ui| {
            panels::trouble::show(ui, shared.error.as_deref(), shared.main.error.as_deref(), cx.data, cx.state);
            panels::trouble::scripts(ui, cx.tools);
            if ready {
                self.layout.tree.ui(&mut Tiles { cx: &mut cx }, ui);
            } else {
                panels::trouble::empty(ui, shared.listed, shared.main.path.as_deref(), cx.tools);
            }
        });
        let beside = cx.turned_to.take();
        self.dialogs.show(ui.ctx(), cx.tools);
        self.state.save();
        let commands = std::mem::take(&mut self.tools.commands);
        let seen = self.layout.seen();
        let mut parts = panels::commands::Parts {
            data,
            beside: named,
            state: &mut self.state,
            layout: &mut self.layout,
            tools: &mut self.tools,
            dialogs: &mut self.dialogs,
            seen: &seen,
        };
        commands.into_iter().for_each(|action| panels::commands::run(action, ui.ctx(), &mut parts));
        self.layout.save();
        drop(guard);
        if let Some(path) = chosen.flatten() {
            self.source.select(&path);
        }
        match beside {
            Some(panels::Beside::Run(path)) => self.source.compare(Some(&path)),
            Some(panels::Beside::Nothing) => self.source.compare(None),
            None => {}
        }
    }

    /// Folders that were dropped on the window or chosen in a dialog, and work that is done.
    fn receive(&mut self, ctx: &egui::Context) {
        let dropped = ctx.input(|i| i.raw.dropped_files.iter().map(|f| f.path().to_owned()).collect::<Vec<_>>());
        let chosen = self.tools.dialog.poll();
        let typed = self.dialogs.typed.take();
        for path in dropped.into_iter().chain(chosen).chain(typed) {
            // A manifest or another file of a run stands for its run.
            let path = if path.is_file() { path.parent().map(ToOwned::to_owned).unwrap_or(path) } else { path };
            self.tools.say(format!("Opened {}", path.display()));
            self.source.add(&path);
        }
        if let Some(done) = self.tools.export.poll() {
            self.tools.say(done);
        }
    }

    fn dress(&mut self, ctx: &egui::Context) {
        let wanted = (self.layout.contrast, self.layout.theme, self.layout.zoom);
        if self.dressed != Some(wanted) {
            tokens::dress(ctx, self.layout.contrast);
            ctx.set_theme(self.layout.theme);
            // Its keys are in the list of keys, and it is remembered.
            ctx.options_mut(|options| options.zoom_with_keyboard = false);
            ctx.set_zoom_factor(self.layout.zoom);
            self.dressed = Some(wanted);
        }
    }

    /// Gives a command, as its key or button would.
    #[cfg(test)]
    pub(crate) fn act(&mut self, action: Action) {
        self.tools.commands.push(action);
    }
}

/// The window.
#[derive(Debug)]
pub(crate) struct App {
    explorer: Explorer,
}

impl App {
    pub(crate) fn new(explorer: Explorer) -> Self {
        Self { explorer }
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut Ui, _: &mut eframe::Frame) {
        self.explorer.show(ui);
    }
}
