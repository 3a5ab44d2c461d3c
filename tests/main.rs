//! One integration binary: one link instead of ten.

mod architecture;
mod cli;
mod runs;
mod support;
