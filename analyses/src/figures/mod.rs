//! Paper figures of runs: exact venue widths, one embedded font, colours that survive colour blindness.
//!
//! Each figure becomes `<id>.svg` (text stays text), `<id>.png` (300 dpi), `<id>.csv` (the numbers that are plotted) and
//! `<id>.json` (where they come from).

mod axes;
mod canvas;
mod drift;
mod error;
mod gradient_cosine;
mod heat;
mod loss;
mod routing_by_task;
mod save;
#[cfg(test)]
mod tests;
mod theme;

pub use error::FigureError;
pub use heat::viridis;
pub use theme::Venue;

use crate::store::{Record, RunDir, option_that_logs, read_records};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Result of drawing.
pub type Result<T> = std::result::Result<T, FigureError>;

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FigureId {
    /// Losses over the run, by stage: training and held-out.
    Loss,
    /// Drift of the vision encoder's layers over the steps of a stage.
    Drift,
    /// Mean routing weights by task and expert, layer by layer.
    RoutingByTask,
    /// Cosine of the gradient to AdamW's first moment over the steps, with its histogram.
    GradientCosine,
}

impl FigureId {
    /// All figures.
    pub const ALL: [Self; 4] = [Self::Loss, Self::Drift, Self::RoutingByTask, Self::GradientCosine];
}

impl fmt::Display for FigureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "loss",
            Self::Drift => "drift",
            Self::RoutingByTask => "routing-by-task",
            Self::GradientCosine => "gradient-cosine",
        })
    }
}

impl FromStr for FigureId {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|id| id.to_string() == text).ok_or_else(|| FigureError::Unknown {
            asked: text.to_owned(),
            known: Self::ALL.map(|id| id.to_string()).join(", "),
        })
    }
}

/// Draws `id` of `run` into the folder `out` and names the files that were written. `command` goes into the JSON.
///
/// # Errors
/// The run lacks what the figure needs (the message says which option logs it); a file cannot be read or written.
pub fn draw(id: FigureId, run: &RunDir, venue: Venue, out: &Path, command: &[String]) -> Result<Vec<PathBuf>> {
    let job = save::Job { id, run, venue, out, command };
    match id {
        FigureId::Loss => job.save(&loss::Loss::load(run)?),
        FigureId::Drift => job.save(&drift::Drift::load(run)?),
        FigureId::RoutingByTask => job.save(&routing_by_task::RoutingByTask::load(run)?),
        FigureId::GradientCosine => job.save(&gradient_cosine::GradientCosine::load(run)?),
    }
}

/// The rows of a stream that a figure cannot do without. Damaged parts are passed over with a warning.
fn needed<R: Record>(id: FigureId, run: &RunDir) -> Result<Vec<R>> {
    let read = read_records::<R>(run)?;
    for problem in &read.problems {
        tracing::warn!("{problem}");
    }
    if read.rows.is_empty() { Err(lacks(id, run, R::STREAM, option_that_logs(R::STREAM))) } else { Ok(read.rows) }
}

fn lacks(id: FigureId, run: &RunDir, what: &'static str, option: &'static str) -> FigureError {
    FigureError::Lacks { figure: id.to_string(), what, option, path: run.path().to_owned() }
}
