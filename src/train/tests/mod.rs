//! The loop on a toy model.

mod checkpoints;
mod faults;
mod resume;
mod steps;
mod toy;
