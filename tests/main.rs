//! One integration binary: one link instead of ten.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test, helpers included, should end it")]

mod architecture;
mod cli;
mod instructions;
mod pictures;
mod pipes;
mod resuming;
mod runs;
mod studies;
mod support;
mod teams;
