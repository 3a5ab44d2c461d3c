//! The loop on a toy model.

mod checkpoints;
mod faults;
mod resume;
mod scenes;
mod steps;
mod toy;
