//! What the program says. Everything that is printed passes here: a reader who has gone (`| head`) ends nothing but the
//! printing, and the work is done to its end.

use std::backtrace::Backtrace;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Nobody reads the standard output any more.
static GONE: AtomicBool = AtomicBool::new(false);

/// Why it could not be written, other than that (a full disk).
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// A line on the standard output, `println!` without its panic.
macro_rules! say {
    ($($part:tt)*) => { $crate::cli::out::line(format_args!($($part)*)) };
}

/// A line on the standard error, `eprintln!` without its panic.
macro_rules! tell {
    ($($part:tt)*) => { $crate::cli::out::aside(format_args!($($part)*)) };
}

pub(super) use {say, tell};

/// Writes a line.
pub(super) fn line(words: Arguments<'_>) {
    write(format_args!("{words}\n"));
}

/// Writes a text as it is.
pub(super) fn text(text: &str) {
    write(format_args!("{text}"));
}

fn write(words: Arguments<'_>) {
    if !GONE.load(Ordering::Relaxed) {
        keep(io::stdout().write_fmt(words));
    }
}

fn keep(written: io::Result<()>) {
    if let Err(error) = written {
        GONE.store(true, Ordering::Relaxed);
        if error.kind() != ErrorKind::BrokenPipe {
            FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

/// Writes a line to the standard error.
pub(super) fn aside(words: Arguments<'_>) {
    // Who does not listen cannot be told that they do not.
    drop(writeln!(io::stderr(), "{words}"));
}

/// Writes out what is still held back.
///
/// # Errors
/// The output could not be written, and not because its reader has gone.
pub(super) fn finish() -> io::Result<()> {
    if !GONE.load(Ordering::Relaxed) {
        keep(io::stdout().flush());
    }
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
}

/// Tells of a panic: what, and where in the code, without the folders of the machine that built it.
pub(super) fn fault(fault: &PanicHookInfo<'_>) {
    let payload = fault.payload();
    let why = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = fault.location().map(|at| format!(" ({}:{})", within_crate(at.file()), at.line())).unwrap_or_default();
    aside(format_args!("internal error: {}{place}", why.unwrap_or("of unknown kind")));
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        aside(format_args!("{}", Backtrace::force_capture()));
    }
}

/// The path of a source file from its crate on: `candle-core-0.11.1/src/tensor.rs`.
fn within_crate(path: &str) -> &str {
    let Some(src) = path.rfind("/src/") else { return path };
    path[..src].rfind('/').map_or(path, |folder| &path[folder + 1..])
}

/// Whether the standard error may be coloured.
pub(super) fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The standard error as the log wants it: a line that cannot be written is lost.
#[derive(Debug)]
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_from_their_crate_on() {
        assert_eq!(
            within_crate("/home/x/.cargo/registry/src/index/image-0.25.1/src/lib.rs"),
            "image-0.25.1/src/lib.rs"
        );
        assert_eq!(within_crate("src/cli/mod.rs"), "src/cli/mod.rs");
        assert_eq!(within_crate("analyses/src/lib.rs"), "analyses/src/lib.rs");
    }
}
