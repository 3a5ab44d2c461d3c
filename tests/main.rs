//! One integration binary: one link instead of ten.

mod architecture;
