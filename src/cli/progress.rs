//! The progress bar: a hook like any other.

use super::out::tell;
use crate::train::hook::{EvalView, Hook, HookResult, StageView, StepView};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Draws stage, loss, samples per second and the time left; without a terminal, prints a line now and then instead.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    plain: bool,
    loss: f64,
    speed: f64,
    said: Instant,
    started: Instant,
    done_here: u64,
}

const TEMPLATE: &str = "{prefix:>10} {wide_bar} {pos}/{len}  {msg}";

/// A bar of this template on the terminal, and whether there is none: the bar is then hidden.
pub(super) fn bar(template: &str) -> (ProgressBar, bool) {
    let plain = !std::io::stderr().is_terminal();
    let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    (bar, plain)
}

/// Shows how far the check of the pictures is. Always goes on.
pub(super) fn pictures(done: usize, all: usize) -> bool {
    static BAR: OnceLock<(ProgressBar, bool)> = OnceLock::new();
    let (bar, plain) = BAR.get_or_init(|| bar("  pictures {wide_bar} {pos}/{len}  {eta} left"));
    bar.set_length(all as u64);
    bar.set_position(done as u64);
    // Without a terminal a line now and then: about ten in all, none for what is quick.
    if *plain && done > 0 && all > 4096 && done * 10 / all > (done - 1).saturating_sub(255) * 10 / all {
        tell!("checked {done} of {all} pictures");
    }
    if done >= all {
        bar.finish_and_clear();
    }
    true
}

impl Progress {
    pub(super) fn new() -> Self {
        let (bar, plain) = bar(TEMPLATE);
        let now = Instant::now();
        Self { bar, plain, loss: f64::NAN, speed: 0.0, said: now, started: now, done_here: 0 }
    }

    /// A line above the bar.
    fn say(&self, line: &str) {
        if self.plain {
            tell!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

impl Hook for Progress {
    fn stage_start(&mut self, view: &StageView<'_>) -> HookResult {
        self.bar.set_length(view.steps_in_run);
        self.bar.set_prefix(view.stage.to_owned());
        self.loss = f64::NAN;
        self.say(&format!("stage {}: {} steps", view.stage, view.steps));
        Ok(())
    }

    fn step(&mut self, view: &StepView<'_>) -> HookResult {
        let samples: usize = view.micro_batches.iter().map(|m| m.samples.len()).sum();
        let speed = samples as f64 / view.times.total.as_secs_f64().max(1e-9);
        let keep = if self.loss.is_nan() { 0.0 } else { 0.9 };
        // A short memory: the number people watch should neither jump nor lag.
        self.loss = if self.loss.is_nan() { view.loss } else { keep * self.loss + (1.0 - keep) * view.loss };
        self.speed = keep * self.speed + (1.0 - keep) * speed;
        self.done_here += 1;
        let done = view.at.global_step + 1;
        let left = view.steps_in_run.saturating_sub(done) as f64 * self.started.elapsed().as_secs_f64()
            / self.done_here as f64;
        let left = super::table::duration(left);
        let message = format!("loss {:.3}  {:.1} samples/s  {left} left", self.loss, self.speed);
        self.bar.set_position(done);
        self.bar.set_message(message.clone());
        if self.plain && (self.said.elapsed() > Duration::from_secs(10) || done == view.steps_in_run) {
            self.said = Instant::now();
            tell!("{} step {}/{}  {message}", view.at.stage, view.at.step + 1, view.steps_in_stage);
        }
        Ok(())
    }

    fn evaluated(&mut self, view: &EvalView<'_>) -> HookResult {
        let Some(all) = view.rows.iter().find(|r| r.task == "all") else { return Ok(()) };
        let score = all.score.map(|s| format!(", score {:.1} %", 100.0 * s)).unwrap_or_default();
        let step = view.at.step;
        self.say(&format!("{} step {step}: held-out loss {:.4} ({}{score})", view.at.stage, all.loss, view.split));
        Ok(())
    }

    fn warn(&mut self, line: &str) -> HookResult {
        self.say(&format!("warning: {line}"));
        Ok(())
    }

    fn note(&mut self, line: &str) -> HookResult {
        self.say(line);
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
