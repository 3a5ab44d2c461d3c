//! What long commands that do not train have in common: the name of what goes on, and ranges on the command line.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::str::FromStr;
use std::time::Duration;

/// One line on the terminal that says what is done now; nothing where stderr is no terminal.
#[derive(Debug)]
pub(super) struct Steps {
    bar: ProgressBar,
}

impl Steps {
    pub(super) fn new() -> Self {
        let hidden = !std::io::stderr().is_terminal();
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    pub(super) fn show(&self, what: &str, done: usize, all: usize) {
        let counted = if all > 1 { format!(" ({} of {all})", done + 1) } else { String::new() };
        self.bar.set_message(format!("{what}{counted}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(range::<u64>("2..20"), Ok((2, 20)));
        assert_eq!(range::<u64>("2..=20"), Ok((2, 20)));
        assert_eq!(range::<u64>("7"), Ok((7, 7)));
        assert!(range::<u64>("9..2").is_err() && range::<u64>("a..b").is_err());
    }
}
