//! Measures the explorer in a real window: what a frame costs, how long a run takes to open, what a lasso takes.

use crate::actions::{Action, Tool};
use crate::app::Explorer;
use crate::{ViewerError, jobs, layout, source, tokens, tools};
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Context rows of the layer that is shown.
    pub rows: usize,
    /// Points drawn.
    pub points: usize,
    /// Seconds until every record was read.
    pub read_s: f64,
    /// CPU seconds until then, all threads, the start of the window included.
    pub read_cpu_s: f64,
    /// CPU seconds until every point was drawn.
    pub drawn_cpu_s: f64,
    /// Seconds until components and clusters were found and every point was drawn.
    pub drawn_s: f64,
    /// Largest resident memory in bytes when the records were read.
    pub memory_read: u64,
    /// The same at the end.
    pub memory: u64,
    /// CPU milliseconds of a frame without points: this process, all threads.
    pub empty_ms: f64,
    /// With every point, nothing moving.
    pub still_ms: f64,
    /// With every point, the view moving at every frame.
    pub moving_ms: f64,
    /// Wall milliseconds of a frame in the same three cases.
    pub wall_ms: [f64; 3],
    /// Milliseconds that a lasso of 200 corners took: the least and the median of 25.
    pub lasso_ms: [f64; 2],
    /// Points in it.
    pub lassoed: usize,
}

/// User and system time of this process in milliseconds; 0 where the system does not tell.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) * 10.0
}

/// Largest resident memory so far in bytes; 0 where the system does not tell.
fn peak_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// What is being measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Reading,
    Drawing,
    Empty,
    Still,
    Moving,
    Lasso,
    Done,
}

struct Meter {
    explorer: Explorer,
    phase: Phase,
    frame: usize,
    frames: usize,
    begun: Instant,
    cpu: f64,
    since: Instant,
    found: Measured,
    send: SyncSender<Measured>,
}

impl Meter {
    fn turn_to(&mut self, phase: Phase) {
        (self.phase, self.frame) = (phase, 0);
        self.explorer.state.local.scatter.bare = phase == Phase::Empty;
    }

    /// Ten frames to settle, then as many as are measured; `Some`: CPU and wall milliseconds a frame.
    fn count(&mut self) -> Option<(f64, f64)> {
        self.frame += 1;
        if self.frame == 10 {
            (self.cpu, self.since) = (cpu_ms(), Instant::now());
        }
        let n = self.frames as f64;
        (self.frame == 10 + self.frames)
            .then(|| ((cpu_ms() - self.cpu) / n, self.since.elapsed().as_secs_f64() * 1000.0 / n))
    }

    fn lasso(&mut self) {
        let shown = std::sync::Arc::clone(&self.explorer.state.shown);
        let Some((low, high)) = shown.grid.bounds() else { return };
        let corner = |i: u32| {
            let angle = f64::from(i) / 200.0 * std::f64::consts::TAU;
            let far = if i.is_multiple_of(2) { 0.36 } else { 0.3 };
            let at = |k: usize, v: f64| f64::midpoint(low[k], high[k]) + (high[k] - low[k]) * far * v;
            [at(0, angle.cos()), at(1, angle.sin())]
        };
        let corners: Vec<[f64; 2]> = (0..200).map(corner).collect();
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..25 {
            let begun = Instant::now();
            let (samples, points) = shown.inside(&corners);
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            self.found.lassoed = if samples.is_empty() { 0 } else { points };
        }
        times.sort_by(f64::total_cmp);
        self.found.lasso_ms = [times[0], times[times.len() / 2]];
    }

    fn step(&mut self, ctx: &egui::Context) {
        match self.phase {
            Phase::Reading => {
                if self.explorer.source.look().main.ready() {
                    self.found.read_s = self.begun.elapsed().as_secs_f64();
                    self.found.read_cpu_s = cpu_ms() / 1000.0;
                    self.found.memory_read = peak_memory();
                    self.turn_to(Phase::Drawing);
                }
            }
            Phase::Drawing => {
                let state = &self.explorer.state;
                if state.embedding.is_some() && !state.work.busy() && state.local.scatter.drawn() {
                    self.found.drawn_s = self.begun.elapsed().as_secs_f64();
                    self.found.drawn_cpu_s = cpu_ms() / 1000.0;
                    self.found.points = state.shown.rows.len();
                    self.found.rows = state.shown.of;
                    self.explorer.tools.commands.push(Action::Use(Tool::Move));
                    self.turn_to(Phase::Empty);
                }
            }
            Phase::Empty => {
                if let Some((cpu, wall)) = self.count() {
                    (self.found.empty_ms, self.found.wall_ms[0]) = (cpu, wall);
                    self.turn_to(Phase::Still);
                }
            }
            Phase::Still => {
                if let Some((cpu, wall)) = self.count() {
                    (self.found.still_ms, self.found.wall_ms[1]) = (cpu, wall);
                    self.turn_to(Phase::Moving);
                }
            }
            Phase::Moving => {
                let there = self.frame % 20 < 10;
                self.explorer.state.local.scatter.zoom = Some(if there { 1.03 } else { 1.0 / 1.03 });
                if let Some((cpu, wall)) = self.count() {
                    (self.found.moving_ms, self.found.wall_ms[2]) = (cpu, wall);
                    self.turn_to(Phase::Lasso);
                }
            }
            Phase::Lasso => {
                self.lasso();
                self.found.memory = peak_memory();
                drop(self.send.send(self.found.clone()));
                self.turn_to(Phase::Done);
            }
            // Closing may take a few frames.
            Phase::Done => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
        }
    }
}

impl eframe::App for Meter {
    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        self.explorer.show(ui);
        self.step(ui.ctx());
        if self.phase == Phase::Reading || self.phase == Phase::Drawing {
            ui.ctx().request_repaint_after(Duration::from_millis(5));
        } else {
            ui.ctx().request_repaint();
        }
    }
}

/// Opens a window over `run`, every row a point, and measures `frames` frames of each kind.
///
/// # Errors
/// No window can be opened.
pub fn measure(run: PathBuf, frames: usize) -> Result<Measured, ViewerError> {
    let viewport = egui::ViewportBuilder::default().with_title("covft-probe").with_inner_size(tokens::WINDOW);
    let mut options = eframe::NativeOptions { viewport, renderer: crate::renderer(), ..Default::default() };
    options.glow_options.vsync = false;
    let (send, receive) = sync_channel(1);
    let begun = Instant::now();
    let create = move |context: &eframe::CreationContext<'_>| {
        let ctx = context.egui_ctx.clone();
        let source = source::Source::follow(vec![run], move || ctx.request_repaint())?;
        let tools = tools::Tools::new(jobs::Spawner::Threads(context.egui_ctx.clone()), crate::read_plainly);
        let mut explorer = Explorer::new(source, layout::Layout::open(None), tools);
        explorer.every_row = true;
        let meter = Meter {
            explorer,
            phase: Phase::Reading,
            frame: 0,
            frames,
            begun,
            cpu: 0.0,
            since: begun,
            found: Measured::default(),
            send,
        };
        Ok(Box::new(meter) as Box<dyn eframe::App>)
    };
    let shown = eframe::run_native("covft-probe", options, Box::new(create));
    shown.map_err(|e| ViewerError::Window { why: e.to_string() })?;
    receive.try_recv().map_err(|_closed| ViewerError::Window { why: "it was closed before the end".to_owned() })
}
