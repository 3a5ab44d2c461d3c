//! One panel a file. A panel draws; what it draws was gathered by the reader.

pub(crate) mod drift;
pub(crate) mod heat;
pub(crate) mod loss;
pub(crate) mod routing;
pub(crate) mod runs;
pub(crate) mod samples;
