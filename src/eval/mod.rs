//! Evaluation on held-out samples: losses by task, generated answers and their scores.

mod boxes;
mod chance;
mod examiner;
mod scorer;
mod tally;

pub use boxes::{BoundingBox, match_score, parse_boxes};
pub use examiner::{Answer, Batches, Examiner, HeldOut};
pub use scorer::{Scorer, normalise};
pub use tally::Tally;
