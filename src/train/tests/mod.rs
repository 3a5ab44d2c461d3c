//! The loop on a toy model.

mod checkpoints;
mod device;
mod faults;
mod resume;
mod scenes;
mod steps;
mod team;
mod toy;
