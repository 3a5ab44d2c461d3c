//! What long commands that do not train have in common: the name of what goes on, and ranges on the command line.

use super::out::{say, tell};
use super::progress;
use indicatif::ProgressBar;
use std::cell::Cell;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Without a terminal, a line at most so often.
const QUIET: Duration = Duration::from_secs(5);

/// One line on the terminal that says what is done now and for how long; where stderr is no terminal, a line now and then of
/// what takes long.
#[derive(Debug)]
pub(super) struct Steps {
    bar: ProgressBar,
    plain: bool,
    said: Cell<Instant>,
}

impl Steps {
    pub(super) fn new() -> Self {
        let (bar, plain) = progress::bar("{spinner} {msg}  {elapsed}");
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, plain, said: Cell::new(Instant::now()) }
    }

    pub(super) fn show(&self, what: &str, done: usize, all: usize) {
        let counted = if all > 1 { format!(" ({} of {all})", done + 1) } else { String::new() };
        if self.plain && self.said.get().elapsed() > QUIET {
            self.said.set(Instant::now());
            tell!("{what}{counted}");
        }
        self.bar.set_message(format!("{what}{counted}"));
    }

    /// A line on standard output, above the bar.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| say!("{line}"));
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `A..B`, both included; `A` alone is `A..A`.
pub(super) fn range<T: FromStr + Copy + PartialOrd>(text: &str) -> Result<(T, T), String> {
    let number = |text: &str| text.trim().parse::<T>().ok();
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    match (number(from), number(to.trim_start_matches('='))) {
        (Some(from), Some(to)) if from <= to => Ok((from, to)),
        _ => Err("write A..B with A no larger than B".to_owned()),
    }
}

/// A number of samples that something can be found from: 3 at least.
pub(super) fn samples(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n >= 3).ok_or_else(|| "write a whole number, 3 at least".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(range::<u64>("2..20"), Ok((2, 20)));
        assert_eq!(range::<u64>("2..=20"), Ok((2, 20)));
        assert_eq!(range::<u64>("7"), Ok((7, 7)));
        assert_eq!((samples("3"), samples("2").is_err(), samples("0").is_err()), (Ok(3), true, true));
        assert!(range::<u64>("9..2").is_err() && range::<u64>("a..b").is_err());
    }
}
