//! Figures for a paper of what is in view: what each shows, where it differs from the view, and the dialog that draws them.

use super::Cx;
use super::dialogs::dialog;
use crate::tools::Tools;
use covft_analyses::figures::{FigureError, FigureId, Format, Inputs, Options, Plot, Venue};
use egui::{Context, Key, Label, RichText, ScrollArea, Ui};
use std::path::{Path, PathBuf};

/// A figure, as a view asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub id: FigureId,
    /// The run, and the one beside it where the figure shows both.
    pub runs: Vec<PathBuf>,
    /// What the view shows, as far as the figure can be told.
    pub options: Options,
    /// What the view shows and the figure does not.
    pub differs: Vec<String>,
}

impl Request {
    /// Of the run in the window; of the one beside it, too, where the figure lays runs over each other.
    pub(crate) fn new(cx: &Cx<'_>, id: FigureId) -> Option<Self> {
        let beside = cx.beside.map(|(_, path, _)| path.to_owned()).filter(|_| id.overlays());
        let runs = std::iter::once(cx.state.run.clone()?).chain(beside).collect();
        Some(Self { id, runs, options: Options::default(), differs: Vec::new() })
    }

    /// Of a stage up to the step that is shown, if the view stops at one.
    pub(crate) fn until(&mut self, cx: &Cx<'_>, stage: u16) {
        self.options.stage = Some(cx.data.stages.name(u32::from(stage)).to_owned());
        let start = cx.data.stage_starts()[usize::from(stage)];
        self.options.steps = cx.state.at.map(|at| (0, u64::from(at.saturating_sub(start))));
    }

    /// With one more thing that the figure does not show as the view does.
    pub(crate) fn but(&mut self, differs: impl Into<String>) {
        self.differs.push(differs.into());
    }
}

impl Request {
    /// Says what of the view is not in the figure.
    fn say(&self, ui: &mut Ui) {
        for differs in &self.differs {
            let text = RichText::new(differs).color(ui.visuals().warn_fg_color);
            ui.add(Label::new(text).wrap());
        }
        if self.differs.is_empty() {
            ui.weak("Shows what the view shows.");
        }
    }
}

/// The dialog: what is asked for, and whether each is wanted.
#[derive(Debug, Default)]
pub(crate) struct Dialog {
    asked: Vec<(Request, bool)>,
    out: PathBuf,
    replace: bool,
}

impl Dialog {
    pub(crate) fn ask(&mut self, run: &Path, requests: Vec<Request>) {
        self.out = run.join("figures");
        self.replace = false;
        self.asked.clear();
        for request in requests {
            // Two views may ask for the same.
            let same = |known: &(Request, bool)| known.0.id == request.id && known.0.options == request.options;
            match self.asked.iter_mut().find(|known| same(known)) {
                Some((known, _)) => known.differs.extend(request.differs),
                None => self.asked.push((request, true)),
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.asked.is_empty()
    }

    pub(crate) fn close(&mut self) {
        self.asked.clear();
    }

    pub(crate) fn show(&mut self, ctx: &Context, tools: &mut Tools) {
        let mut open = self.is_open();
        let mut drawn = false;
        let room = ctx.content_rect().height() - 140.0;
        dialog(ctx, "Export figures").open(&mut open).show(ctx, |ui| {
            ui.add(Label::new(format!("Into {}", self.out.display())).wrap());
            ScrollArea::vertical().max_height(room.max(80.0)).auto_shrink([false, true]).show(ui, |ui| {
                for (request, wanted) in &mut self.asked {
                    ui.checkbox(wanted, format!("Figure {}", request.id));
                    ui.indent(request.id.name(), |ui| request.say(ui));
                }
            });
            let there = self.asked.iter().any(|(request, _)| taken(&self.out, request.id.name()));
            if there {
                ui.checkbox(&mut self.replace, "Replace figures that are there (else new ones are numbered)");
            }
            let any = self.asked.iter().any(|(_, wanted)| *wanted);
            let pressed = ui.add_enabled(any, egui::Button::new("Draw the figures")).clicked();
            drawn = any && (pressed || ui.input(|i| i.key_pressed(Key::Enter)));
        });
        if drawn {
            self.begin(tools);
        }
        if !open || drawn {
            self.close();
        }
    }

    /// Draws what is wanted, by the code of `covft-probe plot`.
    fn begin(&mut self, tools: &mut Tools) {
        let wanted: Vec<Request> = self.asked.drain(..).filter(|a| a.1).map(|a| a.0).collect();
        let (out, replace) = (self.out.clone(), self.replace);
        tools.say("Drawing the figures");
        tools.export.start(&tools.spawner, move |progress| {
            let mut said = Vec::new();
            for request in &wanted {
                if progress.cancelled() {
                    return None;
                }
                match draw(request, &out, replace) {
                    Ok(names) => said.push(format!("Drew {} in {}", names.join(", "), out.display())),
                    Err(error) => said.push(error.to_string()),
                }
            }
            Some(said.join("\n"))
        });
    }
}

/// Whether there are files of a figure called `name`.
fn taken(out: &Path, name: &str) -> bool {
    ["svg", "pdf", "png", "csv", "json"].iter().any(|ending| out.join(format!("{name}.{ending}")).exists())
}

/// Draws one figure in every format; the names of its files.
fn draw(request: &Request, out: &Path, replace: bool) -> Result<Vec<String>, FigureError> {
    let formats = [Format::Svg, Format::Pdf, Format::Png];
    let command = ["covft-probe", "view"].map(str::to_owned);
    let mut names = Vec::new();
    for plot in Plot::load(request.id, &Inputs::open(&request.runs)?, &request.options)? {
        let numbered = |n: usize| if n == 1 { plot.name().to_owned() } else { format!("{}-{n}", plot.name()) };
        let free = (1..usize::MAX).map(numbered).find(|name| replace || !taken(out, name));
        let plot = plot.named(free.unwrap_or_default());
        plot.save(Venue::Cvpr, &formats, out, &command)?;
        names.push(plot.name().to_owned());
    }
    Ok(names)
}
