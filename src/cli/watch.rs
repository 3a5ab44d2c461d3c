//! The progress bar of a study.

use super::out::tell;
use crate::experiment::study::Event;
use indicatif::ProgressBar;
use std::time::{Duration, Instant};

const TEMPLATE: &str = "{prefix:>24} {wide_bar} {msg}";

/// One bar over all runs of a study: run, loss and the time left; without a terminal, a line now and then.
#[derive(Debug)]
pub(super) struct Watch {
    bar: ProgressBar,
    plain: bool,
    done: u64,
    left: u64,
    /// Time in steps, without the pauses for what is no step.
    spent: Duration,
    last: Instant,
    said: Instant,
}

impl Watch {
    pub(super) fn new() -> Self {
        let (bar, plain) = super::progress::bar(TEMPLATE);
        let now = Instant::now();
        Self { bar, plain, done: 0, left: 0, spent: Duration::ZERO, last: now, said: now }
    }

    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Left { steps } => {
                self.left = steps;
                self.last = Instant::now();
                self.bar.set_length(self.done + steps);
            }
            Event::Note { line } if self.plain => tell!("{line}"),
            Event::Note { line } => self.bar.println(line),
            Event::Step { run, stage, step, steps, loss } => self.step(&run, &stage, (step, steps), loss),
        }
    }

    fn step(&mut self, run: &str, stage: &str, (step, steps): (u64, u64), loss: f64) {
        self.done += 1;
        self.left = self.left.saturating_sub(1);
        // Steps and the evaluations among them: what is to come has its evaluations too.
        self.spent += self.last.elapsed();
        self.last = Instant::now();
        let left = self.spent.as_secs_f64() / self.done as f64 * self.left as f64;
        let left = super::table::duration(left);
        self.bar.set_prefix(run.to_owned());
        self.bar.set_length(self.done + self.left);
        self.bar.set_position(self.done);
        self.bar.set_message(format!("{stage} {}/{steps}  loss {loss:.3}  {left} left in all", step + 1));
        if self.plain && self.said.elapsed() > Duration::from_secs(10) {
            self.said = Instant::now();
            tell!("{run} {stage} {}/{steps}  loss {loss:.3}  {left} left in all", step + 1);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
