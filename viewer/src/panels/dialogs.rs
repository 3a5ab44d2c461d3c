//! The list of keys, the list of commands, and the dialog that opens a folder.

use super::figures;
use crate::actions::{ALL, Action};
use crate::tools::Tools;
use egui::{Context, Grid, Key, ScrollArea, TextEdit, Window};
use std::path::PathBuf;

/// Which of them are open.
#[derive(Debug, Default)]
pub(crate) struct Dialogs {
    pub keys: bool,
    pub commands: bool,
    pub open: bool,
    /// Figures that may be drawn.
    pub figures: figures::Dialog,
    /// What is typed into the list of commands.
    wanted: String,
    /// Whether the folder's field was there in the frame before: it takes the focus when it comes.
    open_before: bool,
    /// What is typed as a folder.
    folder: String,
    /// A folder that was typed.
    pub typed: Option<PathBuf>,
}

/// A dialog that fits into the window.
pub(crate) fn dialog(ctx: &Context, title: &'static str) -> Window<'static> {
    let room = ctx.content_rect().size() - egui::Vec2::splat(24.0);
    Window::new(title).default_width(460.0_f32.min(room.x)).max_width(room.x).max_height(room.y)
}

impl Dialogs {
    /// Closes what is open; whether anything was.
    pub(crate) fn close(&mut self) -> bool {
        let any = self.keys || self.commands || self.open || self.figures.is_open();
        self.figures.close();
        (self.keys, self.commands, self.open) = (false, false, false);
        any
    }

    pub(crate) fn show(&mut self, ctx: &Context, tools: &mut Tools) {
        self.show_keys(ctx);
        self.show_commands(ctx, tools);
        self.show_open(ctx, tools);
        if self.figures.is_open() {
            self.figures.show(ctx, tools);
        }
    }

    fn show_keys(&mut self, ctx: &Context) {
        let window = dialog(ctx, "List of keys").vscroll(true).default_height(520.0);
        window.open(&mut self.keys).show(ctx, |ui| {
            Grid::new("keys").num_columns(2).striped(true).show(ui, |ui| {
                for (action, words, _) in ALL {
                    ui.label(words);
                    ui.monospace(action.key(ui.ctx()));
                    ui.end_row();
                }
            });
            ui.separator();
            ui.label("Tab goes from one control to the next, Enter or Space uses it.");
            ui.label("Selecting: shift adds, control takes away. In the scatter the wheel goes nearer and farther.");
        });
    }

    fn show_commands(&mut self, ctx: &Context, tools: &mut Tools) {
        let mut open = self.commands;
        let mut done = false;
        dialog(ctx, "Commands").open(&mut open).show(ctx, |ui| {
            let field =
                ui.add(TextEdit::singleline(&mut self.wanted).hint_text("what to do").desired_width(f32::INFINITY));
            field.request_focus();
            let wanted = self.wanted.to_lowercase();
            let holds = |words: &str| wanted.split_whitespace().all(|w| words.to_lowercase().contains(w));
            let found: Vec<Action> = ALL.iter().filter(|(_, words, _)| holds(words)).map(|(a, ..)| *a).collect();
            if ui.input(|i| i.key_pressed(Key::Enter))
                && let Some(first) = found.first()
            {
                tools.commands.push(*first);
                done = true;
            }
            let room = ctx.content_rect().height() - 120.0;
            ScrollArea::vertical().max_height(room.clamp(60.0, 380.0)).show(ui, |ui| {
                for action in found {
                    let text = format!("{}  {}", action.words(), action.key(ui.ctx()));
                    if ui.add(egui::Button::new(text).frame(false)).clicked() {
                        tools.commands.push(action);
                        done = true;
                    }
                }
            });
        });
        self.commands = open && !done;
        if done {
            self.wanted.clear();
        }
    }

    fn show_open(&mut self, ctx: &Context, tools: &mut Tools) {
        let mut open = self.open;
        let mut done = false;
        dialog(ctx, "Open a folder of runs").open(&mut open).show(ctx, |ui| {
            ui.label("A run, or a folder of runs:");
            let label = ui.label("Folder");
            let field =
                ui.add(TextEdit::singleline(&mut self.folder).desired_width(f32::INFINITY)).labelled_by(label.id);
            if !std::mem::replace(&mut self.open_before, true) {
                field.request_focus();
            }
            let entered = field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
            ui.horizontal(|ui| {
                if (ui.button("Open this").clicked() || entered) && !self.folder.trim().is_empty() {
                    self.typed = Some(PathBuf::from(self.folder.trim()));
                    done = true;
                }
                if ui.button("Choose").on_hover_text("With the system's own dialog").clicked() {
                    tools.dialog.start(&tools.spawner, |_| rfd::FileDialog::new().set_title("Runs").pick_folder());
                    done = true;
                }
            });
        });
        self.open = open && !done;
        self.open_before = self.open;
    }
}
