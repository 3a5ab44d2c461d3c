//! Studies: several runs that answer one question, in one folder (`study.json`, a run directory a run).
//!
//! * `conflict` trains two sets of instructions over the same pictures in lockstep and measures how far the encoders
//!   drift apart: same base, same order, same objects, one process.
//! * `methods` trains every tuning method with every seed upon one base, each run in a process of its own, so that its
//!   largest memory is its own.
//!
//! Both begin with a run called `base`: the stages before the studied one, kept under `<out>/.stages`.

mod base;
mod chance;
mod conflict;
mod dir;
mod error;
mod methods;
mod plan;
mod tell;

pub use base::BASE;
pub use chance::blind;
pub use dir::StudyDir;
pub use error::StudyError;
pub use methods::work;
pub use tell::Event;

use super::session::Ended;
use crate::config::study::StudyConfig;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tell::Tell;

/// Runs a study to its end, or until `stop` is set; what was done before is kept. `worker` makes the command that does
/// the run of a label (see [`work`]), `told` hears how it goes.
///
/// # Errors
/// See [`StudyError`].
pub fn run(
    dir: &mut StudyDir,
    worker: &dyn Fn(&str) -> std::io::Result<Command>,
    stop: &Arc<AtomicBool>,
    told: &mut dyn FnMut(Event),
) -> Result<Ended, StudyError> {
    let tell = Tell::new(told);
    base::check_recipes(dir, &tell)?;
    let ended = match dir.config() {
        StudyConfig::Conflict { .. } => conflict::run(dir, stop, &tell),
        StudyConfig::Methods { .. } => methods::run(dir, worker, stop, &tell),
    }?;
    if ended == Ended::Done {
        dir.finish()?;
    }
    Ok(ended)
}
